//! The documents behind `service list|info` and `computer list|info` (P 4).

mod template;

use std::collections::BTreeMap;

use serde_json::Value as Json;
use slap::{InstanceState, InstanceTitle, NodeId, ReleaseUrl, instance_xml};

use crate::error::Error;
use crate::slap_api::Client;
use crate::transport::Post;
use template::{Variable, expand};

/// Most rows asked for in one search. Upstream asks for 40 and silently shows no more.
const ROWS_MAX: &str = "10000";

/// A Master's documents. Needs one call to open, one or two per question.
#[derive(Debug, Clone)]
pub struct Hateoas {
    client: Client,
    search_template: String,
    traverse_template: String,
    /// Where the documents themselves are; not every Master says so.
    root: Option<String>,
}

/// A row of `service list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceTreeSummary {
    /// The title it was requested under.
    pub title: String,
    /// Its software release.
    pub release: String,
}

/// A row of `computer list`, and all that `computer info` knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSummary {
    /// The node's reference.
    pub reference: String,
    /// The node's title.
    pub title: String,
}

/// All that `service info` knows (P 4.4).
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceTreeInfo {
    /// The title it was requested under.
    pub title: String,
    /// The tree's reference.
    pub reference: String,
    /// Its software release.
    pub release: String,
    /// The software type of its root instance.
    pub software_type: String,
    /// What it was asked to be: `started` with a proxy, `start_requested` with ERP5.
    pub state: String,
    /// Whether its root is a shared instance.
    pub shared: bool,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
    /// What it published.
    pub connection: BTreeMap<String, String>,
    /// What was reported about its instances, where the Master tells.
    pub news: Option<Json>,
}

impl Hateoas {
    /// Finds and reads the root document: at `rest_url` if it is given, else where the Master says,
    /// else below its own URL (C 7).
    ///
    /// # Errors
    /// [`Error::NoHateoas`] when it is at none of these places.
    pub fn open(client: &Client, rest_url: Option<&str>) -> Result<Hateoas, Error> {
        let mut last = None;
        for candidate in candidates(client, rest_url)? {
            match get(client, &candidate, "the HATEOAS root") {
                Ok(root) => {
                    let link = |name: &str| {
                        root.pointer(&format!("/_links/{name}/href"))
                            .and_then(Json::as_str)
                            .map(str::to_owned)
                            .ok_or_else(|| Error::Reply {
                                what: candidate.clone(),
                                reason: format!("it has no link `{name}`"),
                            })
                    };
                    return Ok(Hateoas {
                        client: client.clone(),
                        search_template: link("raw_search")?,
                        traverse_template: link("traverse")?,
                        root: link("self").ok(),
                    });
                }
                Err(Error::NotFound { .. } | Error::Reply { .. }) => {}
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::NoHateoas {
            url: client.master_url().to_owned(),
        }))
    }

    /// My instance trees.
    pub fn instance_trees(&self) -> Result<Vec<InstanceTreeSummary>, Error> {
        let query = "portal_type:\"Instance Tree\" AND validation_state:validated";
        Ok(self
            .search(query, &["title", "url_string"])?
            .iter()
            .map(|row| InstanceTreeSummary {
                title: column(row, "title"),
                release: column(row, "url_string"),
            })
            .collect())
    }

    /// One of my instance trees.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none of this title.
    pub fn instance_tree(&self, title: &InstanceTitle) -> Result<InstanceTreeInfo, Error> {
        Ok(InstanceTreeInfo::from_fields(
            title,
            &self.instance_tree_fields(title)?,
        ))
    }

    /// The fields of the same document as the Master gives them, by their names without prefix.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none of this title.
    pub fn instance_tree_fields(
        &self,
        title: &InstanceTitle,
    ) -> Result<BTreeMap<String, Json>, Error> {
        let query = format!(
            "portal_type:\"Instance Tree\" AND validation_state:validated AND title:={}",
            quoted(title.as_str())
        );
        let rows = self.search(&query, &["title", "relative_url"])?;
        let row = rows
            .iter()
            .find(|row| column(row, "title") == title.as_str())
            .ok_or_else(|| not_found(&format!("Instance {title}")))?;
        self.traverse(&column(row, "relative_url"))
    }

    /// The compute nodes I may see.
    pub fn nodes(&self) -> Result<Vec<NodeSummary>, Error> {
        let query = "portal_type:\"Compute Node\" AND validation_state:validated";
        Ok(self
            .search(query, &["title", "reference"])?
            .iter()
            .map(node_summary)
            .collect())
    }

