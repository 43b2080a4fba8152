//! The releases of a product: added, ranked by the day they are meant from, taken out.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use slap::ReleaseUrl;
use slap_server::Problem;
use time::{Date, Month, Time};

use super::super::parts::{self, Badge, Column, Confirm, Field, Table, age, confirm, date, empty};
use super::super::{Icon, Visit, field, release, told};
use super::product::Subject;
use super::{instances, on_servers};
use crate::api::{App, Call};
use crate::domain::Timestamp;

const COLUMNS: &[Column] = &[
    Column::long("Release"),
    Column::words("Meant from"),
    Column::words("On servers"),
    Column::numbers("Instances"),
    Column::actions(),
];

/// What somebody typed who adds a release, and what is wrong with it.
#[derive(Default)]
struct Typed {
    release: String,
    from: String,
    /// What is wrong with the release, and with the day.
    wrong: (String, String),
}

/// The releases, the best one first.
pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = Subject::of(&app, &call).await?;
    let mut typed = Typed {
        release: field(&call.arguments(), "release"),
        ..Typed::default()
    };
    if let Some(known) = subject.release(&typed.release) {
        let from = known.effective_at.unwrap_or(known.added_at);
        typed.from = date(from);
    }
    Ok(page(&visit, &subject, StatusCode::OK, &typed))
}

fn page(visit: &Visit, subject: &Subject, status: StatusCode, typed: &Typed) -> Response {
    let is_known = subject.release(&typed.release).is_some();
    subject.page(visit).live("").status(status).show(html! {
        @if subject.detail.is_managed {
            form.inline method="post" action=(visit.to(&subject.path(""))) {
                (visit.form_token())
                (parts::field(&Field {
                    name: "release",
                    label: if is_known { "The release" } else { "Add a release" },
                    value: &typed.release,
                    error: &typed.wrong.0,
                    example: "https://…/software.cfg",
                    required: true,
                    ..Field::default()
                }))
                (parts::field(&Field {
                    name: "from",
                    label: if is_known { "is meant from the day (UTC)" } else { "Meant from the day (UTC); empty for now" },
                    autofocus: is_known,
                    value: &typed.from,
                    error: &typed.wrong.1,
                    kind: "date",
                    ..Field::default()
                }))
                @if is_known {
                    button.main { (Icon::Yes) "Set the day" }
                    a.button href=(visit.to(&subject.path(""))) { "Cancel" }
                } @else {
                    button.main { (Icon::Plus) "Add" }
                }
            }
        }
        div id="releases" data-live { (table(visit, subject)) }
    })
}

fn table(visit: &Visit, subject: &Subject) -> Markup {
    let product = subject.product();
    let mut table = Table::new("Releases", COLUMNS);
    for (index, (release, deployed)) in product
        .releases
        .iter()
        .zip(&subject.detail.deployed)
        .enumerate()
    {
        let url = release.url.as_str();
        let from = release.effective_at.unwrap_or(release.added_at);
        let is_best = index == 0 && release.in_effect(visit.now);
        let remove = visit.to_with(&subject.path("remove"), &[("release", url)]);
        table.row(vec![
            html! {
                code { (url) }
                @if is_best { " " (Badge::BEST) }
            },
            html! {
                @match release.in_effect(visit.now) {
                    true => (age(visit.now, from)),
                    false => span.badge.wait { (Icon::Wait) (date(from)) },
                }
                @if release.effective_at.is_some() {
                    span.reference { "added " (age(visit.now, release.added_at)) }
                }
                @if subject.detail.is_managed {
                    span.reference {
                        a href=(visit.to_with(&subject.path(""), &[("release", url)])) {
                            "Another day" span.unseen { " for " (url) }
                        }
                    }
                }
            },
            on_servers(*deployed),
            instances(*deployed),
            html! {
                a.button.small href=(subject.request(visit, url)) { "Request" }
                @if subject.detail.is_managed {
                    @if !is_best {
                        " "
                        form method="post" action=(visit.to(&subject.path(""))) {
                            (visit.form_token())
                            input type="hidden" name="release" value=(url);
                            input type="hidden" name="now" value="1";
                            button.small { "Make it the best" }
                        }
                    }
                    " "
                    a.button.small href=(remove) data-asks { "Take out" }
                }
            },
        ]);
    }
    if table.is_empty() {
        return empty(
            Icon::Tag,
            "No release yet",
            &html! {
                p {
                    "A release is the address of a buildout profile. Add one here, or type "
                    code { "slapos master product release add " (product.reference) " URL" } "."
                }
            },
        );
    }
    html! { (table) }
}

