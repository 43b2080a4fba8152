//! A service: how it is, what it publishes, and all its instances.

use std::collections::HashMap;
use std::sync::Arc;

use axum::response::Response;
use maud::{Markup, html};
use slap::InstanceState;
use slap_server::Problem;
use slap_server::json_rpc::detail::Actual;
use slap_server::promises::Promise;

use super::picture::{BOXES_MAX, Member, picture};
use super::values::values;
use super::{actual, of_service, path_of, release_name, whole};
use crate::api::{App, Call};
use crate::domain::upgrade::{DecisionState, UpgradePolicy};
use crate::store::{InstanceRecord, WholeTree};
use crate::web::parts::{Badge, Choice, age, alert, choice, facts, section, sometimes};
use crate::web::{Icon, Visit};

/// Whether the signed-in person requested it: nobody else changes it by asking again.
pub(super) fn is_own(visit: &Visit, tree: &WholeTree) -> bool {
    visit
        .session()
        .is_ok_and(|session| session.login.as_str() == tree.owner)
}

/// The instance the service began with.
pub(super) fn root(tree: &WholeTree) -> Option<&InstanceRecord> {
    tree.members.first().map(|(record, _)| record)
}

/// A service.
pub(super) async fn service(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let tree = whole(&app, &call).await?;
    let Some(root) = root(&tree) else {
        return super::not_found("service");
    };
    let overall = tree
        .members
        .iter()
        .map(|(record, _)| actual(record))
        .max()
        .unwrap_or(Actual::Destroying);
    let connection = root.connection.clone().unwrap_or_default();
    let page = of_service(&visit, &tree).beside(html! {
        span id="state" data-live { (Badge::instance(overall)) }
        (buttons(&visit, &tree, root))
    });
    let drawn = (tree.members.len() > 1).then(|| the_picture(&tree));
    Ok(page.show(html! {
        div id="attention" data-live { (attention(&visit, &tree)) }
        (sometimes("tree", "Instances", &legend(&tree), drawn.as_ref()))
        (section(
            "connection",
            "Connection parameters",
            Markup::default(),
            &values(&connection, "Nothing is published yet."),
        ))
        (section(
            "parameters",
            "Parameters",
            edit(&visit, &tree, root),
            &values(&root.parameters, "None: the release's defaults."),
        ))
        (section("about", "About", Markup::default(), &about(&visit, &tree, root)))
        (section("instances", "Each instance", Markup::default(), &html! {
            @for (record, waiting) in &tree.members {
                (instance(&visit, &tree, record, waiting.as_deref()))
            }
            @if !tree.complete {
                p.quiet-line { "There are more: " code { "slapos service tree" } " lists them." }
            }
        }))
    }))
}

fn buttons(visit: &Visit, tree: &WholeTree, root: &InstanceRecord) -> Markup {
    let path = path_of(tree.key);
    let link = |what: &str, icon: Icon, word: &str, class: &str| {
        html! {
            a class=(format!("button {class}")) href=(visit.to(&format!("{path}/{what}"))) data-asks {
                (icon) (word)
            }
        }
    };
    html! {
        @if is_own(visit, tree) {
            div.buttons {
                @match root.state {
                    InstanceState::Stopped => (link("start", Icon::Play, "Start", "main")),
                    InstanceState::Started => (link("stop", Icon::Stop, "Stop", "")),
                    InstanceState::Destroyed => {},
                }
                @if root.state != InstanceState::Destroyed {
                    (link("destroy", Icon::Trash, "Destroy", "grave"))
                }
            }
        }
    }
}

fn edit(visit: &Visit, tree: &WholeTree, root: &InstanceRecord) -> Markup {
    let path = format!("{}/parameters", path_of(tree.key));
    html! {
        @if is_own(visit, tree) && root.state != InstanceState::Destroyed {
            a.button href=(visit.to(&path)) { (Icon::Edit) "Change" }
        }
    }
}

/// What somebody should look at: who waits and why, who fails, what could be better.
fn attention(visit: &Visit, tree: &WholeTree) -> Markup {
    let failing = tree.members.iter().filter_map(|(record, _)| {
        let promises = tree.promises.get(&record.key)?;
        let failed: Vec<&Promise> = promises.iter().filter(|promise| promise.failed).collect();
        (!failed.is_empty()).then_some((record, failed))
    });
    html! {
        @for (record, waiting) in &tree.members {
            @if let Some(why) = waiting {
                (alert(&format!("{} waits: {why}", record.title)))
            }
            @if actual(record) == Actual::Error
                && let Some(text) = &record.status.text
            {
                (alert(&format!("{}: {}", record.title, text.trim_start_matches("#error").trim())))
            }
        }
        @for (record, failed) in failing {
            @for promise in failed {
                (alert(&format!("{}: {} fails: {}", record.title, promise.title, promise.message)))
            }
        }
        @if let Some((state, release)) = &tree.upgrade { (offer(visit, tree, *state, release)) }
    }
}

/// A better release, and the answer to it.
fn offer(visit: &Visit, tree: &WholeTree, state: DecisionState, release: &str) -> Markup {
    let path = format!("{}/upgrade", path_of(tree.key));
    html! {
        div.card.offer {
            @if state == DecisionState::Accepted {
                p { (Badge::UPGRADE) " The upgrade to " (release_name(release)) " is under way." }
            } @else {
                p { (Badge::UPGRADE) " There is a better release: " (release_name(release)) }
                @if is_own(visit, tree) {
                    form.buttons method="post" action=(visit.to(&path)) {
                        (visit.form_token())
                        button.main name="answer" value="accept" { "Upgrade" }
                        button name="answer" value="reject" { "Not this one" }
                    }
                }
            }
        }
    }
}

