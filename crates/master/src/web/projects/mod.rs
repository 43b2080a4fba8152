//! *Projects*: who works together, on which servers; and for administrators, all people.

mod audit;
mod list;
mod members;
mod people;
mod person;
mod project;
mod services;
#[cfg(test)]
mod tests;

use maud::{Markup, html};
use slap_server::Problem;

use super::layout::{Page, Section};
use super::parts::Badge;
use super::{Visit, form, page};
use crate::api::App;
use crate::api::endpoint::{Endpoint, handler};
use crate::auth::Session;
use crate::domain::{Caller, Role};
use crate::store::ProjectRecord;

const PATH: &str = "projects";
const PEOPLE: &str = "people";

pub(super) const ENDPOINTS: &[Endpoint] = &[
    page(PATH, handler!(list::list)),
    form(PATH, handler!(list::create)),
    page("projects/{project}", handler!(project::show)),
    page("projects/{project}/services", handler!(services::list)),
    page("projects/{project}/audit", handler!(audit::show)),
    page("projects/{project}/close", handler!(project::ask)),
    form("projects/{project}/close", handler!(project::close)),
    page("projects/{project}/members", handler!(members::list)),
    form("projects/{project}/members", handler!(members::set)),
    page(
        "projects/{project}/members/{login}/remove",
        handler!(members::ask),
    ),
    form(
        "projects/{project}/members/{login}/remove",
        handler!(members::remove),
    ),
    page(PEOPLE, handler!(people::list)),
    form(PEOPLE, handler!(people::create)),
    page("people/{login}", handler!(person::show)),
    form("people/{login}/link", handler!(person::link)),
    page(
        "people/{login}/administrator",
        handler!(person::ask_administrator),
    ),
    form(
        "people/{login}/administrator",
        handler!(person::set_administrator),
    ),
    page("people/{login}/access", handler!(person::ask_access)),
    form("people/{login}/access", handler!(person::set_access)),
];

/// A page of this section, with its subheader.
fn of_projects<'a>(visit: &'a Visit, title: &str) -> Page<'a> {
    let page = visit
        .page(title)
        .section(Section::Projects)
        .tab(PATH, "Projects");
    match visit.is_administrator() {
        true => page.tab(PEOPLE, "People"),
        false => page,
    }
}

/// What somebody is in a project, as it is shown.
fn role(role: Option<Role>) -> Markup {
    match role {
        Some(Role::Manager) => html! { (Badge::MANAGER) },
        Some(Role::Member) => html! { (Badge::MEMBER) },
        None => html! { span.muted { "none" } },
    }
}

/// The open projects that a person manages: where it may register servers and add products.
pub(super) async fn managed(app: &App, session: &Session) -> Result<Vec<ProjectRecord>, Problem> {
    let Caller::Person { administrator, .. } = session.caller else {
        return Ok(Vec::new());
    };
    let mut projects = app.store.projects(session.caller, None).await?;
    projects.retain(|project| {
        project.closed_at.is_none() && (administrator || project.role == Some(Role::Manager))
    });
    Ok(projects)
}