    /// One compute node.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none of this reference.
    pub fn node(&self, node: &NodeId) -> Result<NodeSummary, Error> {
        let query = format!(
            "portal_type:\"Compute Node\" AND validation_state:validated AND reference:={}",
            quoted(node.as_str())
        );
        self.search(&query, &["title", "reference"])?
            .iter()
            .map(node_summary)
            .find(|found| found.reference == node.as_str())
            .ok_or_else(|| not_found(&format!("Computer {node}")))
    }

    /// A one-time token by which a compute node is enrolled (C 1.4).
    ///
    /// # Errors
    /// [`Error::NotFound`] where the Master gives none, as a proxy.
    pub fn node_token(&self) -> Result<String, Error> {
        let what = "the token for a compute node";
        let Some(root) = &self.root else {
            return Err(Error::NotFound {
                what: what.to_owned(),
                detail: "this Master needs none".to_owned(),
            });
        };
        let root = root.trim_end_matches('/');
        let url = format!("{root}/computer_module/Base_getComputerToken");
        let answer = get(&self.client, &url, what)?;
        let token = answer.get("access_token").and_then(Json::as_str);
        token.map(str::to_owned).ok_or_else(|| Error::Reply {
            what: what.to_owned(),
            reason: "it has no `access_token`".to_owned(),
        })
    }

    fn search(&self, query: &str, columns: &[&str]) -> Result<Vec<Json>, Error> {
        let url = expand(
            &self.search_template,
            &[
                ("query", Variable::Text(query)),
                ("select_list", Variable::List(columns)),
                ("limit", Variable::Text(ROWS_MAX)),
            ],
        );
        let answer = get(&self.client, &url, "the search")?;
        let rows = answer
            .pointer("/_embedded/contents")
            .and_then(Json::as_array)
            .ok_or_else(|| Error::Reply {
                what: "the search".to_owned(),
                reason: "it has no `_embedded.contents`".to_owned(),
            })?;
        Ok(rows.clone())
    }

    /// The fields of a document, by their names without prefix.
    fn traverse(&self, relative_url: &str) -> Result<BTreeMap<String, Json>, Error> {
        let url = expand(
            &self.traverse_template,
            &[
                ("relative_url", Variable::Text(relative_url)),
                ("view", Variable::Text("slaposjs_view")),
            ],
        );
        let document = get(&self.client, &url, relative_url)?;
        let view = document
            .pointer("/_embedded/_view")
            .and_then(Json::as_object)
            .ok_or_else(|| Error::Reply {
                what: relative_url.to_owned(),
                reason: "it has no `_embedded._view`".to_owned(),
            })?;
        let kind = document.pointer("/_links/type/name");
        let kind = kind.map(|kind| ("portal_type".to_owned(), kind.clone()));
        Ok(view
            .iter()
            .filter_map(|(name, field)| {
                let name = name
                    .strip_prefix("my_")
                    .or_else(|| name.strip_prefix("your_"))
                    .unwrap_or(name);
                Some((name.to_owned(), field.get("default")?.clone()))
            })
            .chain(kind)
            .collect())
    }
}

/// Where the root document may be, best first.
fn candidates(client: &Client, rest_url: Option<&str>) -> Result<Vec<String>, Error> {
    if let Some(url) = rest_url.filter(|url| !url.is_empty()) {
        return Ok(vec![url.to_owned()]);
    }
    let mut candidates: Vec<String> = client.hateoas_url()?.into_iter().collect();
    if candidates.is_empty() {
        candidates.push(format!("{}hateoas/", client.master_url()));
        let call = "slapos.get.v0.hateoas_url";
        let asked = client.transport.post(
            &format!("{}{call}", client.master_url()),
            call,
            &Post {
                body: "{}",
                content_type: "application/json",
                authorization: None,
                token: None,
            },
        );
        if let Ok(body) = asked
            && let Ok(answer) = serde_json::from_str::<Json>(&body)
            && let Some(url) = answer.get("hateoas_url").and_then(Json::as_str)
        {
            candidates.push(url.to_owned());
        }
    }
    Ok(candidates)
}

fn get(client: &Client, url: &str, what: &str) -> Result<Json, Error> {
    let headers = [("Cache-Control", "no-cache")];
    let body = client.transport.get(url, what, &headers)?;
    serde_json::from_str(&body).map_err(|error| Error::Reply {
        what: what.to_owned(),
        reason: error.to_string(),
    })
}

fn not_found(what: &str) -> Error {
    Error::NotFound {
        what: format!("{what} does not exist"),
        detail: String::new(),
    }
}

/// A text as a literal of the query language, which upstream forgets to escape.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn column(row: &Json, name: &str) -> String {
    row.get(name).map(plain).unwrap_or_default()
}

