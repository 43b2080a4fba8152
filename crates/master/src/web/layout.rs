//! The frame around every page: the menu, the subheader, where one is, what was just done.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{DOCTYPE, Markup, html};

use super::assets::ASSETS;
use super::{Icon, Visit, answer};
use crate::auth::Session;

/// An entry of the menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// What there is, and what needs attention.
    Overview,
    /// What a person runs.
    Services,
    /// Nodes, and the tokens that register them.
    Servers,
    /// What can run here.
    Software,
    /// Who works together, on what.
    Projects,
    /// Who changed what.
    Audit,
    /// How the Master is.
    Health,
    /// Who one is here.
    Account,
}

/// An entry as it is shown.
struct Entry {
    section: Section,
    path: &'static str,
    icon: Icon,
    word: &'static str,
    for_administrators: bool,
}

const fn entry(section: Section, path: &'static str, icon: Icon, word: &'static str) -> Entry {
    Entry {
        section,
        path,
        icon,
        word,
        for_administrators: false,
    }
}

/// The menu, in its order. On a phone the first four are at hand, the others one tap further.
const MENU: &[Entry] = &[
    entry(Section::Overview, "", Icon::Overview, "Overview"),
    entry(Section::Services, "services", Icon::Services, "Services"),
    entry(Section::Servers, "servers", Icon::Server, "Servers"),
    entry(Section::Software, "software", Icon::Software, "Software"),
    entry(Section::Projects, "projects", Icon::Projects, "Projects"),
    Entry {
        for_administrators: true,
        ..entry(Section::Audit, "audit", Icon::Audit, "Audit")
    },
    Entry {
        for_administrators: true,
        ..entry(Section::Health, "health", Icon::Health, "Health")
    },
];

/// Entries that a phone has room for.
const AT_HAND: usize = 4;

/// What a page says after something was done: `?done=` brings the word, nothing else is shown.
pub(super) const DONE: &[(&str, &str)] = &[
    ("signed-in", "You are signed in."),
    ("started", "It is to start: its servers are told."),
    ("stopped", "It is to stop: its servers are told."),
    ("destroyed", "It is to be destroyed: its servers are told."),
    ("upgrade", "Your answer is kept."),
    (
        "supplied",
        "The release is asked for: the server installs it as soon as it hears of it.",
    ),
    (
        "removing",
        "The server removes the release as soon as it hears of it.",
    ),
    ("scope", "The scope is set."),
    ("capacity", "The capacity is set."),
    ("server-removed", "The server is removed."),
    ("product", "The product is there."),
    ("release", "The release is set."),
    ("release-removed", "The release is taken out."),
    ("project", "The project is there, and you manage it."),
    ("project-closed", "The project is closed."),
    ("member", "The role is set."),
    ("member-removed", "The person is no member any more."),
    ("person", "It is set."),
    ("certificate-revoked", "The certificate is revoked."),
    ("token-revoked", "The token is revoked."),
    ("signed-out", "Signed out there."),
    (
        "requested",
        "It is requested. You see here what becomes of it.",
    ),
    (
        "parameters",
        "The parameters are changed: its servers are told.",
    ),
    (
        "password",
        "Your password is changed, and your other browsers are signed out.",
    ),
];

/// A page to be.
pub(super) struct Page<'a> {
    visit: &'a Visit,
    title: String,
    status: StatusCode,
    section: Option<Section>,
    crumbs: Vec<(String, String)>,
    tabs: Vec<(String, String)>,
    beside: Markup,
    under: Markup,
    live: Option<String>,
}

impl<'a> Page<'a> {
    pub(super) fn new(visit: &'a Visit, title: String) -> Self {
        Page {
            visit,
            title,
            status: StatusCode::OK,
            section: None,
            crumbs: Vec::new(),
            tabs: Vec::new(),
            beside: Markup::default(),
            under: Markup::default(),
            live: None,
        }
    }

    /// Another status than success.
    pub(super) fn status(self, status: StatusCode) -> Self {
        Page { status, ..self }
    }

    /// The entry of the menu it belongs to.
    pub(super) fn section(self, section: Section) -> Self {
        Page {
            section: Some(section),
            ..self
        }
    }

    /// What it is a part of: a path and its name. Several go from the root down.
    pub(super) fn below(mut self, path: &str, name: impl Into<String>) -> Self {
        self.crumbs.push((path.to_owned(), name.into()));
        self
    }

    /// A part in the subheader: a path and its name. The one that is shown is marked.
    pub(super) fn tab(mut self, path: impl Into<String>, name: impl Into<String>) -> Self {
        self.tabs.push((path.into(), name.into()));
        self
    }

    /// What stands beside the title: a state, buttons.
    pub(super) fn beside(self, beside: Markup) -> Self {
        Page { beside, ..self }
    }

