//! Requesting a service, step by step: product and release, type, parameters, place, review. What was
//! said travels in the form; nothing is stored before the last step, which does what a request of a
//! program does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Map, Value as Json};
use slap::serialisation::Serialisation;
use slap::{InstanceState, InstanceTitle, ReleaseUrl, SoftwareType};
use slap_client::release::{Metadata, TypeInfo};
use slap_server::Problem;

use super::editor::{Edited, Editor, Purpose, Sent, is_in_catalogue, pretty, quoted, read, words};
use super::parameters::status_of;
use super::{path_of, release_name};
use crate::api::{App, Call};
use crate::domain::{ProjectKey, Refusal, TreeKey};
use crate::store::{NodeRecord, ProductRecord, Requested, StoreError, Subject, Texts, Wanted};
use crate::web::layout::{Page, Section};
use crate::web::parts::{
    Choice, Field, alert, choice, copy, empty, facts, field as line, hint, moment,
};
use crate::web::servers::of_project;
use crate::web::{Icon, Visit, field};

/// Most products, and most releases of each, one can choose from.
const PRODUCTS_MAX: usize = 200;
const RELEASES_MAX: usize = 50;

/// The steps, as they are told.
const STEPS: [&str; 5] = ["Product", "Type", "Parameters", "Place", "Review"];

/// What is chosen before parameters are typed.
struct Chosen {
    project: ProjectKey,
    release: ReleaseUrl,
    /// The name of the type's entry in what the release says, or the type itself.
    kind: String,
    serialisation: Serialisation,
}

impl Chosen {
    fn of(get: impl Fn(&str) -> String) -> Result<Self, Problem> {
        let project = get("project").parse().map_err(Problem::bad_request)?;
        let serialisation = get("serialisation").parse();
        Ok(Chosen {
            project,
            release: ReleaseUrl::new(get("release")).map_err(Problem::bad_request)?,
            kind: get("type"),
            serialisation: serialisation.unwrap_or(Serialisation::JsonInXml),
        })
    }

    fn hidden(&self) -> Markup {
        html! {
            input type="hidden" name="project" value=(self.project);
            input type="hidden" name="release" value=(self.release.as_str());
        }
    }

    /// What the release says, if the caller may ask for it at all.
    async fn metadata(&self, app: &App, call: &Call) -> Result<Result<Metadata, String>, Problem> {
        if !is_in_catalogue(app, call, self.project, &self.release).await? {
            let unknown = Refusal::unknown("release of a product", self.release.as_str());
            return Err(StoreError::from(unknown).into());
        }
        Ok(app.catalogue.metadata(&self.release).await)
    }

    async fn purpose(
        &self,
        app: &App,
        metadata: &Result<Metadata, String>,
    ) -> Result<Purpose, Problem> {
        let info = match metadata {
            Ok(metadata) => {
                let mut types = metadata.types().into_iter();
                let known = types.find(|info| info.name == self.kind);
                known
                    .map(|info| (metadata, info))
                    .ok_or_else(|| "the release does not tell of this type".to_owned())
            }
            Err(why) => Err(why.clone()),
        };
        let software_type = match self.kind.as_str() {
            "" => SoftwareType::default(),
            kind => SoftwareType::new(kind).map_err(Problem::bad_request)?,
        };
        let info = match &info {
            Ok((metadata, info)) => Ok((*metadata, info)),
            Err(why) => Err(why.clone()),
        };
        let typed = (software_type, self.serialisation);
        Ok(Purpose::of_type(app, self.release.clone(), info, typed).await)
    }
}

/// Where it is to be, and how it is called.
#[derive(Default)]
struct Place {
    title: String,
    stopped: bool,
    node: String,
    network: String,
    region: String,
    /// The instance that serves a shared one.
    host: String,
}

impl Place {
    fn of(sent: &Sent) -> Self {
        Place {
            title: sent.text("title"),
            stopped: sent.raw("state") == "stopped",
            node: sent.text("node"),
            network: sent.text("network"),
            region: sent.text("region"),
            host: sent.text("host"),
        }
    }

