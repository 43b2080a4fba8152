//! The hypermedia documents that `service` and `computer` commands read (P 4).

use axum::http::StatusCode;
use axum::response::Response;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value, json};
use slap::instance_xml;
use slap_server::json::{self, Spacing};

use super::reports::Subject;
use super::{Allow, App, Call, Problem};
use crate::domain::{Instance, Node, Record, TreeGuid};

/// Longest list, whatever is asked for.
const ROWS_MAX: usize = 10_000;

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
    let arguments = call.arguments();
    match arguments.get("mode") {
        None => Ok(answer(&root(&format!("{}/hateoas/", call.base_url())))),
        Some("search") => {
            let columns: Vec<&str> = arguments
                .all("select_list")
                .flat_map(|list| list.split(','))
                .map(str::trim)
                .collect();
            let limit = arguments
                .get("limit")
                .and_then(|limit| limit.parse().ok())
                .unwrap_or(ROWS_MAX);
            search(app, arguments.need("query")?, &columns, limit.min(ROWS_MAX))
        }
        Some("traverse") => {
            let url = arguments.need("relative_url")?;
            document(app, url.strip_prefix("/hateoas/").unwrap_or(url))
        }
        Some(other) => Err(Problem::bad_request(format!("Unhandled mode: {other}"))),
    }
}

fn root(url: &str) -> Value {
    json!({"_links": {
        "raw_search": {
            "href": format!("{url}?mode=search&query={{query}}&select_list={{select_list}}"),
        },
        "traverse": {
            "href": format!("{url}?mode=traverse&relative_url={{relative_url}}&view={{view}}"),
        },
    }})
}

