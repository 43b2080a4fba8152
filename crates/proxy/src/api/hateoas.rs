//! The hypermedia documents that `service` and `computer` commands read (P 4).

use axum::http::StatusCode;
use axum::response::Response;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value, json};
use slap::instance_xml;
use slap_server::hateoas::{self, Ask, Field, News, Query, ROWS_MAX, Search, Templates, View};
use slap_server::json::{self, Spacing};
use slap_server::status::Record;

use super::reports::Subject;
use super::{Allow, App, Call, Problem};
use crate::domain::{Instance, Node, TreeGuid};

/// What a path segment may hold as it is. The slash is among it: titles that hold one are the rest
/// of the path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

/// The methods a path takes.
pub(super) fn allowed(name: &str) -> Option<Allow> {
    (name == "hateoas" || name.starts_with("hateoas/")).then_some(Allow::Get)
}

pub(super) fn get(app: &App, name: &str, call: &Call) -> Result<Response, Problem> {
    let path = name
        .strip_prefix("hateoas")
        .unwrap_or(name)
        .trim_start_matches('/');
    if path.is_empty() {
        index(app, call)
    } else {
        document(app, path)
    }
}

fn answer(value: &Value) -> Response {
    let mut body = json::write(value, Spacing::Tight);
    body.push(b'\n');
    super::reply(StatusCode::OK, "application/json", body)
}

fn index(app: &App, call: &Call) -> Result<Response, Problem> {
    match Ask::read(&call.arguments(), ROWS_MAX)? {
        Ask::Root => Ok(answer(&hateoas::root(
            &format!("{}/hateoas/", call.base_url()),
            Templates::Simple,
            None,
        ))),
        Ask::Search(asked) => search(app, &asked),
        Ask::Traverse(url) => document(app, url.strip_prefix("/hateoas/").unwrap_or(url)),
    }
}

fn search(app: &App, asked: &Search<'_>) -> Result<Response, Problem> {
    let rows: Vec<Value> = match &asked.query {
        Query::Trees(None) => app.store.roots()?.iter().map(tree_row).collect(),
        Query::Trees(Some(title)) => title
            .values()
            .iter()
            .flat_map(|title| [(title, false), (title, true)])
            .filter_map(|(title, shared)| app.store.root(title, shared).transpose())
            .map(|root| Ok(tree_row(&root?)))
            .collect::<Result<_, Problem>>()?,
        Query::Nodes(reference) => app
            .store
            .nodes()?
            .iter()
            .filter(|node| reference.is_none_or(|reference| reference.means(node.node.as_str())))
            .map(node_row)
            .collect(),
        Query::Instances(title) => app
            .store
            .tree(title.pasted())?
            .iter()
            .map(|instance| instance_row(instance, &asked.columns))
            .collect::<Result<_, _>>()?,
        Query::Installations(reference) => installation_rows(app, reference.pasted())?,
    };
    let rows = rows.into_iter().skip(asked.skip).take(asked.limit);
    Ok(answer(&hateoas::search_result(rows)))
}

fn relative_url(kind: &str, name: &str) -> String {
    format!("/hateoas/{kind}/{}", utf8_percent_encode(name, SEGMENT))
}

fn tree_row(root: &Instance) -> Value {
    let kind = if root.shared { "shared" } else { "partitions" };
    json!({
        "relative_url": relative_url(kind, &root.title),
        "title": root.title,
        "url_string": root.release,
    })
}

fn node_row(node: &Node) -> Value {
    json!({
        "address": node.address,
        "netmask": node.netmask,
        "reference": node.node.as_str(),
        "relative_url": relative_url("computers", node.node.as_str()),
        "title": node.node.as_str(),
    })
}

fn guid(instance: &Instance) -> String {
    TreeGuid {
        title: instance.title.clone(),
        root: (!instance.is_root).then(|| instance.root_title.clone()),
        shared: instance.shared,
    }
    .to_string()
}

