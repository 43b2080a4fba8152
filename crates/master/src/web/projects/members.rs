//! Who belongs to a project, for those who manage it.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use slap_server::{Fields, Problem};

use super::super::parts::{
    self, Choice, Column, Confirm, Field, Table, choice, confirm, empty, hint, section,
};
use super::super::{Icon, Visit, field, told};
use super::project::Subject;
use super::{PATH, PEOPLE};
use crate::api::{App, Call};
use crate::domain::{Login, Role};
use crate::store::MemberRecord;

/// Members on one page.
const MEMBERS: usize = 50;

const COLUMNS: &[Column] = &[
    Column::words("Person"),
    Column::words("Role"),
    Column::actions(),
];

const ROLES: [Choice<'static>; 2] = [
    Choice {
        value: "member",
        words: "Member: requests services",
    },
    Choice {
        value: "manager",
        words: "Manager: also runs servers, software and members",
    },
];

/// What somebody typed who adds a member, and what is wrong with it.
#[derive(Default)]
struct Typed {
    login: String,
    role: String,
    wrong: String,
}

/// The members, and a form for one more.
pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = Subject::of(&app, &call).await?;
    page(
        &app,
        &call,
        &visit,
        &subject,
        (StatusCode::OK, Typed::default()),
    )
    .await
}

async fn page(
    app: &App,
    call: &Call,
    visit: &Visit,
    subject: &Subject,
    (status, typed): (StatusCode, Typed),
) -> Result<Response, Problem> {
    let arguments = call.arguments();
    let after: Option<Login> = field(&arguments, "after").parse().ok();
    let mut found = app
        .store
        .members(call.caller, subject.key(), after.clone(), MEMBERS + 1)
        .await?;
    let is_more = found.len() > MEMBERS;
    found.truncate(MEMBERS);
    let path = subject.path("members");
    let body = html! {
        @if found.is_empty() {
            (empty(Icon::Users, "Nobody belongs to it", &html! {
                p { "Add people by their login names." }
            }))
        } @else {
            (table(visit, subject, &found))
        }
        @if after.is_some() || is_more {
            nav.pager aria-label="Pages" {
                @if after.is_some() { a.button href=(visit.to(&path)) { "First" } }
                @if is_more && let Some(last) = found.last() {
                    a.button rel="next"
                        href=(visit.to_with(&path, &[("after", last.login.as_str())])) {
                        "Next" (Icon::Next)
                    }
                }
            }
        }
    };
    Ok(subject.page(visit).status(status).show(html! {
        @if subject.state.project.closed_at.is_none() {
            form.inline method="post" action=(visit.to(&path)) {
                (visit.form_token())
                (parts::field(&Field {
                    name: "login",
                    label: "Login name",
                    value: &typed.login,
                    error: &typed.wrong,
                    autocomplete: "off",
                    required: true,
                    ..Field::default()
                }))
                (choice("role", "Role", &ROLES, &typed.role))
                button.main { (Icon::UserPlus) "Add" }
            }
            (hint("Who is not known yet is made known by an administrator."))
        }
        (section("members", "Members", html! {}, &body))
    }))
}

fn table(visit: &Visit, subject: &Subject, members: &[MemberRecord]) -> Markup {
    let mut table = Table::new("Members", COLUMNS);
    let is_open = subject.state.project.closed_at.is_none();
    for member in members {
        let remove = subject.path(&format!("members/{}/remove", member.login));
        let (other, verb) = match member.role {
            Role::Manager => (Role::Member, "Make a member"),
            Role::Member => (Role::Manager, "Make a manager"),
        };
        table.row(vec![
            html! {
                @if visit.is_administrator() {
                    a href=(visit.to(&format!("{PEOPLE}/{}", member.login))) { (member.name) }
                } @else {
                    span.strong { (member.name) }
                }
                span.reference { (member.login) }
            },
            super::role(Some(member.role)),
            html! {
                @if is_open {
                    form method="post" action=(visit.to(&subject.path("members"))) {
                        (visit.form_token())
                        input type="hidden" name="login" value=(member.login);
                        input type="hidden" name="role" value=(other);
                        button.small { (verb) }
                    }
                    " "
                }
                a.button.small href=(visit.to(&remove)) data-asks { "Remove" }
            },
        ]);
    }
    html! { (table) }
}

/// The role a form names.
fn role(form: &Fields<'_>) -> Result<Role, Problem> {
    let role = field(form, "role").parse();
    role.map_err(|mistake| Problem::bad_request(format!("{mistake}")))
}

/// Adds a person, or makes it something else.
pub(super) async fn set(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let form = visit.form(&call)?;
    let subject = Subject::of(&app, &call).await?;
    let role = role(&form)?;
    let login = field(&form, "login");
    let done = match login.to_ascii_lowercase().parse::<Login>() {
        Ok(known) => {
            let set = app
                .store
                .set_member(call.caller, subject.key(), known, Some(role));
            set.await.map_err(told)
        }
        Err(mistake) => Err(Ok((StatusCode::BAD_REQUEST, format!("{mistake}.")))),
    };
    match done {
        Ok(()) => Ok(visit.go(&after(&app, &call, &subject).await, "member")),
        Err(told) => {
            let (status, wrong) = told?;
            let role = role.to_string();
            let typed = Typed { login, role, wrong };
            page(&app, &call, &visit, &subject, (status, typed)).await
        }
    }
}

/// Where one goes on: who is no manager any more sees no members.
async fn after(app: &App, call: &Call, subject: &Subject) -> String {
    match app.store.project_state(call.caller, subject.key()).await {
        Ok(state) if state.is_managed => subject.path("members"),
        Ok(_) => subject.path(""),
        Err(_) => PATH.to_owned(),
    }
}

/// The person a call is about.
fn login(call: &Call) -> Result<Login, Problem> {
    let login = call.parameter("login").parse();
    login.map_err(|_| Problem::not_found("There is no such person"))
}

/// Asks before a person is removed.
pub(super) async fn ask(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = Subject::of(&app, &call).await?;
    if !subject.state.is_managed {
        return Err(Problem::forbidden("Only its managers remove members"));
    }
    let login = login(&call)?;
    let back = subject.path("members");
    let page = subject
        .question(&visit, "Remove this person?")
        .below(&back, "Members");
    Ok(page.show(confirm(
        &visit,
        &Confirm {
            text: "It sees nothing of the project any more. Its services there go on; the managers \
                   look after them.",
            verb: "Remove",
            back: &back,
            is_grave: true,
        },
        &html! { p { (login) } },
    )))
}

/// Removes a person from the project.
pub(super) async fn remove(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    visit.form(&call)?;
    let subject = Subject::of(&app, &call).await?;
    app.store
        .set_member(call.caller, subject.key(), login(&call)?, None)
        .await?;
    Ok(visit.go(&after(&app, &call, &subject).await, "member-removed"))
}
