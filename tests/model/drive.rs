//! Runs a script against a system and against the model, side by side, and looks at everything after
//! each step.
//!
//! A script is a list of numbers; each of them decides one step, given the state of the model. So
//! steps can be taken out of a failing script, and what is left is still one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use testkit::Random;

use crate::cast::{BOSS, CHIEF, NETWORKS, RELEASES, ROOT};
use crate::compare::{
    Stamps, View, bind, check_reply, check_sight, check_stamps, check_tags, check_unchanged,
    compare,
};
use crate::generate::{anybody, generate, percent};
use crate::operation::{Actor, Described, Op, ReleaseWord, Reply, What};
use crate::reference::{Outcome, World};
use crate::system::System;

/// Operations at the same moment, at most: every order of them is tried.
const BATCH_MAX: u64 = 5;

/// What was done, for the report of a run.
#[derive(Debug, Default)]
pub struct Tally {
    pub operations: u64,
    pub placed: u64,
    pub waiting: u64,
    pub refused: u64,
    pub batches: u64,
    pub repeated: u64,
    pub kills: u64,
    pub lost: u64,
    pub lost_and_done: u64,
    pub most_instances: usize,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.operations += other.operations;
        self.placed += other.placed;
        self.waiting += other.waiting;
        self.refused += other.refused;
        self.batches += other.batches;
        self.repeated += other.repeated;
        self.kills += other.kills;
        self.lost += other.lost;
        self.lost_and_done += other.lost_and_done;
        self.most_instances = self.most_instances.max(other.most_instances);
    }
}

pub struct Failure {
    pub message: String,
    pub log: Vec<String>,
}

pub struct Driver<'a> {
    system: &'a dyn System,
    world: World,
    view: View,
    stamps: Stamps,
    log: Vec<String>,
    introduced: BTreeMap<i64, ()>,
    pub tally: Tally,
}

/// Runs a script on a system that has nothing but its cast.
pub fn run(
    system: &dyn System,
    script: &[u64],
    deadline: Option<Instant>,
) -> Result<Tally, Failure> {
    let now = system.now();
    let mut driver = Driver {
        system,
        world: World::new(now),
        view: View::default(),
        stamps: Stamps::default(),
        log: Vec::new(),
        introduced: BTreeMap::new(),
        tally: Tally::default(),
    };
    let result = driver.begin().and_then(|()| {
        for seed in script {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            driver.step(*seed)?;
        }
        driver.end()
    });
    match result {
        Ok(()) => Ok(driver.tally),
        Err(message) => Err(Failure {
            message: format!("{}\n{message}", system.log()),
            log: driver.log,
        }),
    }
}

