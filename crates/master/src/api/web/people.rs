//! The pages: sign in, set a password, what to do next, tokens for servers.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::Response;
use slap_server::{Fields, Problem, escape};

use super::super::{App, Call, problem, reply};
use super::{go_to, html, is_secure, private, session, with_cookie};
use crate::auth::{Session, SignInError, SignedIn, clear_cookie, password as rules};
use crate::domain::{Caller, PersonKey, ProjectKey, Refusal, Role, TokenPurpose};
use crate::store::{IssuedToken, NewToken, ProjectRecord, StoreError, TOKEN_LIFE};

const STYLE: &str = include_str!("style.css");
/// Where one lands after signing in.
const HOME: &str = "./";
const LOGIN: &str = "login";

/// How the pages look.
pub(super) async fn style(_app: Arc<App>, _call: Call) -> Result<Response, Problem> {
    let mut response = reply::with(StatusCode::OK, "text/css; charset=utf-8", STYLE);
    reply::set(&mut response, header::CACHE_CONTROL, "public, max-age=3600");
    reply::set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    Ok(response)
}

/// A sentence that says what went wrong.
fn alert(text: &str) -> String {
    format!("<p role=\"alert\">{}</p>\n", escape(text))
}

/// Of a field people fill in.
fn field(form: &Fields<'_>, name: &str) -> String {
    form.get(name).unwrap_or_default().to_owned()
}

/// The person who is signed in.
fn person_of(session: &Session) -> Result<PersonKey, Problem> {
    match session.caller {
        Caller::Person { person, .. } => Ok(person),
        _ => Err(problem::internal("a session is nobody's")),
    }
}

/// Refuses a form that no page of ours gave to this browser.
fn check_form(session: &Session, form: &Fields<'_>) -> Result<(), Problem> {
    if session.sent(form.get("form_token").unwrap_or_default()) {
        return Ok(());
    }
    Err(Problem::forbidden(
        "This form is out of date: go back, load the page again, and send it once more",
    ))
}

/// The field every form of a signed-in person has.
fn form_token(session: &Session) -> String {
    format!(
        "<input type=\"hidden\" name=\"form_token\" value=\"{}\">\n",
        escape(&session.form_token())
    )
}

/// By what nodes and clients recognise this Master.
fn recognised(app: &App) -> String {
    format!(
        "<p>They recognise this Master by the SHA-256 fingerprint of its authority:<br>\
         <code>{}</code></p>\n",
        app.auth.certifier().authority_fingerprint()
    )
}

/// The first page: who you are, and what to do next.
pub(super) async fn home(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let url = escape(&app.place.public_url);
    let give = format!(
        "<p>Give this URL as <code>master_url</code> to nodes and clients: <code>{url}/</code> \
         (<a href=\"ca.crt\">certificate of its authority</a>)</p>\n{}",
        recognised(&app)
    );
    let Some(session) = session(&app, &call).await? else {
        let who = match call.caller {
            Caller::Anonymous => "",
            Caller::Person { .. } => "<p>Your browser showed a person's certificate.</p>\n",
            _ => "<p>You showed a certificate that is not a person's.</p>\n",
        };
        let body = format!("{give}{who}<p><a href=\"login\">Sign in</a></p>\n");
        return Ok(html(StatusCode::OK, "SlapOS Master", &body));
    };
    let person = app
        .store
        .person(session.caller, person_of(&session)?)
        .await?;
    let projects = app.store.projects(session.caller, None).await?;
    let list: String = projects
        .iter()
        .map(|project| {
            let role = match (project.closed_at, project.role) {
                (Some(_), _) => ", closed",
                (None, Some(Role::Manager)) => ", which you manage",
                (None, Some(Role::Member)) => "",
                (None, None) => ", which others manage",
            };
            format!(
                "<li>{} ({}){role}</li>\n",
                escape(&project.title),
                project.key
            )
        })
        .collect();
    let list = if list.is_empty() {
        "<p>You belong to no project yet: a manager of one has to add you.</p>\n".to_owned()
    } else {
        format!("<h2>Your projects</h2>\n<ul>\n{list}</ul>\n")
    };
    let body = format!(
        "<p>You are signed in as {name} (<code>{login}</code>).</p>\n{give}{list}\
         <p><a href=\"servers\">Servers</a>: add one, or set up a command line</p>\n\
         <form method=\"post\" action=\"logout\">\n{token}<button>Sign out</button>\n</form>\n",
        name = escape(&person.name),
        login = person.login,
        token = form_token(&session),
    );
    Ok(html(StatusCode::OK, "SlapOS Master", &body))
}

