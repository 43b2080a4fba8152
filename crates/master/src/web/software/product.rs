//! A product: the frame of its pages.

use maud::html;
use slap_server::Problem;

use super::super::layout::{Page, Section};
use super::super::{Icon, Visit};
use super::PATH;
use crate::api::{App, Call};
use crate::domain::ProductKey;
use crate::store::{ProductDetail, ProductRecord, ReleaseRecord};

/// The product a call is about.
pub(super) struct Subject {
    pub(super) detail: ProductDetail,
}

impl Subject {
    /// Refused for who does not see its project.
    pub(super) async fn of(app: &App, call: &Call) -> Result<Self, Problem> {
        let unknown = |_| Problem::not_found("There is no such product that you may see");
        let number: i64 = call.parameter("product").parse().map_err(unknown)?;
        let key = ProductKey(number);
        let detail = app.store.product_detail(call.caller, key).await?;
        Ok(Subject { detail })
    }

    pub(super) fn product(&self) -> &ProductRecord {
        &self.detail.product
    }

    /// A release of the product.
    pub(super) fn release(&self, url: &str) -> Option<&ReleaseRecord> {
        let mut releases = self.product().releases.iter();
        releases.find(|release| release.url == url)
    }

    /// Who may see it and not change it is told so.
    pub(super) fn managed(self) -> Result<Self, Problem> {
        match self.detail.is_managed {
            true => Ok(self),
            false => Err(Problem::forbidden(
                "Only the managers of its project change a product",
            )),
        }
    }

    /// The path of the product, or of something below it.
    pub(super) fn path(&self, below: &str) -> String {
        let key = self.product().key.0;
        match below {
            "" => format!("{PATH}/{key}"),
            below => format!("{PATH}/{key}/{below}"),
        }
    }

    /// Where a service of one of its releases is requested.
    pub(super) fn request(&self, visit: &Visit, release: &str) -> String {
        let project = self.product().project.to_string();
        visit.to_with(
            "services/new",
            &[("project", &project), ("release", release)],
        )
    }

    /// A page of the product, with its subheader.
    pub(super) fn page<'a>(&self, visit: &'a Visit) -> Page<'a> {
        let product = self.product();
        let best = product.releases.first();
        visit
            .page(product.title.clone())
            .section(Section::Software)
            .below(PATH, "Software")
            .beside(html! {
                div.buttons {
                    @if let Some(best) = best {
                        a.button.main href=(self.request(visit, &best.url)) { (Icon::Play) "Request" }
                    }
                }
            })
            .under(html! { (product.reference) " in " (product.project) })
            .tab(self.path(""), "Releases")
            .tab(self.path("servers"), "Servers")
            .tab(self.path("services"), "Services")
            .tab(self.path("parameters"), "Parameters")
    }

    /// A page that asks something about the product.
    pub(super) fn question<'a>(&self, visit: &'a Visit, title: &str) -> Page<'a> {
        visit
            .page(title)
            .section(Section::Software)
            .below(PATH, "Software")
            .below(&self.path(""), self.product().title.clone())
    }
}
