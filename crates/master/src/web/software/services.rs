//! The services that use a product.

use std::sync::Arc;

use axum::response::Response;
use maud::html;
use slap_server::Problem;

use super::super::parts::empty;
use super::super::services::services;
use super::super::{Icon, Visit};
use super::product::Subject;
use crate::api::{App, Call};
use crate::store::TreesOf;

/// Those the caller may see.
pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = Subject::of(&app, &call).await?;
    let product = subject.product();
    let nothing = empty(
        Icon::Services,
        "No service uses it",
        &html! {
            @if let Some(best) = product.releases.first() {
                p { "What you request from it stands here. On a command line:" }
                p { code { "slapos request TITLE product." (product.reference) } }
                p {
                    a.button.main href=(subject.request(&visit, &best.url)) {
                        (Icon::Play) "Request a service"
                    }
                }
            } @else {
                p { "It has no release yet." }
            }
        },
    );
    let of = TreesOf::Product(product.key, product.project);
    let body = services(&app, &call, &visit, of, &nothing).await?;
    Ok(subject.page(&visit).live("").show(body))
}