fn plain(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn node_summary(row: &Json) -> NodeSummary {
    NodeSummary {
        reference: column(row, "reference"),
        title: column(row, "title"),
    }
}

/// ERP5's list of `{connection_key, connection_value}`, given as JSON or as JSON in a text.
fn connection_pairs(field: Option<&Json>) -> Option<BTreeMap<String, String>> {
    let parsed;
    let list = match field? {
        Json::String(text) => {
            parsed = serde_json::from_str::<Json>(text).ok()?;
            parsed.as_array()?
        }
        other => other.as_array()?,
    };
    Some(
        list.iter()
            .map(|pair| {
                (
                    column(pair, "connection_key"),
                    column(pair, "connection_value"),
                )
            })
            .collect(),
    )
}

impl InstanceTreeInfo {
    /// Reads the fields of a document, in either Master's shape.
    pub fn from_fields(title: &InstanceTitle, fields: &BTreeMap<String, Json>) -> InstanceTreeInfo {
        let text = |name: &str| fields.get(name).map(plain).unwrap_or_default();
        let from_xml = |document: &str| -> BTreeMap<String, String> {
            instance_xml::decode(document)
                .unwrap_or_default()
                .into_iter()
                .map(|(key, value)| (key, value.unwrap_or_default()))
                .collect()
        };
        InstanceTreeInfo {
            title: title.as_str().to_owned(),
            reference: text("reference"),
            release: text("url_string"),
            software_type: text("source_reference"),
            state: text("slap_state"),
            shared: matches!(fields.get("root_slave"), Some(Json::Number(number)) if number.as_i64() != Some(0)),
            parameters: from_xml(&text("text_content")),
            connection: match connection_pairs(fields.get("connection_parameter_list")) {
                Some(pairs) => pairs,
                None => from_xml(&text("connection_parameter_list")),
            },
            news: fields.get("news").cloned(),
        }
    }

    /// The release as a typed reference, if it is one.
    pub fn release_url(&self) -> Option<ReleaseUrl> {
        ReleaseUrl::new(self.release.clone()).ok()
    }

    /// What it was asked to be, whichever Master says it: a proxy `started`, ERP5 `start_requested`.
    pub fn requested_state(&self) -> Option<InstanceState> {
        match self.state.as_str() {
            "start_requested" => Some(InstanceState::Started),
            "stop_requested" => Some(InstanceState::Stopped),
            "destroy_requested" => Some(InstanceState::Destroyed),
            other => other.parse().ok(),
        }
    }

    /// The colour upstream derives from the news (P 4.4): `none`, `green`, `red`, `orange`, or
    /// `unsupported` where the Master tells none.
    pub fn status(&self) -> &'static str {
        let Some(entries) = self
            .news
            .as_ref()
            .and_then(|news| news.get("instance"))
            .and_then(Json::as_array)
        else {
            return "unsupported";
        };
        let starts = |word: &str| {
            entries
                .iter()
                .filter_map(|entry| entry.get("text")?.as_str())
                .any(|text| text.starts_with(word))
        };
        match (starts("#access"), starts("#error")) {
            (false, false) => "none",
            (true, false) => "green",
            (false, true) => "red",
            (true, true) => "orange",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn both_masters_shapes_are_read() {
        let title = InstanceTitle::new("x").unwrap();
        let proxy = BTreeMap::from([
            (
                "text_content".to_owned(),
                json!("<instance><parameter id=\"a\">1</parameter></instance>"),
            ),
            (
                "connection_parameter_list".to_owned(),
                json!("<instance><parameter id=\"u\">v</parameter></instance>"),
            ),
            ("root_slave".to_owned(), json!(0)),
        ]);
        let info = InstanceTreeInfo::from_fields(&title, &proxy);
        assert_eq!(info.parameters["a"], "1");
        assert_eq!(info.connection["u"], "v");
        assert!(!info.shared);
        assert_eq!(info.status(), "unsupported");

        let erp5 = BTreeMap::from([
            (
                "connection_parameter_list".to_owned(),
                json!("[{\"connection_key\": \"u\", \"connection_value\": \"v\"}]"),
            ),
            ("root_slave".to_owned(), json!(1)),
            (
                "news".to_owned(),
                json!({"instance": [{"text": "#access x"}, {"text": "#error y"}]}),
            ),
        ]);
        let info = InstanceTreeInfo::from_fields(&title, &erp5);
        assert_eq!(info.connection["u"], "v");
        assert!(info.shared);
        assert_eq!(info.status(), "orange");
    }
}
