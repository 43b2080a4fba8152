//! What may happen next: an operation made of the present state of the model and of random numbers.

use slap::InstanceState::{self, Destroyed, Started, Stopped};
use testkit::Random;

use crate::cast::{BOSS, CHIEF, NETWORKS, PEOPLE, PROJECTS, RELEASES, ROOT};
use crate::operation::{Actor, Ask, Described, Op, Place, ReleaseWord, Texts, What, Word};
use crate::reference::World;

/// What a system lets be done.
#[derive(Debug, Clone, Copy)]
pub struct Abilities {
    /// Whether scopes, capacities, networks, regions and removals of nodes are for administrators.
    pub only_the_administrator_manages: bool,
}

const NODES_MAX: usize = 6;

fn pick<'a, T>(random: &mut Random, from: &'a [T]) -> Option<&'a T> {
    let count = u64::try_from(from.len()).ok().filter(|count| *count > 0)?;
    from.get(usize::try_from(random.below(count)).unwrap_or(0))
}

fn one<T: Copy>(random: &mut Random, from: &[T]) -> T {
    *pick(random, from).expect("there is something to choose from")
}

/// True so many times of a hundred.
pub fn percent(random: &mut Random, chance: u64) -> bool {
    random.below(100) < chance
}

pub fn generate(world: &World, random: &mut Random, abilities: Abilities) -> Op {
    loop {
        let made = match random.below(100) {
            0..26 => request_root(world, random),
            26..45 => request_member(world, random),
            45..55 => clean_up(world, random),
            55..62 => report(world, random),
            62..67 => publish(world, random),
            67..70 => rename(world, random),
            70..73 => bang(world, random),
            73..79 => about_release(world, random),
            79..82 => format(world, random),
            82..92 => of_node(world, random),
            92..93 => new_node(world, random),
            _ => manage(world, random, abilities),
        };
        if let Some(op) = made {
            return op;
        }
    }
}

/// Anybody at all.
pub fn anybody(world: &World, random: &mut Random) -> Actor {
    match random.below(8) {
        0 => Actor::Nobody,
        1..4 => Actor::Person(usize::try_from(random.below(PEOPLE.len() as u64)).unwrap_or(0)),
        4 | 5 => node(world, random).map_or(Actor::Nobody, Actor::Node),
        _ => {
            // Also those whose time is over.
            let keys: Vec<i64> = world.instances.iter().filter_map(|one| one.key).collect();
            pick(random, &keys).map_or(Actor::Nobody, |key| Actor::Instance(*key))
        }
    }
}

/// The one whose business it is; now and then another.
fn by(world: &World, random: &mut Random, rightful: Actor) -> Actor {
    if percent(random, 6) {
        anybody(world, random)
    } else {
        rightful
    }
}

fn node(world: &World, random: &mut Random) -> Option<i64> {
    let keys: Vec<i64> = world.nodes.iter().map(|node| node.key).collect();
    pick(random, &keys).copied()
}

fn manager_of(world: &World, random: &mut Random, node: i64) -> Actor {
    let project = world.node_of(node).map(|node| world.nodes[node].project);
    let rightful = match project {
        Some(1) => BOSS,
        Some(2) => CHIEF,
        _ => ROOT,
    };
    by(world, random, Actor::Person(rightful))
}

fn texts(entries: &[(&str, String)]) -> Texts {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect()
}

fn state(random: &mut Random) -> Option<InstanceState> {
    match random.below(20) {
        0..9 => None,
        9..14 => Some(Started),
        14..17 => Some(Stopped),
        _ => Some(Destroyed),
    }
}

fn sla(world: &World, random: &mut Random) -> Texts {
    let mut sla = Texts::new();
    let count = one(random, &[0, 0, 0, 0, 0, 0, 1, 1, 1, 2]);
    for _ in 0..count {
        let (key, value) = match random.below(15) {
            0..4 => {
                let node = node(world, random).unwrap_or(99);
                ("computer_guid", format!("COMP-{node}"))
            }
            4 => ("computer_guid", "COMP-999999".to_owned()),
            5 => ("project_guid", format!("PROJ-{}", 1 + random.below(2))),
            6 => ("network_guid", format!("NET-{}", 1 + random.below(3))),
            7 | 8 => ("mode", "unique_by_network".to_owned()),
            9 => ("mode", "spread".to_owned()),
            10 => (
                "region",
                one(random, &["europe", "europe/france"]).to_owned(),
            ),
            11 => ("capability", "big".to_owned()),
            12 => ("colour", "red".to_owned()),
            _ => {
                let keys: Vec<i64> = world
                    .live()
                    .iter()
                    .filter_map(|one| world.instances[*one].key)
                    .collect();
                let key = pick(random, &keys).copied().unwrap_or(99);
                ("instance_guid", format!("SOFTINST-{key}"))
            }
        };
        sla.insert(key.to_owned(), value);
    }
    sla
}