fn legend(tree: &WholeTree) -> Markup {
    let count = tree.members.len();
    html! { span.muted { (count) " instances" } }
}

fn the_picture(tree: &WholeTree) -> Markup {
    let shown = tree.members.iter().take(BOXES_MAX);
    let numbers: HashMap<_, _> = shown
        .clone()
        .enumerate()
        .map(|(number, (record, _))| (record.key, number))
        .collect();
    // Who asked comes first, whatever the order of the keys.
    let mut ordered: Vec<&InstanceRecord> = Vec::new();
    let mut number_of = HashMap::new();
    let mut left: Vec<&InstanceRecord> = shown.map(|(record, _)| record).collect();
    while !left.is_empty() {
        let before = left.len();
        left.retain(|record| {
            let known = record
                .requester
                .is_none_or(|key| number_of.contains_key(&key) || !numbers.contains_key(&key));
            if known {
                number_of.insert(record.key, ordered.len());
                ordered.push(record);
            }
            !known
        });
        if left.len() == before {
            // Nobody requests itself through others; if so after all, it stands alone.
            ordered.append(&mut left);
        }
    }
    let members: Vec<Member> = ordered
        .iter()
        .map(|record| Member {
            title: record.title.clone(),
            badge: Badge::instance(actual(record)),
            place: match (&record.placement, record.shared) {
                (Some(place), false) => format!("{} {}", place.node, place.partition),
                (Some(place), true) => format!("shared, {}", place.node),
                (None, _) => String::new(),
            },
            anchor: record.key.to_string(),
            requester: record
                .requester
                .and_then(|key| number_of.get(&key).copied()),
            host: record.host.and_then(|key| number_of.get(&key).copied()),
        })
        .collect();
    html! {
        (picture(&members))
        @if tree.members.len() > BOXES_MAX {
            p.muted { "The first " (BOXES_MAX) " of " (tree.members.len()) "." }
        }
    }
}

fn about(visit: &Visit, tree: &WholeTree, root: &InstanceRecord) -> Markup {
    let place = |record: &InstanceRecord| {
        html! {
            @match &record.placement {
                Some(place) => {
                    a href=(visit.to(&format!("servers/{}", place.node))) { (place.node) }
                    " " (place.partition)
                },
                None => span.muted { "none yet" },
            }
        }
    };
    let upgrade = format!("{}/upgrade", path_of(tree.key));
    let policy = html! {
        @if is_own(visit, tree) {
            form.inline method="post" action=(visit.to(&upgrade)) {
                (visit.form_token())
                (choice("policy", "When there is a better release", &[
                    Choice { value: "ask", words: "ask me" },
                    Choice { value: "auto", words: "upgrade at once" },
                ], tree.policy.as_str()))
                button { "Set" }
            }
        } @else {
            @match tree.policy {
                UpgradePolicy::Ask => "asks",
                UpgradePolicy::Automatic => "upgrades at once",
            }
        }
    };
    let sla = match root.sla.is_empty() {
        true => html! { span.muted { "anywhere" } },
        false => html! {
            @for (index, (name, value)) in root.sla.iter().enumerate() {
                @if index > 0 { ", " }
                code { (name) "=" (value) }
            }
        },
    };
    facts(&[
        ("Reference", html! { code { (tree.key) } }),
        ("Release", html! { code { (root.release) } }),
        ("Software type", html! { (root.software_type) }),
        ("Placed at", place(root)),
        ("May be placed", sla),
        ("Project", html! { (tree.project) }),
        ("Owner", html! { (tree.owner) }),
        ("Requested", age(visit.now, tree.created_at)),
        ("Upgrades", policy),
    ])
}

/// All that is told of one instance.
fn instance(
    visit: &Visit,
    tree: &WholeTree,
    record: &InstanceRecord,
    waiting: Option<&str>,
) -> Markup {
    let promises = tree.promises.get(&record.key);
    let failed = promises.map_or(0, |all| all.iter().filter(|one| one.failed).count());
    let connection = record.connection.clone().unwrap_or_default();
    html! {
        details.instance id=(record.key) {
            summary {
                span.strong { (record.title) }
                (Badge::instance(actual(record)))
                @if failed > 0 { (Badge::promise(true)) }
                span.reference {
                    @match &record.placement {
                        Some(place) => { (place.node) " " (place.partition) },
                        None => "no place yet",
                    }
                    @if record.shared { ", shared" }
                }
            }
            @if let Some(why) = waiting { (alert(why)) }
            (facts(&[
                ("Reference", html! { code { (record.key) } }),
                ("Software type", html! { (record.software_type) }),
                ("Last report", match (&record.status.text, record.status.at) {
                    (Some(text), Some(at)) => html! { (text) " " span.muted { (age(visit.now, at)) } },
                    _ => html! { span.muted { "none yet" } },
                }),
                ("Addresses", html! {
                    @if record.addresses.is_empty() { span.muted { "none" } }
                    @for (index, address) in record.addresses.iter().enumerate() {
                        @if index > 0 { ", " }
                        code { (address.ip) }
                    }
                }),
            ]))
            @if let Some(promises) = promises {
                h3 { "Promises" }
                ul.promises {
                    @for promise in promises {
                        li {
                            (Badge::promise(promise.failed)) " " span.strong { (promise.title) }
                            @if promise.failed { " " (promise.message) }
                        }
                    }
                }
            }
            h3 { "Connection parameters" }
            (values(&connection, "Nothing is published yet."))
            h3 { "Parameters" }
            (values(&record.parameters, "None: the release's defaults."))
        }
    }
}
