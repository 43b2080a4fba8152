//! The people this Master knows, for administrators.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use maud::html;
use slap_server::Problem;

use super::super::parts::{self, Column, Field, Pager, Table, age, empty, search};
use super::super::{Icon, Visit, field, told};
use super::{PEOPLE, of_projects, person};
use crate::api::{App, Call};
use crate::domain::Login;
use crate::store::NewPerson;

/// Persons on one page.
const PERSONS: i64 = 50;

const COLUMNS: &[Column] = &[
    Column::words("Person"),
    Column::words("State"),
    Column::words("Since"),
];

/// What somebody typed who makes a person known, and what is wrong with it.
#[derive(Default)]
struct Typed {
    login: String,
    name: String,
    administrator: bool,
    wrong: String,
}

/// The people there are.
pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    page(&app, &call, &visit, (StatusCode::OK, Typed::default())).await
}

async fn page(
    app: &App,
    call: &Call,
    visit: &Visit,
    (status, typed): (StatusCode, Typed),
) -> Result<Response, Problem> {
    let arguments = call.arguments();
    let text = field(&arguments, "q");
    let pager = Pager::of(&field(&arguments, "page"), PERSONS);
    let mut found = app
        .store
        .persons_like(call.caller, text.clone(), pager.lines())
        .await?;
    let pages = pager.cut(&mut found, visit, &[("q", text.as_str())]);
    let mut table = Table::new("People", COLUMNS);
    for known in &found {
        table.row(vec![
            html! {
                a href=(visit.to(&format!("{PEOPLE}/{}", known.login))) { (known.name) }
                span.reference { (known.login) }
            },
            person::state(known),
            age(visit.now, known.created_at),
        ]);
    }
    Ok(of_projects(visit, "People").status(status).show(html! {
        (search(visit, PEOPLE, "Login name or name", &text, &[]))
        div id="people" data-live {
            @if table.is_empty() {
                (empty(Icon::Search, "Nobody is called like that", &html! {
                    p { a.button href=(visit.to(PEOPLE)) { "Everybody" } }
                }))
            } @else {
                (table)
            }
            (pages)
        }
        section.part {
            h2 { "A new person" }
            form.card method="post" action=(visit.to(PEOPLE)) {
                (visit.form_token())
                (parts::field(&Field {
                    name: "login",
                    label: "Login name",
                    value: &typed.login,
                    error: &typed.wrong,
                    hint: "Such as an e-mail address: a-z, 0-9 and . _ - + @",
                    autocomplete: "off",
                    required: true,
                    ..Field::default()
                }))
                (parts::field(&Field {
                    name: "name",
                    label: "Name",
                    value: &typed.name,
                    autocomplete: "off",
                    ..Field::default()
                }))
                label.check {
                    input type="checkbox" name="administrator" value="1"
                        checked[typed.administrator];
                    "Administrates this Master"
                }
                div.buttons { button.main { (Icon::UserPlus) "Make known" } }
            }
        }
    }))
}

/// Makes a person known, and shows the link by which it sets its password.
pub(super) async fn create(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let form = visit.form(&call)?;
    let typed = Typed {
        login: field(&form, "login").to_ascii_lowercase(),
        name: field(&form, "name"),
        administrator: field(&form, "administrator") == "1",
        wrong: String::new(),
    };
    let made = match typed.login.parse::<Login>() {
        Ok(login) => {
            let new = NewPerson {
                login: login.clone(),
                name: typed.name.clone(),
                administrator: typed.administrator,
            };
            let made = app.store.create_person(call.caller, new).await;
            made.map(|_| login).map_err(told)
        }
        Err(mistake) => Err(Ok((StatusCode::BAD_REQUEST, format!("{mistake}.")))),
    };
    match made {
        Ok(login) => person::link_to(&app, &call, &visit, login).await,
        Err(told) => {
            let (status, wrong) = told?;
            page(&app, &call, &visit, (status, Typed { wrong, ..typed })).await
        }
    }
}