fn ask(world: &World, random: &mut Random, title: &str) -> Ask {
    Ask {
        title: title.to_owned(),
        release: one(random, &[0, 0, 0, 0, 0, 1, 1, 2])
            .pipe(|index: usize| RELEASES[index].to_owned()),
        kind: one(
            random,
            &[
                None,
                None,
                None,
                Some("default"),
                Some("other"),
                Some("pull-backup"),
            ],
        )
        .map(str::to_owned),
        parameters: one(random, &[None, Some(0), Some(1), Some(2)]).map(|value: u64| match value {
            0 => Texts::new(),
            value => texts(&[("p", value.to_string())]),
        }),
        sla: percent(random, 35).then(|| sla(world, random)),
        state: state(random),
        shared: one(random, &[None, None, Some(false), Some(true)]),
        project: None,
    }
}

trait Pipe: Sized {
    fn pipe<T>(self, with: impl FnOnce(Self) -> T) -> T {
        with(self)
    }
}
impl<T> Pipe for T {}

fn request_root(world: &World, random: &mut Random) -> Option<Op> {
    let person = one(random, &[0, 1, 2, 2, 2, 2, 3, 3, 3, 4, 5, 5, 6]);
    let title = one(random, &["a", "b", "c", "d"]);
    let mut ask = ask(world, random, title);
    // Who asks again mostly knows what it asked for.
    let known = world
        .trees
        .iter()
        .position(|tree| tree.owner == person && tree.title == title && !tree.archived);
    let root = known.and_then(|tree| {
        world.live().into_iter().find(|one| {
            world.instances[*one].tree == tree && world.instances[*one].requester.is_none()
        })
    });
    if let Some(root) = root {
        let root = &world.instances[root];
        if percent(random, 70) {
            ask.release = root.release.clone();
        }
        if percent(random, 80) {
            ask.shared = ask.shared.map(|_| root.shared);
        }
    }
    if person == 5 && percent(random, 60) || percent(random, 5) {
        ask.project = Some(1 + i64::try_from(random.below(PROJECTS as u64)).unwrap_or(0));
    }
    Some(Op {
        by: Actor::Person(person),
        what: What::Request {
            requester: None,
            ask,
        },
    })
}

/// A live instance on a partition, and its place.
fn somewhere(world: &World, random: &mut Random) -> Option<(usize, Place)> {
    let there: Vec<usize> = world
        .live()
        .into_iter()
        .filter(|one| world.instances[*one].place.is_some())
        .collect();
    let instance = *pick(random, &there)?;
    Some((instance, place_of(world, instance)?))
}

fn place_of(world: &World, instance: usize) -> Option<Place> {
    let (node, partition) = world.instances[instance].place?;
    Some(Place {
        node: world.nodes[node].key,
        partition: world.nodes[node].partitions[partition].name.clone(),
    })
}

/// Any partition of any node, whatever is there: what somebody with an old view believes.
fn anywhere(world: &World, random: &mut Random) -> Option<Place> {
    Some(Place {
        node: node(world, random)?,
        partition: format!("slappart{}", random.below(4)),
    })
}

/// Who speaks for the instance on a partition: itself, its node, its owner.
fn speaker(world: &World, random: &mut Random, instance: usize, place: &Place) -> Actor {
    let rightful = match random.below(5) {
        0 | 1 => world.instances[instance]
            .key
            .map_or(Actor::Node(place.node), Actor::Instance),
        2 | 3 => Actor::Node(place.node),
        _ => Actor::Person(world.trees[world.instances[instance].tree].owner),
    };
    by(world, random, rightful)
}

