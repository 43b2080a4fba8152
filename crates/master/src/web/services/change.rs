//! What can be done with a service: start, stop, destroy it, answer an upgrade.

use std::sync::Arc;

use axum::response::Response;
use slap::{InstanceState, InstanceTitle, ReleaseUrl};
use slap_server::Problem;

use super::service::{is_own, root};
use super::{path_of, whole};
use crate::api::{App, Call};
use crate::domain::upgrade::{Answer, UpgradePolicy};
use crate::store::{Wanted, WholeTree};
use crate::web::layout::Section;
use crate::web::parts::{Confirm, confirm};
use crate::web::{Visit, field};

/// What is asked for, by the last word of the path.
struct Wish {
    state: InstanceState,
    title: &'static str,
    verb: &'static str,
    text: String,
    done: &'static str,
}

fn wish(call: &Call, tree: &WholeTree) -> Wish {
    let instances = match tree.members.len() {
        1 => "its instance".to_owned(),
        several => format!("all its {several} instances"),
    };
    match call.path.rsplit('/').next() {
        Some("start") => Wish {
            state: InstanceState::Started,
            title: "Start",
            verb: "Start it",
            text: format!(
                "{} is started again, with the parameters it has.",
                tree.title
            ),
            done: "started",
        },
        Some("stop") => Wish {
            state: InstanceState::Stopped,
            title: "Stop",
            verb: "Stop it",
            text: format!(
                "{} stops, with {instances}. Nothing is lost: it keeps its place and its data.",
                tree.title
            ),
            done: "stopped",
        },
        _ => Wish {
            state: InstanceState::Destroyed,
            title: "Destroy",
            verb: "Destroy it for good",
            text: format!(
                "{} is removed from its servers, with {instances} and all their data. This cannot \
                 be undone.",
                tree.title
            ),
            done: "destroyed",
        },
    }
}

/// Only who requested a service changes it by asking for it again.
pub(super) fn check_own(visit: &Visit, tree: &WholeTree) -> Result<(), Problem> {
    if is_own(visit, tree) {
        return Ok(());
    }
    Err(Problem::forbidden(format!(
        "{} belongs to {}: only its owner does this with it",
        tree.title, tree.owner
    )))
}

/// Asks whether it is meant.
pub(super) async fn ask(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let tree = whole(&app, &call).await?;
    check_own(&visit, &tree)?;
    let wish = wish(&call, &tree);
    let path = path_of(tree.key);
    let page = visit
        .page(format!("{} {}", wish.title, tree.title))
        .section(Section::Services)
        .below("services", "Services")
        .below(&path, tree.title.clone());
    Ok(page.show(confirm(
        &visit,
        &Confirm {
            text: &wish.text,
            verb: wish.verb,
            back: &path,
            is_grave: wish.state == InstanceState::Destroyed,
        },
        &maud::Markup::default(),
    )))
}

/// Does it, as any request does.
pub(super) async fn change(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    visit.form(&call)?;
    let tree = whole(&app, &call).await?;
    check_own(&visit, &tree)?;
    let Some(root) = root(&tree) else {
        return super::not_found("service");
    };
    let wish = wish(&call, &tree);
    let wanted = Wanted {
        requester: None,
        project: Some(tree.project),
        title: InstanceTitle::new(tree.title.clone()).map_err(Problem::internal)?,
        release: ReleaseUrl::new(root.release.clone()).map_err(Problem::internal)?,
        software_type: None,
        parameters: None,
        sla: None,
        state: Some(wish.state),
        shared: None,
    };
    app.store.request(call.caller, wanted).await?;
    Ok(match wish.state {
        InstanceState::Destroyed => visit.go("services", wish.done),
        _ => visit.go(&path_of(tree.key), wish.done),
    })
}

/// Answers an offered upgrade, or says what is to be done about offers.
pub(super) async fn upgrade(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let form = visit.form(&call)?;
    let (answer, policy) = (field(&form, "answer"), field(&form, "policy"));
    let tree = whole(&app, &call).await?;
    let answer = match answer.as_str() {
        "accept" => Some(Answer::Accept),
        "reject" => Some(Answer::Reject),
        _ => None,
    };
    if let Some(answer) = answer {
        let decision = app.store.open_decision(call.caller, tree.key).await?;
        app.store
            .answer_decision(call.caller, decision.key, answer)
            .await?;
    }
    if !policy.is_empty() {
        let policy: UpgradePolicy = policy
            .parse()
            .map_err(|error| Problem::bad_request(format!("{error}")))?;
        app.store
            .set_upgrade_policy(call.caller, tree.key, policy)
            .await?;
    }
    Ok(visit.go(&path_of(tree.key), "upgrade"))
}
