//! The legacy calls as typed forms (P 1.3, 1.4.1).
//!
//! What a form does not say is `None`: which default takes its place, or whether what is stored
//! stays, is for the Master to decide.

use std::collections::BTreeMap;

use slap::document::TextDict;
use slap::{
    InstallationState, InstanceState, InstanceTitle, NodeId, PartitionId, ProductReference,
    ReleaseUrl, SoftwareType, Value, instance_xml, python,
};

use crate::json_rpc::Input;
use crate::{Fields, Problem, parameters};

/// A request, from `requestComputerPartition` or the JSON call of the same meaning.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestForm {
    /// The partition that asks, as far as the call itself says so; `None` for a person.
    pub requester: Option<(NodeId, PartitionId)>,
    /// The release.
    pub release: ReleaseUrl,
    /// The software type; absent means the default one for a new instance.
    pub software_type: Option<SoftwareType>,
    /// The title; together with the tree it is the identity.
    pub title: InstanceTitle,
    /// The parameters, with the types the wire gave them; not yet checked (see
    /// [`parameters::check`]).
    pub parameters: Option<BTreeMap<String, Value>>,
    /// Where the instance may be placed, flattened; not yet checked.
    pub sla: Option<TextDict>,
    /// What the instance shall be.
    pub state: Option<InstanceState>,
    /// Whether a shared instance is asked for; absent means an ordinary one.
    pub shared: Option<bool>,
    /// The project, by its reference (the wire's `project_reference`).
    pub project: Option<String>,
}

impl RequestForm {
    /// Reads the form of `requestComputerPartition`. The partition named by the header
    /// ([`crate::headers::partition`]) wins over the one named in the form.
    ///
    /// # Errors
    /// 400 when a field is missing or holds what it may not; 404 when the form names a partition
    /// that cannot exist.
    pub fn read(form: &Fields<'_>, header: Option<(NodeId, PartitionId)>) -> Result<Self, Problem> {
        let requester = match header {
            Some(place) => Some(place),
            None => match (
                form.given("computer_id"),
                form.given("computer_partition_id"),
            ) {
                (Some(node), Some(partition)) => Some(named_place(node, partition)?),
                _ => None,
            },
        };
        Ok(RequestForm {
            requester,
            shared: form.truth("shared_xml")?,
            state: form.marshalled_word("state")?,
            release: form.reference("software_release")?,
            software_type: form.given_word("software_type")?,
            title: form.reference("partition_reference")?,
            parameters: form.dictionary("partition_parameter_xml")?,
            sla: form.dictionary("filter_xml")?.map(parameters::flattened),
            project: form.given("project_reference").map(str::to_owned),
        })
    }
}

impl RequestForm {
    /// Reads the input of the JSON call that requests ([`crate::json_rpc::Method::Request`]). Absent
    /// parameters and SLA stay `None`, an absent state is what the description says: started.
    ///
    /// # Errors
    /// 400 when a reference cannot be one.
    pub fn from_json(
        input: &Input,
        requester: Option<(NodeId, PartitionId)>,
    ) -> Result<Self, Problem> {
        Ok(RequestForm {
            requester,
            release: ReleaseUrl::new(input.text("software_release_uri"))?,
            software_type: Some(SoftwareType::new(input.text("software_type"))?),
            title: InstanceTitle::new(input.text("title"))?,
            parameters: input.entries("parameters"),
            sla: input.entries("sla_parameters").map(parameters::flattened),
            state: Some(match input.optional("state") {
                Some(word) => word.parse().map_err(Problem::bad_request)?,
                None => InstanceState::Started,
            }),
            shared: Some(input.truth("shared").unwrap_or_default()),
            project: None,
        })
    }
}

/// A place by names that may be no good: then nobody knows it either.
///
/// # Errors
/// 404, in upstream's words.
pub fn named_place(node: &str, partition: &str) -> Result<(NodeId, PartitionId), Problem> {
    match (NodeId::new(node), PartitionId::new(partition)) {
        (Ok(node), Ok(partition)) => Ok((node, partition)),
        _ => Err(Problem::not_found(format!(
            "Unknown partition {} on {}",
            python::repr(&Value::text(partition)),
            python::repr(&Value::text(node)),
        ))),
    }
}

