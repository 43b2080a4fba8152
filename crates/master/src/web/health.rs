//! *Health*: how this Master is, for administrators: what needs attention first, then numbers.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::response::Response;
use maud::{Markup, html};
use slap_server::Problem;
use slap_server::json_rpc::detail::Actual;

use super::layout::Section;
use super::parts::{Badge, Column, Table, age, chart, date, empty, facts, moment, number, section};
use super::services::path_of;
use super::{Icon, Visit, page};
use crate::api::endpoint::{Endpoint, handler};
use crate::api::{App, Call, Load, SLOT_SECONDS};
use crate::domain::Timestamp;
use crate::store::{InstanceRecord, MasterStanding};

pub(super) const ENDPOINTS: &[Endpoint] = &[page("health", handler!(show))];

/// Waiting instances that are named.
const WAITING: i64 = 20;
/// The authority has to be renewed in time: when it ends, nobody is let in any more.
const AUTHORITY_SOON: Duration = Duration::from_secs(90 * 24 * 3600);

/// The states, those that need attention first.
const STATES: [Actual; 7] = [
    Actual::Error,
    Actual::Waiting,
    Actual::Starting,
    Actual::Stopping,
    Actual::Destroying,
    Actual::Started,
    Actual::Stopped,
];

const COLUMNS: &[Column] = &[
    Column::words("Instance"),
    Column::words("Since"),
    Column::long("Why it waits"),
];

async fn show(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let standing = app.store.master_standing(call.caller).await?;
    let waiting = match standing.of(Actual::Waiting) {
        0 => Vec::new(),
        _ => app.store.waiting(call.caller, WAITING).await?,
    };
    let load = app.load();
    let ends = app.auth.certifier().authority_ends();
    let ends = ends.duration_since(UNIX_EPOCH).unwrap_or_default();
    let ends = Timestamp(0).plus(ends);
    let page = visit.page("Health").section(Section::Health).beside(html! {
        a.button href=(visit.to("health")) { (Icon::Repeat) "Look again" }
    });
    Ok(page.show(html! {
        (section("attention", "Needs attention", html! {}, &attention(&visit, &standing, &load, ends)))
        div.numbers { (numbers(&visit, &standing)) }
        (section("requests", "Requests", html! {}, &requests(&load)))
        (section("waiting", "Waiting for a place", html! {}, &queue(&visit, &standing, &waiting)))
        (section("master", "This Master", html! {}, &about(&visit, &standing, &load, ends)))
    }))
}

/// What somebody should look at, with where.
fn attention(visit: &Visit, standing: &MasterStanding, load: &Load, ends: Timestamp) -> Markup {
    let failed: u64 = load.recent.iter().map(|slot| slot.failed).sum();
    let silent = standing.nodes - standing.alive;
    let ends_soon = ends < visit.now.plus(AUTHORITY_SOON);
    let (failing, waiting) = (standing.of(Actual::Error), standing.of(Actual::Waiting));
    let is_fine = failed == 0
        && silent == 0
        && !ends_soon
        && failing == 0
        && standing.failed == 0
        && waiting == 0;
    html! {
        @if is_fine {
            p.quiet-line { (Badge::FINE) " Nothing waits, nothing fails." }
        } @else {
            ul.attention {
                @if failed > 0 {
                    li { (Icon::Alert) span {
                        (some(failed.cast_signed(), "request", "requests")) " of the last minutes failed: see the \
                         log of this Master."
                    } }
                }
                @if silent > 0 {
                    li { (Icon::Unplugged) span {
                        a href=(visit.to("servers?state=silent")) {
                            (some(silent, "server is silent", "servers are silent"))
                        }
                    } }
                }
                @if failing > 0 {
                    li { (Icon::Alert) span {
                        (some(failing, "instance fails", "instances fail")) ": its service says why."
                    } }
                }
                @if standing.failed > 0 {
                    li { (Icon::Work) span {
                        a href=(visit.to("software")) {
                            (some(standing.failed, "release", "releases")) " could not be built"
                        }
                    } }
                }
                @if waiting > 0 {
                    li { (Icon::Wait) span {
                        a href="#waiting" {
                            (some(waiting, "instance waits", "instances wait")) " for a place"
                        }
                    } }
                }
                @if ends_soon {
                    li { (Icon::Shield) span {
                        "The certificate authority ends on " (date(ends)) ": nodes and clients are not \
                         let in after that. Renew it: " code { "slapos master ca --help" }
                    } }
                }
            }
        }
    }
}

/// So many of something, in its singular or its plural.
fn some(count: i64, one: &str, several: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {several}"),
    }
}

fn numbers(visit: &Visit, standing: &MasterStanding) -> Markup {
    let total: i64 = standing.instances.iter().map(|(_, count)| count).sum();
    let silent = standing.nodes - standing.alive;
    html! {
        (number("", total, "instances", &html! {
            span.states {
                @for state in STATES {
                    @if standing.of(state) > 0 {
                        span { (standing.of(state)) " " (Badge::instance(state)) }
                    }
                }
            }
        }))
        (number(&visit.to("servers"), standing.nodes, "servers", &html! {
            span.states {
                @if standing.alive > 0 { span { (standing.alive) " " (Badge::ONLINE) } }
                @if silent > 0 { span { (silent) " " (Badge::SILENT) } }
                @if standing.closed > 0 { span { (standing.closed) " " (Badge::CLOSED) } }
            }
        }))
        (number(&visit.to("software"), standing.building, "releases are built now", &html! {}))
    }
}