    fn state(&self) -> InstanceState {
        match self.stopped {
            true => InstanceState::Stopped,
            false => InstanceState::Started,
        }
    }

    fn sla(&self) -> Texts {
        [
            ("computer_guid", &self.node),
            ("network_guid", &self.network),
            ("region", &self.region),
            ("instance_guid", &self.host),
        ]
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(key, text)| (key.to_owned(), text.clone()))
        .collect()
    }

    fn hidden(&self) -> Markup {
        html! {
            @for (name, value) in [
                ("title", self.title.as_str()),
                ("state", self.state().as_str()),
                ("node", &self.node),
                ("network", &self.network),
                ("region", &self.region),
                ("host", &self.host),
            ] {
                input type="hidden" name=(name) value=(value);
            }
        }
    }
}

fn page<'a>(visit: &'a Visit, step: usize) -> Page<'a> {
    visit
        .page("Request a service")
        .section(Section::Services)
        .below("services", "Services")
        .under(html! {
            ol.way aria-label="Steps" {
                @for (index, name) in STEPS.iter().enumerate() {
                    li aria-current=[(index == step).then_some("step")] { (name) }
                }
            }
        })
}

/// The steps that only choose: everything is in the address.
pub(super) async fn ask(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let arguments = call.arguments();
    if field(&arguments, "release").is_empty() {
        let products = app.store.products(call.caller, None).await?;
        return Ok(page(&visit, 0).show(choose(&visit, &products)));
    }
    let mut chosen = Chosen::of(|name| field(&arguments, name))?;
    let metadata = chosen.metadata(&app, &call).await?;
    if let Ok(metadata) = &metadata {
        let types = metadata.types();
        let is_known = types.iter().any(|info| info.name == chosen.kind);
        match types.as_slice() {
            [only] => chosen.kind.clone_from(&only.name),
            [] => {}
            several if !is_known => {
                return Ok(page(&visit, 1).show(which(&visit, &chosen, metadata, several)));
            }
            _ => {}
        }
    }
    let purpose = chosen.purpose(&app, &metadata).await?;
    let editor = Editor::with(&purpose, &Json::Object(Map::new()));
    let body = parameters(
        &visit,
        &chosen,
        &Place::default(),
        &purpose,
        &editor,
        metadata.is_ok(),
    );
    Ok(page(&visit, 2).show(body))
}

/// The steps in which something is typed, and the last one, which does it.
pub(super) async fn next(app: Arc<App>, call: Call) -> Result<Response, Problem> {
    let visit = Visit::of(&app, &call);
    let sent = Sent::of(&visit, &call)?;
    let chosen = Chosen::of(|name| sent.text(name))?;
    let place = Place::of(&sent);
    let metadata = chosen.metadata(&app, &call).await?;
    let purpose = chosen.purpose(&app, &metadata).await?;
    let typed = |editor: &Editor| {
        let body = parameters(&visit, &chosen, &place, &purpose, editor, metadata.is_ok());
        page(&visit, 2).status(status_of(editor)).show(body)
    };
    let button = sent.raw("do");
    if sent.raw("stage") == "parameters" {
        return match Editor::pressed(&app, &purpose, &sent).await {
            Edited::Again(editor) => Ok(typed(&editor)),
            Edited::Done(document) => {
                let nodes = of_project(&app, &call, chosen.project).await?;
                let body = placement(&visit, &chosen, &place, &purpose, &document, &nodes, "");
                Ok(page(&visit, 3).show(body))
            }
        };
    }
    let document = read(sent.raw("document")).map_err(Problem::bad_request)?;
    if button == "parameters" {
        return Ok(typed(&Editor::with(&purpose, &document)));
    }
    let again = |nodes: &[NodeRecord], wrong: &str| {
        let body = placement(&visit, &chosen, &place, &purpose, &document, nodes, wrong);
        let status = match wrong {
            "" => StatusCode::OK,
            _ => StatusCode::BAD_REQUEST,
        };
        page(&visit, 3).status(status).show(body)
    };
    let wrong = match button {
        "place" => String::new(),
        _ => unusable(&app, &call, &place).await?,
    };
    if button == "place" || !wrong.is_empty() {
        let nodes = of_project(&app, &call, chosen.project).await?;
        return Ok(again(&nodes, &wrong));
    }
    let parameters = purpose.written(&document).map_err(Problem::bad_request)?;
    let title = InstanceTitle::new(place.title.clone()).map_err(Problem::bad_request)?;
    let wanted = Wanted {
        requester: None,
        project: Some(chosen.project),
        title,
        release: chosen.release.clone(),
        software_type: Some(purpose.software_type.clone()),
        parameters: Some(parameters),
        sla: Some(place.sla()),
        state: Some(place.state()),
        shared: Some(purpose.shared),
    };
    if sent.raw("stage") != "review" || button != "send" {
        let body = review(&visit, &chosen, &place, &document, &wanted);
        return Ok(page(&visit, 4).show(body));
    }
    let tree = requested(&app, &call, wanted).await?;
    Ok(visit.go(&path_of(tree), "requested"))
}

