//! What a release says of itself: its types, and the parameters of each, for reading.

use std::sync::Arc;

use axum::response::Response;
use maud::{Markup, html};
use slap::{ReleaseUrl, SoftwareType};
use slap_client::release::{Metadata, TypeInfo};
use slap_server::Problem;

use super::super::parts::{empty, facts, hint};
use super::super::{Icon, Visit, field, sentence};
use super::product::Subject;
use crate::api::{App, Call};
use crate::web::form::{Model, explain};

/// The documentation of a release: the one that is asked for, else the best one.
pub(super) async fn show(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = Subject::of(&app, &call).await?;
    let arguments = call.arguments();
    let asked = field(&arguments, "release");
    let chosen = match asked.as_str() {
        "" => subject.product().releases.first(),
        url => subject.release(url),
    };
    let Some(chosen) = chosen else {
        if !asked.is_empty() {
            return Err(Problem::not_found("The product has no such release"));
        }
        let body = empty(
            Icon::Tag,
            "No release yet",
            &html! { p { "What a release takes stands here." } },
        );
        return Ok(subject.page(&visit).show(body));
    };
    let release = ReleaseUrl::new(&chosen.url).map_err(Problem::internal)?;
    let body = match app.catalogue.metadata(&release).await {
        Ok(metadata) => {
            let types = metadata.types();
            let kind = field(&arguments, "type");
            let found = types.iter().find(|info| info.name == kind);
            let found = found.or_else(|| types.first());
            let parameters = match found {
                Some(info) => of_type(&app, &visit, &subject, &release, &metadata, info).await,
                None => html! { (hint("It tells of no type.")) },
            };
            html! {
                (choose(&visit, &subject, release.as_str(), &types, found))
                @if !metadata.title().is_empty() { h2 { (metadata.title()) } }
                @if !metadata.description().is_empty() { p { (metadata.description()) } }
                (parameters)
            }
        }
        Err(why) => html! {
            (choose(&visit, &subject, release.as_str(), &[], None))
            (hint(format!("The release tells nothing of itself: {}", sentence(&why))))
        },
    };
    Ok(subject.page(&visit).show(body))
}

/// Which release and which type one reads of.
fn choose(
    visit: &Visit,
    subject: &Subject,
    release: &str,
    types: &[TypeInfo],
    chosen: Option<&TypeInfo>,
) -> Markup {
    html! {
        form.search action=(visit.to(&subject.path("parameters"))) {
            select name="release" aria-label="Release" data-send {
                @for known in &subject.product().releases {
                    option value=(known.url) selected[known.url == release] { (known.url) }
                }
            }
            @if types.len() > 1 {
                select name="type" aria-label="Type" data-send {
                    @for info in types {
                        option value=(info.name) selected[chosen == Some(info)] { (title(info)) }
                    }
                }
            }
            button { "Show" }
        }
    }
}

fn title(info: &TypeInfo) -> &str {
    match info.title.as_str() {
        "" => &info.name,
        title => title,
    }
}

/// What a type is, and its parameters.
async fn of_type(
    app: &App,
    visit: &Visit,
    subject: &Subject,
    release: &ReleaseUrl,
    metadata: &Metadata,
    info: &TypeInfo,
) -> Markup {
    let entry = SoftwareType::new(info.name.as_str()).unwrap_or_default();
    let units = subject.product().units.get(&info.software_type);
    let takes = match units.copied().unwrap_or(1) {
        1 => "1 unit of its capacity".to_owned(),
        units => format!("{units} units of its capacity"),
    };
    let schema = app
        .catalogue
        .schema(release, metadata, &entry, info.shared)
        .await;
    html! {
        section.part aria-labelledby="type-title" {
            div.bar-of-title {
                h2 id="type-title" { (title(info)) }
                a.button href=(subject.request(visit, release.as_str()) + "&type=" + &encoded(&info.name)) {
                    (Icon::Play) "Request this"
                }
            }
            @if !info.description.is_empty() { p { (info.description) } }
            (facts(&[
                ("Type", html! { code { (info.software_type) } @if info.shared { " (shared)" } }),
                ("Takes of a server", html! { (takes) }),
            ]))
        }
        section.part aria-labelledby="parameters-title" {
            h2 id="parameters-title" { "Parameters" }
            @match &schema {
                Ok(Some(schema)) => (explain(&Model::of_schema(schema))),
                Ok(None) => (hint("The release has no schema of its parameters.")),
                Err(why) => (hint(format!("They are not known: {}", sentence(why)))),
            }
        }
    }
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