impl Driver<'_> {
    /// A few nodes: two that work, one that was never heard of, one of the other project.
    fn begin(&mut self) -> Result<(), String> {
        for (project, title) in [(1, "node0"), (1, "node1"), (1, "node2"), (2, "node0")] {
            let manager = Actor::Person(if project == 1 { BOSS } else { CHIEF });
            let title = title.to_owned();
            self.one(&Op {
                by: manager,
                what: What::NewNode { project, title },
            })?;
        }
        for (node, partitions, releases) in [(0, 4, 3), (1, 4, 2), (3, 3, 2)] {
            let key = self.world.nodes[node].key;
            let described = (0..partitions)
                .map(|index| Described {
                    name: format!("slappart{index}"),
                    addresses: vec![(format!("tap{index}"), format!("10.{key}.{index}.1"))],
                    capabilities: if index == 3 {
                        vec!["big".into()]
                    } else {
                        Vec::new()
                    },
                })
                .collect();
            let me = Actor::Node(key);
            self.one(&Op {
                by: me,
                what: What::Format {
                    node: key,
                    partitions: described,
                },
            })?;
            let manager = Actor::Person(if node == 3 { CHIEF } else { BOSS });
            for release in &RELEASES[..releases] {
                let release = (*release).to_owned();
                self.one(&Op {
                    by: manager,
                    what: What::Supply {
                        node: key,
                        release: release.clone(),
                        wanted: true,
                    },
                })?;
                self.one(&Op {
                    by: me,
                    what: What::ReportRelease {
                        node: key,
                        release,
                        word: ReleaseWord::Available,
                    },
                })?;
            }
            let network = Some(NETWORKS[if node == 3 { 2 } else { node % 2 }].0);
            let by = if self.system.abilities().only_the_administrator_manages {
                Actor::Person(ROOT)
            } else {
                manager
            };
            self.one(&Op {
                by,
                what: What::Network { node: key, network },
            })?;
        }
        Ok(())
    }

    fn step(&mut self, seed: u64) -> Result<(), String> {
        let mut random = Random::seeded(seed);
        let random = &mut random;
        self.world.now = self.system.now();
        match random.below(100) {
            0..4 => self.time_passes(random),
            4..6 => {
                self.log.push("killed and started again".to_owned());
                self.tally.kills += 1;
                self.system.kill();
                self.system.start();
                self.look(None)
            }
            6..8 => self.batch(random, true),
            8..20 => self.batch(random, false),
            20..30 => {
                let by = anybody(&self.world, random);
                let nodes: Vec<i64> = self.world.nodes.iter().map(|node| node.key).collect();
                let index = usize::try_from(random.below(nodes.len() as u64)).unwrap_or(0);
                // To look at oneself is a sign of life, which is an operation.
                if by == Actor::Node(nodes[index]) {
                    return Ok(());
                }
                self.log
                    .push(format!("{by:?} looks at COMP-{}", nodes[index]));
                check_sight(self.system, &self.world, by, nodes[index])
            }
            _ => {
                let op = generate(&self.world, random, self.system.abilities());
                let (outcome, reply) = self.one(&op)?;
                if matches!((&op.what, &outcome), (What::Poll { .. }, Outcome::Done)) {
                    self.look_as_node(&op)?;
                }
                let accepted = matches!(outcome, Outcome::Placed(_) | Outcome::Waiting);
                if accepted && percent(random, 40) {
                    self.again(&op, &reply)?;
                }
                Ok(())
            }
        }
    }

    fn end(&mut self) -> Result<(), String> {
        self.log.push("the end".to_owned());
        self.look(None)?;
        for node in self.world.nodes.clone() {
            for person in 0..crate::cast::PEOPLE.len() {
                check_sight(self.system, &self.world, Actor::Person(person), node.key)?;
            }
        }
        self.system.kill();
        let result = self.system.backdoor().contradictions();
        self.system.start();
        result?;
        self.look(None)
    }

    /// Takes a look at everything, and compares it with the model; with what was seen before, when
    /// nothing may have changed.
    fn look(&mut self, unchanged: Option<()>) -> Result<(), String> {
        let view = View::take(self.system, &self.world)?;
        bind(&mut self.world, &view)?;
        compare(&self.world, &view)?;
        self.accept(view, unchanged)
    }

    /// The model agrees with this view: what is left to check needs the one before.
    fn accept(&mut self, view: View, unchanged: Option<()>) -> Result<(), String> {
        check_stamps(&self.world, &view, &mut self.stamps)?;
        check_tags(&self.view, &view)?;
        if unchanged.is_some() {
            check_unchanged(&self.view, &view)?;
        }
        self.system.backdoor().contradictions()?;
        self.view = view;
        self.tally.most_instances = self.tally.most_instances.max(self.view.rows.len());
        let nodes: Vec<i64> = self.world.nodes.iter().map(|node| node.key).collect();
        let new = |keys: Vec<i64>, mark: i64, introduced: &mut BTreeMap<i64, ()>| -> Vec<i64> {
            keys.into_iter()
                .filter(|key| introduced.insert(key * mark, ()).is_none())
                .collect()
        };
        let nodes = new(nodes, -1, &mut self.introduced);
        let rows = self.view.rows.iter().filter(|row| !row.shared);
        let instances = new(rows.map(|row| row.key).collect(), 1, &mut self.introduced);
        if !nodes.is_empty() || !instances.is_empty() {
            self.system.introduce(&nodes, &instances);
        }
        Ok(())
    }

    /// One operation, on its own.
    fn one(&mut self, op: &Op) -> Result<(Outcome, Reply), String> {
        self.log.push(op.to_string());
        let reply = self.system.call(op);
        self.note(&reply);
        let outcome = self.world.apply(op);
        check_reply(&self.world, &outcome, &reply)?;
        if let (Outcome::Node(node), Reply::Node(key)) = (&outcome, &reply) {
            self.world.nodes[*node].key = *key;
        }
        let refused = matches!(outcome, Outcome::Refused(_));
        self.look(refused.then_some(()))?;
        self.check_key(&outcome, &reply)?;
        Ok((outcome, reply))
    }

    /// A node that has just called looks again: it is told what the model says, and then that nothing
    /// has changed.
    fn look_as_node(&mut self, op: &Op) -> Result<(), String> {
        let (Actor::Node(me), What::Poll { node }) = (op.by, &op.what) else {
            return Ok(());
        };
        if me != *node {
            return Ok(());
        }
        check_sight(self.system, &self.world, op.by, me)?;
        let seen = self.system.node(op.by, me);
        let tag = seen.ok().and_then(|seen| seen.tag).ok_or("no tag")?;
        let revision = self.view.tags.get(&me).copied().unwrap_or_default();
        let digits = tag.trim_matches('"').rsplit('.').next();
        if digits != Some(revision.to_string().as_str()) {
            return Err(format!(
                "COMP-{me} has the tag {tag} at revision {revision}"
            ));
        }
        if !self.system.is_unchanged(me, &tag) {
            return Err(format!(
                "COMP-{me} is not told that {tag} is still the present state"
            ));
        }
        self.look(Some(()))
    }

    fn check_key(&self, outcome: &Outcome, reply: &Reply) -> Result<(), String> {
        if let (Outcome::Placed(instance), Reply::Placed(told)) = (outcome, reply) {
            let key = self.world.instances[*instance].key;
            if key != Some(told.key) {
                return Err(format!("SOFTINST-{} was told, it is {key:?}", told.key));
            }
        }
        Ok(())
    }

    /// What was acknowledged is asked for again: nothing changes, and the answer is the same.
    fn again(&mut self, op: &Op, first: &Reply) -> Result<(), String> {
        self.tally.repeated += 1;
        let mut before = None;
        for _ in 0..2 {
            self.log.push("again".to_owned());
            let reply = self.system.call(op);
            let outcome = self.world.apply(op);
            check_reply(&self.world, &outcome, &reply)?;
            self.look(Some(()))?;
            if let Some(before) = before.filter(|before| *before != reply) {
                return Err(format!("the answer was {before:?}, is {reply:?}"));
            }
            before = Some(reply);
        }
        // The first answer was given before whoever waited for it was served.
        match (first, before) {
            (Reply::Placed(_), Some(Reply::Placed(_)))
            | (Reply::Waiting(_), Some(Reply::Waiting(_))) => Ok(()),
            (first, second) => Err(format!("the answer was {first:?}, is {second:?}")),
        }
    }

    fn note(&mut self, reply: &Reply) {
        self.tally.operations += 1;
        let counter = match reply {
            Reply::Placed(_) => &mut self.tally.placed,
            Reply::Waiting(_) => &mut self.tally.waiting,
            Reply::Refused(..) => &mut self.tally.refused,
            Reply::Lost => &mut self.tally.lost,
            _ => return,
        };
        *counter += 1;
    }

    fn time_passes(&mut self, random: &mut Random) -> Result<(), String> {
        let microseconds = match random.below(10) {
            0..6 => i64::try_from(random.below(1_000_000)).unwrap_or(0),
            6..9 => -2_000_000,
            _ => 700_000_000,
        };
        let Some(now) = self.system.pass(microseconds) else {
            return Ok(());
        };
        self.log.push(format!("{microseconds} µs pass"));
        self.world.now = now;
        if percent(random, 50) {
            self.system.tick();
            self.log.push("silent nodes are closed".to_owned());
        }
        self.look(Some(()))
    }

    /// Several operations at the same moment. They must come out as if they had been one after the
    /// other, in some order; with a kill amid them, what was not answered may be missing.
    fn batch(&mut self, random: &mut Random, kill: bool) -> Result<(), String> {
        let count = 2 + random.below(BATCH_MAX - 1);
        let mut ops = Vec::new();
        while (ops.len() as u64) < count {
            let op = generate(&self.world, random, self.system.abilities());
            if !matches!(op.what, What::NewNode { .. } | What::Member { .. }) {
                ops.push(op);
            }
        }
        self.tally.batches += 1;
        self.tally.kills += u64::from(kill);
        let pause = random.moment(Duration::from_millis(8));
        self.log.push(format!(
            "at once{}:",
            if kill { ", and killed" } else { "" }
        ));
        for op in &ops {
            self.log.push(format!("  - {op}"));
        }
        let system = self.system;
        let replies: Vec<Reply> = std::thread::scope(|scope| {
            let running: Vec<_> = ops
                .iter()
                .map(|op| scope.spawn(move || system.call(op)))
                .collect();
            if kill {
                std::thread::sleep(pause);
                system.kill();
            }
            running
                .into_iter()
                .map(|thread| thread.join().expect("calls do not panic"))
                .collect()
        });
        if kill {
            system.start();
        }
        for reply in &replies {
            self.note(reply);
            let shown = match reply {
                Reply::Placed(told) => {
                    format!(
                        "SOFTINST-{} on COMP-{}/{}",
                        told.key, told.node, told.partition
                    )
                }
                other => format!("{other:?}"),
            };
            self.log.push(format!("  = {shown}"));
        }
        let calls: Vec<(Op, Reply)> = ops.into_iter().zip(replies).collect();
        let mut world = self.world.clone();
        world.lenient = true;
        // Nodes may be removed in it: what cannot be seen is not compared.
        let view = View::take_some(self.system, &self.world)?;
        let mut search = Search {
            view: &view,
            stamps: &self.stamps,
            nearest: (0, String::new()),
        };
        let all: Vec<&(Op, Reply)> = calls.iter().collect();
        let Some((mut world, done)) = search.explain(&world, &all, &mut Vec::new()) else {
            return Err(format!(
                "no order of these operations explains what is there; nearest: {}",
                search.nearest.1
            ));
        };
        let lost = calls
            .iter()
            .filter(|(_, reply)| *reply == Reply::Lost)
            .count();
        self.tally.lost_and_done += (done + lost).saturating_sub(calls.len()) as u64;
        world.lenient = false;
        self.world = world;
        self.accept(view, None)
    }
}

