//! The doors for programs that are not known yet. Certificates for one-time tokens: what `slapos configure client` and `slapos node register` ask
//! for, the released ones too (P 5.2–5.4).

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::Response;
use serde_json::json;
use slap_server::Problem;

use super::endpoint::{Endpoint, handler};
use super::{Api, App, Call, reply};
use crate::domain::{Caller, NodeKind, Refusal, TokenPurpose};
use crate::store::{Bearer, NewToken, TOKEN_LIFE};

/// The largest form they send, in bytes.
const FORM_BYTES_MAX: usize = 16 << 10;

const fn form(name: &'static str, handler: super::endpoint::Handler) -> Endpoint {
    Endpoint::post(Api::Slap, name, handler)
        .public()
        .up_to(FORM_BYTES_MAX)
}

/// Who calls is not asked at the door: these are the doors.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::get(Api::Slap, "ca.crt", handler!(authority)).public(),
    form("Person_getCertificate", handler!(person)),
    form("Person_requestComputer", handler!(node)),
    Endpoint::get(
        Api::Slap,
        "hateoas/computer_module/Base_getComputerToken",
        handler!(node_token),
    ),
];

/// The media type of a certificate in PEM form.
const PEM: &str = "application/x-pem-file";

/// The certificate of the authority, for whoever is to trust it.
async fn authority(app: Arc<App>, _call: Call) -> Result<Response, Problem> {
    let pem = app.auth.certifier().authority_pem().to_owned();
    let mut response = reply::with(StatusCode::OK, PEM, pem);
    reply::set(&mut response, header::CACHE_CONTROL, "public, max-age=3600");
    Ok(response)
}

/// JSON with a secret in it.
fn secret(document: &serde_json::Value) -> Response {
    let mut response = reply::with(StatusCode::OK, reply::JSON, document.to_string());
    reply::set(&mut response, header::CACHE_CONTROL, "no-store");
    response
}

/// Uses up the token that came along.
async fn bearer(app: &App, call: &Call, wanted: TokenPurpose) -> Result<Bearer, Problem> {
    let form = call.form();
    let token = call
        .header("x-access-token")
        .or_else(|| form.given("access_token"))
        .ok_or_else(|| {
            Problem::forbidden(
                "This needs a one-time token, in the header X-Access-Token: make one in the \
                 dashboard or with `slapos master token`",
            )
        })?;
    Ok(app.auth.redeem(token, wanted, call.origin.address).await?)
}

/// A certificate for a person (P 5.3).
async fn person(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let bearer = bearer(&app, &call, TokenPurpose::Client).await?;
    let certifier = app.auth.certifier();
    let made = certifier.for_person(bearer.caller, bearer.person).await?;
    Ok(secret(&json!({
        "certificate": made.certificate,
        "key": made.key,
        "id": made.serial,
        "common_name": made.common_name,
    })))
}

/// A node, made where there is none of that title, and its certificate (P 5.4).
async fn node(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let title = call.form().need("title")?.trim().to_owned();
    let bearer = bearer(&app, &call, TokenPurpose::Node).await?;
    let project = bearer.project.ok_or_else(|| {
        Refusal::Forbidden(format!(
            "this token was not made for a project, and {} does not manage exactly one: make a \
             token for the project of the node",
            bearer.login
        ))
    })?;
    let node = app
        .store
        .create_node(bearer.caller, project, NodeKind::Compute, title)
        .await?;
    let made = app.auth.certifier().for_node(bearer.caller, node).await?;
    Ok(secret(&json!({
        "certificate": made.certificate,
        "key": made.key,
        "reference": node.to_string(),
        "relative_url": format!("compute_node_module/{}", node.key.0),
    })))
}

/// A token for a node, for whoever has a certificate already (`slapos computer token`).
async fn node_token(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let Caller::Person { person, .. } = call.caller else {
        return Err(Problem::forbidden("Only persons make tokens"));
    };
    let project = call.arguments().given_word("project_reference")?;
    let new = NewToken {
        purpose: TokenPurpose::Node,
        person,
        project,
        life: TOKEN_LIFE,
    };
    let issued = app.store.create_token(call.caller, new).await?;
    Ok(secret(&json!({ "access_token": issued.token })))
}
