//! The difference between what a file says and what a Master holds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};
use slap::serialisation::{Serialisation, unwrap, wrap};
use slap::{InstallationState, InstanceState, NodeId, ReleaseUrl, Value};
use slap_client::{InstanceTreeInfo, Order};

use super::file::Service;

/// Longest value that is shown, in characters.
const SHOWN_MAX: usize = 60;

/// What has to be done for one line of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// It is as it shall be.
    Keep,
    Create,
    Change,
    Destroy,
}

impl Act {
    pub(super) fn word(self) -> &'static str {
        match self {
            Act::Keep => "keep",
            Act::Create => "create",
            Act::Change => "change",
            Act::Destroy => "destroy",
        }
    }
}

/// What would be asked of the Master.
#[derive(Debug)]
pub(super) enum Call {
    Request(Box<Order>),
    Supply(ReleaseUrl, NodeId, InstallationState),
}

/// One of the things a file names.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) act: Act,
    pub(super) call: Call,
    pub(super) changes: Vec<Change>,
}

/// Something that would be different; `None` where there is nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) what: String,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
}

impl Step {
    /// What it is about, as people say it.
    pub(super) fn name(&self) -> String {
        match &self.call {
            Call::Request(order) => format!("service {}", order.title),
            Call::Supply(release, node, _) => format!("supply {release} on {node}"),
        }
    }

    pub(super) fn as_json(&self) -> Json {
        let mut step = match &self.call {
            Call::Request(order) => json!({"service": order.title.as_str()}),
            Call::Supply(release, node, _) => {
                json!({"supply": release.as_str(), "node": node.as_str()})
            }
        };
        step["action"] = json!(self.act.word());
        step["changes"] = self
            .changes
            .iter()
            .map(|change| json!({"what": change.what, "from": change.from, "to": change.to}))
            .collect();
        step
    }
}

/// The parameters of a service as they shall be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parameters {
    pub(super) values: Map<String, Json>,
    pub(super) serialisation: Serialisation,
}

impl Parameters {
    /// Parameters of a file: as the file says, as the release says, else as they are.
    pub(super) fn new(values: &Map<String, Json>, told: Option<Serialisation>) -> Parameters {
        let texts_only = values.values().all(Json::is_string);
        let serialisation = told.unwrap_or(if texts_only {
            Serialisation::Xml
        } else {
            Serialisation::JsonInXml
        });
        let values = values.clone();
        Parameters {
            values: match serialisation {
                Serialisation::JsonInXml => values,
                // Every value is a text there.
                Serialisation::Xml => values
                    .into_iter()
                    .map(|(name, value)| (name, Json::String(plain(&value))))
                    .collect(),
            },
            serialisation,
        }
    }

    /// What a Master holds.
    fn held(parameters: &BTreeMap<String, String>) -> Parameters {
        match unwrap(parameters) {
            Some(Json::Object(values)) => Parameters {
                values,
                serialisation: Serialisation::JsonInXml,
            },
            _ => Parameters {
                values: parameters
                    .iter()
                    .map(|(name, value)| (name.clone(), json!(value)))
                    .collect(),
                serialisation: Serialisation::Xml,
            },
        }
    }

    fn to_send(&self) -> BTreeMap<String, Value> {
        let texts = match self.serialisation {
            Serialisation::JsonInXml => wrap(&Json::Object(self.values.clone())),
            Serialisation::Xml => self.values.clone().into_iter().collect(),
        };
        texts
            .into_iter()
            .map(|(name, value)| (name, Value::from(&value)))
            .collect()
    }
}

/// A value as upstream's marshalling has it as text.
fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Bool(true) => "True".to_owned(),
        Json::Bool(false) => "False".to_owned(),
        Json::Null => "None".to_owned(),
        other => other.to_string(),
    }
}

/// What the Master holds of a service.
pub(super) struct Held {
    pub(super) tree: InstanceTreeInfo,
    /// Where it may be, where the Master tells.
    pub(super) sla: Option<BTreeMap<String, String>>,
}

