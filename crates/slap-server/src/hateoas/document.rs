//! The hypermedia documents.

use serde_json::{Map, Value, json};
use slap::document::TextDict;
use slap::{InstanceState, instance_xml};

use crate::Problem;

/// In which form the root document gives its templates (quirk 37).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Templates {
    /// As the proxy: `…?query={query}&select_list={select_list}`.
    Simple,
    /// As the full Master: `…{&query,select_list*,limit*}`, with a link to the document itself.
    Exploded,
}

/// The root document. `url` is where it is, with the slash at its end; `me` the relative URL of the
/// person who asks, if it is one and has a document.
pub fn root(url: &str, templates: Templates, me: Option<&str>) -> Value {
    let mut links = match templates {
        Templates::Simple => json!({
            "raw_search": {
                "href": format!("{url}?mode=search&query={{query}}&select_list={{select_list}}"),
            },
            "traverse": {
                "href": format!("{url}?mode=traverse&relative_url={{relative_url}}&view={{view}}"),
            },
        }),
        Templates::Exploded => json!({
            "raw_search": {
                "href": format!("{url}?mode=search{{&query,select_list*,limit*}}"),
                "templated": true,
            },
            // Clients put a slash and more behind it.
            "self": {"href": url.trim_end_matches('/')},
            "traverse": {
                "href": format!("{url}?mode=traverse{{&relative_url,view}}"),
                "templated": true,
            },
        }),
    };
    if let Some(me) = me {
        links["me"] = json!({"href": format!("urn:jio:get:{me}")});
    }
    json!({"_links": links})
}

/// The rows a search found.
pub fn search_result(rows: impl IntoIterator<Item = Value>) -> Value {
    let rows: Vec<Value> = rows.into_iter().collect();
    json!({"_embedded": {"contents": rows}})
}

/// The types of fields that clients read; they skip all others (P 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// A line of text; also what holds anything else.
    Text,
    /// An address of electronic mail.
    Email,
    /// An integer.
    Integer,
    /// A number.
    Float,
    /// Text of several lines.
    Lines,
}

impl Field {
    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Field::Text => "StringField",
            Field::Email => "EmailField",
            Field::Integer => "IntegerField",
            Field::Float => "FloatField",
            Field::Lines => "TextAreaField",
        }
    }
}

/// A document as traversal shows it: fields and links.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    kind: String,
    fields: Map<String, Value>,
    links: Map<String, Value>,
}

impl View {
    /// A document of this kind (the wire's portal type), without any field.
    pub fn new(kind: impl Into<String>) -> Self {
        View {
            kind: kind.into(),
            fields: Map::new(),
            links: Map::new(),
        }
    }

    /// Adds a field under its key `field_<name>`. Clients strip the prefix `my_` off the name.
    #[must_use]
    pub fn field(self, name: &str, field: Field, value: impl Into<Value>) -> Self {
        let key = format!("field_{name}");
        self.keyed(name, field, key, value)
    }

    /// Adds a field under a key of its own.
    #[must_use]
    pub fn keyed(
        mut self,
        name: &str,
        field: Field,
        key: impl Into<String>,
        value: impl Into<Value>,
    ) -> Self {
        self.fields.insert(
            name.to_owned(),
            json!({"default": value.into(), "key": key.into(), "type": field.as_str()}),
        );
        self
    }

    /// Adds a link.
    #[must_use]
    pub fn link(mut self, name: &str, href: impl Into<String>) -> Self {
        self.links
            .insert(name.to_owned(), json!({"href": href.into()}));
        self
    }
}

/// The document, its fields sorted by name.
impl From<View> for Value {
    fn from(view: View) -> Value {
        let View {
            kind,
            mut fields,
            mut links,
        } = view;
        fields.sort_keys();
        links.insert("type".to_owned(), json!({"name": kind}));
        links.sort_keys();
        json!({"_embedded": {"_view": fields}, "_links": links})
    }
}

/// What was reported about one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// `#access …`, `#error …` or `#building …`.
    pub text: String,
    /// The last state that was reported; may be empty.
    pub state: String,
}

impl From<News> for Value {
    fn from(news: News) -> Value {
        json!({"state": news.state, "text": news.text})
    }
}

/// An instance tree as the full Master shows it to `service info`.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeView {
    /// Its title.
    pub title: String,
    /// Its reference, `HOSTSUBS-n`.
    pub reference: String,
    /// What its root shall be.
    pub state: InstanceState,
    /// The release of its root.
    pub release: String,
    /// The software type of its root.
    pub software_type: String,
    /// Whether its root is a shared instance.
    pub shared: bool,
    /// What its root was requested with.
    pub parameters: TextDict,
    /// What its root published.
    pub connection: TextDict,
    /// What was reported about its instances; the colour of its status comes from these.
    pub news: Vec<News>,
}

