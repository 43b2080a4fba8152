//! *Audit*: who changed what, and when. Everything for administrators; a project's managers find
//! theirs at the project.

use std::sync::Arc;

use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value as Json;
use slap_server::Problem;

use super::layout::Section;
use super::parts::{Column, Table, age, empty};
use super::{Icon, Visit, field, page};
use crate::api::endpoint::{Endpoint, handler};
use crate::api::{App, Call};
use crate::domain::ProjectKey;
use crate::store::{AuditQuery, AuditRecord};

const PATH: &str = "audit";

pub(super) const ENDPOINTS: &[Endpoint] = &[page(PATH, handler!(whole))];

/// Notes on one page.
const NOTES: usize = 50;

const COLUMNS: &[Column] = &[
    Column::words("When"),
    Column::words("Who"),
    Column::long("What"),
    Column::words("About"),
    Column::words("Project"),
];

/// Everything.
async fn whole(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let body = trail(&app, &call, &visit, PATH, None).await?;
    let page = visit.page("Audit").section(Section::Audit);
    Ok(page.live("").show(body))
}

/// The notes of all, or of a project, with a line to search them; `path` is where this is shown.
pub(super) async fn trail(
    app: &App,
    call: &Call,
    visit: &Visit,
    path: &str,
    project: Option<ProjectKey>,
) -> Result<Markup, Problem> {
    let arguments = call.arguments();
    let [about, by] = ["about", "by"].map(|name| field(&arguments, name));
    let named = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let before: Option<i64> = field(&arguments, "before").parse().ok();
    let query = AuditQuery {
        project,
        subject: named(&about),
        actor: named(&by),
        before,
        limit: NOTES + 1,
    };
    let mut found = app.store.audit_trail(call.caller, query).await?;
    let is_more = found.len() > NOTES;
    found.truncate(NOTES);
    let to =
        |before: &str| visit.to_with(path, &[("about", &about), ("by", &by), ("before", before)]);
    Ok(html! {
        form.search role="search" action=(visit.to(path)) {
            (Icon::Search)
            input type="search" name="about" value=(about) aria-label="About"
                placeholder="About COMP-1, SOFTINST-2, a product…";
            input type="search" name="by" value=(by) aria-label="By"
                placeholder="By a login name, COMP-1, master…";
            button { "Search" }
        }
        div id="notes" data-live {
            @if found.is_empty() && about.is_empty() && by.is_empty() {
                (empty(Icon::Audit, "Nothing was changed yet", &html! {
                    p { "Each change stands here, with who made it." }
                }))
            } @else if found.is_empty() {
                (empty(Icon::Search, "No change is like that", &html! {
                    p { "Write names as they are in the list: a reference, or a whole name." }
                    p { a.button href=(visit.to(path)) { "Everything" } }
                }))
            } @else {
                (table(visit, path, &found))
            }
            @if before.is_some() || is_more {
                nav.pager aria-label="Pages" {
                    @if before.is_some() { a.button href=(to("")) { "Latest" } }
                    @if is_more && let Some(last) = found.last() {
                        a.button rel="next" href=(to(&last.id.to_string())) { "Earlier" (Icon::Next) }
                    }
                }
            }
        }
    })
}

fn table(visit: &Visit, path: &str, found: &[AuditRecord]) -> Markup {
    let mut table = Table::new("Changes, the latest first", COLUMNS);
    for note in found {
        let is_bare = note
            .detail
            .as_object()
            .is_none_or(serde_json::Map::is_empty);
        table.row(vec![
            age(visit.now, note.at),
            html! { a href=(visit.to_with(path, &[("by", note.actor.as_str())])) { (note.actor) } },
            html! {
                (slap::event::said(&note.action, &note.detail))
                @if !is_bare {
                    details {
                        summary { "Details" span.unseen { " of change " (note.id) } }
                        pre tabindex="0" { (note.action) " " (shown(&note.detail)) }
                    }
                }
            },
            html! {
                a href=(visit.to_with(path, &[("about", note.subject.as_str())])) { (note.subject) }
                @if let Some(place) = place(&note.subject) {
                    " "
                    a.quiet href=(visit.to(&place)) {
                        (Icon::Link) span.unseen { "Open " (note.subject) }
                    }
                }
            },
            html! {
                @if let Some(project) = note.project {
                    a href=(visit.to(&format!("projects/{project}"))) { (project) }
                }
            },
        ]);
    }
    html! { (table) }
}