/// Asks for it: the tree it is the root of.
async fn requested(app: &App, call: &Call, wanted: Wanted) -> Result<TreeKey, Problem> {
    match app.store.request(call.caller, wanted).await? {
        Requested::Placed(record) => Ok(record.tree),
        Requested::Waiting {
            instance: Some(key),
            ..
        } => {
            let subject = Subject::Instance(key);
            Ok(app.store.instance(call.caller, subject).await?.tree)
        }
        Requested::Waiting { why, .. } => Err(StoreError::from(Refusal::Conflict(why)).into()),
    }
}

/// What is wrong with the place, as a sentence; empty when nothing is.
async fn unusable(app: &App, call: &Call, place: &Place) -> Result<String, Problem> {
    if place.title.is_empty() {
        return Ok("Give it a title.".to_owned());
    }
    if let Err(error) = InstanceTitle::new(place.title.clone()) {
        return Ok(format!("This title cannot be used: {error}."));
    }
    // It would be changed, not made.
    let known = app.store.tree_titled(call.caller, place.title.clone());
    Ok(match known.await? {
        Some(tree) => format!(
            "You have a service of this title already, {tree}: give another title, or change that one."
        ),
        None => String::new(),
    })
}

fn choose(visit: &Visit, products: &[ProductRecord]) -> Markup {
    if products.iter().all(|product| product.releases.is_empty()) {
        return empty(
            Icon::Software,
            "No product yet",
            &html! {
                p {
                    "A product is a software with its releases. Who manages a project adds one; on the \
                     Master's machine:"
                }
                (copy("slapos master product add NAME --project PROJ-1\nslapos master product release add NAME URL"))
            },
        );
    }
    html! {
        div.products {
            @for product in products.iter().filter(|product| !product.releases.is_empty()).take(PRODUCTS_MAX) {
                @let id = format!("release-{}", product.key.0);
                form.card action=(visit.to("services/new")) {
                    div {
                        h2 { (if product.title.is_empty() { &product.reference } else { &product.title }) }
                        span.reference { (product.reference) " · " (product.project) }
                    }
                    input type="hidden" name="project" value=(product.project);
                    div.field {
                        label for=(id) { "Release" }
                        select id=(id) name="release" {
                            @for (index, release) in product.releases.iter().take(RELEASES_MAX).enumerate() {
                                option value=(release.url) {
                                    (release.url)
                                    @if index == 0 { " (the best)" }
                                    @else if let Some(at) = release.effective_at
                                        && at > visit.now { " (from " (moment(at)) ")" }
                                }
                            }
                        }
                    }
                    div.buttons {
                        button.main {
                            "Choose"
                            span.unseen { " " (product.reference) }
                        }
                    }
                }
            }
        }
    }
}