impl TreeView {
    /// The view. More fields may be added to it.
    ///
    /// # Errors
    /// 500 when the parameters hold what no XML can carry: they should not have been taken in.
    pub fn into_view(self) -> Result<View, Problem> {
        let parameters = instance_xml::encode(&self.parameters).map_err(|error| {
            tracing::error!(
                "the parameters of {} cannot be shown: {error}",
                self.reference
            );
            Problem::internal(format!(
                "The parameters of {} cannot be shown",
                self.reference
            ))
        })?;
        let connection: Vec<Value> = self
            .connection
            .into_iter()
            .map(|(key, value)| json!({"connection_key": key, "connection_value": value}))
            .collect();
        let news: Vec<Value> = self.news.into_iter().map(Value::from).collect();
        let state = match self.state {
            InstanceState::Started => "start_requested",
            InstanceState::Stopped => "stop_requested",
            InstanceState::Destroyed => "destroy_requested",
        };
        Ok(View::new("Instance Tree")
            .keyed(
                "form_id",
                Field::Text,
                "form_id",
                "InstanceTree_viewAsHateoas",
            )
            .field("my_connection_parameter_list", Field::Text, connection)
            .field("my_news", Field::Text, json!({"instance": news}))
            .field("my_reference", Field::Text, self.reference)
            .field("my_root_slave", Field::Integer, u8::from(self.shared))
            .field("my_slap_state", Field::Text, state)
            .field("my_source_reference", Field::Text, self.software_type)
            .field("my_text_content", Field::Lines, parameters)
            .field("my_title", Field::Text, self.title)
            .field("my_url_string", Field::Text, self.release))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_forms_of_the_root() {
        assert_eq!(
            root("http://m/hateoas/", Templates::Simple, None).to_string(),
            "{\"_links\":{\"raw_search\":{\"href\":\"http://m/hateoas/?mode=search&query={query}\
             &select_list={select_list}\"},\"traverse\":{\"href\":\"http://m/hateoas/\
             ?mode=traverse&relative_url={relative_url}&view={view}\"}}}"
        );
        assert_eq!(
            root(
                "http://m/hateoas/",
                Templates::Exploded,
                Some("person_module/1")
            ),
            json!({"_links": {
                "raw_search": {
                    "href": "http://m/hateoas/?mode=search{&query,select_list*,limit*}",
                    "templated": true,
                },
                "traverse": {
                    "href": "http://m/hateoas/?mode=traverse{&relative_url,view}",
                    "templated": true,
                },
                "self": {"href": "http://m/hateoas"},
                "me": {"href": "urn:jio:get:person_module/1"},
            }})
        );
    }

    #[test]
    fn a_view_has_its_fields_sorted() {
        let view = View::new("Computer")
            .keyed("my_title", Field::Text, "reference", "C")
            .field("my_capacity", Field::Integer, 3)
            .link("parent", "urn:jio:get:compute_node_module");
        assert_eq!(
            Value::from(view).to_string(),
            "{\"_embedded\":{\"_view\":{\"my_capacity\":{\"default\":3,\"key\":\
             \"field_my_capacity\",\"type\":\"IntegerField\"},\"my_title\":{\"default\":\"C\",\
             \"key\":\"reference\",\"type\":\"StringField\"}}},\"_links\":{\"parent\":{\"href\":\
             \"urn:jio:get:compute_node_module\"},\"type\":{\"name\":\"Computer\"}}}"
        );
    }

    #[test]
    fn a_tree_as_service_info_wants_it() {
        let tree = TreeView {
            title: "t".to_owned(),
            reference: "HOSTSUBS-1".to_owned(),
            state: InstanceState::Stopped,
            release: "r".to_owned(),
            software_type: "default".to_owned(),
            shared: true,
            parameters: TextDict::from([("_".to_owned(), "{}".to_owned())]),
            connection: TextDict::from([("url".to_owned(), "u".to_owned())]),
            news: vec![News {
                text: "#access x".to_owned(),
                state: "started".to_owned(),
            }],
        };
        let document = Value::from(tree.clone().into_view().unwrap());
        let field = |name: &str| &document["_embedded"]["_view"][name]["default"];
        assert_eq!(field("my_slap_state"), "stop_requested");
        assert_eq!(field("my_root_slave"), 1);
        assert_eq!(
            field("my_connection_parameter_list"),
            &json!([{"connection_key": "url", "connection_value": "u"}])
        );
        assert_eq!(
            field("my_news"),
            &json!({"instance": [{"state": "started", "text": "#access x"}]})
        );
        assert!(
            field("my_text_content")
                .as_str()
                .unwrap()
                .contains("<parameter id=\"_\">{}</parameter>")
        );
        let unsendable = TreeView {
            parameters: TextDict::from([("a".to_owned(), "\0".to_owned())]),
            ..tree
        };
        assert_eq!(unsendable.into_view().unwrap_err().status.as_u16(), 500);
    }
}
