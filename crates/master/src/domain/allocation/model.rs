//! Every choice against a model written the slow way: every partition one by one, every rule as
//! P 6.9 puts it, without an order of checks.

#![allow(clippy::unwrap_used)]

use super::tests::{RELEASE, set, wish};
use super::*;
use crate::domain::capacity::capacity_left;
use crate::domain::words::NodeKey;
use proptest::prelude::*;
use std::time::Duration;

#[derive(Debug, Clone)]
struct ModelPartition {
    key: i64,
    position: i64,
    free: bool,
    capabilities: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct ModelNode {
    key: i64,
    remote: bool,
    project: i64,
    scope: AllocationScope,
    liveness: Liveness,
    capacity: Option<i64>,
    used: i64,
    network: Option<i64>,
    region: Vec<String>,
    group: Vec<String>,
    release: ReleaseOnNode,
    partitions: Vec<ModelPartition>,
}

impl ModelNode {
    fn reference(&self) -> String {
        format!(
            "{}-{}",
            if self.remote { "REMOTE" } else { "COMP" },
            self.key
        )
    }

    fn facts(&self) -> NodeFacts {
        let kind = match self.remote {
            true => NodeKind::Remote,
            false => NodeKind::Compute,
        };
        let paths = [
            (Category::Region, self.region.join("/")),
            (Category::Group, self.group.join("/")),
        ];
        NodeFacts {
            reference: NodeKey(self.key).reference(kind),
            project: ProjectKey(self.project),
            scope: self.scope,
            liveness: self.liveness.clone(),
            capacity_left: self
                .capacity
                .map(|units| capacity_left(Some(units), self.used)),
            network: self.network.map(NetworkKey),
            categories: paths
                .into_iter()
                .filter(|(_, path)| !path.is_empty())
                .collect(),
        }
    }

    fn view(&self) -> NodeView {
        let free = self.partitions.iter().filter(|partition| partition.free);
        NodeView {
            facts: self.facts(),
            release: self.release,
            partitions: i64::try_from(self.partitions.len()).unwrap(),
            free: FreeGroup::collect(free.map(|partition| {
                (
                    PartitionKey(partition.key),
                    partition.position,
                    partition.capabilities.clone(),
                )
            })),
        }
    }

    /// The rules about the node alone.
    fn suits(&self, keys: &BTreeMap<String, String>, units: i64, used: &BTreeSet<i64>) -> bool {
        let asked = |key: &str| keys.get(key).filter(|value| !value.is_empty());
        let below = |key: &str, path: &[String]| {
            asked(key).is_none_or(|asked| {
                let asked: Vec<&str> = asked.split('/').collect();
                path.len() >= asked.len() && asked.iter().zip(path).all(|(a, b)| a == b)
            })
        };
        let network = self.network.map(|network| format!("NET-{network}"));
        self.project == 1
            && asked("project_guid").is_none_or(|project| project == "PROJ-1")
            && asked("computer_guid").is_none_or(|node| *node == self.reference())
            && asked("network_guid").is_none_or(|asked| network.as_ref() == Some(asked))
            && below("region", &self.region)
            && below("group", &self.group)
            && self.scope == AllocationScope::Open
            && (self.remote
                || self.liveness == Liveness::Alive
                    && self
                        .capacity
                        .is_none_or(|capacity| self.used + units <= capacity))
            && (asked("mode").is_none()
                || self.network.is_some_and(|network| !used.contains(&network)))
    }

    /// The partitions it could be given, the best first.
    fn choices(&self, keys: &BTreeMap<String, String>) -> Vec<&ModelPartition> {
        let capability = keys.get("capability").filter(|value| !value.is_empty());
        let mut choices: Vec<&ModelPartition> = self
            .partitions
            .iter()
            .filter(|partition| {
                partition.free
                    && match capability {
                        Some(capability) => partition.capabilities.contains(capability),
                        None => partition.capabilities.is_empty(),
                    }
            })
            .collect();
        choices.sort_by_key(|partition| (partition.position, partition.key));
        choices
    }
}

/// Node and partition; no partition is a gate.
fn model(
    nodes: &[ModelNode],
    keys: &BTreeMap<String, String>,
    units: i64,
    used: &BTreeSet<i64>,
) -> Option<(i64, Option<i64>)> {
    if keys.contains_key("instance_guid") {
        return None;
    }
    let mut suitable: Vec<&ModelNode> = nodes
        .iter()
        .filter(|node| node.suits(keys, units, used) && node.release == ReleaseOnNode::Available)
        .collect();
    suitable.sort_by_key(|node| node.key);
    let machines = suitable.iter().filter(|node| !node.remote);
    let most = machines
        .clone()
        .map(|node| node.choices(keys).len())
        .max()
        .unwrap_or(0);
    if most > 0 {
        let node = machines
            .into_iter()
            .find(|node| node.choices(keys).len() == most)?;
        return Some((node.key, Some(node.choices(keys)[0].key)));
    }
    let gate = suitable.iter().find(|node| node.remote)?;
    keys.get("capability").is_none().then_some((gate.key, None))
}

fn words(choices: &'static [&'static str], at_most: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(
        prop::sample::select(choices).prop_map(str::to_owned),
        0..=at_most,
    )
}