/// What has to be done for a service.
pub(super) fn service(
    wanted: &Service,
    release: ReleaseUrl,
    parameters: Option<Parameters>,
    held: Option<&Held>,
) -> Step {
    let mut order = Order::new(wanted.title.clone(), release);
    let step = |act: Act, order: Order, changes: Vec<Change>| Step {
        act,
        call: Call::Request(Box::new(order)),
        changes,
    };
    let held = held.filter(|held| held.tree.requested_state() != Some(InstanceState::Destroyed));
    let wanted_gone = wanted.state == Some(InstanceState::Destroyed);
    let held = match (held, wanted_gone) {
        (None, true) => return step(Act::Keep, order, Vec::new()),
        (Some(_), true) => {
            order.state = wanted.state;
            return step(Act::Destroy, order, Vec::new());
        }
        (held, false) => held,
    };
    let mut changes = Vec::new();
    let mut differs = |what: &str, from: Option<String>, to: String| {
        let changed = from.as_ref() != Some(&to);
        if changed {
            changes.push(Change {
                what: what.to_owned(),
                from,
                to: Some(to),
            });
        }
        changed
    };
    let of = |value: fn(&InstanceTreeInfo) -> String| held.map(|held| value(&held.tree));
    differs(
        "release",
        of(|tree| tree.release.clone()),
        order.release.to_string(),
    );
    let kind = of(|tree| known_as(&tree.software_type).to_owned());
    order.software_type = wanted
        .software_type
        .clone()
        .filter(|wanted| differs("type", kind, known_as(wanted.as_str()).to_owned()));
    let state = of(|tree| {
        tree.requested_state()
            .map_or_else(String::new, |s| s.to_string())
    });
    order.state = wanted
        .state
        .filter(|wanted| differs("state", state, wanted.to_string()));
    let shared = of(|tree| tree.shared.to_string());
    order.shared = wanted
        .shared
        .filter(|wanted| differs("shared", shared, wanted.to_string()));
    if let Some(sla) = &wanted.sla {
        let before = match held {
            None => Some(BTreeMap::new()),
            Some(held) => held.sla.clone(),
        };
        // Where the Master does not tell, nothing can be compared: it counts for what is new only.
        if let Some(before) = before {
            changes.extend(between(&texts(&before), &texts(sla), "sla"));
        }
    }
    if let Some(parameters) = parameters {
        let before = held.map(|held| Parameters::held(&held.tree.parameters));
        let nothing = Parameters::new(&Map::new(), Some(parameters.serialisation));
        let before = before.unwrap_or(nothing);
        let mut found = between(&before.values, &parameters.values, "parameters");
        let written = before.serialisation != parameters.serialisation;
        if found.is_empty() && written && !parameters.values.is_empty() {
            found.push(Change {
                what: "serialisation".to_owned(),
                from: Some(written_as(before.serialisation)),
                to: Some(written_as(parameters.serialisation)),
            });
        }
        if !found.is_empty() || held.is_none() {
            changes.extend(found);
            order.parameters = Some(parameters.to_send());
        }
    }
    if held.is_none() || !changes.is_empty() {
        // Not every Master keeps it by itself when something else changes.
        order.sla = wanted.sla.as_ref().map(|sla| {
            sla.iter()
                .map(|(name, value)| (name.clone(), Value::text(value)))
                .collect()
        });
    }
    let act = match held {
        None => Act::Create,
        Some(_) if changes.is_empty() => Act::Keep,
        Some(_) => Act::Change,
    };
    step(act, order, changes)
}

fn written_as(serialisation: Serialisation) -> String {
    match serialisation {
        Serialisation::Xml => "xml".to_owned(),
        Serialisation::JsonInXml => "json-in-xml".to_owned(),
    }
}

/// The old name of the default type is the default type.
fn known_as(software_type: &str) -> &str {
    if software_type == "RootSoftwareInstance" {
        "default"
    } else {
        software_type
    }
}

fn texts(dict: &BTreeMap<String, String>) -> Map<String, Json> {
    dict.iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect()
}

/// What is different between two tables, member by member, in the order of their names.
fn between(before: &Map<String, Json>, after: &Map<String, Json>, place: &str) -> Vec<Change> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut changes = Vec::new();
    for name in names {
        let place = format!("{place}.{name}");
        match (before.get(name), after.get(name)) {
            (from, to) if from == to => {}
            (Some(Json::Object(from)), Some(Json::Object(to))) => {
                changes.extend(between(from, to, &place));
            }
            (from, to) => changes.push(Change {
                what: place,
                from: from.map(shown),
                to: to.map(shown),
            }),
        }
    }
    changes
}

fn shown(value: &Json) -> String {
    let text = value.to_string();
    if text.chars().count() > SHOWN_MAX {
        let start: String = text.chars().take(SHOWN_MAX).collect();
        format!("{start}…")
    } else {
        text
    }
}