fn login_page(status: StatusCode, login: &str, said: &str) -> Response {
    let body = format!(
        "{said}<form method=\"post\" action=\"login\">\n\
         <label>Login name <input name=\"login\" value=\"{}\" autocomplete=\"username\" \
         autocapitalize=\"none\" required autofocus></label>\n\
         <label>Password <input name=\"password\" type=\"password\" \
         autocomplete=\"current-password\" required></label>\n\
         <button>Sign in</button>\n</form>\n",
        escape(login)
    );
    html(status, "Sign in", &body)
}

/// Asks for login name and password.
pub(super) async fn login(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    Ok(match session(&app, &call).await? {
        Some(_) => go_to(HOME),
        None => login_page(StatusCode::OK, "", ""),
    })
}

fn signed_in(call: &Call, signed_in: &SignedIn) -> Result<Response, Problem> {
    with_cookie(go_to(HOME), &signed_in.set_cookie(is_secure(call)))
}

/// The status and the sentence for a refusal that belongs on the page; others are shown as problems.
fn told(error: SignInError) -> Result<(StatusCode, String), Problem> {
    match error {
        SignInError::Wrong => Ok((StatusCode::FORBIDDEN, error.to_string())),
        SignInError::Password(_) => Ok((StatusCode::BAD_REQUEST, error.to_string())),
        SignInError::Store(StoreError::Refused(refusal @ Refusal::TooMany(_))) => {
            Ok((StatusCode::TOO_MANY_REQUESTS, refusal.to_string()))
        }
        SignInError::Store(other) => Err(other.into()),
    }
}

/// Looks at login name and password.
pub(super) async fn sign_in(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let form = call.form();
    let (login, password) = (field(&form, "login"), field(&form, "password"));
    let address = call.origin.address;
    match app.auth.sign_in(&login, password, address).await {
        Ok(person) => signed_in(&call, &person),
        Err(error) => {
            let (status, text) = told(error)?;
            // One name is shown again as it was typed, but not a text of any length.
            let login: String = login.chars().take(100).collect();
            Ok(login_page(status, &login, &alert(&text)))
        }
    }
}

/// Signs out.
pub(super) async fn sign_out(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    if let Some(session) = session(&app, &call).await? {
        check_form(&session, &call.form())?;
        app.auth.sign_out(&session).await?;
    }
    with_cookie(go_to(LOGIN), &clear_cookie(is_secure(&call)))
}

fn password_page(status: StatusCode, login: &str, token: &str, said: &str) -> Response {
    let body = format!(
        "<p>At least {length} characters.</p>\n{said}\
         <form method=\"post\" action=\"password\">\n\
         <input type=\"hidden\" name=\"token\" value=\"{token}\">\n\
         <label>Login name <input value=\"{login}\" autocomplete=\"username\" readonly></label>\n\
         <label>New password <input name=\"password\" type=\"password\" \
         minlength=\"{length}\" autocomplete=\"new-password\" required autofocus></label>\n\
         <label>Once more <input name=\"again\" type=\"password\" \
         autocomplete=\"new-password\" required></label>\n\
         <button>Set password</button>\n</form>\n",
        length = rules::LENGTH_MIN,
        login = escape(login),
        token = escape(token),
    );
    html(status, "Choose a password", &body)
}

/// A link that cannot be used (any more).
fn dead_link(error: StoreError) -> Result<Response, Problem> {
    let StoreError::Refused(refusal @ Refusal::Forbidden(_)) = error else {
        return Err(error.into());
    };
    let body = format!(
        "{}<p>An administrator makes a new link with <code>slapos master user</code>.</p>\n\
         <p><a href=\"login\">Sign in</a></p>\n",
        alert(&refusal.to_string())
    );
    Ok(html(
        StatusCode::FORBIDDEN,
        "This link does not work",
        &body,
    ))
}