fn request_member(world: &World, random: &mut Random) -> Option<Op> {
    let (requester, place) = somewhere(world, random)?;
    let tree = world.instances[requester].tree;
    let siblings: Vec<usize> = world
        .live()
        .into_iter()
        .filter(|one| world.instances[*one].tree == tree)
        .collect();
    let again = pick(random, &siblings)
        .copied()
        .filter(|_| percent(random, 40));
    let title = match again {
        Some(sibling) => world.instances[sibling].title.clone(),
        None => one(random, &["x", "y", "z", "w", "a"]).to_owned(),
    };
    let mut ask = ask(world, random, &title);
    if let Some(sibling) = again {
        if percent(random, 50) {
            ask.release = world.instances[sibling].release.clone();
        }
        if percent(random, 80) {
            ask.shared = ask.shared.map(|_| world.instances[sibling].shared);
        }
    }
    let speaker = speaker(world, random, requester, &place);
    let itself =
        matches!(speaker, Actor::Instance(key) if world.instances[requester].key == Some(key));
    let requester = if percent(random, 4) {
        anywhere(world, random)
    } else if itself && percent(random, 50) {
        None
    } else {
        Some(place)
    };
    Some(Op {
        by: speaker,
        what: What::Request { requester, ask },
    })
}

/// A node does what it was told: something that was to be destroyed is.
fn clean_up(world: &World, random: &mut Random) -> Option<Op> {
    let doomed: Vec<usize> = world
        .live()
        .into_iter()
        .filter(|one| {
            world.instances[*one].state == Destroyed && world.instances[*one].place.is_some()
        })
        .collect();
    let at = place_of(world, *pick(random, &doomed)?)?;
    Some(Op {
        by: Actor::Node(at.node),
        what: What::Report {
            at,
            word: Word::Destroyed,
        },
    })
}

fn report(world: &World, random: &mut Random) -> Option<Op> {
    let (at, rightful) = if percent(random, 70) {
        let (instance, place) = somewhere(world, random)?;
        let node = Actor::Node(place.node);
        let rightful = match world.instances[instance].key {
            Some(key) if percent(random, 20) => Actor::Instance(key),
            _ => node,
        };
        (place, rightful)
    } else {
        let place = anywhere(world, random)?;
        let node = Actor::Node(place.node);
        (place, node)
    };
    Some(Op {
        by: by(world, random, rightful),
        what: What::Report {
            at,
            word: one(
                random,
                &[Word::Started, Word::Started, Word::Stopped, Word::Destroyed],
            ),
        },
    })
}

fn shared_of(world: &World, random: &mut Random, host: usize) -> Option<i64> {
    let mut keys: Vec<i64> = world
        .served_by(host)
        .into_iter()
        .filter_map(|one| world.instances[one].key)
        .collect();
    if percent(random, 10) {
        // One that somebody else serves, or that is no more.
        keys = world.instances.iter().filter_map(|one| one.key).collect();
    }
    pick(random, &keys).copied().filter(|_| percent(random, 60))
}

fn publish(world: &World, random: &mut Random) -> Option<Op> {
    let (instance, at) = somewhere(world, random)?;
    let shared = shared_of(world, random, instance);
    let by = speaker(world, random, instance, &at);
    if percent(random, 15) {
        let log = "x".repeat(usize::try_from(random.below(120)).unwrap_or(0));
        return Some(Op {
            by,
            what: What::Error { at, shared, log },
        });
    }
    Some(Op {
        by,
        what: What::Publish {
            at,
            shared,
            parameters: match random.below(4) {
                0 => Texts::new(),
                value => texts(&[("url", format!("http://{value}/"))]),
            },
        },
    })
}

fn rename(world: &World, random: &mut Random) -> Option<Op> {
    let (instance, at) = somewhere(world, random)?;
    Some(Op {
        by: speaker(world, random, instance, &at),
        what: What::Rename {
            shared: shared_of(world, random, instance),
            at,
            title: one(random, &["a", "b", "x", "y", "z", "e"]).to_owned(),
        },
    })
}

fn bang(world: &World, random: &mut Random) -> Option<Op> {
    let (instance, at) = somewhere(world, random)?;
    let by = speaker(world, random, instance, &at);
    let what = if percent(random, 20) {
        What::Related { at }
    } else {
        What::Bang {
            at,
            message: format!("m{}", random.below(3)),
        }
    };
    Some(Op { by, what })
}

