//! The documents the JSON calls answer (P 3.1).

use serde_json::{Map, Value, json};

/// An instance as the JSON calls show it. All members are always there; what is not known is empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InstanceAnswer {
    /// Its title.
    pub title: String,
    /// Its reference.
    pub guid: String,
    /// Its release.
    pub release: String,
    /// Its software type.
    pub software_type: String,
    /// `started`, `stopped` or `destroyed`.
    pub state: String,
    /// What it published.
    pub connection: Map<String, Value>,
    /// What it was requested with.
    pub parameters: Map<String, Value>,
    /// Whether it is a shared instance.
    pub shared: bool,
    /// The title of its tree's root.
    pub root_title: String,
    /// Its addresses: interface and address.
    pub addresses: Vec<[String; 2]>,
    /// Its addresses behind a gateway: interface, address, gateway, netmask, network (P 1.5).
    pub routed_addresses: Vec<[String; 5]>,
    /// Where it may be placed.
    pub sla: Map<String, Value>,
    /// The node it is on; empty while it waits for a place.
    pub node: String,
    /// The partition it is on; empty while it waits for a place.
    pub partition: String,
    /// When it last changed, compared for equality only: seconds with the proxy, microseconds with
    /// the full Master.
    pub timestamp: i64,
    /// What was last reported about it.
    pub status: String,
}

impl From<InstanceAnswer> for Value {
    fn from(instance: InstanceAnswer) -> Value {
        json!({
            "title": instance.title,
            "instance_guid": instance.guid,
            "software_release_uri": instance.release,
            "software_type": instance.software_type,
            "state": instance.state,
            "connection_parameters": instance.connection,
            "parameters": instance.parameters,
            "shared": instance.shared,
            "root_instance_title": instance.root_title,
            "ip_list": instance.addresses,
            "full_ip_list": instance.routed_addresses,
            "sla_parameters": instance.sla,
            "computer_guid": instance.node,
            "compute_partition_id": instance.partition,
            "processing_timestamp": instance.timestamp,
            "access_status_message": instance.status,
        })
    }
}

/// What a request answers that has nothing to show yet; its HTTP status is 200 nevertheless.
pub fn not_ready() -> Value {
    json!({
        "message": "Software Instance Not Ready",
        "status": 102,
        "name": "SoftwareInstanceNotReady",
    })
}

/// It is done; the title says what.
pub fn success(title: impl Into<String>) -> Value {
    json!({"type": "success", "title": title.into()})
}

/// The items of a list.
pub fn list(items: impl IntoIterator<Item = Value>) -> Value {
    let items: Vec<Value> = items.into_iter().collect();
    json!({"result_list": items})
}

/// A certificate with its key, both in PEM form.
pub fn certificate(key: &str, certificate: &str) -> Value {
    json!({"key": key, "certificate": certificate})
}

#[cfg(test)]
mod tests {
    use super::super::Method;
    use super::*;

    #[test]
    fn answers_are_what_the_calls_promise() {
        let instance = InstanceAnswer {
            state: "started".to_owned(),
            addresses: vec![["tap0".to_owned(), "::1".to_owned()]],
            routed_addresses: vec![Default::default()],
            ..InstanceAnswer::default()
        };
        let instance = Value::from(instance);
        assert_eq!(instance.as_object().map(Map::len), Some(16));
        for (method, answer) in [
            (Method::Instance, instance.clone()),
            (Method::Tree, instance),
            (Method::Tree, not_ready()),
            (Method::Request, not_ready()),
            (Method::Supply, success("State changed")),
            (Method::NodeCertificate, certificate("", "")),
            (Method::Trees, list([json!({"title": "x"})])),
            (Method::NodeStatus, json!({"text": "#access", "more": 1})),
        ] {
            assert_eq!(method.check_answer(&answer), Ok(()), "{}", method.name());
        }
    }

    #[test]
    fn other_answers_are_not() {
        let good = InstanceAnswer {
            state: "stopped".to_owned(),
            ..InstanceAnswer::default()
        };
        let mut instance = Value::from(good.clone());
        instance["extra"] = json!(1);
        let mut wrong_list = Value::from(good);
        wrong_list["ip_list"] = json!([[1]]);
        for (method, answer) in [
            (Method::Instance, not_ready()),
            (Method::Instance, instance),
            (Method::Instance, InstanceAnswer::default().into()),
            (Method::Request, wrong_list),
            (Method::Request, json!({})),
            (Method::Supply, json!({"type": "other", "title": ""})),
            (Method::NodeCertificate, json!({"key": ""})),
            (Method::Trees, json!({"result_list": [{}]})),
            (Method::NodeStatus, json!({})),
        ] {
            assert!(method.check_answer(&answer).is_err(), "{}", method.name());
        }
    }
}
