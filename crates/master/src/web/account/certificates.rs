//! Certificates that act for a person: issued, shown once, revoked.

use std::sync::Arc;

use axum::response::Response;
use maud::{Markup, html};
use slap_server::Problem;

use super::super::parts::{
    Badge, Column, Confirm, Table, age, alert, confirm, copy, empty, hint, section, short,
};
use super::super::{Icon, Visit};
use super::of_account;
use crate::api::{App, Call};
use crate::domain::{CertificateOwner, Timestamp};
use crate::store::CertificateRecord;

pub(super) const PATH: &str = "account/certificates";
pub(super) const REVOKE: &str = "account/certificates/{serial}/revoke";

const COLUMNS: &[Column] = &[
    Column::words("Serial number"),
    Column::words("State"),
    Column::words("Issued"),
    Column::words("Ends"),
    Column::actions(),
];

/// Certificates as a table, the latest first; `revoke` is the path that asks about one of them, by its
/// serial number.
pub(in crate::web) fn table(
    visit: &Visit,
    certificates: &[CertificateRecord],
    revoke: impl Fn(&str) -> String,
) -> Markup {
    let mut table = Table::new("Certificates", COLUMNS);
    for certificate in certificates.iter().rev() {
        let is_good = certificate.revoked_at.is_none() && certificate.expires_at > visit.now;
        table.row(vec![
            html! {
                code { (short(&certificate.serial, 24)) }
                span.reference { (certificate.common_name) }
            },
            html! { (state(certificate, visit.now)) },
            age(visit.now, certificate.issued_at),
            age(visit.now, certificate.revoked_at.unwrap_or(certificate.expires_at)),
            html! {
                @if is_good {
                    a.button.small href=(visit.to(&revoke(&certificate.serial))) data-asks { "Revoke" }
                }
            },
        ]);
    }
    html! { (table) }
}

fn state(certificate: &CertificateRecord, now: Timestamp) -> Badge {
    match certificate.revoked_at {
        Some(_) => Badge::REVOKED,
        None if certificate.expires_at <= now => Badge::EXPIRED,
        None => Badge::GOOD,
    }
}

/// The certificates there are.
pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let session = visit.session()?;
    let owner = CertificateOwner::Person(session.person);
    let certificates = app.store.certificates(session.caller, owner).await?;
    let body = match certificates.is_empty() {
        true => empty(
            Icon::Shield,
            "No certificate yet",
            &html! {
                p {
                    "A certificate lets programs act for you. " code { "slapos configure client" }
                    " gets one by a token; here you get one to copy."
                }
            },
        ),
        false => table(&visit, &certificates, revoke_path),
    };
    let issue = html! {
        form method="post" action=(visit.to(PATH)) {
            (visit.form_token())
            button.main { (Icon::Plus) "Issue a certificate" }
        }
    };
    let page = of_account(&visit, "Certificates");
    Ok(page.show(section("certificates", "What acts for you", issue, &body)))
}

fn revoke_path(serial: &str) -> String {
    format!("{PATH}/{serial}/revoke")
}

/// Issues a certificate and shows it with its key, once.
pub(super) async fn issue(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    visit.form(&call)?;
    let session = visit.session()?;
    let made = app
        .auth
        .certifier()
        .for_person(session.caller, session.person)
        .await?;
    let page = of_account(&visit, "A new certificate").below(PATH, "Certificates");
    Ok(page.show(html! {
        (issued(&made.certificate, &made.key, ("~/.slapos/key", "~/.slapos/certificate")))
        p { a.button href=(visit.to(PATH)) { (Icon::Back) "Certificates" } }
    }))
}

/// A certificate with its key, for the one moment at which the key is known.
/// `files` are where the key and the certificate usually are.
pub(in crate::web) fn issued(certificate: &str, key: &str, files: (&str, &str)) -> Markup {
    html! {
        (alert("The key is shown only now. Save both before you leave this page."))
        section.part {
            h2 { "Key" }
            (hint(format!("Secret: in a file that only its user may read, such as {}", files.0)))
            (copy(key))
        }
        section.part {
            h2 { "Certificate" }
            (hint(format!("Beside it, such as {}", files.1)))
            (copy(certificate))
        }
    }
}

/// Asks before one is revoked.
pub(super) async fn ask(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let session = visit.session()?;
    let serial = call.parameter("serial");
    let owner = CertificateOwner::Person(session.person);
    let certificates = app.store.certificates(session.caller, owner).await?;
    if !certificates.iter().any(|known| known.serial == serial) {
        return Err(Problem::not_found("There is no such certificate of yours"));
    }
    let page = of_account(&visit, "Revoke this certificate?").below(PATH, "Certificates");
    Ok(page.show(confirm(
        &visit,
        &Confirm {
            text: "Whatever uses it is refused from that moment on. It cannot be taken back; a new \
                   certificate can be issued at any time.",
            verb: "Revoke",
            back: PATH,
            is_grave: true,
        },
        &html! { p { code.long { (serial) } } },
    )))
}

/// Revokes one.
pub(super) async fn revoke(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    visit.form(&call)?;
    let serial = call.parameter("serial").to_owned();
    app.store.revoke_certificate(call.caller, serial).await?;
    Ok(visit.go(PATH, "certificate-revoked"))
}
