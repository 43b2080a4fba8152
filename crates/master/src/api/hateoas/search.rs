//! Searching (P 4.3, 4.5): rows of the columns that are asked for.

use serde_json::{Map, Value, json};
use slap::instance_xml;
use slap_server::Problem;
use slap_server::hateoas::{Query, Quoted, Search, search_result};

use super::super::App;
use super::super::problem::internal;
use super::{Place, news, or_nothing};
use crate::domain::{Caller, NodeReference};
use crate::store::{InstallationRecord, InstanceRecord, NodeLine, Page, TreeLine};

/// Columns of a row when nobody says which.
const COLUMNS: &[&str] = &["title", "reference", "relative_url", "url_string"];

pub(super) async fn find(app: &App, caller: Caller, search: Search<'_>) -> Result<Value, Problem> {
    let rows = Rows {
        app,
        columns: if search.columns.is_empty() {
            COLUMNS
        } else {
            &search.columns
        },
    };
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let page = Page {
        skip: number(search.skip),
        limit: number(search.limit),
    };
    let rows: Vec<Value> = match search.query {
        Query::Trees(None) => {
            let trees = app.store.list_trees(caller, page).await?;
            trees.iter().map(|tree| rows.tree(tree)).collect()
        }
        Query::Trees(Some(title)) => {
            let found = titled(app, caller, title).await?;
            let found = found.into_iter().skip(search.skip).take(search.limit);
            found.map(|tree| rows.tree(&tree)).collect()
        }
        Query::Nodes(reference) => {
            let only = match reference.map(|quoted| quoted.pasted().parse::<NodeReference>()) {
                None => None,
                Some(Ok(node)) => Some(node),
                Some(Err(_)) => return Ok(search_result([])),
            };
            let nodes = app.store.list_nodes(caller, only, page).await?;
            nodes.iter().map(|node| rows.node(node)).collect()
        }
        Query::Instances(title) => match titled(app, caller, title).await? {
            Some(tree) => {
                let members = app.store.list_members(caller, tree.key, page).await?;
                let rows = members.iter().map(|member| rows.instance(member));
                rows.collect::<Result<_, _>>()?
            }
            None => Vec::new(),
        },
        Query::Installations(node) => {
            let installations = match node.pasted().parse::<NodeReference>() {
                Ok(node) => or_nothing(app.store.installations(caller, node).await)?,
                Err(_) => None,
            };
            let found = installations.unwrap_or_default();
            let found = found.iter().skip(search.skip).take(search.limit);
            found.map(|record| rows.installation(record)).collect()
        }
    };
    Ok(search_result(rows))
}

/// The caller's tree of a title, pasted or escaped: clients take more than one for a mistake.
async fn titled(app: &App, caller: Caller, title: Quoted<'_>) -> Result<Option<TreeLine>, Problem> {
    for title in title.values() {
        let Some(key) = app.store.tree_titled(caller, title).await? else {
            continue;
        };
        if let Some((tree, _)) = or_nothing(app.store.tree(caller, key, 0).await)? {
            return Ok(Some(TreeLine {
                key,
                title: tree.title,
                release: tree.root.release,
            }));
        }
    }
    Ok(None)
}

/// Makes rows of these columns. What a document does not have is left out.
struct Rows<'a> {
    app: &'a App,
    columns: &'a [&'a str],
}

impl Rows<'_> {
    fn row(&self, mut value: impl FnMut(&str) -> Option<Value>) -> Value {
        let cell = |column: &&str| Some(((*column).to_owned(), value(column)?));
        self.columns
            .iter()
            .filter_map(cell)
            .collect::<Map<_, _>>()
            .into()
    }

    fn tree(&self, tree: &TreeLine) -> Value {
        self.row(|column| {
            Some(match column {
                "uid" | "reference" => json!(tree.key.to_string()),
                "title" => json!(tree.title),
                "relative_url" => json!(Place::Tree(tree.key).url()),
                "portal_type" => json!("Instance Tree"),
                "url_string" => json!(tree.release),
                _ => return None,
            })
        })
    }

    fn node(&self, line: &NodeLine) -> Value {
        self.row(|column| {
            Some(match column {
                "uid" | "reference" => json!(line.node.to_string()),
                "title" => json!(line.title),
                "relative_url" => json!(Place::Node(line.node).url()),
                "portal_type" => json!("Compute Node"),
                _ => return None,
            })
        })
    }

    fn instance(&self, record: &InstanceRecord) -> Result<Value, Problem> {
        let parameters = instance_xml::encode(&record.parameters).map_err(internal)?;
        Ok(self.row(|column| {
            Some(match column {
                "uid" | "reference" => json!(record.key.to_string()),
                "title" => json!(record.title),
                "relative_url" => json!(Place::Instance(record.key).url()),
                "portal_type" => json!(portal_type(record)),
                "url_string" => json!(record.release),
                "source_reference" => json!(record.software_type),
                "text_content" => json!(parameters),
                "getConnectionXmlAsDict" => json!(record.connection.clone().unwrap_or_default()),
                "SoftwareInstance_getNewsDict" => news(
                    self.app,
                    &record.status,
                    record.key.to_string(),
                    portal_type(record),
                ),
                _ => return None,
            })
        }))
    }

    fn installation(&self, record: &InstallationRecord) -> Value {
        self.row(|column| {
            Some(match column {
                "uid" | "reference" => json!(record.key.to_string()),
                "title" => json!(record.key.to_string()),
                "relative_url" => json!(Place::Installation(record.key).url()),
                "portal_type" => json!("Software Installation"),
                "url_string" => json!(record.release),
                "SoftwareInstallation_getNewsDict" => news(
                    self.app,
                    &record.status,
                    record.key.to_string(),
                    "Software Installation",
                ),
                _ => return None,
            })
        })
    }
}

/// The wire's kind of an instance.
pub(super) fn portal_type(record: &InstanceRecord) -> &'static str {
    if record.shared {
        "Slave Instance"
    } else {
        "Software Instance"
    }
}