/// The partition a form names by `computer_id` and `computer_partition_id`.
///
/// # Errors
/// 400 when a field is missing, 404 when it cannot be a name.
pub fn place(form: &Fields<'_>) -> Result<(NodeId, PartitionId), Problem> {
    let node = form.need("computer_id")?;
    let partition = form.need("computer_partition_id")?;
    named_place(node, partition)
}

/// The shared instance a form means; `None` for the partition's own instance (P 1.7).
pub fn shared_reference(form: &Fields<'_>) -> Option<String> {
    form.given("slave_reference").map(str::to_owned)
}

/// What an instance publishes: `setComputerPartitionConnectionXml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishForm {
    /// The partition that publishes.
    pub place: (NodeId, PartitionId),
    /// The shared instance it publishes for.
    pub shared: Option<String>,
    /// What is published, checked: the instance XML can carry it.
    pub connection: TextDict,
}

impl PublishForm {
    /// Reads the form.
    ///
    /// # Errors
    /// 400 when a field is missing or holds what it may not; 404 when the place cannot exist.
    pub fn read(form: &Fields<'_>) -> Result<Self, Problem> {
        let place = place(form)?;
        form.need("connection_xml")?;
        let entries = form.dictionary("connection_xml")?.unwrap_or_default();
        Ok(PublishForm {
            place,
            shared: shared_reference(form),
            connection: publishable(entries)?,
        })
    }
}

/// What is published, as text that the instance XML can carry.
///
/// # Errors
/// 400 when it cannot.
pub fn publishable(entries: BTreeMap<String, Value>) -> Result<TextDict, Problem> {
    let connection = parameters::flattened(entries);
    instance_xml::encode(&connection).map_err(Problem::bad_request)?;
    Ok(connection)
}

/// A release asked for on a node, or its removal: `supplySupply`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupplyForm {
    /// The node; some clients name none.
    pub node: Option<NodeId>,
    /// The release.
    pub release: ReleaseUrl,
    /// Whether it shall be there.
    pub state: InstallationState,
}

impl SupplyForm {
    /// Reads the input of the JSON call that supplies ([`crate::json_rpc::Method::Supply`]).
    ///
    /// # Errors
    /// 400 when a reference cannot be one.
    pub fn from_json(input: &Input) -> Result<Self, Problem> {
        Ok(SupplyForm {
            node: Some(NodeId::new(input.text("computer_guid"))?),
            release: ReleaseUrl::new(input.text("software_release_uri"))?,
            state: match input.optional("state") {
                Some(word) => word.parse().map_err(Problem::bad_request)?,
                None => InstallationState::Available,
            },
        })
    }

    /// Reads the form.
    ///
    /// # Errors
    /// 400 when a field is missing or holds what it may not.
    pub fn read(form: &Fields<'_>) -> Result<Self, Problem> {
        Ok(SupplyForm {
            release: form.reference("url")?,
            node: match form.given("computer_id") {
                Some(node) => Some(NodeId::new(node)?),
                None => None,
            },
            state: form.word("state")?,
        })
    }
}

/// A new title for an instance: `softwareInstanceRename`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenameForm {
    /// The partition that asks.
    pub place: (NodeId, PartitionId),
    /// The shared instance that is meant.
    pub shared: Option<String>,
    /// The new title.
    pub title: InstanceTitle,
}

impl RenameForm {
    /// Reads the form.
    ///
    /// # Errors
    /// 400 when a field is missing or holds what it may not; 404 when the place cannot exist.
    pub fn read(form: &Fields<'_>) -> Result<Self, Problem> {
        Ok(RenameForm {
            place: place(form)?,
            title: form.reference("new_name")?,
            shared: shared_reference(form),
        })
    }
}

/// What the releases of a product are asked by: `getSoftwareReleaseListFromSoftwareProduct`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProductForm {
    /// The product's reference.
    Product(ProductReference),
    /// One of its releases.
    Release(ReleaseUrl),
}

