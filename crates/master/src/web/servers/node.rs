//! A server: the frame of its pages, and the first of them.

use std::sync::Arc;

use axum::response::Response;
use maud::{Markup, html};
use slap_server::Problem;

use super::super::layout::{Page, Section};
use super::super::parts::{Badge, Column, Table, age, alert, facts, section, sometimes};
use super::super::{Visit, sentence};
use super::{capacity, usage};
use crate::api::{App, Call};
use crate::domain::{NodeReference, Timestamp};
use crate::store::{FailingPromise, NodeRecord};

/// The server a call is about, and whether the person may change it.
pub(super) struct Subject {
    pub(super) node: NodeRecord,
    pub(super) is_managed: bool,
}

impl Subject {
    /// Refused when there is no such server for the person.
    pub(super) async fn of(app: &App, call: &Call) -> Result<Self, Problem> {
        let node = reference(call)?;
        let is_managed = app.store.may_manage_node(call.caller, node).await?;
        let node = app.store.node(call.caller, node).await?;
        Ok(Subject { node, is_managed })
    }

    /// The path of the server, or of something below it.
    pub(super) fn path(&self, below: &str) -> String {
        match below {
            "" => format!("servers/{}", self.node.node),
            below => format!("servers/{}/{below}", self.node.node),
        }
    }

    /// A page of the server, with its subheader.
    pub(super) fn page<'a>(&self, visit: &'a Visit) -> Page<'a> {
        let node = &self.node;
        let mut page = visit
            .page(node.title.clone())
            .section(Section::Servers)
            .below("servers", "Servers")
            .beside(html! {
                span.states id="state" data-live { (Badge::node(node)) (Badge::scope(node.scope)) }
            })
            .under(html! { (node.node) " in " (node.project) })
            .live(&format!("node={}", node.node))
            .tab(self.path(""), "Summary")
            .tab(self.path("partitions"), "Partitions")
            .tab(self.path("releases"), "Releases")
            .tab(self.path("events"), "Events");
        if self.is_managed {
            page = page
                .tab(self.path("certificates"), "Certificates")
                .tab(self.path("settings"), "Settings");
        }
        page
    }

    /// A page that asks something about the server.
    pub(super) fn question<'a>(&self, visit: &'a Visit, title: &str) -> Page<'a> {
        visit
            .page(title)
            .section(Section::Servers)
            .below("servers", "Servers")
            .below(&self.path(""), self.node.title.clone())
    }
}

/// The reference in a call's path.
pub(super) fn reference(call: &Call) -> Result<NodeReference, Problem> {
    let reference = call.parameter("node").parse();
    reference.map_err(|mistake| Problem::not_found(format!("{mistake}")))
}

/// How a server is.
pub(super) async fn summary(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let subject = Subject::of(&app, &call).await?;
    let node = &subject.node;
    let failing = app.store.failing_promises(call.caller, node.node).await?;
    let used = app
        .store
        .node_usage(call.caller, node.node, usage::DAYS)
        .await?;
    let failing = (!failing.is_empty()).then(|| promises(&visit, &failing));
    Ok(subject.page(&visit).show(html! {
        div id="facts" data-live { (about(&visit, node)) }
        (sometimes("promises", "Failing promises", &Markup::default(), failing.as_ref()))
        (section("usage", "Usage", Markup::default(), &usage::charts(node, &used)))
    }))
}

fn about(visit: &Visit, node: &NodeRecord) -> Markup {
    let status = node.status.text.as_deref().unwrap_or_default();
    let error = status.strip_prefix("#error").unwrap_or_default().trim();
    let failing = node.status.since.filter(|_| !error.is_empty());
    html! {
        @if !error.is_empty() { (alert(&sentence(error))) }
        (facts(&[
            ("Last contact", html! {
                @match node.contact_at {
                    Some(at) => (age(visit.now, at)),
                    None => { span.muted { "never: type " code { "slapos node" } " on it" } },
                }
                @if let Some(since) = failing {
                    span.muted { ", failing since " (age(visit.now, since)) }
                }
            }),
            ("Capacity", capacity(node)),
            ("Network", html! {
                @match node.network { Some(network) => (network), None => span.muted { "none" } }
            }),
            ("Categories", html! {
                @if node.categories.is_empty() { span.muted { "none" } }
                @for (index, (name, value)) in node.categories.iter().enumerate() {
                    @if index > 0 { br; }
                    (name) " = " (value)
                }
            }),
        ]))
    }
}

const COLUMNS: &[Column] = &[
    Column::words("Promise"),
    Column::words("Service"),
    Column::words("Since"),
    Column::long("It says"),
];

fn promises(visit: &Visit, failing: &[FailingPromise]) -> Markup {
    let mut table = Table::new("Failing promises", COLUMNS);
    for found in failing {
        let (tree, title) = &found.tree;
        table.row(vec![
            html! { span.strong { (found.promise.title) } span.reference { (found.partition) } },
            html! {
                a href=(visit.to(&format!("services/{tree}"))) { (title) }
                @if found.title != *title { span.reference { (found.title) } }
            },
            age(visit.now, Timestamp(found.promise.since)),
            html! { (found.promise.message) },
        ]);
    }
    html! { (table) }
}
