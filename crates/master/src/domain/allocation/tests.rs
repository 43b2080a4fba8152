//! Every reason in a table with its words, and the policy in examples.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::domain::waiting::ReasonKind;
use crate::domain::words::NodeKey;
use std::time::Duration;

pub(super) const RELEASE: &str = "https://example.org/software.cfg";
const NONE: &BTreeSet<NetworkKey> = &BTreeSet::new();

pub(super) fn sla(pairs: &[(&str, &str)]) -> Sla {
    let keys = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Sla::parse(&keys).unwrap()
}

pub(super) fn wish(sla: &Sla) -> Wish<'_> {
    Wish {
        project: ProjectKey(1),
        tree: TreeKey(1),
        release: RELEASE,
        software_type: "default",
        sla,
        units: 1,
        networks_used_by_tree: NONE,
    }
}

pub(super) fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn facts(key: i64) -> NodeFacts {
    NodeFacts {
        reference: NodeKey(key).reference(NodeKind::Compute),
        project: ProjectKey(1),
        scope: AllocationScope::Open,
        liveness: Liveness::Alive,
        capacity_left: None,
        network: None,
        categories: BTreeMap::new(),
    }
}

/// A node that takes anything, with so many free partitions.
fn node(key: i64, free: i64) -> NodeView {
    let partitions = (0..free).map(|n| (PartitionKey(key * 100 + n), n, BTreeSet::new()));
    NodeView {
        facts: facts(key),
        release: ReleaseOnNode::Available,
        partitions: 8,
        free: FreeGroup::collect(partitions),
    }
}

fn gate(key: i64) -> NodeView {
    let mut gate = node(key, 0);
    gate.facts.reference.kind = NodeKind::Remote;
    gate.partitions = 0;
    gate
}

fn host(key: i64, on: i64) -> HostView {
    HostView {
        instance: InstanceKey(key),
        tree: TreeKey(9),
        release: RELEASE.to_owned(),
        software_type: "default".to_owned(),
        state: InstanceState::Started,
        shared: 0,
        capabilities: BTreeSet::new(),
        node: facts(on),
    }
}

fn with(mut view: NodeView, change: impl FnOnce(&mut NodeView)) -> NodeView {
    change(&mut view);
    view
}

fn placed_on(wish: &Wish, nodes: Vec<NodeView>) -> Option<i64> {
    place(wish, nodes).ok().map(|place| place.node.key.0)
}

#[test]
fn the_emptiest_node_is_filled_first_then_the_oldest() {
    let sla = sla(&[]);
    let wish = wish(&sla);
    assert_eq!(placed_on(&wish, vec![node(1, 3), node(2, 5)]), Some(2));
    assert_eq!(placed_on(&wish, vec![node(2, 5), node(1, 5)]), Some(1));
    let place = place(&wish, vec![node(3, 2)]).unwrap();
    assert_eq!(place.slot, Slot::Partition(PartitionKey(300)));
}

#[test]
fn the_first_free_partition_is_by_position_not_by_key() {
    let sla = sla(&[]);
    let view = with(node(1, 0), |view| {
        view.free = FreeGroup::collect([
            (PartitionKey(1), 7, set(&[])),
            (PartitionKey(2), 3, set(&[])),
            (PartitionKey(3), 3, set(&[])),
            (PartitionKey(4), 0, set(&["tap"])),
        ]);
    });
    let slot = eligible(&wish(&sla), &view).unwrap();
    assert_eq!(slot, Slot::Partition(PartitionKey(2)));
    let group = view.free.iter().find(|group| group.capabilities.is_empty());
    assert_eq!(group.unwrap().free, 3);
}

#[test]
fn capabilities_are_for_those_who_ask() {
    let view = with(node(1, 0), |view| {
        view.free = FreeGroup::collect([
            (PartitionKey(1), 0, set(&["tap", "gpu"])),
            (PartitionKey(2), 1, set(&["gpu"])),
            (PartitionKey(3), 2, set(&[])),
        ]);
    });
    for (capability, partition) in [("", 3), ("gpu", 1), ("tap", 1)] {
        let sla = sla(&[("capability", capability)]);
        let slot = eligible(&wish(&sla), &view).unwrap();
        assert_eq!(slot, Slot::Partition(PartitionKey(partition)));
    }
    let other = sla(&[("capability", "gp")]);
    assert_eq!(
        eligible(&wish(&other), &view),
        Err(Reason::NoneWithCapability)
    );
}

