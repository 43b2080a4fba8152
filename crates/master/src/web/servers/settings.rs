//! What people decide about a server: whether it takes new instances, how many, whether it is there.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use maud::html;
use slap_server::Problem;

use super::super::parts::{self, Badge, Confirm, Field, confirm};
use super::super::{Icon, Visit, field};
use super::node::Subject;
use crate::api::{App, Call};
use crate::domain::AllocationScope;

/// The scopes, the ordinary ones first.
const OFFERED: [AllocationScope; 6] = [
    AllocationScope::Open,
    AllocationScope::NoAllocation,
    AllocationScope::Maintenance,
    AllocationScope::Termination,
    AllocationScope::Outdated,
    AllocationScope::Forever,
];

/// The most units that make sense.
const UNITS_MAX: i64 = 1_000_000_000;

fn explained(scope: AllocationScope) -> &'static str {
    match scope {
        AllocationScope::Open => "New instances are placed on it.",
        AllocationScope::NoAllocation => "It takes nothing new; what is on it stays.",
        AllocationScope::Maintenance => "Closed while somebody works on it; what is on it stays.",
        AllocationScope::Termination => {
            "It is being emptied: its services are to move away. What is on it stays until then."
        }
        AllocationScope::Outdated => "Nobody has heard of it for long, and it is given up.",
        AllocationScope::Forever => {
            "Nothing is ever placed on it again. An empty server leaves this Master at once."
        }
    }
}

/// Who may see a server and not change it is told so.
async fn managed(app: &App, call: &Call) -> Result<Subject, Problem> {
    let subject = Subject::of(app, call).await?;
    match subject.is_managed {
        true => Ok(subject),
        false => Err(Problem::forbidden(
            "Only the managers of its project change a server",
        )),
    }
}

/// What may be decided.
pub(super) async fn show(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = managed(&app, &call).await?;
    Ok(page(&visit, &subject, StatusCode::OK, None, ""))
}

fn page(
    visit: &Visit,
    subject: &Subject,
    status: StatusCode,
    typed: Option<&str>,
    wrong: &str,
) -> Response {
    let node = &subject.node;
    let capacity = node.capacity.map(|units| units.to_string());
    let capacity = typed.unwrap_or(capacity.as_deref().unwrap_or_default());
    subject.page(visit).status(status).show(html! {
        section.part {
            h2 { "Takes new instances" }
            form.card method="post" action=(visit.to(&subject.path("settings/scope"))) {
                (visit.form_token())
                fieldset {
                    legend.unseen { "Scope" }
                    @for scope in OFFERED {
                        label.option {
                            input type="radio" name="scope" value=(scope)
                                checked[scope == node.scope];
                            span { (Badge::scope(scope)) span.help { (explained(scope)) } }
                        }
                    }
                }
                div.buttons { button.main { "Set the scope" } }
            }
        }
        section.part {
            h2 { "Capacity" }
            form.card method="post" action=(visit.to(&subject.path("settings/capacity"))) {
                (visit.form_token())
                (parts::field(&Field {
                    name: "capacity",
                    label: "Units its instances take at most",
                    value: capacity,
                    kind: "number",
                    error: wrong,
                    hint: "Empty for no limit but its partitions. An instance takes one unit, or what \
                           its product says.",
                    ..Field::default()
                }))
                div.buttons { button.main { "Set the capacity" } }
            }
        }
        section.part {
            h2 { "Remove" }
            div.card {
                p {
                    "A server without instances can be taken out of this Master. Its certificates are "
                    "revoked."
                }
                div.buttons {
                    a.button.grave href=(visit.to(&subject.path("settings/remove"))) data-asks {
                        (Icon::Trash) "Remove the server"
                    }
                }
            }
        }
    })
}

/// Says whether it takes new instances.
pub(super) async fn set_scope(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let form = visit.form(&call)?;
    let subject = managed(&app, &call).await?;
    let scope: AllocationScope = field(&form, "scope")
        .parse()
        .map_err(|mistake| Problem::bad_request(format!("{mistake}")))?;
    let node = subject.node.node;
    app.store.set_scope(call.caller, node, scope).await?;
    // An empty one that is to go is gone.
    let place = match app.store.node(call.caller, node).await {
        Ok(_) => subject.path("settings"),
        Err(_) => "servers".to_owned(),
    };
    Ok(visit.go(&place, "scope"))
}

/// Says how much it takes.
pub(super) async fn set_capacity(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let form = visit.form(&call)?;
    let subject = managed(&app, &call).await?;
    let typed = field(&form, "capacity");
    let capacity = match (typed.as_str(), typed.parse::<i64>()) {
        ("", _) => None,
        (_, Ok(units)) if (0..=UNITS_MAX).contains(&units) => Some(units),
        _ => {
            let wrong = format!("A whole number from 0 to {UNITS_MAX}, or nothing.");
            let status = StatusCode::BAD_REQUEST;
            return Ok(page(&visit, &subject, status, Some(&typed), &wrong));
        }
    };
    app.store
        .set_capacity(call.caller, subject.node.node, capacity)
        .await?;
    Ok(visit.go(&subject.path("settings"), "capacity"))
}

/// Asks before it is removed.
pub(super) async fn ask(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = managed(&app, &call).await?;
    let back = subject.path("settings");
    let page = subject
        .question(&visit, "Remove this server?")
        .below(&back, "Settings");
    Ok(page.show(confirm(
        &visit,
        &Confirm {
            text: "This Master forgets it, and its certificates are revoked. What is on its disk \
                   stays there. It can be registered again, under another reference.",
            verb: "Remove",
            back: &back,
            is_grave: true,
        },
        &html! { p { (subject.node.title) " (" (subject.node.node) ")" } },
    )))
}

/// Removes it.
pub(super) async fn remove(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    visit.form(&call)?;
    let subject = managed(&app, &call).await?;
    app.store
        .remove_node(call.caller, subject.node.node)
        .await?;
    Ok(visit.go("servers", "server-removed"))
}