/// The beginning of a day.
fn day(text: &str) -> Option<Timestamp> {
    let mut numbers = text.splitn(3, '-');
    let year = numbers.next()?.parse().ok()?;
    let month = Month::try_from(numbers.next()?.parse::<u8>().ok()?).ok()?;
    let day = Date::from_calendar_date(year, month, numbers.next()?.parse().ok()?).ok()?;
    let seconds = day.with_time(Time::MIDNIGHT).assume_utc().unix_timestamp();
    Some(Timestamp(seconds.checked_mul(1_000_000)?))
}

/// Adds a release, or says from when on it is meant.
pub(super) async fn set(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let form = visit.form(&call)?;
    let subject = Subject::of(&app, &call).await?.managed()?;
    let typed = Typed {
        release: field(&form, "release"),
        from: field(&form, "from"),
        wrong: Default::default(),
    };
    let wrong = |release: &str, from: &str| {
        let wrong = (release.to_owned(), from.to_owned());
        Typed {
            wrong,
            release: typed.release.clone(),
            from: typed.from.clone(),
        }
    };
    let bad = StatusCode::BAD_REQUEST;
    let url = match release(&typed.release) {
        Ok(url) => url,
        Err(said) => {
            let typed = wrong(&said, "");
            return Ok(page(&visit, &subject, bad, &typed));
        }
    };
    let from = match (field(&form, "now").as_str(), typed.from.as_str()) {
        ("", "") => None,
        ("", text) => match day(text) {
            Some(from) => Some(from),
            None => {
                let typed = wrong("", "This is no day, such as 2027-01-31.");
                return Ok(page(&visit, &subject, bad, &typed));
            }
        },
        _ => Some(visit.now),
    };
    let product = subject.product();
    let reference = product.reference.clone();
    let added = app
        .store
        .add_release(call.caller, product.project, reference, url, from)
        .await;
    match added {
        Ok(()) => Ok(visit.go(&subject.path(""), "release")),
        Err(error) => {
            let (status, said) = told(error)?;
            Ok(page(&visit, &subject, status, &wrong(&said, "")))
        }
    }
}

/// The release a question is about, which the product has.
fn asked(subject: &Subject, url: &str) -> Result<ReleaseUrl, Problem> {
    let known = subject.release(url);
    let known = known.ok_or_else(|| Problem::not_found("The product has no such release"))?;
    ReleaseUrl::new(&known.url).map_err(Problem::internal)
}

/// Asks before a release is taken out.
pub(super) async fn ask(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = Subject::of(&app, &call).await?.managed()?;
    let url = asked(&subject, &field(&call.arguments(), "release"))?;
    let back = subject.path("");
    let page = subject.question(&visit, "Take this release out?");
    Ok(page.show(confirm(
        &visit,
        &Confirm {
            text: "Nobody is offered it any more. It stays on the servers that have it, and the \
                   services that use it go on.",
            verb: "Take out",
            back: &back,
            is_grave: true,
        },
        &html! {
            p { code.long { (url) } }
            input type="hidden" name="release" value=(url);
        },
    )))
}

/// Takes a release out.
pub(super) async fn remove(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let form = visit.form(&call)?;
    let subject = Subject::of(&app, &call).await?.managed()?;
    let url = asked(&subject, &field(&form, "release"))?;
    let product = subject.product();
    let reference = product.reference.clone();
    app.store
        .remove_release(call.caller, product.project, reference, url)
        .await?;
    Ok(visit.go(&subject.path(""), "release-removed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        for (text, expected) in [
            ("1970-01-02", Some(86_400)),
            ("2027-01-31", Some(1_801_353_600)),
            ("2027-02-31", None),
            ("2027-13-01", None),
            ("2027-01", None),
            ("31.1.2027", None),
            ("999999999-01-01", None),
            ("", None),
        ] {
            assert_eq!(day(text).map(Timestamp::seconds), expected, "{text}");
        }
    }
}