fn which(visit: &Visit, chosen: &Chosen, metadata: &Metadata, types: &[TypeInfo]) -> Markup {
    html! {
        form.card.wide action=(visit.to("services/new")) {
            (chosen.hidden())
            @if !metadata.title().is_empty() { h2 { (metadata.title()) } }
            @if !metadata.description().is_empty() { p.muted { (metadata.description()) } }
            fieldset.choices {
                legend { "Type" }
                @for (index, info) in types.iter().enumerate() {
                    @let id = format!("type-{index}");
                    label.check for=(id) {
                        input type="radio" id=(id) name="type" value=(info.name) checked[index == 0];
                        span {
                            (if info.title.is_empty() { &info.name } else { &info.title })
                            @if info.shared { " (shared)" }
                            @if !info.description.is_empty() { span.reference { (info.description) } }
                        }
                    }
                }
            }
            div.buttons {
                button.main { "Go on" }
                a.button href=(visit.to("services/new")) { "Another product" }
            }
        }
    }
}

fn parameters(
    visit: &Visit,
    chosen: &Chosen,
    place: &Place,
    purpose: &Purpose,
    editor: &Editor,
    is_told: bool,
) -> Markup {
    let action = visit.to("services/new");
    html! {
        form.card.wide method="post" action=(action) {
            (visit.form_token())
            (chosen.hidden())
            (place.hidden())
            input type="hidden" name="stage" value="parameters";
            // What is pressed by the key Enter.
            button.unseen name="do" value="next" tabindex="-1" aria-hidden="true" {}
            p.muted { (release_name(chosen.release.as_str())) }
            @if is_told {
                input type="hidden" name="type" value=(chosen.kind);
            } @else {
                (line(&Field {
                    name: "type",
                    label: "Type",
                    value: &chosen.kind,
                    example: SoftwareType::default().as_str(),
                    hint: "The release's software type; left empty, its default one.",
                    ..Field::default()
                }))
                (choice("serialisation", "Written down as", &[
                    Choice { value: "json-in-xml", words: "One JSON document (most releases)" },
                    Choice { value: "xml", words: "Separate texts" },
                ], match chosen.serialisation {
                    Serialisation::JsonInXml => "json-in-xml",
                    Serialisation::Xml => "xml",
                }))
            }
            (editor.show(purpose, &action))
            div.buttons {
                button.main name="do" value="next" { "Go on" }
                a.button href=(visit.to("services/new")) { "Another product" }
            }
        }
    }
}

/// What every later step carries on.
fn carried(visit: &Visit, chosen: &Chosen, document: &Json) -> Markup {
    html! {
        (visit.form_token())
        (chosen.hidden())
        input type="hidden" name="type" value=(chosen.kind);
        input type="hidden" name="serialisation" value=(match chosen.serialisation {
            Serialisation::JsonInXml => "json-in-xml",
            Serialisation::Xml => "xml",
        });
        input type="hidden" name="document" value=(document.to_string());
    }
}

fn placement(
    visit: &Visit,
    chosen: &Chosen,
    place: &Place,
    purpose: &Purpose,
    document: &Json,
    nodes: &[NodeRecord],
    wrong: &str,
) -> Markup {
    let is_title = !wrong.is_empty();
    let regions: BTreeSet<&str> = nodes
        .iter()
        .filter_map(|node| node.categories.get("region").map(String::as_str))
        .collect();
    let networks: BTreeMap<String, usize> = nodes.iter().filter_map(|node| node.network).fold(
        BTreeMap::new(),
        |mut networks, network| {
            *networks.entry(network.to_string()).or_default() += 1;
            networks
        },
    );
    let servers: Vec<(String, String)> = nodes
        .iter()
        .map(|node| {
            let reference = node.node.to_string();
            let state = match (node.alive, node.free) {
                (false, _) => "silent".to_owned(),
                (true, free) => format!("{free} of {} partitions free", node.partitions),
            };
            let words = format!("{} ({reference}, {state})", node.title);
            (reference, words)
        })
        .collect();
    let networks: Vec<(String, String)> = networks
        .into_iter()
        .map(|(network, count)| {
            let servers = if count == 1 { "server" } else { "servers" };
            let words = format!("{network} ({count} {servers})");
            (network, words)
        })
        .collect();
    let regions: Vec<(String, String)> = regions
        .into_iter()
        .map(|region| (region.to_owned(), region.to_owned()))
        .collect();
    let among = |name, label, any, choices: &[(String, String)], chosen: &str| {
        let mut all = vec![Choice {
            value: "",
            words: any,
        }];
        all.extend(choices.iter().map(|(value, words)| Choice { value, words }));
        html! { @if !choices.is_empty() { (choice(name, label, &all, chosen)) } }
    };
    html! {
        form.card.wide method="post" action=(visit.to("services/new")) {
            (carried(visit, chosen, document))
            input type="hidden" name="stage" value="place";
            button.unseen name="do" value="next" tabindex="-1" aria-hidden="true" {}
            @if is_title { (alert(wrong)) }
            (line(&Field {
                name: "title",
                label: "Title",
                value: &place.title,
                error: wrong,
                hint: "Unique among your services. It stays as long as the service does.",
                autocomplete: "off",
                autofocus: true,
                ..Field::default()
            }))
            (choice("state", "State", &[
                Choice { value: "started", words: "Started" },
                Choice { value: "stopped", words: "Stopped" },
            ], place.state().as_str()))
            @if purpose.shared {
                (line(&Field {
                    name: "host",
                    label: "Served by",
                    value: &place.host,
                    example: "SOFTINST-1",
                    hint: "The instance that serves it; left empty, any that does.",
                    ..Field::default()
                }))
            }
            (among("node", "Server", "Any server that has the release", &servers, &place.node))
            (among("region", "Region", "Any region", &regions, &place.region))
            (among("network", "Network", "Any network", &networks, &place.network))
            @if servers.is_empty() {
                (hint("There is no server in this project yet: the service waits until one has the release."))
            }
            div.buttons {
                button.main name="do" value="next" { "Review" }
                button name="do" value="parameters" formnovalidate { "Back" }
            }
        }
    }
}