#[test]
fn a_gate_is_the_last_resort_and_never_full() {
    let any = sla(&[]);
    assert_eq!(placed_on(&wish(&any), vec![gate(1), node(2, 1)]), Some(2));
    let place = place(&wish(&any), vec![gate(1), node(2, 0), gate(3)]).unwrap();
    assert_eq!(
        (place.node.to_string(), place.slot),
        ("REMOTE-1".to_owned(), Slot::Gate)
    );
    let silent = with(gate(1), |view| {
        view.facts.liveness = Liveness::NeverSeen;
        view.facts.capacity_left = Some(0);
    });
    assert_eq!(placed_on(&wish(&any), vec![silent]), Some(1));
    let named = sla(&[("computer_guid", "REMOTE-1")]);
    assert_eq!(placed_on(&wish(&named), vec![gate(1), node(2, 1)]), Some(1));
    let other_kind = sla(&[("computer_guid", "COMP-1")]);
    assert_eq!(placed_on(&wish(&other_kind), vec![gate(1)]), None);

    let listed = |release: &str| {
        let list = [RELEASE.to_owned(), "other".to_owned()];
        ReleaseOnNode::of_gate(&list, release)
    };
    assert_eq!(listed("other"), ReleaseOnNode::Available);
    assert_eq!(listed("third"), ReleaseOnNode::NotRequested);
    assert_eq!(
        ReleaseOnNode::of_gate(&[], "third"),
        ReleaseOnNode::Available
    );
}

