//! Changing the parameters of a service: the form with what it has, then what would change.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value as Json;
use slap::serialisation::{Serialisation, unwrap};
use slap::{InstanceState, InstanceTitle, ReleaseUrl, SoftwareType};
use slap_client::release::TypeInfo;
use slap_server::Problem;

use super::change::check_own;
use super::editor::{Edited, Editor, Purpose, Sent, is_in_catalogue, read};
use super::service::root;
use super::values::changed;
use super::{path_of, whole};
use crate::api::{App, Call};
use crate::domain::Refusal;
use crate::store::{InstanceRecord, StoreError, Wanted, WholeTree};
use crate::web::Visit;
use crate::web::form::differences;
use crate::web::layout::{Page, Section};

/// What is known of the parameters a service has.
async fn purpose(
    app: &App,
    call: &Call,
    tree: &WholeTree,
    root: &InstanceRecord,
) -> Result<Purpose, Problem> {
    let release = ReleaseUrl::new(root.release.clone()).map_err(Problem::internal)?;
    let software_type = SoftwareType::new(root.software_type.clone()).map_err(Problem::internal)?;
    let written = match unwrap(&root.parameters) {
        Some(_) => Serialisation::JsonInXml,
        None => Serialisation::Xml,
    };
    let metadata = if is_in_catalogue(app, call, tree.project, &release).await? {
        app.catalogue.metadata(&release).await
    } else {
        Err("its release is in no product of your projects".to_owned())
    };
    let info = metadata.as_ref().map(|metadata| {
        let types = metadata.types();
        let named = |info: &&TypeInfo| {
            let is_default =
                software_type.as_str() == "RootSoftwareInstance" && info.software_type == "default";
            info.shared == root.shared
                && (info.software_type == software_type.as_str() || is_default)
        };
        let found = types.iter().find(named).cloned();
        let info = found.unwrap_or_else(|| TypeInfo {
            name: software_type.as_str().to_owned(),
            software_type: software_type.as_str().to_owned(),
            title: String::new(),
            description: String::new(),
            shared: root.shared,
            serialisation: metadata.serialisation(&software_type),
        });
        (metadata, info)
    });
    let info = match &info {
        Ok((metadata, info)) => Ok((*metadata, info)),
        Err(why) => Err((*why).clone()),
    };
    Ok(Purpose::of_type(app, release, info, (software_type.clone(), written)).await)
}

fn page<'a>(visit: &'a Visit, tree: &WholeTree, title: &str) -> Page<'a> {
    visit
        .page(format!("{title} {}", tree.title))
        .section(Section::Services)
        .below("services", "Services")
        .below(&path_of(tree.key), tree.title.clone())
}

/// The service, and the instance whose parameters are its own.
fn own<'t>(visit: &Visit, tree: &'t WholeTree) -> Result<&'t InstanceRecord, Problem> {
    check_own(visit, tree)?;
    let root = root(tree).filter(|root| root.state != InstanceState::Destroyed);
    root.ok_or_else(|| {
        let text = format!("{} is being destroyed", tree.title);
        StoreError::from(Refusal::Conflict(text)).into()
    })
}

/// The form with what the service has.
pub(super) async fn ask(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let tree = whole(&app, &call).await?;
    let root = own(&visit, &tree)?;
    let purpose = purpose(&app, &call, &tree, root).await?;
    let editor = Editor::with(&purpose, &purpose.document(&root.parameters));
    Ok(page(&visit, &tree, "Parameters of").show(form(&visit, &tree, &purpose, &editor)))
}

/// Goes on with the form, shows what would change, and does it.
pub(super) async fn change(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let sent = Sent::of(&visit, &call)?;
    let tree = whole(&app, &call).await?;
    let root = own(&visit, &tree)?;
    let purpose = purpose(&app, &call, &tree, root).await?;
    let before = purpose.document(&root.parameters);
    if sent.raw("stage") != "review" {
        return Ok(match Editor::pressed(&app, &purpose, &sent).await {
            Edited::Again(editor) => page(&visit, &tree, "Parameters of")
                .status(status_of(&editor))
                .show(form(&visit, &tree, &purpose, &editor)),
            Edited::Done(document) => {
                page(&visit, &tree, "Change").show(review(&visit, &tree, &before, &document))
            }
        });
    }
    let document = read(sent.raw("document")).map_err(Problem::bad_request)?;
    if sent.raw("do") != "send" {
        let editor = Editor::with(&purpose, &document);
        let page = page(&visit, &tree, "Parameters of");
        return Ok(page.show(form(&visit, &tree, &purpose, &editor)));
    }
    let parameters = purpose.written(&document).map_err(Problem::bad_request)?;
    let wanted = Wanted {
        requester: None,
        project: Some(tree.project),
        title: InstanceTitle::new(tree.title.clone()).map_err(Problem::internal)?,
        release: purpose.release,
        software_type: None,
        parameters: Some(parameters),
        sla: None,
        state: None,
        shared: None,
    };
    app.store.request(call.caller, wanted).await?;
    Ok(visit.go(&path_of(tree.key), "parameters"))
}

pub(super) fn status_of(editor: &Editor) -> StatusCode {
    if editor.is_wrong() {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    }
}

fn form(visit: &Visit, tree: &WholeTree, purpose: &Purpose, editor: &Editor) -> Markup {
    let path = path_of(tree.key);
    let action = visit.to(&format!("{path}/parameters"));
    html! {
        form.card.wide method="post" action=(action) {
            (visit.form_token())
            button.unseen name="do" value="next" tabindex="-1" aria-hidden="true" {}
            (editor.show(purpose, &action))
            div.buttons {
                button.main name="do" value="next" { "Review" }
                a.button href=(visit.to(&path)) { "Cancel" }
            }
        }
    }
}

fn review(visit: &Visit, tree: &WholeTree, before: &Json, after: &Json) -> Markup {
    let path = path_of(tree.key);
    let changes = differences(before, after);
    html! {
        form.card.wide method="post" action=(visit.to(&format!("{path}/parameters"))) {
            (visit.form_token())
            input type="hidden" name="stage" value="review";
            input type="hidden" name="document" value=(after.to_string());
            @if changes.is_empty() {
                p { "Nothing changes: these are the parameters it has." }
            } @else {
                p { "This changes. Its servers are told at once, and process it again." }
                (changed(&changes, "becomes"))
            }
            div.buttons {
                @if !changes.is_empty() { button.main name="do" value="send" { "Change it" } }
                button name="do" value="back" { "Back" }
                a.button href=(visit.to(&path)) { "Cancel" }
            }
        }
    }
}
