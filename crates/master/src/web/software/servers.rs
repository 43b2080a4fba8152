//! Where the releases of a product are, and having one installed.

use std::sync::Arc;

use axum::response::Response;
use maud::{Markup, html};
use slap::{InstallationState, ReleaseUrl};
use slap_server::Problem;

use super::super::parts::{Badge, Choice, Column, Pager, Table, age, choice, empty, short};
use super::super::{Icon, Visit, field};
use super::product::Subject;
use crate::api::{App, Call};
use crate::domain::NodeReference;
use crate::web::servers::of_project;

/// Lines on one page of the list.
const LINES: i64 = 50;

const COLUMNS: &[Column] = &[
    Column::words("Server"),
    Column::long("Release"),
    Column::words("State"),
    Column::words("Since"),
];

/// The servers that have its releases.
pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = Subject::of(&app, &call).await?;
    let pager = Pager::of(&field(&call.arguments(), "page"), LINES);
    let mut found = app
        .store
        .product_installations(call.caller, subject.product().key, pager.lines())
        .await?;
    let pages = pager.cut(&mut found, &visit, &[]);
    let mut table = Table::new("Servers with its releases", COLUMNS);
    for (title, installation) in &found {
        let node = installation.node;
        let status = &installation.status;
        table.row(vec![
            html! {
                a href=(visit.to(&format!("servers/{node}/releases"))) { (title) }
                span.reference { (node) }
            },
            html! { code { (short(&installation.release, 72)) } },
            html! { (Badge::installation(installation)) },
            match status.since.or(status.at) {
                Some(at) => age(visit.now, at),
                None => html! { span.muted { "the server has not answered yet" } },
            },
        ]);
    }
    let body = html! {
        @if table.is_empty() {
            (empty(Icon::Server, "On no server yet", &html! {
                p { "A service runs where its release is installed." }
            }))
        } @else {
            (table)
        }
        (pages)
    };
    let install = match subject.detail.is_managed && !subject.product().releases.is_empty() {
        true => install(&app, &call, &visit, &subject).await?,
        false => html! {},
    };
    Ok(subject.page(&visit).live("").show(html! {
        (install)
        div id="servers" data-live { (body) }
    }))
}

/// The form that has a release installed on a server.
async fn install(
    app: &App,
    call: &Call,
    visit: &Visit,
    subject: &Subject,
) -> Result<Markup, Problem> {
    let product = subject.product();
    let nodes = of_project(app, call, product.project).await?;
    let nodes: Vec<(String, String)> = nodes
        .iter()
        .map(|node| {
            (
                node.node.to_string(),
                format!("{} ({})", node.title, node.node),
            )
        })
        .collect();
    let nodes: Vec<Choice<'_>> = nodes
        .iter()
        .map(|(value, words)| Choice { value, words })
        .collect();
    let releases: Vec<Choice<'_>> = product
        .releases
        .iter()
        .map(|release| Choice {
            value: &release.url,
            words: &release.url,
        })
        .collect();
    Ok(html! {
        @if !nodes.is_empty() {
            form.inline method="post" action=(visit.to(&subject.path("servers"))) {
                (visit.form_token())
                (choice("release", "Release", &releases, ""))
                (choice("server", "Server", &nodes, ""))
                button.main { (Icon::Plus) "Have it installed" }
            }
        }
    })
}

/// Has a release installed.
pub(super) async fn supply(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let form = visit.form(&call)?;
    let subject = Subject::of(&app, &call).await?.managed()?;
    let node: NodeReference = form.word("server")?;
    let known = subject.release(&field(&form, "release"));
    let known = known.ok_or_else(|| Problem::not_found("The product has no such release"))?;
    let release = ReleaseUrl::new(&known.url).map_err(Problem::internal)?;
    let state = InstallationState::Available;
    app.store.supply(call.caller, node, release, state).await?;
    Ok(visit.go(&subject.path("servers"), "supplied"))
}
