//! The list of products.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use slap_server::Problem;

use super::super::layout::Section;
use super::super::parts::{
    self, Choice, Column, Field, Pager, Table, choice, copy, empty, search, section, short,
};
use super::super::{Icon, Visit, field, release, told};
use super::{PATH, instances, on_servers};
use crate::api::{App, Call};
use crate::domain::ProjectKey;
use crate::store::{LooseRelease, ProjectRecord};
use crate::web::projects::managed;

/// Products on one page of the list.
const PRODUCTS: i64 = 50;

const COLUMNS: &[Column] = &[
    Column::words("Product"),
    Column::long("Best release"),
    Column::numbers("Releases"),
    Column::words("On servers"),
    Column::numbers("Instances"),
    Column::actions(),
];

const LOOSE: &[Column] = &[
    Column::long("Release"),
    Column::words("Project"),
    Column::numbers("Servers"),
    Column::actions(),
];

/// What somebody typed who makes a product, and what is wrong with it.
#[derive(Default)]
struct Typed {
    project: String,
    reference: String,
    title: String,
    release: String,
    /// What is wrong with the reference or the title, and with the release.
    wrong: (String, String),
}

/// The products there are.
pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let arguments = call.arguments();
    let typed = Typed {
        project: field(&arguments, "project"),
        release: field(&arguments, "release"),
        ..Typed::default()
    };
    page(&app, &call, &visit, (StatusCode::OK, typed)).await
}

async fn page(
    app: &App,
    call: &Call,
    visit: &Visit,
    (status, typed): (StatusCode, Typed),
) -> Result<Response, Problem> {
    let arguments = call.arguments();
    let text = field(&arguments, "q");
    let pager = Pager::of(&field(&arguments, "page"), PRODUCTS);
    let mut found = app
        .store
        .product_states(call.caller, text.clone(), pager.lines())
        .await?;
    let pages = pager.cut(&mut found, visit, &[("q", text.as_str())]);
    let mut table = Table::new("Products", COLUMNS);
    for product in &found {
        let project = product.project.to_string();
        let request = product
            .best
            .as_deref()
            .map(|best| visit.to_with("services/new", &[("project", &project), ("release", best)]));
        table.row(vec![
            html! {
                a href=(visit.to(&format!("{PATH}/{}", product.key.0))) { (product.title) }
                span.reference { (product.reference) " in " (product.project) }
            },
            match &product.best {
                Some(best) => html! { code { (short(best, 56)) } },
                None => html! { span.muted { "none yet" } },
            },
            html! { (product.releases) },
            on_servers(product.deployed),
            instances(product.deployed),
            html! {
                @if let Some(request) = request {
                    a.button.small href=(request) { "Request" span.unseen { " " (product.reference) } }
                }
            },
        ]);
    }
    let offered: Vec<String> = found.iter().map(|known| known.reference.clone()).collect();
    let managed = managed(app, visit.session()?).await?;
    let loose = match text.as_str() {
        "" => app.store.loose_releases(call.caller).await?,
        _ => Vec::new(),
    };
    let body = html! {
        @if !table.is_empty() {
            (table)
        } @else if text.is_empty() {
            (empty(Icon::Software, "No product yet", &html! {
                p {
                    "A product is a software with its releases: what people choose from when they "
                    "request a service."
                    @if managed.is_empty() { " Who manages a project adds one." }
                    @else { " Add one here, or on the Master's machine:" }
                }
                @if !managed.is_empty() {
                    (copy("slapos master product add NAME\nslapos master product release add NAME URL"))
                }
            }))
        } @else {
            (empty(Icon::Search, "No product is called like that", &html! {
                p { a.button href=(visit.to(PATH)) { "All products" } }
            }))
        }
        (pages)
    };
    let page = visit.page("Software").section(Section::Software).live("");
    Ok(page.status(status).show(html! {
        (search(visit, PATH, "Reference, title or project", &text, &[]))
        div id="products" data-live { (body) }
        @if !loose.is_empty() { (without_product(visit, &loose, &managed)) }
        @if !managed.is_empty() { (a_new_one(visit, &managed, &typed, &offered)) }
    }))
}