fn about_release(world: &World, random: &mut Random) -> Option<Op> {
    let node = node(world, random)?;
    let release = RELEASES[usize::try_from(random.below(3)).unwrap_or(0)].to_owned();
    let known = world
        .node_of(node)
        .map(|node| &world.nodes[node].installations);
    // What was ordered is done, mostly.
    let pending: Vec<(String, ReleaseWord)> = known
        .into_iter()
        .flatten()
        .filter_map(|one| match (one.wanted, one.reported) {
            (true, "" | "building" | "error") => {
                Some((one.release.clone(), ReleaseWord::Available))
            }
            (false, _) => Some((one.release.clone(), ReleaseWord::Destroyed)),
            _ => None,
        })
        .collect();
    if let Some((release, word)) = pick(random, &pending).filter(|_| percent(random, 50)) {
        return Some(Op {
            by: Actor::Node(node),
            what: What::ReportRelease {
                node,
                release: release.clone(),
                word: *word,
            },
        });
    }
    Some(if percent(random, 50) {
        Op {
            by: manager_of(world, random, node),
            what: What::Supply {
                node,
                release,
                wanted: percent(random, 70),
            },
        }
    } else {
        Op {
            by: by(world, random, Actor::Node(node)),
            what: What::ReportRelease {
                node,
                release,
                word: one(
                    random,
                    &[
                        ReleaseWord::Available,
                        ReleaseWord::Available,
                        ReleaseWord::Building,
                        ReleaseWord::Error,
                        ReleaseWord::Destroyed,
                    ],
                ),
            },
        }
    })
}

/// Some of the partitions a node of this number may have, in one of two orders.
pub fn described(random: &mut Random, node: i64) -> Vec<Described> {
    let mut partitions: Vec<Described> = Vec::new();
    for index in 0..4 {
        if percent(random, 20) {
            continue;
        }
        let last = if percent(random, 12) { 200 } else { 1 };
        partitions.push(Described {
            name: format!("slappart{index}"),
            addresses: vec![(format!("tap{index}"), format!("10.{node}.{index}.{last}"))],
            capabilities: if index == 3 && percent(random, 80) {
                vec!["big".to_owned()]
            } else {
                Vec::new()
            },
        });
    }
    if percent(random, 10) {
        partitions.reverse();
    }
    partitions
}

fn format(world: &World, random: &mut Random) -> Option<Op> {
    let node = node(world, random)?;
    Some(Op {
        by: by(world, random, Actor::Node(node)),
        what: What::Format {
            node,
            partitions: described(random, node),
        },
    })
}

fn of_node(world: &World, random: &mut Random) -> Option<Op> {
    let node = node(world, random)?;
    let by = by(world, random, Actor::Node(node));
    let what = match random.below(10) {
        0 => What::BangNode {
            node,
            message: format!("m{}", random.below(3)),
        },
        2 => What::Usage { node },
        _ => What::Poll { node },
    };
    Some(Op { by, what })
}

fn new_node(world: &World, random: &mut Random) -> Option<Op> {
    let project = 1 + i64::try_from(random.below(PROJECTS as u64)).unwrap_or(0);
    let title = format!("node{}", random.below(5));
    let known = world
        .nodes
        .iter()
        .any(|node| node.project == project && node.title == title && !node.removed);
    if world.nodes.len() >= NODES_MAX && !known {
        return None;
    }
    let manager = if project == 1 { BOSS } else { CHIEF };
    Some(Op {
        by: by(world, random, Actor::Person(manager)),
        what: What::NewNode { project, title },
    })
}

fn manage(world: &World, random: &mut Random, abilities: Abilities) -> Option<Op> {
    let node = node(world, random)?;
    let by = if abilities.only_the_administrator_manages {
        Actor::Person(ROOT)
    } else {
        manager_of(world, random, node)
    };
    let what = match random.below(20) {
        0..7 => What::Scope {
            node,
            scope: one(
                random,
                &[
                    "open",
                    "open",
                    "open",
                    "open",
                    "close/maintenance",
                    "close/noallocation",
                ],
            ),
        },
        7..12 => What::Capacity {
            node,
            capacity: one(random, &[None, None, None, Some(1), Some(2), Some(3)]),
        },
        12..15 => What::Network {
            node,
            network: one(
                random,
                &[
                    None,
                    Some(NETWORKS[0].0),
                    Some(NETWORKS[1].0),
                    Some(NETWORKS[2].0),
                ],
            ),
        },
        15..17 => What::Region {
            node,
            region: one(
                random,
                &[
                    None,
                    Some("europe"),
                    Some("europe/france/lille"),
                    Some("europe2"),
                ],
            )
            .map(str::to_owned),
        },
        17 => What::RemoveNode { node },
        _ => {
            return Some(Op {
                by: Actor::Person(ROOT),
                what: What::Member {
                    person: one(random, &[2, 3, 5]),
                    project: 1 + i64::try_from(random.below(PROJECTS as u64)).unwrap_or(0),
                    manager: one(random, &[None, Some(false), Some(false), Some(true)]),
                },
            });
        }
    };
    Some(Op { by, what })
}
