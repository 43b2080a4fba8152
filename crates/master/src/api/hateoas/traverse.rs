//! Views of single documents (P 4.4).

use serde_json::{Map, Value, json};
use slap::{InstallationState, InstanceState, instance_xml};
use slap_server::Problem;
use slap_server::hateoas::{Field, News, TreeView, View};

use super::super::App;
use super::super::problem::internal;
use super::search::portal_type;
use super::{Place, news};
use crate::domain::{Caller, InstallationKey, InstanceKey, NodeReference, PersonKey, TreeKey};
use crate::store::{InstanceNews, InstanceRecord, Subject};

/// Instances of a tree whose news are told.
const NEWS_MAX: i64 = 1_000;

pub(super) async fn show(app: &App, caller: Caller, url: &str) -> Result<Value, Problem> {
    let place = Place::read(url).ok_or_else(Problem::no_such_page)?;
    let view = match place {
        Place::Tree(key) => tree(app, caller, key).await?,
        Place::Node(node) => compute_node(app, caller, node).await?,
        Place::Instance(key) => instance(app, caller, key).await?,
        Place::Installation(key) => installation(app, caller, key).await?,
        Place::Person(key) => person(app, caller, key).await?,
    };
    Ok(view.into())
}

/// A tree with what its root is and what was reported of its instances. Its description says why
/// the root has no place yet.
async fn tree(app: &App, caller: Caller, key: TreeKey) -> Result<View, Problem> {
    let (tree, reported) = app.store.tree(caller, key, NEWS_MAX).await?;
    let waiting = waiting(app, caller, &tree.root).await?;
    let view = TreeView {
        title: tree.title.clone(),
        reference: key.to_string(),
        state: tree.root.state,
        release: tree.root.release,
        software_type: tree.root.software_type,
        shared: tree.root.shared,
        parameters: tree.root.parameters,
        connection: tree.root.connection.unwrap_or_default(),
        news: reported
            .into_iter()
            .map(|InstanceNews { status, .. }| News {
                text: status.text.unwrap_or_default(),
                state: status.reported,
            })
            .collect(),
    };
    Ok(view
        .into_view()?
        .field("my_description", Field::Lines, waiting)
        .field("my_short_title", Field::Text, tree.title)
        .field("my_source_title", Field::Text, tree.owner))
}

/// Why an instance has no place; empty when it has one.
async fn waiting(app: &App, caller: Caller, record: &InstanceRecord) -> Result<String, Problem> {
    if record.placement.is_some() || record.state == InstanceState::Destroyed {
        return Ok(String::new());
    }
    Ok(app.store.why_waiting(caller, record.key).await?)
}

async fn instance(app: &App, caller: Caller, key: InstanceKey) -> Result<View, Problem> {
    let record = app.store.instance(caller, Subject::Instance(key)).await?;
    let waiting = waiting(app, caller, &record).await?;
    let parameters = instance_xml::encode(&record.parameters).map_err(internal)?;
    let connection: Vec<Value> = record
        .connection
        .iter()
        .flatten()
        .map(|(key, value)| json!({"connection_key": key, "connection_value": value}))
        .collect();
    let reported: Vec<Value> = record
        .status
        .text
        .iter()
        .map(|_| news(app, &record.status, key.to_string(), portal_type(&record)))
        .collect();
    let (node, partition) = match &record.placement {
        Some(place) => (place.node.to_string(), place.partition.clone()),
        None => Default::default(),
    };
    let state = match record.state {
        InstanceState::Started => "start_requested",
        InstanceState::Stopped => "stop_requested",
        InstanceState::Destroyed => "destroy_requested",
    };
    Ok(View::new(portal_type(&record))
        .keyed(
            "form_id",
            Field::Text,
            "form_id",
            "SoftwareInstance_viewAsHateoas",
        )
        .field("my_aggregate_reference", Field::Text, node)
        .field("my_aggregate_title", Field::Text, partition)
        .field("my_connection_parameter_list", Field::Text, connection)
        .field("my_description", Field::Lines, waiting)
        .field("my_news", Field::Text, json!({"instance": reported}))
        .field("my_reference", Field::Text, key.to_string())
        .field("my_root_slave", Field::Integer, u8::from(record.shared))
        .field("my_slap_state", Field::Text, state)
        .field("my_source_reference", Field::Text, record.software_type)
        .field("my_specialise_title", Field::Text, record.root_title)
        .field("my_text_content", Field::Lines, parameters)
        .field("my_title", Field::Text, record.title)
        .field("my_url_string", Field::Text, record.release)
        .link("parent", parent(Place::Tree(record.tree))))
}

fn parent(place: Place) -> String {
    format!("urn:jio:get:{}", place.url())
}

/// A node, with what was reported of it and of the instances on it that the caller may see.
async fn compute_node(app: &App, caller: Caller, node: NodeReference) -> Result<View, Problem> {
    let record = app.store.node(caller, node).await?;
    let partitions: Map<String, Value> = app
        .store
        .partition_news(caller, node)
        .await?
        .into_iter()
        .map(|line| {
            let reference = line.key.to_string();
            let told = news(app, &line.status, reference, "Software Instance");
            (line.partition, told)
        })
        .collect();
    let own = news(app, &record.status, node.to_string(), "Compute Node");
    let capacity = if record.alive && record.free > 0 {
        "open"
    } else {
        "close"
    };
    Ok(View::new("Compute Node")
        .keyed(
            "form_id",
            Field::Text,
            "form_id",
            "ComputeNode_viewAsHateoas",
        )
        .field("my_allocation_scope", Field::Text, record.scope.as_str())
        .field("my_capacity_scope", Field::Text, capacity)
        .field(
            "my_follow_up_reference",
            Field::Text,
            record.project.to_string(),
        )
        .field("my_free_quantity", Field::Integer, record.free)
        .field(
            "my_news",
            Field::Text,
            json!({"computer": own, "partition": partitions}),
        )
        .field("my_quantity", Field::Integer, record.partitions)
        .field("my_reference", Field::Text, node.to_string())
        .field("my_title", Field::Text, record.title))
}

async fn installation(app: &App, caller: Caller, key: InstallationKey) -> Result<View, Problem> {
    let record = app.store.installation_by_key(caller, key).await?;
    let state = match record.state {
        InstallationState::Available => "start_requested",
        InstallationState::Destroyed => "destroy_requested",
    };
    let told = news(
        app,
        &record.status,
        key.to_string(),
        "Software Installation",
    );
    Ok(View::new("Software Installation")
        .keyed(
            "form_id",
            Field::Text,
            "form_id",
            "SoftwareInstallation_viewAsHateoas",
        )
        .field("my_news", Field::Text, told)
        .field("my_reference", Field::Text, key.to_string())
        .field("my_slap_state", Field::Text, state)
        .field("my_title", Field::Text, key.to_string())
        .field("my_url_string", Field::Text, record.release)
        .link("parent", parent(Place::Node(record.node))))
}

async fn person(app: &App, caller: Caller, key: PersonKey) -> Result<View, Problem> {
    let record = app.store.person(caller, key).await?;
    let title = match record.name.as_str() {
        "" => record.login.to_string(),
        name => name.to_owned(),
    };
    Ok(View::new("Person")
        .keyed("form_id", Field::Text, "form_id", "Person_viewAsHateoas")
        .field("my_reference", Field::Text, record.login.to_string())
        .field("my_title", Field::Text, title))
}