/// The search for an order of concurrent operations.
struct Search<'a> {
    view: &'a View,
    stamps: &'a Stamps,
    /// How many operations of the order that came nearest, and why it was none.
    nearest: (usize, String),
}

impl Search<'_> {
    /// The model after all that was done, and how many operations were.
    fn explain(
        &mut self,
        world: &World,
        left: &[&(Op, Reply)],
        told: &mut Vec<(Outcome, Reply)>,
    ) -> Option<(World, usize)> {
        if left.is_empty() {
            let mut world = world.clone();
            return match self.agrees(&mut world, told) {
                Ok(()) => Some((world, told.len())),
                Err(message) => {
                    self.near(told.len() + 1, message);
                    None
                }
            };
        }
        for (index, call) in left.iter().enumerate() {
            let mut rest = left.to_vec();
            rest.remove(index);
            let (op, reply) = *call;
            let mut next = world.clone();
            let outcome = next.apply(op);
            let fits = if *reply == Reply::Lost {
                Ok(())
            } else {
                check_reply(&next, &outcome, reply).or_else(|error| match reply {
                    // While it was told why, somebody else could have changed that.
                    Reply::Waiting(_) if outcome == Outcome::Waiting => Ok(()),
                    _ => Err(error),
                })
            };
            match fits {
                Ok(()) => {
                    told.push((outcome, reply.clone()));
                    if let Some(found) = self.explain(&next, &rest, told) {
                        return Some(found);
                    }
                    told.pop();
                }
                Err(message) => self.near(told.len(), message),
            }
            if *reply == Reply::Lost
                && let Some(found) = self.explain(world, &rest, told)
            {
                return Some(found);
            }
        }
        None
    }

    fn near(&mut self, count: usize, message: String) {
        if count >= self.nearest.0 {
            self.nearest = (count, message);
        }
    }

    fn agrees(&self, world: &mut World, told: &[(Outcome, Reply)]) -> Result<(), String> {
        bind(world, self.view)?;
        compare(world, self.view)?;
        check_stamps(world, self.view, &mut self.stamps.clone())?;
        for (outcome, reply) in told {
            if let (Outcome::Placed(instance), Reply::Placed(told)) = (outcome, reply) {
                // One that is gone again was never bound.
                if world.instances[*instance]
                    .key
                    .is_some_and(|key| key != told.key)
                {
                    return Err(format!("SOFTINST-{} was told for another", told.key));
                }
            }
        }
        Ok(())
    }
}

/// Takes steps out of a failing script as long as it still fails, for a while.
pub fn shrink(
    script: &[u64],
    budget: Duration,
    mut fails: impl FnMut(&[u64]) -> Option<Failure>,
) -> (Vec<u64>, Option<Failure>) {
    let end = Instant::now() + budget;
    let mut script = script.to_vec();
    let mut last = None;
    let mut size = script.len() / 2;
    while size > 0 {
        let mut from = 0;
        while from < script.len() && Instant::now() < end {
            let mut shorter = script.clone();
            shorter.drain(from..(from + size).min(script.len()));
            match fails(&shorter) {
                Some(failure) => {
                    script = shorter;
                    last = Some(failure);
                }
                None => from += size,
            }
        }
        size /= 2;
    }
    (script, last)
}

impl Failure {
    pub fn report(&self) -> String {
        let mut text = String::new();
        for line in &self.log {
            let _ = writeln!(text, "  {line}");
        }
        text.push_str(&self.message);
        text
    }
}