fn any_liveness() -> impl Strategy<Value = Liveness> {
    prop_oneof![
        8 => Just(Liveness::Alive),
        1 => Just(Liveness::NeverSeen),
        1 => Just(Liveness::Silent { since: Duration::from_secs(700) }),
        1 => Just(Liveness::Faulty { text: "#error".to_owned() }),
    ]
}

fn any_partitions() -> impl Strategy<Value = Vec<(i64, bool, BTreeSet<String>)>> {
    let capabilities = prop_oneof![
        3 => Just(BTreeSet::new()),
        1 => Just(set(&["tap"])),
        1 => Just(set(&["tap", "gpu"])),
    ];
    prop::collection::vec((0..4_i64, any::<bool>(), capabilities), 0..5)
}

fn any_nodes() -> impl Strategy<Value = Vec<ModelNode>> {
    let release = prop_oneof![
        6 => Just(ReleaseOnNode::Available),
        1 => Just(ReleaseOnNode::NotRequested),
        1 => Just(ReleaseOnNode::Building),
        1 => Just(ReleaseOnNode::BeingRemoved),
    ];
    let scope = prop_oneof![
        8 => Just(AllocationScope::Open),
        2 => prop::sample::select(&AllocationScope::ALL[..]),
    ];
    let node = (
        (
            prop::bool::weighted(0.2),
            prop::bool::weighted(0.1),
            scope,
            any_liveness(),
            release,
        ),
        (
            prop::option::of(0..4_i64),
            0..4_i64,
            prop::option::of(1..4_i64),
        ),
        words(&["a", "b"], 3),
        words(&["a", "b"], 2),
        any_partitions(),
    );
    prop::collection::vec(node, 0..7)
        .prop_map(|nodes| {
            let mut key = 0;
            let nodes = nodes.into_iter().zip(1..).map(
                |((basics, (capacity, used, network), region, group, partitions), index)| {
                    let (remote, foreign, scope, liveness, release) = basics;
                    ModelNode {
                        key: index,
                        remote,
                        project: if foreign { 2 } else { 1 },
                        scope,
                        liveness,
                        capacity,
                        used,
                        network,
                        region,
                        group,
                        release,
                        partitions: partitions
                            .into_iter()
                            .map(|(position, free, capabilities)| {
                                key += 1;
                                ModelPartition {
                                    key,
                                    position,
                                    free,
                                    capabilities,
                                }
                            })
                            .collect(),
                    }
                },
            );
            nodes.collect::<Vec<_>>()
        })
        .prop_shuffle()
}

fn any_keys() -> impl Strategy<Value = BTreeMap<String, String>> {
    fn maybe(
        key: &'static str,
        values: &'static [&'static str],
        chance: f64,
    ) -> impl Strategy<Value = Option<(String, String)>> {
        let value = prop::sample::select(values);
        prop::option::weighted(chance, value)
            .prop_map(move |value| value.map(|value| (key.to_owned(), value.to_owned())))
    }
    (
        maybe(
            "computer_guid",
            &["COMP-1", "COMP-2", "REMOTE-1", "REMOTE-2", "COMP-9"],
            0.2,
        ),
        maybe("network_guid", &["NET-1", "NET-2"], 0.1),
        maybe("project_guid", &["PROJ-1", "PROJ-2"], 0.1),
        maybe("instance_guid", &["SOFTINST-1", "SOFTINST-2"], 0.1),
        maybe("mode", &["unique_by_network"], 0.3),
        maybe("capability", &["tap", "gpu", "usb"], 0.3),
        maybe("region", &["a", "a/b", "b", "a/b/a"], 0.3),
        maybe("group", &["a", "b/b"], 0.1),
    )
        .prop_map(|(a, b, c, d, e, f, g, h)| {
            [a, b, c, d, e, f, g, h].into_iter().flatten().collect()
        })
}

#[derive(Debug, Clone)]
struct ModelHost {
    key: i64,
    tree: i64,
    node: usize,
    release: &'static str,
    software_type: &'static str,
    state: InstanceState,
    shared: i64,
    capabilities: BTreeSet<String>,
}