/// One wish, one node, one reason, and the sentence its requester reads.
#[test]
fn every_reason_is_told() {
    let used = &BTreeSet::from([NetworkKey(2)]);
    let in_network = |network: i64| {
        move |view: &mut NodeView| {
            view.facts.network = Some(NetworkKey(network));
        }
    };
    type Change = Box<dyn FnOnce(&mut NodeView)>;
    type Keys = &'static [(&'static str, &'static str)];
    let release =
        |release: ReleaseOnNode| -> Change { Box::new(move |view| view.release = release) };
    let alive =
        |liveness: Liveness| -> Change { Box::new(move |view| view.facts.liveness = liveness) };
    let available = "no node of project PROJ-1 has release https://example.org/software.cfg \
                     available";
    let table: Vec<(Keys, Change, &str, String)> = vec![
        (
            &[("network_guid", "NET-3")],
            Box::new(in_network(2)),
            "other_network",
            "no node of project PROJ-1 can take it now: COMP-4: it is not in network NET-3".into(),
        ),
        (
            &[("region", "europe/france")],
            Box::new(|view| {
                let path = "europe/italy".to_owned();
                view.facts.categories.insert(Category::Region, path);
            }),
            "category",
            "no node of project PROJ-1 can take it now: COMP-4: its region is \"europe/italy\", \
             not \"europe/france\""
                .into(),
        ),
        (
            &[("cpu_core", "vm/4")],
            Box::new(|_| {}),
            "category",
            "no node of project PROJ-1 can take it now: COMP-4: it has no cpu_core, and \"vm/4\" \
             is asked for"
                .into(),
        ),
        (
            &[],
            Box::new(|view| view.facts.scope = AllocationScope::Maintenance),
            "closed",
            "no node of project PROJ-1 can take it now: COMP-4: it is closed (close/maintenance)"
                .into(),
        ),
        (
            &[],
            release(ReleaseOnNode::NotRequested),
            "release_not_requested",
            format!(
                "{available}: 1 not asked to install it (COMP-4), try: slapos supply \
                 https://example.org/software.cfg COMP-4"
            ),
        ),
        (
            &[],
            release(ReleaseOnNode::Requested),
            "release_requested",
            format!("{available}: 1 asked to install it but not building yet (COMP-4)"),
        ),
        (
            &[],
            release(ReleaseOnNode::Building),
            "release_building",
            format!("{available}: 1 building it (COMP-4)"),
        ),
        (
            &[],
            release(ReleaseOnNode::Failed),
            "release_failed",
            format!("{available}: 1 failed to build it (COMP-4)"),
        ),
        (
            &[],
            release(ReleaseOnNode::BeingRemoved),
            "release_being_removed",
            format!("{available}: 1 removing it (COMP-4)"),
        ),
        (
            &[],
            Box::new(|view| {
                view.facts.reference.kind = NodeKind::Remote;
                view.release = ReleaseOnNode::NotRequested;
            }),
            "not_taken_by_gate",
            "no node of project PROJ-1 can take it now: REMOTE-4: the Master behind it does not \
             take the release"
                .into(),
        ),
        (
            &[],
            alive(Liveness::NeverSeen),
            "never_seen",
            "no node of project PROJ-1 can take it now: COMP-4: it was never in contact".into(),
        ),
        (
            &[],
            alive(Liveness::Silent {
                since: Duration::from_secs(12 * 60 + 59),
            }),
            "silent",
            "no node of project PROJ-1 can take it now: COMP-4: no contact for 12 minutes".into(),
        ),
        (
            &[],
            alive(Liveness::Faulty {
                text: "#error bang: disk full".into(),
            }),
            "faulty",
            "no node of project PROJ-1 can take it now: COMP-4: its last status is an error: \
             \"#error bang: disk full\""
                .into(),
        ),
        (
            &[],
            Box::new(|view| view.facts.capacity_left = Some(0)),
            "no_capacity",
            "no node of project PROJ-1 can take it now: COMP-4: nothing of its capacity left, and \
             1 wanted"
                .into(),
        ),
        (
            &[("mode", "unique_by_network")],
            Box::new(|_| {}),
            "no_network",
            "no node of project PROJ-1 can take it now: COMP-4: it is in no network, and \
             mode=unique_by_network wants one"
                .into(),
        ),
        (
            &[("mode", "unique_by_network")],
            Box::new(in_network(2)),
            "network_used",
            "no node of project PROJ-1 can take it now: COMP-4: the tree already has an instance \
             in its network NET-2"
                .into(),
        ),
        (
            &[],
            Box::new(|view| (view.partitions, view.free) = (0, Vec::new())),
            "no_partition",
            "no node of project PROJ-1 can take it now: COMP-4: it has no partition yet (slapos \
             node format)"
                .into(),
        ),
        (
            &[],
            Box::new(|view| view.free.clear()),
            "all_busy",
            "no node of project PROJ-1 can take it now: COMP-4: all 8 partitions are busy".into(),
        ),
        (
            &[("capability", "tap")],
            Box::new(|_| {}),
            "none_with_capability",
            "no node of project PROJ-1 can take it now: COMP-4: no free partition has capability \
             \"tap\""
                .into(),
        ),
        (
            &[],
            Box::new(|view| view.free[0].capabilities = set(&["tap"])),
            "only_with_capability",
            "no node of project PROJ-1 can take it now: COMP-4: its free partitions are kept for \
             those who ask for a capability"
                .into(),
        ),
        (
            &[("computer_guid", "COMP-5")],
            Box::new(|_| {}),
            "other_node",
            "project PROJ-1 has no node COMP-5".into(),
        ),
        (
            &[],
            Box::new(|view| view.facts.project = ProjectKey(2)),
            "nobody",
            "project PROJ-1 has no node yet (slapos node register)".into(),
        ),
    ];
    for (keys, change, code, words) in table {
        let sla = sla(keys);
        let wish = Wish {
            networks_used_by_tree: used,
            ..wish(&sla)
        };
        let waiting = place(&wish, [with(node(4, 2), change)]).unwrap_err();
        assert_eq!(waiting.to_string(), words);
        assert_eq!(waiting.code(), code);
        assert!(!waiting.for_ever());
    }
}

#[test]
fn what_no_node_can_change_is_told_first() {
    for (shared, keys, words) in [
        (
            false,
            ("project_guid", "PROJ-2"),
            "its SLA names project PROJ-2, but it belongs to PROJ-1; request it again without \
             project_guid",
        ),
        (
            true,
            ("project_guid", "PROJ-2"),
            "its SLA names project PROJ-2, but it belongs to PROJ-1; request it again without \
             project_guid",
        ),
        (
            false,
            ("instance_guid", "SOFTINST-3"),
            "its SLA names SOFTINST-3 as the instance to be served by, but it is no shared \
             instance; request it again without instance_guid",
        ),
        (
            false,
            ("master_url", "https://other/"),
            "another Master has not taken it yet",
        ),
    ] {
        let sla = sla(&[keys]);
        let wish = wish(&sla);
        let waiting = if shared {
            place_shared(&wish, [host(1, 1)], []).unwrap_err()
        } else {
            place(&wish, [node(1, 1)]).unwrap_err()
        };
        assert_eq!(waiting.to_string(), words);
    }
    let own = sla(&[("project_guid", "PROJ-1")]);
    assert!(place(&wish(&own), [node(1, 1)]).is_ok());
    let keys = BTreeMap::from([("regoin".to_owned(), "x".to_owned())]);
    let waiting = Waiting::from(Sla::parse(&keys).unwrap_err());
    assert!(waiting.for_ever());
    assert_eq!(waiting.code(), "sla_mistake");
    assert!(waiting.to_string().contains("did you mean `region`?"));
}