fn instance_row(instance: &Instance, columns: &[&str]) -> Result<Value, Problem> {
    let guid = guid(instance);
    let mut row = Map::new();
    for column in columns {
        let value = match *column {
            "uid" => json!(guid),
            "title" => json!(instance.title),
            "relative_url" => json!(relative_url("instances", &guid)),
            "portal_type" => json!(if instance.shared {
                "Slave Instance"
            } else {
                "Software Instance"
            }),
            "url_string" => json!(instance.release),
            "text_content" => json!(text_content(instance)?),
            "getConnectionXmlAsDict" => json!(instance.connection.clone().unwrap_or_default()),
            // Lists stay as upstream's proxy gives them.
            _ => continue,
        };
        row.insert((*column).to_owned(), value);
    }
    row.sort_keys();
    Ok(row.into())
}

fn installation_rows(app: &App, reference: &str) -> Result<Vec<Value>, Problem> {
    let Ok(node) = slap::NodeId::new(reference) else {
        return Ok(Vec::new());
    };
    let installations = app
        .store
        .node(&node)?
        .map(|state| state.installations)
        .unwrap_or_default();
    Ok(installations
        .iter()
        .map(|(release, state)| {
            let name = format!("{reference} {release}");
            json!({
                "relative_url": relative_url("installations", &name),
                "state": state.as_str(),
                "uid": name,
                "url_string": release,
            })
        })
        .collect())
}

fn document(app: &App, path: &str) -> Result<Response, Problem> {
    let missing = Problem::no_such_page;
    let (kind, name) = path.split_once('/').ok_or_else(missing)?;
    let name = percent_decode_str(name)
        .decode_utf8()
        .map_err(|_| missing())?;
    let found = match kind {
        // A root first; a member of any tree by its title, as upstream does.
        "partitions" => match app.store.root(&name, false)? {
            Some(root) => Some(root),
            None => app.store.member_titled(&name)?,
        },
        "shared" => app.store.root(&name, true)?,
        "instances" => app.store.instance_by_guid(&name)?,
        "computers" => {
            let nodes = app.store.nodes()?;
            let node = nodes.iter().find(|node| node.node.as_str() == name);
            return Ok(answer(&node_document(node.ok_or_else(missing)?)));
        }
        _ => None,
    };
    let instance = found.ok_or_else(missing)?;
    let news = instance
        .place
        .as_ref()
        .filter(|_| !instance.shared)
        .and_then(|place| app.reports.get(&Subject::Partition(place.clone())));
    Ok(answer(&instance_document(&instance, news.as_ref())?))
}

/// The parameters as an instance XML.
fn text_content(instance: &Instance) -> Result<String, Problem> {
    instance_xml::encode(&instance.parameters.as_text()).map_err(Problem::internal)
}

/// `my_news` is there only when something was reported: upstream's proxy never tells any.
fn instance_document(instance: &Instance, news: Option<&Record>) -> Result<Value, Problem> {
    let connection = instance
        .connection
        .as_ref()
        .map(instance_xml::encode)
        .transpose()
        .map_err(Problem::internal)?;
    let mut view = View::new("Instance Tree")
        .keyed(
            "form_id",
            Field::Text,
            "form_id",
            "InstanceTree_viewAsHateoas",
        )
        .field("my_connection_parameter_list", Field::Text, connection)
        .field("my_reference", Field::Text, instance.title.as_str())
        .field("my_root_slave", Field::Integer, u8::from(instance.shared))
        .field("my_slap_state", Field::Text, instance.state.as_str())
        .field(
            "my_source_reference",
            Field::Text,
            instance.software_type.as_str(),
        )
        .field("my_text_content", Field::Text, text_content(instance)?)
        .field("my_url_string", Field::Text, instance.release.as_str());
    if let Some(record) = news {
        let news = Value::from(News {
            text: record.text.clone(),
            state: record.state.clone(),
        });
        view = view.field("my_news", Field::Text, json!({"instance": [news]}));
    }
    Ok(view.into())
}

fn node_document(node: &Node) -> Value {
    let reference = node.node.as_str();
    View::new("Computer")
        .keyed("form_id", Field::Text, "computer", reference)
        .keyed("my_reference", Field::Text, "reference", reference)
        .keyed("my_title", Field::Text, "reference", reference)
        .into()
}