fn any_hosts() -> impl Strategy<Value = Vec<ModelHost>> {
    let state = prop_oneof![
        4 => Just(InstanceState::Started),
        1 => Just(InstanceState::Stopped),
        1 => Just(InstanceState::Destroyed),
    ];
    let host = (
        1..3_i64,
        0..7_usize,
        prop::sample::select(&[RELEASE, RELEASE, RELEASE, "other"][..]),
        prop::sample::select(&["default", "default", "default", "other"][..]),
        state,
        0..3_i64,
        prop_oneof![2 => Just(BTreeSet::new()), 1 => Just(set(&["tap"]))],
    );
    prop::collection::vec(host, 0..6)
        .prop_map(|hosts| {
            let hosts = hosts.into_iter().zip(1..);
            hosts
                .map(
                    |((tree, node, release, software_type, state, shared, capabilities), key)| {
                        ModelHost {
                            key,
                            tree,
                            node,
                            release,
                            software_type,
                            state,
                            shared,
                            capabilities,
                        }
                    },
                )
                .collect::<Vec<_>>()
        })
        .prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn placement_is_what_the_model_says(
        nodes in any_nodes(),
        keys in any_keys(),
        units in 0..3_i64,
        used in prop::collection::btree_set(1..4_i64, 0..3),
    ) {
        let sla = Sla::parse(&keys).unwrap();
        let networks = used.iter().copied().map(NetworkKey).collect();
        let wish = Wish { units, networks_used_by_tree: &networks, ..wish(&sla) };
        let expected = model(&nodes, &keys, units, &used);
        let found = place(&wish, nodes.iter().map(ModelNode::view));
        let shown = found.as_ref().ok().map(|place| {
            let partition = match place.slot {
                Slot::Partition(key) => Some(key.0),
                Slot::Gate => None,
            };
            (place.node.key.0, partition)
        });
        prop_assert_eq!(shown, expected);

        // The walk over an index in the policy's order finds the same, and so does any other order.
        let mut ordered: Vec<NodeView> = nodes.iter().map(ModelNode::view).collect();
        ordered.reverse();
        prop_assert_eq!(&place(&wish, ordered.clone()), &found);
        ordered.sort_by_key(|node| (-node.fitting(&wish), node.facts.reference.key));
        let walked = first(&wish, ordered);
        prop_assert_eq!(&walked, &found);

        if let Err(waiting) = found {
            // One reason for each node of the project.
            let told: usize = waiting.groups().iter().map(|group| group.count).sum();
            let own = nodes.iter().filter(|node| node.project == 1).count();
            if matches!(waiting, Waiting::Nobody(_)) {
                prop_assert_eq!(told, own);
            }
            prop_assert!(waiting.to_string().len() < 3000);
            let text = waiting.to_string();
            for node in nodes.iter().filter(|node| node.project != 1) {
                let named = keys.get("computer_guid") == Some(&node.reference());
                prop_assert!(named || !text.contains(&node.reference()), "{}", text);
            }
        }
    }

    #[test]
    fn shared_placement_is_what_the_model_says(
        nodes in any_nodes(),
        hosts in any_hosts(),
        keys in any_keys(),
        used in prop::collection::btree_set(1..4_i64, 0..3),
    ) {
        let hosts: Vec<(ModelHost, &ModelNode)> = hosts
            .into_iter()
            .filter_map(|host| {
                let node = nodes.get(host.node)?;
                (!node.remote).then_some((host, node))
            })
            .collect();
        let sla = Sla::parse(&keys).unwrap();
        let networks = used.iter().copied().map(NetworkKey).collect();
        let wish = Wish { networks_used_by_tree: &networks, ..wish(&sla) };
        let views = hosts.iter().map(|(host, node)| HostView {
            instance: InstanceKey(host.key),
            tree: TreeKey(host.tree),
            release: host.release.to_owned(),
            software_type: host.software_type.to_owned(),
            state: host.state,
            shared: host.shared,
            capabilities: host.capabilities.clone(),
            node: node.facts(),
        });
        let found = place_shared(&wish, views, nodes.iter().map(ModelNode::view));

        let own_tree_first =
            !keys.contains_key("instance_guid") && !keys.contains_key("computer_guid");
        let mut suitable: Vec<&ModelHost> = hosts
            .iter()
            .filter(|(host, node)| {
                let named = format!("SOFTINST-{}", host.key);
                host.release == RELEASE
                    && host.software_type == "default"
                    && host.state != InstanceState::Destroyed
                    && keys.get("instance_guid").is_none_or(|asked| *asked == named)
                    && keys.get("capability").is_none_or(|asked| host.capabilities.contains(asked))
                    && node.suits(&keys, 1, &used)
            })
            .map(|(host, _)| host)
            .collect();
        if own_tree_first && suitable.iter().any(|host| host.tree == 1) {
            suitable.retain(|host| host.tree == 1);
        }
        let fewest = suitable.iter().map(|host| host.shared).min();
        suitable.retain(|host| Some(host.shared) == fewest);
        let host = suitable.iter().map(|host| host.key).min();
        let gate = nodes
            .iter()
            .filter(|node| {
                node.remote
                    && node.release == ReleaseOnNode::Available
                    && node.suits(&keys, 1, &used)
                    && !keys.contains_key("instance_guid")
                    && !keys.contains_key("capability")
            })
            .map(|node| node.key)
            .min();
        match (found, host, gate) {
            (Ok(SharedPlace::Host(key)), Some(expected), _) => prop_assert_eq!(key.0, expected),
            (Ok(SharedPlace::Gate(node)), None, Some(expected)) => {
                prop_assert_eq!(node.key.0, expected);
            }
            (Err(waiting), None, None) => prop_assert!(waiting.to_string().len() < 3000),
            (found, host, gate) => prop_assert!(false, "{found:?}, not {host:?} or {gate:?}"),
        }
    }
}