    /// A line under the title.
    pub(super) fn under(self, under: Markup) -> Self {
        Page { under, ..self }
    }

    /// Keeps the regions with `data-live` up to date, by the stream of events with these arguments:
    /// `""` for all one may see, `node=COMP-1`, `tree=HOSTSUBS-1`.
    pub(super) fn live(self, arguments: &str) -> Self {
        Page {
            live: Some(match arguments {
                "" => "events".to_owned(),
                arguments => format!("events?{arguments}"),
            }),
            ..self
        }
    }

    /// The page with this on it.
    pub(super) fn show(self, body: Markup) -> Response {
        let status = self.status;
        answer(status, self.markup(&body))
    }

    fn markup(&self, body: &Markup) -> Markup {
        let visit = self.visit;
        let live = self.live.as_ref().map(|events| visit.to(events));
        html! {
            (DOCTYPE)
            html lang="en" data-theme=[visit.theme.as_str()] {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) " · SlapOS" }
                    link rel="icon" href=(visit.to(&ASSETS.mark.path)) type="image/svg+xml";
                    link rel="stylesheet" href=(visit.to(&ASSETS.style.path));
                    script src=(visit.to(&ASSETS.script.path)) defer {}
                    @if live.is_some() {
                        noscript { meta http-equiv="refresh" content="30"; }
                    }
                }
                body class=[visit.session.is_none().then_some("door")] data-live=[live] {
                    a.skip href="#main" { "Skip to content" }
                    @match &visit.session {
                        Some(session) => (self.menu(session)),
                        None => header.top { (mark(visit)) },
                    }
                    div.frame {
                        (self.head())
                        main id="main" tabindex="-1" {
                            @if let Some(text) = done(&visit.done) {
                                p.note role="status" { (Icon::Done) (text) }
                            }
                            (body)
                        }
                    }
                }
            }
        }
    }

    fn head(&self) -> Markup {
        let visit = self.visit;
        html! {
            div.head {
                @if !self.crumbs.is_empty() {
                    nav.crumbs aria-label="Where you are" {
                        @for (path, name) in &self.crumbs {
                            a href=(visit.to(path)) { (name) }
                            span aria-hidden="true" { "/" }
                        }
                    }
                }
                div.title {
                    h1 { (self.title) }
                    (self.beside)
                }
                @if !self.under.0.is_empty() { div.under { (self.under) } }
                @if !self.tabs.is_empty() {
                    nav.tabs aria-label="Subheader" {
                        @for (path, name) in &self.tabs {
                            a href=(visit.to(path)) aria-current=[current(*path == visit.path)] {
                                (name)
                            }
                        }
                    }
                }
            }
        }
    }

    fn menu(&self, session: &Session) -> Markup {
        let visit = self.visit;
        let entries: Vec<&Entry> = MENU
            .iter()
            .filter(|entry| !entry.for_administrators || visit.is_administrator())
            .collect();
        let name = match session.name.as_str() {
            "" => session.login.as_str(),
            name => name,
        };
        let link = |entry: &Entry| {
            html! {
                a href=(visit.to(entry.path))
                    aria-current=[current(self.section == Some(entry.section))] {
                    (entry.icon) span { (entry.word) }
                }
            }
        };
        let who = html! {
            div.who {
                a href=(visit.to("account")) title=(session.login)
                    aria-current=[current(self.section == Some(Section::Account))] {
                    (Icon::Account) span { (name) }
                }
                button.quiet type="button" data-theme-switch hidden { (Icon::Theme) span { "Theme" } }
                form method="post" action=(visit.to("logout")) {
                    (visit.form_token())
                    button.quiet { (Icon::SignOut) span { "Sign out" } }
                }
            }
        };
        html! {
            header.side {
                (mark(visit))
                nav.menu aria-label="Main" {
                    @for (index, entry) in entries.iter().enumerate() {
                        @if index < AT_HAND { (link(entry)) }
                        @else { div.further { (link(entry)) } }
                    }
                }
                (who)
                details.more {
                    summary { (Icon::Menu) span { "More" } }
                    nav aria-label="More" {
                        @for entry in entries.iter().skip(AT_HAND) { (link(entry)) }
                        (who)
                    }
                }
            }
        }
    }
}

fn mark(visit: &Visit) -> Markup {
    html! {
        a.mark href=(visit.to("")) {
            img src=(visit.to(&ASSETS.mark.path)) alt="" width="24" height="24";
            span { "SlapOS" }
        }
    }
}

fn current(is_current: bool) -> Option<&'static str> {
    is_current.then_some("page")
}

fn done(word: &str) -> Option<&'static str> {
    let mut found = DONE.iter().filter(|(known, _)| *known == word);
    found.next().map(|(_, text)| *text)
}