impl ProductForm {
    /// Reads the query string. A name that cannot be one names nothing: `None`.
    ///
    /// # Errors
    /// 400 unless exactly one of the two is named.
    pub fn read(arguments: &Fields<'_>) -> Result<Option<Self>, Problem> {
        match (
            arguments.get("software_product_reference"),
            arguments.get("software_release_url"),
        ) {
            (Some(product), None) => Ok(product.parse().ok().map(ProductForm::Product)),
            (None, Some(url)) => Ok(url.parse().ok().map(ProductForm::Release)),
            _ => Err(Problem::bad_request(
                "Name either software_product_reference or software_release_url",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::json_rpc::Method;
    use http::StatusCode;
    use proptest::prelude::*;
    use slap::marshal;

    fn encoded(fields: &[(&str, &str)]) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish()
    }

    fn read(fields: &[(&str, &str)]) -> Result<RequestForm, Problem> {
        RequestForm::read(&Fields::parse(encoded(fields).as_bytes()), None)
    }

    fn document(value: &Value) -> String {
        marshal::encode(value).unwrap()
    }

    const LEAST: [(&str, &str); 2] = [("software_release", "r"), ("partition_reference", "t")];

    #[test]
    fn what_a_form_does_not_say_is_nothing() {
        let nothing = RequestForm {
            requester: None,
            release: ReleaseUrl::new("r").unwrap(),
            software_type: None,
            title: InstanceTitle::new("t").unwrap(),
            parameters: None,
            sla: None,
            state: None,
            shared: None,
            project: None,
        };
        assert_eq!(read(&LEAST), Ok(nothing.clone()));
        let none = "<marshal><none/></marshal>";
        let mut fields = LEAST.to_vec();
        fields.extend([
            ("computer_id", "None"),
            ("computer_partition_id", ""),
            ("software_type", "None"),
            ("partition_parameter_xml", none),
            ("filter_xml", ""),
            ("state", none),
            ("shared_xml", none),
            ("project_reference", "None"),
        ]);
        assert_eq!(read(&fields), Ok(nothing));
    }

    #[test]
    fn a_form_as_the_client_sends_it() {
        let mut fields = LEAST.to_vec();
        let parameters = document(&Value::dict([("n", Value::Int(1))]));
        let filter = document(&Value::dict([("computer_guid", Value::text("C-1"))]));
        let state = document(&Value::text("stopped"));
        let shared = document(&Value::Bool(true));
        fields.extend([
            ("computer_id", "C-1"),
            ("computer_partition_id", "p0"),
            ("software_type", "db"),
            ("partition_parameter_xml", &parameters),
            ("filter_xml", &filter),
            ("state", &state),
            ("shared_xml", &shared),
            ("project_reference", "PROJ-1"),
        ]);
        let form = read(&fields).unwrap();
        assert_eq!(form.requester, Some(named_place("C-1", "p0").unwrap()));
        assert_eq!(form.software_type.unwrap().as_str(), "db");
        assert_eq!(form.parameters.unwrap()["n"], Value::Int(1));
        assert_eq!(form.sla.unwrap()["computer_guid"], "C-1");
        assert_eq!(form.state, Some(InstanceState::Stopped));
        assert_eq!(form.shared, Some(true));
        assert_eq!(form.project.as_deref(), Some("PROJ-1"));

        let body = encoded(&fields);
        let header = named_place("C-2", "p9").unwrap();
        let form = RequestForm::read(&Fields::parse(body.as_bytes()), Some(header.clone()));
        assert_eq!(form.unwrap().requester, Some(header));
    }

    #[test]
    fn bad_forms_are_refused() {
        let list = document(&Value::List(Vec::new()));
        for (name, text, expected) in [
            ("shared_xml", list.as_str(), StatusCode::BAD_REQUEST),
            (
                "state",
                "<marshal><string>x</string></marshal>",
                StatusCode::BAD_REQUEST,
            ),
            (
                "partition_parameter_xml",
                "<marshal>",
                StatusCode::BAD_REQUEST,
            ),
            ("filter_xml", &list, StatusCode::BAD_REQUEST),
        ] {
            let mut fields = LEAST.to_vec();
            fields.push((name, text));
            assert_eq!(read(&fields).unwrap_err().status, expected, "{name}");
        }
        for missing in 0..LEAST.len() {
            let fields: Vec<_> = LEAST
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != missing)
                .map(|(_, field)| *field)
                .collect();
            assert_eq!(read(&fields).unwrap_err().status, StatusCode::BAD_REQUEST);
        }
        let mut fields = LEAST.to_vec();
        fields.extend([("computer_id", "C"), ("computer_partition_id", "a/b")]);
        assert_eq!(
            read(&fields).unwrap_err(),
            Problem::not_found("Unknown partition 'a/b' on 'C'")
        );
    }

    #[test]
    fn the_json_forms() {
        let read = |method: Method, body: &str| method.read(body.as_bytes()).unwrap();
        let input = read(
            Method::Request,
            r#"{"title": "t", "software_release_uri": "r", "software_type": "",
                "parameters": {"n": 1}, "sla_parameters": {"retention_delay": 1.5}}"#,
        );
        let form = RequestForm::from_json(&input, None).unwrap();
        assert_eq!(form.software_type, Some(SoftwareType::default()));
        assert_eq!(form.parameters.unwrap()["n"], Value::Int(1));
        assert_eq!(form.sla.unwrap()["retention_delay"], "1.5");
        assert_eq!(form.state, Some(InstanceState::Started));
        assert_eq!(form.shared, Some(false));

        let input = read(
            Method::Supply,
            r#"{"computer_guid": "C", "software_release_uri": "u"}"#,
        );
        assert_eq!(
            SupplyForm::from_json(&input).unwrap().state,
            InstallationState::Available
        );
    }

    #[test]
    fn the_other_forms() {
        let connection = document(&Value::dict([("port", Value::Int(80))]));
        let form = encoded(&[
            ("computer_id", "C"),
            ("computer_partition_id", "p"),
            ("connection_xml", &connection),
            ("slave_reference", "None"),
            ("new_name", "n"),
            ("url", "u"),
            ("state", "available"),
        ]);
        let fields = Fields::parse(form.as_bytes());
        let place = named_place("C", "p").unwrap();
        assert_eq!(
            PublishForm::read(&fields).unwrap(),
            PublishForm {
                place: place.clone(),
                shared: None,
                connection: TextDict::from([("port".to_owned(), "80".to_owned())]),
            }
        );
        assert_eq!(
            RenameForm::read(&fields).unwrap(),
            RenameForm {
                place,
                shared: None,
                title: InstanceTitle::new("n").unwrap()
            }
        );
        assert_eq!(
            SupplyForm::read(&fields).unwrap(),
            SupplyForm {
                node: Some(NodeId::new("C").unwrap()),
                release: ReleaseUrl::new("u").unwrap(),
                state: InstallationState::Available,
            }
        );
        for (query, expected) in [
            (
                "software_product_reference=a",
                Some(Some(ProductForm::Product("a".parse().unwrap()))),
            ),
            (
                "software_release_url=a",
                Some(Some(ProductForm::Release("a".parse().unwrap()))),
            ),
            ("software_product_reference=", Some(None)),
            ("", None),
            ("software_product_reference=a&software_release_url=b", None),
        ] {
            let read = ProductForm::read(&Fields::parse(query.as_bytes()));
            assert_eq!(read.ok(), expected, "{query}");
        }
    }

    proptest! {
        #[test]
        fn any_form_is_read_or_refused(
            pairs in proptest::collection::vec(
                (
                    proptest::sample::select(vec![
                        "software_release", "partition_reference", "partition_parameter_xml",
                        "filter_xml", "software_type", "state", "shared_xml", "computer_id",
                        "computer_partition_id", "connection_xml", "url", "new_name",
                    ]),
                    "(<marshal>)?(<(none|list|dictionary)/>|<bool>1</bool>|.{0,10})(</marshal>)?",
                ),
                0..12,
            )
        ) {
            let text = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(&pairs)
                .finish();
            let fields = Fields::parse(text.as_bytes());
            let _ = RequestForm::read(&fields, None);
            let _ = PublishForm::read(&fields);
            let _ = SupplyForm::read(&fields);
            let _ = RenameForm::read(&fields);
            let _ = ProductForm::read(&fields);
        }
    }
}