/// Releases on servers that nobody finds in the catalogue.
fn without_product(visit: &Visit, loose: &[LooseRelease], managed: &[ProjectRecord]) -> Markup {
    let mut table = Table::new("Releases without a product", LOOSE);
    for release in loose {
        let project = release.project.to_string();
        let arguments = [
            ("project", project.as_str()),
            ("release", release.url.as_str()),
        ];
        let is_managed = managed.iter().any(|known| known.key == release.project);
        table.row(vec![
            html! { code { (short(&release.url, 72)) } },
            html! { (release.project) },
            html! { (release.nodes) },
            html! {
                @if is_managed {
                    a.button.small href=(visit.to_with(PATH, &arguments) + "#new") {
                        "Add to a product"
                    }
                }
            },
        ]);
    }
    section(
        "loose",
        "On servers, and in no product",
        html! {},
        &html! { (table) },
    )
}

fn a_new_one(
    visit: &Visit,
    managed: &[ProjectRecord],
    typed: &Typed,
    offered: &[String],
) -> Markup {
    let names: Vec<(String, String)> = managed
        .iter()
        .map(|project| {
            (
                project.key.to_string(),
                format!("{} ({})", project.title, project.key),
            )
        })
        .collect();
    let choices: Vec<Choice<'_>> = names
        .iter()
        .map(|(value, words)| Choice { value, words })
        .collect();
    html! {
        section.part id="new" {
            h2 { "A new product" }
            form.card method="post" action=(visit.to(PATH)) {
                (visit.form_token())
                (choice("project", "Project", &choices, &typed.project))
                (parts::field(&Field {
                    name: "reference",
                    label: "Reference",
                    value: &typed.reference,
                    error: &typed.wrong.0,
                    example: "wordpress",
                    hint: "What people type: slapos request TITLE product.REFERENCE. That of a product there is adds \
                           the release to it.",
                    list: offered,
                    required: true,
                    ..Field::default()
                }))
                (parts::field(&Field {
                    name: "title",
                    label: "Title",
                    value: &typed.title,
                    hint: "Left empty, the reference.",
                    ..Field::default()
                }))
                (parts::field(&Field {
                    name: "release",
                    label: "Its first release",
                    value: &typed.release,
                    error: &typed.wrong.1,
                    example: "https://…/software.cfg",
                    hint: "More can be added at any time.",
                    ..Field::default()
                }))
                div.buttons { button.main { (Icon::Plus) "Make the product" } }
            }
        }
    }
}

/// Makes a product, with its first release if one is given.
pub(super) async fn create(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let form = visit.form(&call)?;
    let project: ProjectKey = form.word("project")?;
    let typed = Typed {
        project: project.to_string(),
        reference: field(&form, "reference"),
        title: field(&form, "title"),
        release: field(&form, "release"),
        wrong: Default::default(),
    };
    let first = match typed.release.as_str() {
        "" => None,
        url => match release(url) {
            Ok(release) => Some(release),
            Err(wrong) => {
                let wrong = (String::new(), wrong);
                let typed = Typed { wrong, ..typed };
                return page(&app, &call, &visit, (StatusCode::BAD_REQUEST, typed)).await;
            }
        },
    };
    let title = Some(typed.title.clone()).filter(|title| !title.is_empty());
    let reference = typed.reference.clone();
    let made = app
        .store
        .catalogue(call.caller, project, reference, title, first)
        .await;
    match made {
        Ok(key) => Ok(visit.go(&format!("{PATH}/{}", key.0), "product")),
        Err(error) => {
            let (status, said) = told(error)?;
            // What is typed as a name can be wrong, what is typed as a release be in the way.
            let wrong = match status {
                StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS
                    if !typed.release.is_empty() =>
                {
                    (String::new(), said)
                }
                _ => (said, String::new()),
            };
            page(&app, &call, &visit, (status, Typed { wrong, ..typed })).await
        }
    }
}
