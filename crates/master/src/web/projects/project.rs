//! A project: the frame of its pages, and the first of them.

use std::sync::Arc;

use axum::response::Response;
use maud::html;
use slap_server::Problem;

use super::super::layout::{Page, Section};
use super::super::parts::{Badge, Column, Confirm, Table, age, confirm, facts, number, section};
use super::super::{Icon, Visit};
use super::{PATH, role};
use crate::api::{App, Call};
use crate::domain::ProjectKey;
use crate::store::ProjectState;

const NETWORKS: &[Column] = &[Column::words("Network"), Column::numbers("Servers")];

/// The project a call is about.
pub(super) struct Subject {
    pub(super) state: ProjectState,
}

impl Subject {
    /// Refused for who does not belong to it.
    pub(super) async fn of(app: &App, call: &Call) -> Result<Self, Problem> {
        let unknown = || Problem::not_found("There is no such project that you may see");
        let key: ProjectKey = call.parameter("project").parse().map_err(|_| unknown())?;
        let state = app.store.project_state(call.caller, key).await?;
        Ok(Subject { state })
    }

    pub(super) fn key(&self) -> ProjectKey {
        self.state.project.key
    }

    /// The path of the project, or of something below it.
    pub(super) fn path(&self, below: &str) -> String {
        match below {
            "" => format!("{PATH}/{}", self.key()),
            below => format!("{PATH}/{}/{below}", self.key()),
        }
    }

    /// A page of the project, with its subheader.
    pub(super) fn page<'a>(&self, visit: &'a Visit) -> Page<'a> {
        let project = &self.state.project;
        let page = visit
            .page(project.title.clone())
            .section(Section::Projects)
            .below(PATH, "Projects")
            .beside(html! { @if project.closed_at.is_some() { (Badge::CLOSED) } })
            .under(html! { (project.key) })
            .tab(self.path(""), "Summary")
            .tab(self.path("services"), "Services");
        match self.state.is_managed {
            true => page
                .tab(self.path("members"), "Members")
                .tab(self.path("audit"), "Audit"),
            false => page,
        }
    }

    /// A page that asks something about the project.
    pub(super) fn question<'a>(&self, visit: &'a Visit, title: &str) -> Page<'a> {
        visit
            .page(title)
            .section(Section::Projects)
            .below(PATH, "Projects")
            .below(&self.path(""), self.state.project.title.clone())
    }
}

/// What it is, and how much is in it.
pub(super) async fn show(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = Subject::of(&app, &call).await?;
    let ProjectState {
        project,
        is_managed,
        members,
        nodes,
        products,
        trees,
    } = &subject.state;
    let nothing = html! {};
    let reference = subject.key().to_string();
    let of = |list: &str| visit.to_with(list, &[("q", &reference)]);
    let of_members = match is_managed {
        true => visit.to(&subject.path("members")),
        false => String::new(),
    };
    let services = match (*trees, is_managed) {
        (1, true) => "service",
        (_, true) => "services",
        (1, false) => "service of yours",
        (_, false) => "services of yours",
    };
    let word =
        |count: i64, one: &'static str, more: &'static str| if count == 1 { one } else { more };
    let networks = match visit.is_administrator() {
        true => app.store.networks(call.caller).await?,
        false => Vec::new(),
    };
    let mut table = Table::new("Networks", NETWORKS);
    for network in networks
        .iter()
        .filter(|known| known.project == subject.key())
    {
        table.row(vec![
            html! { span.strong { (network.title) } span.reference { (network.key) } },
            html! { (network.nodes) },
        ]);
    }
    Ok(subject.page(&visit).show(html! {
        div.numbers id="numbers" data-live {
            (number(&visit.to(&subject.path("services")), *trees, services, &nothing))
            (number(&of("servers"), *nodes, word(*nodes, "server", "servers"), &nothing))
            (number(&of("software"), *products, word(*products, "product", "products"), &nothing))
            (number(&of_members, *members, word(*members, "member", "members"), &nothing))
        }
        (facts(&[
            ("You are", role(project.role)),
            ("Since", age(visit.now, project.created_at)),
            ("Takes", match project.closed_at {
                Some(at) => html! { "nothing new; it was closed " (age(visit.now, at)) },
                None => html! { "requests of its members" },
            }),
        ]))
        @if !table.is_empty() {
            (section("networks", "Networks", html! {}, &html! { (table) }))
        }
        @if visit.is_administrator() && project.closed_at.is_none() {
            section.part {
                h2 { "Close" }
                div.card {
                    p { "A project without services and servers can be closed: it takes nothing new." }
                    div.buttons {
                        a.button.grave href=(visit.to(&subject.path("close"))) data-asks {
                            (Icon::Lock) "Close the project"
                        }
                    }
                }
            }
        }
    }))
}

/// Asks before it is closed.
pub(super) async fn ask(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = Subject::of(&app, &call).await?;
    if !visit.is_administrator() {
        return Err(Problem::forbidden("Only administrators close a project"));
    }
    let page = subject.question(&visit, "Close this project?");
    Ok(page.show(confirm(
        &visit,
        &Confirm {
            text: "It takes nothing new any more, and cannot be opened again. Its members still see \
                   what was in it.",
            verb: "Close it",
            back: &subject.path(""),
            is_grave: true,
        },
        &html! { p { (subject.state.project.title) " (" (subject.key()) ")" } },
    )))
}

/// Closes it.
pub(super) async fn close(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    visit.form(&call)?;
    let subject = Subject::of(&app, &call).await?;
    app.store.close_project(call.caller, subject.key()).await?;
    Ok(visit.go(&subject.path(""), "project-closed"))
}