/// The page of what a note is about, if there is one.
fn place(subject: &str) -> Option<String> {
    let section = match subject.split_once('-')?.0 {
        "COMP" | "REMOTE" => "servers",
        "HOSTSUBS" => "services",
        "PROJ" => "projects",
        _ => return None,
    };
    Some(format!("{section}/{subject}"))
}

fn shown(detail: &Json) -> String {
    serde_json::to_string_pretty(detail).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::domain::{Caller, Role};
    use crate::web::tests::{World, approve};

    #[tokio::test(flavor = "multi_thread")]
    async fn administrators_read_everything_and_managers_what_is_theirs() {
        let world = World::new().await;
        let rig = &world.rig;
        world.node("rack-1", 1).await;
        let evil = "<script>alert(1)</script>".to_owned();
        let product = rig
            .store
            .create_product(Caller::Master, rig.project, "shop".into(), evil);
        product.await.unwrap();
        rig.clock.advance(Duration::from_secs(300));
        let (root, _) = rig.person("root", true).await;
        let root = rig.browser(root).await;
        approve!("audit", rig.page(&root, "audit").await.ok());
        let page = rig.page(&root, "audit?about=COMP-1").await.ok();
        assert!(
            page.contains("registered") && !page.contains("signed in"),
            "{page}"
        );
        let page = rig.page(&root, "audit?by=master").await.ok();
        assert!(
            page.contains("shop") && !page.contains("signed in"),
            "{page}"
        );
        for nothing in ["about=nothing", "by=nobody", "by=COMP-1&about=shop"] {
            let page = rig.page(&root, &format!("audit?{nothing}")).await.ok();
            assert!(page.contains("No change is like that"), "{page}");
        }

        let of_project = world.page("projects/PROJ-1/audit").await;
        assert!(of_project.contains("registered") && of_project.contains("&lt;script&gt;"));
        assert!(!of_project.contains("signed in"), "{of_project}");
        assert_eq!(rig.page(&world.cookie, "audit").await.status, 403);
        rig.member("bob", Role::Member).await;
        let bob = rig
            .store
            .sign_in_facts("bob".parse().unwrap())
            .await
            .unwrap()
            .unwrap();
        let bob = rig.browser(bob.person).await;
        assert_eq!(rig.page(&bob, "projects/PROJ-1/audit").await.status, 403);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_long_ago_is_some_pages_away() {
        let world = World::new().await;
        for number in 0..NOTES + 10 {
            let title = format!("Number {number}");
            let made = world.rig.store.create_product(
                Caller::Master,
                world.rig.project,
                format!("product-{number}"),
                title,
            );
            made.await.unwrap();
        }
        let first = world.page("projects/PROJ-1/audit").await;
        assert!(first.contains("product-59") && !first.contains("product-3<"));
        let (_, next) = first.split_once("rel=\"next\" href=\"").unwrap();
        let next = next.split('"').next().unwrap().trim_start_matches("../");
        let second = world.page(next).await;
        assert!(
            second.contains("product-3<") && !second.contains("product-59"),
            "{second}"
        );
        assert!(second.contains("Latest") && !second.contains("Earlier"));
    }

    #[test]
    fn what_has_a_page_is_linked() {
        for (subject, expected) in [
            ("COMP-1", Some("servers/COMP-1")),
            ("REMOTE-2", Some("servers/REMOTE-2")),
            ("HOSTSUBS-3", Some("services/HOSTSUBS-3")),
            ("PROJ-1", Some("projects/PROJ-1")),
            ("SOFTINST-1", None),
            ("alice", None),
        ] {
            assert_eq!(place(subject).as_deref(), expected, "{subject}");
        }
    }
}
