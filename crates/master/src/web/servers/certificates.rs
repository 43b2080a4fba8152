//! The certificates of a server.

use std::sync::Arc;

use axum::response::Response;
use maud::html;
use slap_server::Problem;

use super::super::account::{certificate_table, issued};
use super::super::parts::{Confirm, confirm, empty, hint, section};
use super::super::{Icon, Visit};
use super::node::{Subject, reference};
use crate::api::{App, Call};
use crate::domain::CertificateOwner;

/// The certificates there are.
pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    // Asked first: who may not know of them is told so.
    let owner = CertificateOwner::Node(reference(&call)?);
    let certificates = app.store.certificates(call.caller, owner).await?;
    let subject = Subject::of(&app, &call).await?;
    let good = certificates
        .iter()
        .any(|certificate| certificate.revoked_at.is_none() && certificate.expires_at > visit.now);
    let path = |serial: &str| subject.path(&format!("certificates/{serial}/revoke"));
    let body = match certificates.is_empty() {
        true => empty(
            Icon::Shield,
            "No certificate yet",
            &html! { p { code { "slapos node register" } " gets one with a token." } },
        ),
        false => certificate_table(&visit, &certificates, path),
    };
    let issue = html! {
        @if good {
            (hint("A server has one good certificate: revoke it to issue another"))
        } @else {
            form method="post" action=(visit.to(&subject.path("certificates"))) {
                (visit.form_token())
                button.main { (Icon::Plus) "Issue a certificate" }
            }
        }
    };
    let page = subject.page(&visit);
    Ok(page.show(section(
        "certificates",
        "What the server shows",
        issue,
        &body,
    )))
}

/// Issues a certificate and shows it with its key, once.
pub(super) async fn issue(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    visit.form(&call)?;
    let node = reference(&call)?;
    let made = app.auth.certifier().for_node(call.caller, node).await?;
    let subject = Subject::of(&app, &call).await?;
    let back = subject.path("certificates");
    let page = subject
        .question(&visit, "A new certificate")
        .below(&back, "Certificates");
    Ok(page.show(html! {
        (issued(&made.certificate, &made.key, (
            "/etc/opt/slapos/ssl/computer.key",
            "/etc/opt/slapos/ssl/computer.crt",
        )))
        p { a.button href=(visit.to(&back)) { (Icon::Back) "Certificates" } }
    }))
}

/// Asks before one is revoked.
pub(super) async fn ask(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let owner = CertificateOwner::Node(reference(&call)?);
    let certificates = app.store.certificates(call.caller, owner).await?;
    let subject = Subject::of(&app, &call).await?;
    let serial = call.parameter("serial");
    if !certificates.iter().any(|known| known.serial == serial) {
        return Err(Problem::not_found("This server has no such certificate"));
    }
    let back = subject.path("certificates");
    let page = subject
        .question(&visit, "Revoke this certificate?")
        .below(&back, "Certificates");
    Ok(page.show(confirm(
        &visit,
        &Confirm {
            text: "The server is refused from that moment on: its services go on running, but it \
                   hears of no change and nobody hears of it until it has a new certificate.",
            verb: "Revoke",
            back: &back,
            is_grave: true,
        },
        &html! { p { code.long { (serial) } } },
    )))
}

/// Revokes one.
pub(super) async fn revoke(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    visit.form(&call)?;
    let owner = CertificateOwner::Node(reference(&call)?);
    let certificates = app.store.certificates(call.caller, owner).await?;
    let subject = Subject::of(&app, &call).await?;
    let serial = call.parameter("serial");
    if !certificates.iter().any(|known| known.serial == serial) {
        return Err(Problem::not_found("This server has no such certificate"));
    }
    app.store
        .revoke_certificate(call.caller, serial.to_owned())
        .await?;
    Ok(visit.go(&subject.path("certificates"), "certificate-revoked"))
}
