//! What a node tells about itself, from the wire's words to the store's.

use slap_server::description::{AddressDescription, NodeDescription as Told};

use crate::store::{Address, NodeDescription, PartitionDescription, Route};

/// As the store keeps it. Which node it is of is for the call to say.
pub(crate) fn kept(told: Told) -> NodeDescription {
    let further: serde_json::Map<String, serde_json::Value> = told
        .about
        .into_iter()
        .chain(told.address.map(|text| ("address".to_owned(), text)))
        .chain(told.netmask.map(|text| ("netmask".to_owned(), text)))
        .map(|(name, text)| (name, text.into()))
        .collect();
    NodeDescription {
        partitions: told
            .partitions
            .into_iter()
            .map(|partition| PartitionDescription {
                name: partition.partition.into(),
                addresses: partition.addresses.into_iter().map(address).collect(),
                capabilities: partition.capabilities.into_iter().collect(),
            })
            .collect(),
        further: serde_json::Value::Object(further).to_string(),
    }
}

fn address(told: AddressDescription) -> Address {
    let netmask = told.netmask;
    Address {
        interface: told.interface.unwrap_or_default(),
        ip: told.address,
        route: told.route.map(|route| Route {
            gateway: route.gateway,
            netmask,
            network: route.network,
        }),
    }
}
