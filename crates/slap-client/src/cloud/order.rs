//! A request where what is left out stays as it is.

use std::collections::BTreeMap;

use slap::{InstanceState, InstanceTitle, ReleaseUrl, SoftwareType, Value, marshal};

use crate::error::Error;
use crate::hateoas::InstanceTreeInfo;
use crate::slap_api::{Client, RequestReply};

/// What a person asks for. `None` keeps what the instance has; an empty dictionary empties.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// The title, unique among the person's own.
    pub title: InstanceTitle,
    /// The software release.
    pub release: ReleaseUrl,
    /// The software type; of a new instance `default`.
    pub software_type: Option<SoftwareType>,
    /// The parameters. The Master keeps each as text.
    pub parameters: Option<BTreeMap<String, Value>>,
    /// Where the instance may be placed (P 6.9).
    pub sla: Option<BTreeMap<String, Value>>,
    /// The state; of a new instance `started`.
    pub state: Option<InstanceState>,
    /// Whether it is a shared instance.
    pub shared: Option<bool>,
}

impl Order {
    /// An order that changes nothing but the release, or makes an instance with defaults.
    pub fn new(title: InstanceTitle, release: ReleaseUrl) -> Order {
        Order {
            title,
            release,
            software_type: None,
            parameters: None,
            sla: None,
            state: None,
            shared: None,
        }
    }

    /// Whether nothing is left out of what a Master tells.
    pub(super) fn is_complete(&self) -> bool {
        self.software_type.is_some()
            && self.parameters.is_some()
            && self.state.is_some()
            && self.shared.is_some()
    }

    /// With defaults for what is left out.
    pub(super) fn filled(&self) -> Order {
        Order {
            software_type: Some(self.software_type.clone().unwrap_or_default()),
            parameters: Some(self.parameters.clone().unwrap_or_default()),
            sla: Some(self.sla.clone().unwrap_or_default()),
            shared: Some(self.shared.unwrap_or_default()),
            ..self.clone()
        }
    }

    /// With what a Master holds for what is left out. It does not tell the SLA it holds.
    pub(super) fn filled_with(&self, held: &InstanceTreeInfo) -> Order {
        let parameters = || {
            held.parameters
                .iter()
                .map(|(key, value)| (key.clone(), Value::text(value)))
                .collect()
        };
        Order {
            software_type: self
                .software_type
                .clone()
                .or_else(|| held.software_type.parse().ok()),
            parameters: Some(self.parameters.clone().unwrap_or_else(parameters)),
            state: self.state.or_else(|| held.requested_state()),
            shared: Some(self.shared.unwrap_or(held.shared)),
            ..self.clone()
        }
        .filled()
    }
}

impl Client {
    /// Sends an order; what it leaves out is not sent. Upstream's Masters need every part.
    pub(super) fn order(&self, order: &Order) -> Result<RequestReply, Error> {
        let encode = |value: Value| {
            marshal::encode(&value).map_err(|error| Error::Unsendable {
                what: format!("the request of `{}`", order.title),
                reason: error.to_string(),
            })
        };
        let dict = |entries: &BTreeMap<String, Value>| encode(Value::Dict(entries.clone()));
        let state = order.state.map(|state| Value::text(state.as_str()));
        // A part that keeps what is stored by itself is `None` on upstream's wire too.
        let state = match (state, order.is_complete_but_for_state()) {
            (None, true) => Some(Value::None),
            (state, _) => state,
        };
        let parts = [
            (
                "partition_parameter_xml",
                order.parameters.as_ref().map(dict),
            ),
            ("filter_xml", order.sla.as_ref().map(dict)),
            (
                "software_type",
                order
                    .software_type
                    .as_ref()
                    .map(|kind| Ok(kind.to_string())),
            ),
            ("state", state.map(encode)),
            (
                "shared_xml",
                order.shared.map(|shared| encode(Value::Bool(shared))),
            ),
        ];
        let mut given = Vec::with_capacity(parts.len());
        for (name, part) in parts {
            if let Some(text) = part.transpose()? {
                given.push((name, text));
            }
        }
        let mut fields = vec![
            ("software_release", order.release.as_str()),
            ("partition_reference", order.title.as_str()),
        ];
        fields.extend(given.iter().map(|(name, text)| (*name, text.as_str())));
        self.requested(&fields)
    }
}

impl Order {
    fn is_complete_but_for_state(&self) -> bool {
        self.software_type.is_some() && self.parameters.is_some() && self.shared.is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn held() -> InstanceTreeInfo {
        InstanceTreeInfo {
            title: "t".into(),
            reference: "t".into(),
            release: "http://x/y.cfg".into(),
            software_type: "other".into(),
            state: "stop_requested".into(),
            shared: true,
            parameters: BTreeMap::from([("a".into(), "1".into())]),
            connection: BTreeMap::new(),
            news: None,
        }
    }

    #[test]
    fn what_is_left_out_is_what_the_master_holds() {
        let order = Order::new("t".parse().unwrap(), "http://x/y.cfg".parse().unwrap());
        let filled = order.filled_with(&held());
        assert_eq!(filled.software_type.unwrap().as_str(), "other");
        assert_eq!(filled.parameters.unwrap()["a"], Value::text("1"));
        assert_eq!(filled.state, Some(InstanceState::Stopped));
        assert_eq!(
            (filled.shared, filled.sla),
            (Some(true), Some(BTreeMap::new()))
        );
        let given = Order {
            parameters: Some(BTreeMap::new()),
            state: Some(InstanceState::Started),
            ..order
        };
        let filled = given.filled_with(&held());
        assert_eq!(filled.parameters, Some(BTreeMap::new()));
        assert_eq!(filled.state, Some(InstanceState::Started));
    }
}
