//! The one page for people: what this is and what is here. The dashboard is another story.

use axum::response::Response;

use slap_server::escape;

use super::{App, Call, Problem, text};

pub(super) fn home(app: &App, call: &Call) -> Result<Response, Problem> {
    let counts = app.store.counts()?;
    let url = escape(&call.base_url());
    Ok(text(format!(
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<title>SlapOS Master</title>\n\
         <h1>SlapOS Master for one machine</h1>\n\
         <p>Give this URL as <code>master_url</code> to nodes and clients: <code>{url}</code></p>\n\
         <ul>\n<li>compute nodes: {}\n<li>partitions: {}, with an instance: {}\n\
         <li>shared instances: {}\n<li>software installations: {}\n</ul>\n\
         <p><a href=\"{url}/hateoas/\">hypermedia documents</a></p>\n",
        counts.nodes, counts.partitions, counts.busy, counts.shared, counts.installations
    )))
}