#[test]
fn many_nodes_make_a_short_sentence() {
    let any = sla(&[]);
    let mut nodes = Vec::new();
    let kinds = [
        (2, ReleaseOnNode::Building),
        (1, ReleaseOnNode::Failed),
        (3, ReleaseOnNode::NotRequested),
    ];
    for (count, release) in kinds {
        for _ in 0..count {
            let key = i64::try_from(nodes.len()).unwrap() + 1;
            nodes.push(with(node(key, 1), |view| view.release = release));
        }
    }
    let closed = |view: &mut NodeView| view.facts.scope = AllocationScope::NoAllocation;
    nodes.push(with(node(7, 1), closed));
    nodes.push(with(node(8, 1), closed));
    let waiting = place(&wish(&any), nodes).unwrap_err();
    assert_eq!(
        waiting.to_string(),
        "no node of project PROJ-1 has release https://example.org/software.cfg available: 2 \
         building it (COMP-1, COMP-2), 1 failed to build it (COMP-3), 3 not asked to install it \
         (COMP-4, COMP-5, COMP-6), try: slapos supply https://example.org/software.cfg COMP-4; 2 \
         nodes are closed (COMP-7, COMP-8)"
    );
    assert_eq!(waiting.code(), "release_building");

    let busy = (1..=6000).rev().map(|key| node(key, 0));
    let waiting = place(&wish(&any), busy).unwrap_err();
    assert_eq!(
        waiting.to_string(),
        "no node of project PROJ-1 can take it now: 6000 nodes have all partitions busy (COMP-1, \
         COMP-2, COMP-3, …)"
    );
    assert_eq!(waiting.groups()[0].count, 6000);
    assert_eq!(waiting.groups()[0].kind, ReasonKind::AllBusy);
}

#[test]
fn the_sentence_is_bounded_whatever_is_in_it() {
    let long = "\u{1}é".repeat(4000);
    let keys: Vec<(&str, String)> = Category::ALL
        .into_iter()
        .map(|category| (category.as_str(), "é".repeat(200)))
        .collect();
    let pairs: Vec<(&str, &str)> = keys
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .chain([("capability", long.as_str())])
        .collect();
    let sla = sla(&pairs);
    let mut wish = wish(&sla);
    wish.release = &long;
    wish.software_type = &long;
    let all: BTreeMap<Category, String> = sla.categories.clone();
    let mut nodes = Vec::new();
    for (index, category) in Category::ALL.into_iter().enumerate() {
        let key = i64::try_from(index).unwrap() + 1;
        nodes.push(with(node(key, 1), |view| {
            view.facts.categories = all.clone();
            view.facts.categories.insert(category, "è".repeat(200));
        }));
    }
    for (key, text) in [(50, long.clone()), (51, long.clone())] {
        nodes.push(with(node(key, 1), |view| {
            view.facts.categories = all.clone();
            view.facts.liveness = Liveness::Faulty { text };
        }));
    }
    let text = place(&wish, nodes).unwrap_err().to_string();
    assert!(text.len() < 5000, "{} bytes", text.len());
    // Twelve kinds of reasons, of which six are told.
    assert!(
        text.ends_with("; 6 more cannot for other reasons"),
        "{text}"
    );
    assert_eq!(text.matches("; ").count(), 6, "{text}");
}

#[test]
fn a_shared_instance_goes_to_its_own_tree_then_to_the_least_loaded() {
    let any = sla(&[]);
    let loaded = |key, shared, tree| HostView {
        shared,
        tree: TreeKey(tree),
        ..host(key, key)
    };
    let hosts = vec![
        loaded(1, 0, 9),
        loaded(2, 5, 1),
        loaded(3, 4, 1),
        loaded(4, 4, 1),
    ];
    let chosen = |sla: &Sla, hosts: Vec<HostView>| place_shared(&wish(sla), hosts, []).ok();
    let goes_to = |key| Some(SharedPlace::Host(InstanceKey(key)));
    assert_eq!(chosen(&any, hosts.clone()), goes_to(3));
    let named = sla(&[("instance_guid", "SOFTINST-2")]);
    assert_eq!(chosen(&named, hosts.clone()), goes_to(2));
    let on_node = sla(&[("computer_guid", "COMP-1")]);
    assert_eq!(chosen(&on_node, hosts), goes_to(1));
    // On a node that is named, whose tree it is does not matter.
    let both = vec![
        HostView {
            node: facts(1),
            ..loaded(5, 1, 1)
        },
        loaded(1, 0, 9),
    ];
    assert_eq!(chosen(&on_node, both), goes_to(1));
}

