//! The first page: how things stand, what needs attention, what to do next.

use std::sync::Arc;

use axum::response::Response;
use maud::{Markup, html};
use slap_server::Problem;
use slap_server::json_rpc::detail::Actual;

use super::Visit;
use super::layout::Section;
use super::parts::{Badge, Column, Table, age, bar, copy, number, section, sometimes};
use super::servers::recognised;
use super::services;
use crate::api::endpoint::{Endpoint, handler};
use crate::api::{Api, App, Call};
use crate::domain::{Caller, Role};
use crate::store::{
    NodeFilter, NodeState, NodesStanding, Page as Lines, ProjectRecord, ServicesStanding,
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    // For whoever comes by too: it says what this is, and where to sign in.
    Endpoint::get(Api::Web, "", handler!(overview)).public(),
];

/// Silent servers that are named.
const SILENT: i64 = 8;

async fn overview(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let Some(session) = &visit.session else {
        return Ok(welcome(&app, &call, &visit));
    };
    let caller = session.caller;
    let services = app.store.services_standing(caller).await?;
    let nodes = app.store.nodes_standing(caller).await?;
    let silent = app
        .store
        .node_states(
            caller,
            String::new(),
            NodeFilter::Silent,
            Lines::first(SILENT),
        )
        .await?;
    let projects = app.store.projects(caller, None).await?;
    let page = visit.page("Overview").section(Section::Overview).live("");
    let is_new = nodes.nodes == 0 || services.total() == 0;
    let next = is_new.then(|| next(&app, &visit, nodes));
    Ok(page.show(html! {
        div.numbers id="numbers" data-live { (numbers(&visit, &services, nodes)) }
        (section(
            "attention",
            "Needs attention",
            Markup::default(),
            &attention(&visit, &services, &silent),
        ))
        (sometimes("next", "Next steps", &Markup::default(), next.as_ref()))
        (section("projects", "Your projects", Markup::default(), &of_projects(&projects)))
        (section("master", "This Master", Markup::default(), &recognised(&app, &visit)))
    }))
}

/// For whoever is not signed in.
fn welcome(app: &App, call: &Call, visit: &Visit) -> Response {
    visit.page("SlapOS Master").show(html! {
        div.card {
            p { "Services on servers all over the place, from one place." }
            @match call.caller {
                Caller::Anonymous => {},
                Caller::Person { .. } => { p.muted { "Your browser showed a person's certificate." } },
                _ => { p.muted { "You showed a certificate that is not a person's." } },
            }
            div.buttons { a.button.main href=(visit.to("login")) { "Sign in" } }
        }
        p.muted { "Nodes and clients are given this:" }
        (recognised(app, visit))
    })
}

fn numbers(visit: &Visit, services: &ServicesStanding, nodes: NodesStanding) -> Markup {
    let states = [
        Actual::Error,
        Actual::Waiting,
        Actual::Starting,
        Actual::Stopping,
        Actual::Destroying,
        Actual::Started,
        Actual::Stopped,
    ];
    html! {
        (number(&visit.to("services"), services.total(), "services of yours", &html! {
            span.states {
                @for state in states {
                    @if services.of(state) > 0 {
                        span { (services.of(state)) " " (Badge::instance(state)) }
                    }
                }
            }
        }))
        (number(&visit.to("servers"), nodes.nodes, "servers", &html! {
            span.states {
                @if nodes.alive > 0 { span { (nodes.alive) " " (Badge::ONLINE) } }
                @if nodes.nodes > nodes.alive {
                    span { (nodes.nodes - nodes.alive) " " (Badge::SILENT) }
                }
            }
        }))
        (number(&visit.to("servers"), nodes.partitions, "partitions", &bar(
            nodes.busy,
            nodes.partitions,
            &format!("{} in use, {} free", nodes.busy, nodes.partitions - nodes.busy),
        )))
    }
}

const COLUMNS: &[Column] = &[
    Column::words("What"),
    Column::words("State"),
    Column::words("Next"),
];

fn attention(visit: &Visit, services: &ServicesStanding, silent: &[NodeState]) -> Markup {
    let mut table = Table::new("Needs attention", COLUMNS);
    for (key, title, actual) in &services.attention {
        table.row(vec![
            html! {
                a href=(visit.to(&services::path_of(*key))) { (title) }
                span.reference { (key) }
            },
            html! { (Badge::instance(*actual)) },
            html! { "What its servers say of it stands on its page" },
        ]);
    }
    for state in silent {
        let node = &state.node;
        table.row(vec![
            html! {
                a href=(visit.to(&format!("servers/{}", node.node))) { (node.title) }
                span.reference { (node.node) }
            },
            html! { (Badge::node(node)) },
            match node.contact_at {
                Some(at) => html! {
                    "Last heard of " (age(visit.now, at)) "; see whether it runs, and "
                    code { "slapos node instance" } " on it"
                },
                None => html! { "Start " code { "slapos node" } " on it" },
            },
        ]);
    }
    html! {
        @if table.is_empty() {
            p.quiet-line { (Badge::FINE) " Nothing waits, nothing fails." }
        } @else {
            (table)
        }
    }
}

fn next(app: &App, visit: &Visit, nodes: NodesStanding) -> Markup {
    let url = &app.place.public_url;
    html! {
        ol.steps {
            @if nodes.nodes == 0 {
                li {
                    h3 { "Register a server" }
                    p {
                        "Request a token, and type the command that comes with it on the server: "
                        a href=(visit.to("servers/token")) { "Token" }
                    }
                }
            }
            li {
                h3 { "Set up a command line" }
                p { "It asks for a token; " a href=(visit.to("servers/token")) { "request one" } "." }
                (copy(&format!("slapos configure client --master-url {url}/ --master-url-web {url}")))
            }
            li {
                h3 { "Have a release installed, and request a service" }
                (copy("slapos supply RELEASE SERVER\nslapos request my-first-service RELEASE"))
            }
        }
    }
}

const PROJECT_COLUMNS: &[Column] = &[Column::words("Project"), Column::words("You")];

fn of_projects(projects: &[ProjectRecord]) -> Markup {
    if projects.is_empty() {
        return html! {
            p.quiet-line { "You belong to no project yet: a manager of one has to add you." }
        };
    }
    let mut table = Table::new("Your projects", PROJECT_COLUMNS);
    for project in projects {
        let role = match (project.closed_at, project.role) {
            (Some(_), _) => "closed",
            (None, Some(Role::Manager)) => "manager",
            (None, Some(Role::Member)) => "member",
            (None, None) => "administrator",
        };
        table.row(vec![
            html! { span.strong { (project.title) } span.reference { (project.key) } },
            html! { (role) },
        ]);
    }
    html! { (table) }
}
