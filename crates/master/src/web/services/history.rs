//! What a service was, and what happened to it.

use std::sync::Arc;

use axum::response::Response;
use maud::html;
use slap_server::Problem;

use super::service::root;
use super::values::{changed, document};
use super::{of_service, path_of, whole};
use crate::api::{App, Call};
use crate::store::{EventQuery, EventRecord, VersionRecord};
use crate::web::form::{Change, differences};
use crate::web::parts::{age, empty};
use crate::web::{Icon, Visit, field};

/// Events on one page.
const EVENTS: i64 = 100;

/// What differs between two versions, by name.
fn steps(before: &VersionRecord, after: &VersionRecord) -> Vec<Change> {
    let plain = [
        ("Release", &before.release, &after.release),
        ("Software type", &before.software_type, &after.software_type),
    ];
    let mut found: Vec<Change> = plain
        .into_iter()
        .filter(|(_, before, after)| before != after)
        .map(|(name, before, after)| Change {
            path: name.to_owned(),
            before: Some(before.as_str().into()),
            after: Some(after.as_str().into()),
        })
        .collect();
    found.extend(differences(
        &document(&before.parameters),
        &document(&after.parameters),
    ));
    let sla = differences(&document(&before.sla), &document(&after.sla));
    found.extend(sla.into_iter().map(|change| Change {
        path: format!("placement: {}", change.path),
        ..change
    }));
    found
}

/// What the parameters were, each version with what it changed.
pub(super) async fn versions(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let tree = whole(&app, &call).await?;
    let Some(root) = root(&tree) else {
        return super::not_found("service");
    };
    let former = app.store.versions(call.caller, root.key).await?;
    let now = VersionRecord {
        until: visit.now,
        changed_by: String::new(),
        release: root.release.clone(),
        software_type: root.software_type.clone(),
        parameters: root.parameters.clone(),
        sla: root.sla.clone(),
    };
    let body = html! {
        @if former.is_empty() {
            (empty(Icon::History, "Nothing was changed yet", &html! {
                p { "Each change of the release, the parameters or the placement will stand here." }
            }))
        } @else {
            ol.history {
                @for (index, before) in former.iter().enumerate() {
                    @let after = match index.checked_sub(1) {
                        Some(later) => former.get(later).unwrap_or(&now),
                        None => &now,
                    };
                    li {
                        p.strong {
                            (before.changed_by) " " span.muted { (age(visit.now, before.until)) }
                        }
                        (changed(&steps(before, after), "became"))
                    }
                }
                li { p.muted { "Requested " (age(visit.now, tree.created_at)) } }
            }
        }
    };
    Ok(of_service(&visit, &tree).show(html! { div id="versions" data-live { (body) } }))
}

/// What happened.
pub(super) async fn events(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let tree = whole(&app, &call).await?;
    let before = field(&call.arguments(), "before").parse::<i64>().ok();
    let query = EventQuery {
        before,
        after: None,
        limit: EVENTS,
    };
    let found = app.store.tree_events(call.caller, tree.key, query).await?;
    let is_more = i64::try_from(found.len()).is_ok_and(|count| count == EVENTS);
    let path = format!("{}/events", path_of(tree.key));
    let body = html! {
        @if found.is_empty() {
            (empty(Icon::History, "Nothing happened", &html! { p { "There are no earlier events." } }))
        }
        (crate::web::parts::events(visit.now, &found))
        nav.pager aria-label="Pages" {
            @if before.is_some() { a.button href=(visit.to(&path)) { "Latest" } }
            @if is_more && let Some(EventRecord { note, .. }) = found.last() {
                a.button href=(visit.to_with(&path, &[("before", &note.id.to_string())])) { "Earlier" }
            }
        }
    };
    Ok(of_service(&visit, &tree).show(html! { div id="events" data-live { (body) } }))
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;
    use crate::domain::Timestamp;
    use crate::store::Texts;

    fn version(release: &str, parameters: &[(&str, &str)]) -> VersionRecord {
        VersionRecord {
            until: Timestamp(0),
            changed_by: "alice".to_owned(),
            release: release.to_owned(),
            software_type: "default".to_owned(),
            parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            sla: Texts::new(),
        }
    }

    #[test]
    fn only_what_differs_is_told() {
        let before = version("a", &[("gone", "1"), ("kept", "2"), ("other", "3")]);
        let after = version("b", &[("kept", "2"), ("new", "4"), ("other", "5")]);
        let found: Vec<_> = steps(&before, &after)
            .into_iter()
            .map(|change| (change.path, change.before, change.after))
            .collect();
        let is = |path: &str, before: Option<&str>, after: Option<&str>| {
            (
                path.to_owned(),
                before.map(Json::from),
                after.map(Json::from),
            )
        };
        assert_eq!(
            found,
            [
                is("Release", Some("a"), Some("b")),
                is("gone", Some("1"), None),
                is("new", None, Some("4")),
                is("other", Some("3"), Some("5")),
            ]
        );
        assert_eq!(steps(&before, &before), []);

        let before = version("a", &[("_", r#"{"db": {"password": "x", "port": 1}}"#)]);
        let after = version("a", &[("_", r#"{"db": {"password": "y", "port": 1}}"#)]);
        let paths: Vec<_> = steps(&before, &after)
            .into_iter()
            .map(|change| change.path)
            .collect();
        assert_eq!(paths, ["db.password"]);
    }
}