/// Asks for a new password. Looking does not use the link up.
pub(super) async fn password(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let token = field(&call.arguments(), "token");
    let address = call.origin.address;
    Ok(match app.auth.password_token(&token, address).await {
        Ok(login) => password_page(StatusCode::OK, login.as_str(), &token, ""),
        Err(error) => dead_link(error)?,
    })
}

/// Sets the password and signs in.
pub(super) async fn set_password(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let form = call.form();
    let (token, password) = (field(&form, "token"), field(&form, "password"));
    let address = call.origin.address;
    let error = if password == field(&form, "again") {
        match app.auth.set_password(&token, password, address).await {
            Ok(person) => return signed_in(&call, &person),
            Err(error) => told(error),
        }
    } else {
        let text = "the two passwords are not the same".to_owned();
        Ok((StatusCode::BAD_REQUEST, text))
    };
    // Whose it is comes from the token, not from the form.
    match (error, app.auth.password_token(&token, address).await) {
        (Ok((status, text)), Ok(login)) => {
            Ok(password_page(status, login.as_str(), &token, &alert(&text)))
        }
        (_, Err(error)) => dead_link(error),
        (Err(problem), Ok(_)) => Err(problem),
    }
}

/// The open projects in which the person may register nodes.
async fn managed(app: &App, session: &Session) -> Result<Vec<ProjectRecord>, Problem> {
    let Caller::Person { administrator, .. } = session.caller else {
        return Ok(Vec::new());
    };
    let mut projects = app.store.projects(session.caller, None).await?;
    projects.retain(|project| {
        project.closed_at.is_none() && (administrator || project.role == Some(Role::Manager))
    });
    Ok(projects)
}

/// Offers a token.
pub(super) async fn servers(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let Some(session) = session(&app, &call).await? else {
        return Ok(go_to(LOGIN));
    };
    let projects = managed(&app, &session).await?;
    let options: String = projects
        .iter()
        .map(|project| {
            let (key, title) = (project.key, escape(&project.title));
            format!("<option value=\"{key}\">{title} ({key})</option>\n")
        })
        .collect();
    let (explain, choice) = if projects.is_empty() {
        (
            "A token lets one command line act for you. You manage no project: servers are \
             registered by those who do.",
            String::new(),
        )
    } else {
        (
            "A token registers one server in a project, or lets one command line act for you.",
            format!("<label>Project <select name=\"project\">\n{options}</select></label>\n"),
        )
    };
    let body = format!(
        "<p>{explain} It works once, within a day.</p>\n\
         <form method=\"post\" action=\"servers\">\n{}{choice}<button>Token</button>\n</form>\n\
         <p><a href=\"./\">Back</a></p>\n",
        form_token(&session),
    );
    Ok(html(StatusCode::OK, "Servers", &body))
}

/// Makes a token and shows it, once.
pub(super) async fn make_token(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let Some(session) = session(&app, &call).await? else {
        return Ok(go_to(LOGIN));
    };
    let form = call.form();
    check_form(&session, &form)?;
    let project: Option<ProjectKey> = form.given_word("project")?;
    let new = NewToken {
        purpose: match project {
            Some(_) => TokenPurpose::Any,
            None => TokenPurpose::Client,
        },
        person: person_of(&session)?,
        project,
        life: TOKEN_LIFE,
    };
    let issued = app.store.create_token(session.caller, new).await?;
    Ok(private(token_page(&app, &issued)))
}

fn token_page(app: &App, issued: &IssuedToken) -> Response {
    let url = escape(&app.place.public_url);
    let token = escape(&issued.token);
    let options = format!("--master-url {url}/ --master-url-web {url} --token {token}");
    let node = match issued.project {
        Some(project) => format!(
            "<h2>Register a server in {project}</h2>\n<p>There, as root, with a name of your \
             choice:</p>\n<pre>slapos node register NAME {options}</pre>\n"
        ),
        None => String::new(),
    };
    let body = format!(
        "<p>Your token, which is shown only now and works once, within a day:</p>\n\
         <pre>{token}</pre>\n{node}<h2>Set up a command line</h2>\n\
         <pre>slapos configure client {options}</pre>\n{recognised}\
         <p><a href=\"servers\">Back</a></p>\n",
        recognised = recognised(app),
    );
    html(StatusCode::OK, "Token", &body)
}