/// How many requests came, and how long they took.
fn requests(load: &Load) -> Markup {
    let per_second: Vec<f64> = load
        .recent
        .iter()
        .map(|slot| slot.requests as f64 / SLOT_SECONDS as f64)
        .collect();
    let milliseconds: Vec<f64> = load
        .recent
        .iter()
        .map(|slot| slot.microseconds as f64 / slot.requests.max(1) as f64 / 1000.0)
        .collect();
    html! {
        @if load.recent.is_empty() {
            p.quiet-line { "This Master has just started: come back in a moment." }
        } @else {
            div.charts {
                @if let Some(chart) = chart("Requests", "a second", &per_second) { (chart) }
                @if let Some(chart) = chart("Time to answer", "ms on average", &milliseconds) { (chart) }
            }
            p.muted {
                "The last " (minutes(load.recent.len() as u64 * SLOT_SECONDS)) "; "
                (load.under_way) " under way, " (load.listeners) " wait for news. All figures: "
                code { "metrics" } "."
            }
        }
    }
}

fn queue(
    visit: &Visit,
    standing: &MasterStanding,
    waiting: &[(InstanceRecord, Timestamp, String)],
) -> Markup {
    if waiting.is_empty() {
        return empty(
            Icon::Done,
            "Nothing waits",
            &html! { p { "An instance that finds no free partition stands here, with the reason." } },
        );
    }
    let mut table = Table::new("Waiting instances, the longest first", COLUMNS);
    for (instance, since, why) in waiting {
        table.row(vec![
            html! {
                a href=(visit.to(&path_of(instance.tree))) { (instance.title) }
                span.reference { (instance.key) " in " (instance.project) }
            },
            age(visit.now, *since),
            html! { (why) },
        ]);
    }
    let more = standing.of(Actual::Waiting) - waiting.len() as i64;
    html! {
        (table)
        @if more > 0 {
            p.muted { "And " (more) " more: " code { "slapos master waiting" } }
        }
    }
}

fn about(visit: &Visit, standing: &MasterStanding, load: &Load, ends: Timestamp) -> Markup {
    let uptime = i64::try_from(load.uptime.as_micros()).unwrap_or(i64::MAX);
    let began = Timestamp(visit.now.0.saturating_sub(uptime));
    facts(&[
        ("Version", html! { (env!("CARGO_PKG_VERSION")) }),
        ("Running since", html! { (moment(began)) }),
        (
            "Database",
            html! { (standing.database) ", " (size(standing.database_bytes)) },
        ),
        ("Authority ends", html! { (date(ends)) }),
    ])
}

/// A time for people.
fn minutes(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        _ => format!("{} minutes", seconds / 60),
    }
}

/// Bytes for people.
fn size(bytes: i64) -> String {
    let bytes = bytes.max(0) as f64;
    match bytes {
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.2} GB", b / 1e9),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use slap::{InstanceTitle, ReleaseUrl};

    use super::*;
    use crate::domain::Caller;
    use crate::store::Wanted;
    use crate::web::tests::World;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_waits_and_what_is_silent_needs_attention() {
        let world = World::new().await;
        let rig = &world.rig;
        let (root, _) = rig.person("root", true).await;
        let root = rig.browser(root).await;
        assert_eq!(rig.page(&world.cookie, "health").await.status, 403);
        let page = rig.page(&root, "health").await.ok();
        for said in [
            "All well",
            "Nothing waits",
            "SQLite",
            env!("CARGO_PKG_VERSION"),
        ] {
            assert!(page.contains(said), "{said}: {page}");
        }
        let (node, _) = rig.node("rack-1").await;
        rig.store
            .set_scope(
                Caller::Master,
                node,
                crate::domain::AllocationScope::NoAllocation,
            )
            .await
            .unwrap();
        let caller = Caller::Person {
            person: world.person,
            administrator: false,
        };
        let wanted = Wanted {
            requester: None,
            project: Some(rig.project),
            title: InstanceTitle::new("web").unwrap(),
            release: ReleaseUrl::new("https://example.com/nowhere.cfg").unwrap(),
            software_type: None,
            parameters: None,
            sla: None,
            state: None,
            shared: None,
        };
        rig.store.request(caller, wanted).await.unwrap();
        let page = World {
            cookie: root,
            ..world
        }
        .page("health")
        .await;
        for said in [
            "1 server is silent",
            "1 instance waits for a place",
            "services/HOSTSUBS-1",
            "Why it waits",
            "Closed",
        ] {
            assert!(page.contains(said), "{said}: {page}");
        }
        assert!(!page.contains("All well"));
    }

    #[test]
    fn times() {
        for (seconds, expected) in [
            (10, "10 seconds"),
            (119, "119 seconds"),
            (600, "10 minutes"),
        ] {
            assert_eq!(minutes(seconds), expected);
        }
    }

    #[test]
    fn sizes() {
        for (bytes, expected) in [
            (-1, "0 kB"),
            (999, "1 kB"),
            (1_500_000, "1.5 MB"),
            (2_340_000_000, "2.34 GB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