/// What has to be done for a release on a node, which holds it or not.
pub(super) fn supply(
    release: ReleaseUrl,
    node: NodeId,
    wanted: InstallationState,
    held: Option<InstallationState>,
) -> Step {
    let act = match (wanted, held) {
        (InstallationState::Available, Some(InstallationState::Available)) => Act::Keep,
        (InstallationState::Available, _) => Act::Create,
        (InstallationState::Destroyed, Some(InstallationState::Available)) => Act::Destroy,
        (InstallationState::Destroyed, _) => Act::Keep,
    };
    Step {
        act,
        call: Call::Supply(release, node, wanted),
        changes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use slap::SoftwareType;

    use super::*;

    fn tree() -> InstanceTreeInfo {
        InstanceTreeInfo {
            title: "a".into(),
            reference: "a".into(),
            release: "http://r/1".into(),
            software_type: "RootSoftwareInstance".into(),
            state: "start_requested".into(),
            shared: false,
            parameters: BTreeMap::from([("x".into(), "1".into()), ("y".into(), "2".into())]),
            connection: BTreeMap::new(),
            news: None,
        }
    }

    fn wanted() -> Service {
        Service {
            title: "a".parse().unwrap(),
            release: String::new(),
            software_type: None,
            parameters: None,
            serialisation: None,
            sla: None,
            state: None,
            shared: None,
        }
    }

    fn planned(wanted: &Service, held: Option<Held>) -> (Act, Vec<String>, Order) {
        let parameters = wanted
            .parameters
            .as_ref()
            .map(|values| Parameters::new(values, wanted.serialisation));
        let release = ReleaseUrl::new("http://r/1").unwrap();
        let step = service(wanted, release, parameters, held.as_ref());
        let changes = step
            .changes
            .iter()
            .map(|change| format!("{} {:?} {:?}", change.what, change.from, change.to))
            .collect();
        match step.call {
            Call::Request(order) => (step.act, changes, *order),
            Call::Supply(..) => panic!("a service is requested"),
        }
    }

    fn held() -> Option<Held> {
        Some(Held {
            tree: tree(),
            sla: Some(BTreeMap::from([("computer_guid".into(), "C".into())])),
        })
    }

    fn object(value: Json) -> Map<String, Json> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn what_is_left_out_stays_and_what_is_the_same_is_not_asked_for() {
        assert_eq!(planned(&wanted(), held()).0, Act::Keep);
        let same = Service {
            software_type: Some(SoftwareType::default()),
            parameters: Some(object(json!({"y": 2, "x": "1"}))),
            serialisation: Some(Serialisation::Xml),
            sla: Some(BTreeMap::from([("computer_guid".into(), "C".into())])),
            state: Some(InstanceState::Started),
            shared: Some(false),
            ..wanted()
        };
        let (act, changes, order) = planned(&same, held());
        assert_eq!((act, changes), (Act::Keep, Vec::new()));
        assert_eq!(order.parameters, None);
        // A Master that does not tell where an instance may be is not asked to change it.
        let mut silent = held().unwrap();
        silent.sla = None;
        assert_eq!(planned(&same, Some(silent)).0, Act::Keep);
    }

    #[test]
    fn only_what_differs_is_asked_for() {
        let other = Service {
            parameters: Some(object(json!({"x": "1", "z": "3"}))),
            state: Some(InstanceState::Stopped),
            ..wanted()
        };
        let (act, changes, order) = planned(&other, held());
        assert_eq!(act, Act::Change);
        assert_eq!(
            changes,
            [
                "state Some(\"started\") Some(\"stopped\")",
                "parameters.y Some(\"\\\"2\\\"\") None",
                "parameters.z None Some(\"\\\"3\\\"\")",
            ]
        );
        assert_eq!(order.state, Some(InstanceState::Stopped));
        assert_eq!(order.sla, None);
        assert_eq!(order.software_type, None);
        let empty = Service {
            parameters: Some(Map::new()),
            ..wanted()
        };
        assert_eq!(planned(&empty, held()).2.parameters, Some(BTreeMap::new()));
    }

    #[test]
    fn a_new_service_is_asked_for_as_a_whole() {
        let new = Service {
            parameters: Some(object(json!({"n": {"a": 1}}))),
            sla: Some(BTreeMap::from([("computer_guid".into(), "C".into())])),
            ..wanted()
        };
        let (act, changes, order) = planned(&new, None);
        assert_eq!(act, Act::Create);
        assert_eq!(changes.len(), 3, "{changes:?}");
        let sent = order.parameters.unwrap();
        assert_eq!(sent.keys().collect::<Vec<_>>(), ["_"], "nested: as JSON");
        // Applied: nothing is to do, whatever the blanks in the JSON are.
        let mut there = held().unwrap();
        there.tree.parameters = BTreeMap::from([("_".into(), "{ \"n\":{\"a\":1} }".into())]);
        assert_eq!(planned(&new, Some(there)).0, Act::Keep);
    }

    #[test]
    fn what_shall_be_gone_is_destroyed_once() {
        let gone = Service {
            state: Some(InstanceState::Destroyed),
            ..wanted()
        };
        assert_eq!(planned(&gone, held()).0, Act::Destroy);
        assert_eq!(planned(&gone, None).0, Act::Keep);
        let mut destroyed = held().unwrap();
        destroyed.tree.state = "destroy_requested".into();
        assert_eq!(planned(&gone, Some(destroyed)).0, Act::Keep);
        let mut destroyed = held().unwrap();
        destroyed.tree.state = "destroyed".into();
        assert_eq!(planned(&wanted(), Some(destroyed)).0, Act::Create);
    }

    #[test]
    fn a_release_is_supplied_and_removed_once() {
        use InstallationState::{Available, Destroyed};
        for (wanted, held, expected) in [
            (Available, None, Act::Create),
            (Available, Some(Destroyed), Act::Create),
            (Available, Some(Available), Act::Keep),
            (Destroyed, None, Act::Keep),
            (Destroyed, Some(Destroyed), Act::Keep),
            (Destroyed, Some(Available), Act::Destroy),
        ] {
            let release = ReleaseUrl::new("http://r/1").unwrap();
            let step = supply(release, "COMP-1".parse().unwrap(), wanted, held);
            assert_eq!(step.act, expected, "{wanted:?} {held:?}");
        }
    }
}