/// What a query asks for.
#[derive(Debug, PartialEq, Eq)]
enum Query<'a> {
    /// Trees, all or those of one title.
    Trees(Option<&'a str>),
    /// Nodes, all or the one of a reference.
    Nodes(Option<&'a str>),
    /// The instances of a tree.
    Instances(&'a str),
    /// The installations on a node.
    Installations(&'a str),
}

impl<'a> Query<'a> {
    /// Understands the queries clients send (P 4.3, 4.5). They paste titles between double quotes as
    /// they are, so a value goes up to the last quote.
    fn parse(query: &'a str) -> Option<Self> {
        let (kind, rest) = query
            .strip_prefix("portal_type:")?
            .split_once(" AND validation_state:validated")?;
        let condition = |key: &str| {
            rest.strip_prefix(" AND ")?
                .strip_prefix(key)?
                .strip_prefix(":=\"")?
                .strip_suffix('"')
        };
        let optional = |key: &str| {
            if rest.is_empty() {
                Some(None)
            } else {
                condition(key).map(Some)
            }
        };
        match kind {
            "\"Instance Tree\"" | "\"Hosting Subscription\"" => optional("title").map(Query::Trees),
            "\"Compute Node\"" | "\"Computer\"" => optional("reference").map(Query::Nodes),
            "(\"Software Instance\", \"Slave Instance\")" => {
                condition("default_specialise_title").map(Query::Instances)
            }
            "\"Software Installation\"" => {
                condition("default_aggregate_reference").map(Query::Installations)
            }
            _ => None,
        }
    }
}

fn search(app: &App, query: &str, columns: &[&str], limit: usize) -> Result<Response, Problem> {
    let understood = Query::parse(query)
        .ok_or_else(|| Problem::bad_request(format!("Unhandled query: {query}")))?;
    let rows: Vec<Value> = match understood {
        Query::Trees(None) => app.store.roots()?.iter().map(tree_row).collect(),
        Query::Trees(Some(title)) => spellings(title)
            .iter()
            .flat_map(|title| [(title, false), (title, true)])
            .filter_map(|(title, shared)| app.store.root(title, shared).transpose())
            .map(|root| Ok(tree_row(&root?)))
            .collect::<Result<_, Problem>>()?,
        Query::Nodes(reference) => app
            .store
            .nodes()?
            .iter()
            .filter(|node| reference.is_none_or(|reference| node.node.as_str() == reference))
            .map(node_row)
            .collect(),
        Query::Instances(title) => app
            .store
            .tree(title)?
            .iter()
            .map(|instance| instance_row(instance, columns))
            .collect::<Result<_, _>>()?,
        Query::Installations(reference) => installation_rows(app, reference)?,
    };
    let rows: Vec<Value> = rows.into_iter().take(limit).collect();
    Ok(answer(&json!({"_embedded": {"contents": rows}})))
}

/// The titles a quoted value may mean: upstream's clients paste it as it is, ours escape quotes and
/// backslashes as the query language of ERP5 wants it.
fn spellings(value: &str) -> Vec<String> {
    let mut unescaped = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        unescaped.push(match character {
            '\\' => characters.next().unwrap_or(character),
            other => other,
        });
    }
    let mut titles = vec![value.to_owned()];
    if unescaped != value {
        titles.push(unescaped);
    }
    titles
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
    instance_xml::encode(&instance.parameters.as_text())
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn field(kind: &str, key: &str, default: Value) -> Value {
    json!({"default": default, "key": key, "type": kind})
}

/// `my_news` is there only when something was reported: upstream's proxy never tells any.
fn instance_document(instance: &Instance, news: Option<&Record>) -> Result<Value, Problem> {
    let text = |name: &str, value: Value| field("StringField", &format!("field_{name}"), value);
    let connection = instance
        .connection
        .as_ref()
        .map(instance_xml::encode)
        .transpose()
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let mut document = json!({
        "_embedded": {"_view": {
            "form_id": field("StringField", "form_id", json!("InstanceTree_viewAsHateoas")),
            "my_connection_parameter_list": text("my_connection_parameter_list", json!(connection)),
            "my_reference": text("my_reference", json!(instance.title)),
            "my_root_slave": field(
                "IntegerField",
                "field_my_root_slave",
                json!(u8::from(instance.shared)),
            ),
            "my_slap_state": text("my_slap_state", json!(instance.state.as_str())),
            "my_source_reference": text("my_source_reference", json!(instance.software_type)),
            "my_text_content": text("my_text_content", json!(text_content(instance)?)),
            "my_url_string": text("my_url_string", json!(instance.release)),
        }},
        "_links": {"type": {"name": "Instance Tree"}},
    });
    if let Some(record) = news {
        let entry = json!({"state": record.state, "text": record.text});
        let view = &mut document["_embedded"]["_view"];
        view["my_news"] = text("my_news", json!({"instance": [entry]}));
        view.sort_all_objects();
    }
    Ok(document)
}

fn node_document(node: &Node) -> Value {
    let reference = node.node.as_str();
    json!({
        "_embedded": {"_view": {
            "form_id": field("StringField", "computer", json!(reference)),
            "my_reference": field("StringField", "reference", json!(reference)),
            "my_title": field("StringField", "reference", json!(reference)),
        }},
        "_links": {"type": {"name": "Computer"}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_found_pasted_or_escaped() {
        assert_eq!(spellings("a b"), ["a b"]);
        assert_eq!(spellings("a\"b"), ["a\"b"]);
        assert_eq!(spellings("a\\\"b\\\\c"), ["a\\\"b\\\\c", "a\"b\\c"]);
        assert_eq!(spellings("end\\"), ["end\\"]);
    }

    #[test]
    fn the_queries_clients_send() {
        let base = "portal_type:\"Instance Tree\" AND validation_state:validated";
        assert_eq!(Query::parse(base), Some(Query::Trees(None)));
        for title in ["X", "a\"b", "a/b", "", "x AND title:=\"y", "é b"] {
            assert_eq!(
                Query::parse(&format!("{base} AND title:=\"{title}\"")),
                Some(Query::Trees(Some(title)))
            );
        }
        for (query, expected) in [
            (
                "portal_type:\"Compute Node\" AND validation_state:validated AND reference:=\"C-1\"",
                Query::Nodes(Some("C-1")),
            ),
            (
                "portal_type:(\"Software Instance\", \"Slave Instance\") AND \
                 validation_state:validated AND default_specialise_title:=\"T\"",
                Query::Instances("T"),
            ),
            (
                "portal_type:\"Software Installation\" AND validation_state:validated AND \
                 default_aggregate_reference:=\"C-1\"",
                Query::Installations("C-1"),
            ),
        ] {
            assert_eq!(Query::parse(query), Some(expected), "{query}");
        }
        for query in [
            "",
            "zz",
            "portal_type:\"Person\" AND validation_state:validated",
            "portal_type:\"Instance Tree\" AND validation_state:validated AND reference:=\"x\"",
            "portal_type:\"Instance Tree\" AND validation_state:validated AND title:=\"x",
        ] {
            assert_eq!(Query::parse(query), None, "{query}");
        }
    }
}
