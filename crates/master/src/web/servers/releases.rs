//! The releases on a server: had installed, and removed.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use slap::{InstallationState, ReleaseUrl};
use slap_server::Problem;

use super::super::parts::{self, Badge, Column, Confirm, Field, Table, age, confirm, empty};
use super::super::{Icon, Visit, field, release};
use super::node::Subject;
use crate::api::{App, Call};
use crate::domain::InstallationKey;
use crate::store::InstallationRecord;

/// Releases that are offered.
const OFFERED: usize = 50;

const COLUMNS: &[Column] = &[
    Column::long("Release"),
    Column::words("State"),
    Column::words("Since"),
    Column::actions(),
];

/// The releases there are.
pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = Subject::of(&app, &call).await?;
    shown(&app, &call, &visit, &subject, StatusCode::OK, ("", "")).await
}

/// The page, with what was typed and what is wrong with it.
async fn shown(
    app: &App,
    call: &Call,
    visit: &Visit,
    subject: &Subject,
    status: StatusCode,
    (typed, error): (&str, &str),
) -> Result<Response, Problem> {
    let node = subject.node.node;
    let installations = app.store.installations(call.caller, node).await?;
    let offered = match subject.is_managed {
        true => offered(app, call, subject, &installations).await?,
        false => Vec::new(),
    };
    Ok(subject.page(visit).status(status).show(html! {
        @if subject.is_managed {
            form.inline method="post" action=(visit.to(&subject.path("releases"))) {
                (visit.form_token())
                (parts::field(&Field {
                    name: "release",
                    label: "Have a release installed",
                    value: typed,
                    error,
                    example: "https://…/software.cfg",
                    list: &offered,
                    required: true,
                    ..Field::default()
                }))
                button.main { (Icon::Plus) "Supply" }
            }
        }
        div id="releases" data-live { (table(visit, subject, &installations)) }
    }))
}

/// Releases of the project's products that are not here yet.
async fn offered(
    app: &App,
    call: &Call,
    subject: &Subject,
    installations: &[InstallationRecord],
) -> Result<Vec<String>, Problem> {
    let project = Some(subject.node.project);
    let products = app.store.products(call.caller, project).await?;
    let is_here = |url: &str| installations.iter().any(|known| known.release == url);
    let urls = products.into_iter().flat_map(|product| product.releases);
    let new = urls.map(|release| release.url).filter(|url| !is_here(url));
    Ok(new.take(OFFERED).collect())
}

fn table(visit: &Visit, subject: &Subject, installations: &[InstallationRecord]) -> Markup {
    let mut table = Table::new("Releases", COLUMNS);
    for installation in installations {
        let remove = subject.path(&format!("releases/{}/remove", installation.key));
        let status = &installation.status;
        table.row(vec![
            html! { span.strong { (installation.release) } span.reference { (installation.key) } },
            html! { (Badge::installation(installation)) },
            html! {
                @match status.since.or(status.at) {
                    Some(at) => (age(visit.now, at)),
                    None => span.muted { "the server has not answered yet" },
                }
            },
            html! {
                @if subject.is_managed && installation.state == InstallationState::Available {
                    a.button.small href=(visit.to(&remove)) data-asks { "Remove" }
                }
            },
        ]);
    }
    if table.is_empty() {
        return empty(
            Icon::Software,
            "No release yet",
            &html! {
                p {
                    "A service runs where its release is installed. Supply one here, or type "
                    code { "slapos supply RELEASE " (subject.node.node) } "."
                }
            },
        );
    }
    html! { (table) }
}

/// Has a release installed.
pub(super) async fn supply(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let form = visit.form(&call)?;
    let subject = Subject::of(&app, &call).await?;
    let typed = field(&form, "release");
    let release = match release(&typed) {
        Ok(release) => release,
        Err(wrong) => {
            let status = StatusCode::BAD_REQUEST;
            return shown(&app, &call, &visit, &subject, status, (&typed, &wrong)).await;
        }
    };
    let state = InstallationState::Available;
    app.store
        .supply(call.caller, subject.node.node, release, state)
        .await?;
    Ok(visit.go(&subject.path("releases"), "supplied"))
}

/// The release a call is about.
async fn installation(
    app: &App,
    call: &Call,
    subject: &Subject,
) -> Result<InstallationRecord, Problem> {
    let unknown = || Problem::not_found("There is no such release on this server");
    let key: InstallationKey = call.parameter("release").parse().map_err(|_| unknown())?;
    let installations = app
        .store
        .installations(call.caller, subject.node.node)
        .await?;
    let mut found = installations.into_iter();
    found.find(|known| known.key == key).ok_or_else(unknown)
}

/// Asks before a release is removed.
pub(super) async fn ask(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = Subject::of(&app, &call).await?;
    let installation = installation(&app, &call, &subject).await?;
    let releases = subject.path("releases");
    let page = subject
        .question(&visit, "Remove this release?")
        .below(&releases, "Releases");
    Ok(page.show(confirm(
        &visit,
        &Confirm {
            text: "The server deletes what it built. Services that use the release there do not \
                   work any more until it is installed again.",
            verb: "Remove",
            back: &releases,
            is_grave: true,
        },
        &html! { p { code.long { (installation.release) } } },
    )))
}

/// Has a release removed.
pub(super) async fn remove(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    visit.form(&call)?;
    let subject = Subject::of(&app, &call).await?;
    let installation = installation(&app, &call, &subject).await?;
    let release = ReleaseUrl::new(&installation.release).map_err(Problem::internal)?;
    let state = InstallationState::Destroyed;
    app.store
        .supply(call.caller, subject.node.node, release, state)
        .await?;
    Ok(visit.go(&subject.path("releases"), "removing"))
}
