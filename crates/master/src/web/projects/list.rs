//! The list of projects.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use maud::html;
use slap_server::Problem;

use super::super::parts::{self, Badge, Column, Field, Pager, Table, age, empty, search};
use super::super::{Icon, Visit, field, told};
use super::{PATH, of_projects, role};
use crate::api::{App, Call};

/// Projects on one page of the list.
const PROJECTS: i64 = 50;

const COLUMNS: &[Column] = &[
    Column::words("Project"),
    Column::words("You are"),
    Column::numbers("Services"),
    Column::numbers("Servers"),
    Column::numbers("Products"),
    Column::numbers("Members"),
    Column::words("Since"),
];

/// The projects there are.
pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    page(&app, &call, &visit, (StatusCode::OK, ""), "").await
}

async fn page(
    app: &App,
    call: &Call,
    visit: &Visit,
    (status, wrong): (StatusCode, &str),
    typed: &str,
) -> Result<Response, Problem> {
    let arguments = call.arguments();
    let text = field(&arguments, "q");
    let pager = Pager::of(&field(&arguments, "page"), PROJECTS);
    let mut found = app
        .store
        .project_states(call.caller, text.clone(), pager.lines())
        .await?;
    let pages = pager.cut(&mut found, visit, &[("q", text.as_str())]);
    let mut table = Table::new("Projects", COLUMNS);
    for state in &found {
        let project = &state.project;
        table.row(vec![
            html! {
                a href=(visit.to(&format!("{PATH}/{}", project.key))) { (project.title) }
                span.reference { (project.key) }
                @if project.closed_at.is_some() { " " (Badge::CLOSED) }
            },
            role(project.role),
            html! { (state.trees) },
            html! { (state.nodes) },
            html! { (state.products) },
            html! { (state.members) },
            age(visit.now, project.created_at),
        ]);
    }
    let body = html! {
        @if !table.is_empty() {
            (table)
        } @else if text.is_empty() {
            (empty(Icon::Projects, "You are in no project", &html! {
                p {
                    "A project has servers, software and members. Ask who manages one to add you, by \
                     your login name."
                }
            }))
        } @else {
            (empty(Icon::Search, "No project is called like that", &html! {
                p { a.button href=(visit.to(PATH)) { "All projects" } }
            }))
        }
        (pages)
    };
    Ok(of_projects(visit, "Projects").status(status).show(html! {
        (search(visit, PATH, "Title or reference", &text, &[]))
        div id="projects" data-live { (body) }
        @if visit.is_administrator() {
            section.part {
                h2 { "A new project" }
                form.inline method="post" action=(visit.to(PATH)) {
                    (visit.form_token())
                    (parts::field(&Field {
                        name: "title",
                        label: "Title",
                        value: typed,
                        error: wrong,
                        required: true,
                        ..Field::default()
                    }))
                    button.main { (Icon::Plus) "Make the project" }
                }
            }
        }
    }))
}

/// Makes a project.
pub(super) async fn create(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let form = visit.form(&call)?;
    let title = field(&form, "title");
    match app.store.create_project(call.caller, title.clone()).await {
        Ok(project) => Ok(visit.go(&format!("{PATH}/{project}"), "project")),
        Err(error) => {
            let (status, wrong) = told(error)?;
            page(&app, &call, &visit, (status, &wrong), &title).await
        }
    }
}