/// The same, as one would type it.
fn command(wanted: &Wanted) -> String {
    let mut line = format!(
        "slapos request {} {}",
        quoted(wanted.title.as_str()),
        quoted(wanted.release.as_str())
    );
    if let Some(software_type) = &wanted.software_type {
        line += &format!(" --type {}", quoted(software_type.as_str()));
    }
    if wanted.state == Some(InstanceState::Stopped) {
        line += " --state stopped";
    }
    if wanted.shared == Some(true) {
        line += " --slave";
    }
    let mut sla = wanted.sla.clone().unwrap_or_default();
    if let Some(project) = wanted.project {
        sla.insert("project_guid".to_owned(), project.to_string());
    }
    line += &format!(" --node {}", words(&sla));
    match &wanted.parameters {
        Some(parameters) if !parameters.is_empty() => {
            line += &format!(" --parameters {}", words(parameters));
        }
        _ => {}
    }
    line
}

fn review(
    visit: &Visit,
    chosen: &Chosen,
    place: &Place,
    document: &Json,
    wanted: &Wanted,
) -> Markup {
    let sla = wanted.sla.clone().unwrap_or_default();
    let placed = html! {
        @if sla.is_empty() { "Any server of " (chosen.project) " that has the release" }
        @else {
            (chosen.project)
            @for (key, value) in &sla { " · " (key.replace("_guid", "").replace("computer", "server")) " " (value) }
        }
    };
    let software_type = wanted
        .software_type
        .as_ref()
        .map_or("", SoftwareType::as_str);
    html! {
        form.card.wide method="post" action=(visit.to("services/new")) {
            (carried(visit, chosen, document))
            (place.hidden())
            input type="hidden" name="stage" value="review";
            (facts(&[
                ("Title", html! { (place.title) }),
                ("Release", html! { (chosen.release.as_str()) }),
                ("Type", html! { (software_type) @if wanted.shared == Some(true) { " (shared)" } }),
                ("State", html! { (place.state()) }),
                ("Place", placed),
            ]))
            section.part {
                h2 { "Parameters" }
                @if document.as_object().is_some_and(Map::is_empty) {
                    p.muted { "None: the release's defaults." }
                } @else {
                    (copy(&pretty(document)))
                }
            }
            section.part {
                h2 { "The same on a command line" }
                (copy(&command(wanted)))
            }
            div.buttons {
                button.main name="do" value="send" { "Request it" }
                button name="do" value="place" { "Back" }
                a.button href=(visit.to("services")) { "Cancel" }
            }
        }
    }
}