#[test]
fn a_shared_instance_needs_a_host_of_its_kind() {
    let any = sla(&[]);
    let named = sla(&[("instance_guid", "SOFTINST-7")]);
    let on_node = sla(&[("computer_guid", "COMP-9")]);
    let tap = sla(&[("capability", "tap")]);
    let there = "no instance of project PROJ-1 with release https://example.org/software.cfg and \
                 type \"default\"";
    for (sla, host, words) in [
        (
            &any,
            HostView {
                release: "other".into(),
                ..host(7, 1)
            },
            format!("{there} is there to serve it"),
        ),
        (
            &any,
            HostView {
                software_type: "other".into(),
                ..host(7, 1)
            },
            format!("{there} is there to serve it"),
        ),
        (
            &any,
            HostView {
                state: InstanceState::Destroyed,
                ..host(7, 1)
            },
            format!("{there} is there to serve it"),
        ),
        (
            &any,
            HostView {
                node: NodeFacts {
                    project: ProjectKey(2),
                    ..facts(1)
                },
                ..host(7, 1)
            },
            format!("{there} is there to serve it"),
        ),
        (
            &named,
            host(8, 1),
            "SOFTINST-7 cannot serve it: no instance of that name in project PROJ-1 has release \
             https://example.org/software.cfg and type \"default\""
                .into(),
        ),
        (
            &on_node,
            host(7, 1),
            format!("{there} is there to serve it on COMP-9"),
        ),
        (
            &any,
            HostView {
                node: NodeFacts {
                    liveness: Liveness::NeverSeen,
                    ..facts(1)
                },
                ..host(7, 1)
            },
            format!("{there} can serve it now: COMP-1: it was never in contact"),
        ),
        (
            &named,
            HostView {
                node: NodeFacts {
                    scope: AllocationScope::NoAllocation,
                    ..facts(1)
                },
                ..host(7, 1)
            },
            "SOFTINST-7 cannot serve it now: COMP-1: it is closed (close/noallocation)".into(),
        ),
        (
            &any,
            HostView {
                node: NodeFacts {
                    capacity_left: Some(0),
                    ..facts(1)
                },
                ..host(7, 1)
            },
            format!("{there} can serve it now: COMP-1: nothing of its capacity left, and 1 wanted"),
        ),
        (
            &tap,
            host(7, 1),
            format!("{there} can serve it now: COMP-1: no free partition has capability \"tap\""),
        ),
    ] {
        let waiting = place_shared(&wish(sla), [host], []).unwrap_err();
        assert_eq!(waiting.to_string(), words);
    }
    // A shared instance takes no partition away from those who ask for a capability.
    let special = HostView {
        capabilities: set(&["tap"]),
        ..host(7, 1)
    };
    assert!(place_shared(&wish(&any), [special.clone()], []).is_ok());
    assert!(place_shared(&wish(&tap), [special], []).is_ok());
    // A stopped host serves again when it is started.
    let stopped = HostView {
        state: InstanceState::Stopped,
        ..host(7, 1)
    };
    assert!(place_shared(&wish(&any), [stopped], []).is_ok());
}

#[test]
fn a_gate_serves_what_nobody_here_can() {
    let any = sla(&[]);
    let through = |sla: &Sla, hosts: Vec<HostView>, gates: Vec<NodeView>| {
        place_shared(&wish(sla), hosts, gates).ok()
    };
    let gates = vec![node(1, 1), gate(3), gate(2)];
    assert_eq!(
        through(&any, vec![], gates.clone()),
        Some(SharedPlace::Gate(NodeKey(2).reference(NodeKind::Remote)))
    );
    assert_eq!(
        through(&any, vec![host(7, 1)], gates.clone()),
        Some(SharedPlace::Host(InstanceKey(7)))
    );
    let named = sla(&[("instance_guid", "SOFTINST-8")]);
    assert_eq!(through(&named, vec![host(7, 1)], gates.clone()), None);
    let remote = sla(&[("computer_guid", "REMOTE-3")]);
    assert_eq!(
        through(&remote, vec![host(7, 1)], gates),
        Some(SharedPlace::Gate(NodeKey(3).reference(NodeKind::Remote)))
    );
}
