#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use slap::document::{InstallationDocument, ReleaseForm};
use slap::{NodeId, Value};

use super::*;

const WIDTH: Width = Width {
    partitions: 2,
    releases: 1,
};

fn node() -> NodeId {
    NodeId::new("COMP-1").unwrap()
}

fn id(number: u8) -> PartitionId {
    PartitionId::new(format!("slappart{number}")).unwrap()
}

fn url(name: &str) -> ReleaseUrl {
    ReleaseUrl::new(format!("/{name}.cfg")).unwrap()
}

fn partition(number: u8, state: InstanceState, release: &str, time: u32) -> PartitionDocument {
    let mut document = PartitionDocument::new(node(), id(number));
    document.state = Some(state);
    document.release = Some(ReleaseForm::Url(url(release)));
    document.parameters = Some(BTreeMap::from([(
        "timestamp".to_owned(),
        Value::text(time.to_string()),
    )]));
    document
}

fn document(releases: &[&str], partitions: Vec<PartitionDocument>) -> NodeDocument {
    NodeDocument {
        node: node(),
        partitions,
        installations: releases
            .iter()
            .map(|name| InstallationDocument {
                node: node(),
                release: url(name),
                state: Some(InstallationState::Available),
            })
            .collect(),
    }
}

/// Everything that can be begun now.
fn begin(agenda: &mut Agenda, now: Instant) -> Vec<String> {
    std::iter::from_fn(|| agenda.next(now))
        .map(|task| task.to_string())
        .collect()
}

fn done(agenda: &mut Agenda, task: &Task, now: Instant) {
    agenda.finish(task, Finish::Done { next: None }, now);
}

fn failed(agenda: &mut Agenda, task: &Task, now: Instant) {
    let reason = "broken".to_owned();
    agenda.finish(task, Finish::Failed { reason }, now);
}

/// An agenda with nothing on it.
fn empty(now: Instant) -> Agenda {
    let mut agenda = Agenda::new(WIDTH, now);
    assert_eq!(begin(&mut agenda, now), ["services"]);
    done(&mut agenda, &Task::Services, now);
    agenda
}

#[test]
fn an_instance_waits_for_its_release_and_others_do_not() {
    let now = Instant::now();
    let mut agenda = empty(now);
    let started = InstanceState::Started;
    agenda.want(
        &document(
            &["slow", "quick"],
            vec![
                partition(0, started, "slow", 1),
                // Nobody supplies it, perhaps it is there.
                partition(1, started, "other", 1),
            ],
        ),
        now,
    );
    // One release at a time, as configured.
    assert_eq!(
        begin(&mut agenda, now),
        ["release /quick.cfg", "partition slappart1"]
    );
    assert_eq!(
        agenda.waits_for(&Task::Partition(id(0))).unwrap(),
        "release /slow.cfg"
    );
    done(&mut agenda, &Task::Release(url("quick")), now);
    assert_eq!(begin(&mut agenda, now), ["release /slow.cfg"]);
    done(&mut agenda, &Task::Release(url("slow")), now);
    assert_eq!(begin(&mut agenda, now), ["partition slappart0"]);
}

#[test]
fn an_instance_whose_release_cannot_be_built_may_say_so_and_comes_back_with_it() {
    let now = Instant::now();
    let mut agenda = empty(now);
    let task = Task::Partition(id(0));
    let release = Task::Release(url("a"));
    let wanted = document(&["a"], vec![partition(0, InstanceState::Started, "a", 1)]);
    agenda.want(&wanted, now);
    assert_eq!(begin(&mut agenda, now), ["release /a.cfg"]);
    failed(&mut agenda, &release, now);
    assert_eq!(begin(&mut agenda, now), ["partition slappart0"]);
    failed(&mut agenda, &task, now);
    let later = now + BUILD_RETRY_MIN;
    assert_eq!(
        begin(&mut agenda, later),
        ["partition slappart0", "release /a.cfg"]
    );
    failed(&mut agenda, &task, later);
    done(&mut agenda, &release, later);
    // At once, whatever pause it had.
    assert_eq!(begin(&mut agenda, later), ["partition slappart0"]);
}

#[test]
fn only_what_changed_is_done_and_what_a_node_reported_is_no_change() {
    let now = Instant::now();
    let mut agenda = empty(now);
    let started = InstanceState::Started;
    let before = vec![partition(0, started, "a", 1), partition(1, started, "a", 1)];
    agenda.want(&document(&[], before), now);
    assert_eq!(begin(&mut agenda, now).len(), 2);
    for number in 0..2 {
        done(&mut agenda, &Task::Partition(id(number)), now);
    }
    let mut reported = partition(0, started, "a", 1);
    reported.access_status = Some("#error it is broken".into());
    let changed = partition(1, started, "a", 2);
    agenda.want(&document(&[], vec![reported, changed]), now);
    assert_eq!(begin(&mut agenda, now), ["partition slappart1"]);
    // Changed again while it is processed: once more, and only once.
    agenda.want(
        &document(
            &[],
            vec![partition(0, started, "a", 1), partition(1, started, "a", 3)],
        ),
        now,
    );
    assert_eq!(begin(&mut agenda, now), [""; 0]);
    done(&mut agenda, &Task::Partition(id(1)), now);
    assert_eq!(begin(&mut agenda, now), ["partition slappart1"]);
    done(&mut agenda, &Task::Partition(id(1)), now);
    assert_eq!(begin(&mut agenda, now), [""; 0]);
}

#[test]
fn failures_are_tried_ever_more_seldom_and_a_new_wish_at_once() {
    let now = Instant::now();
    let mut agenda = empty(now);
    let task = Task::Partition(id(0));
    let wanted = |time| document(&[], vec![partition(0, InstanceState::Started, "a", time)]);
    agenda.want(&wanted(1), now);
    let (mut time, mut pauses) = (now, Vec::new());
    for _ in 0..10 {
        assert_eq!(begin(&mut agenda, time), ["partition slappart0"]);
        failed(&mut agenda, &task, time);
        // What the instance itself does never shortens the pause.
        agenda.wake(&task, Why::Files, time);
        agenda.wake(&task, Why::Exit, time);
        let next = agenda.next_wake().unwrap();
        pauses.push((next - time).as_secs());
        time = next;
    }
    assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 120, 120, 120, 120]);
    agenda.want(&wanted(2), time - Duration::from_secs(100));
    assert_eq!(
        begin(&mut agenda, time - Duration::from_secs(100)),
        ["partition slappart0"]
    );
}

#[test]
fn a_partition_that_keeps_asking_is_heard_now_and_then() {
    let now = Instant::now();
    let mut agenda = empty(now);
    let task = Task::Partition(id(0));
    let started = partition(0, InstanceState::Started, "a", 1);
    agenda.want(&document(&[], vec![started]), now);
    begin(&mut agenda, now);
    done(&mut agenda, &task, now);
    let mut count = 0;
    for tenth in 0..100 {
        let time = now + Duration::from_millis(100 * tenth);
        agenda.wake(&task, Why::Files, time);
        if agenda.next(time).is_some() {
            count += 1;
            done(&mut agenda, &task, time);
        }
    }
    assert_eq!(count, 4, "every {OWN_PAUSE:?} in 10 s");
}

#[test]
fn what_is_to_be_destroyed_is_removed_and_the_machine_made_ready_again() {
    let now = Instant::now();
    let mut agenda = empty(now);
    agenda.add(Task::Format, now);
    assert_eq!(begin(&mut agenda, now), ["format"]);
    let (task, removal) = (Task::Partition(id(0)), Task::Removal(id(0)));
    let wanted = |state, time| document(&[], vec![partition(0, state, "a", time)]);
    agenda.want(&wanted(InstanceState::Started, 1), now);
    assert_eq!(
        agenda.waits_for(&task).unwrap(),
        "the machine to be prepared"
    );
    done(&mut agenda, &Task::Format, now);
    assert_eq!(begin(&mut agenda, now), ["partition slappart0"]);
    // Never both at once.
    agenda.want(&wanted(InstanceState::Destroyed, 2), now);
    assert_eq!(begin(&mut agenda, now), [""; 0]);
    done(&mut agenda, &task, now);
    assert_eq!(begin(&mut agenda, now), ["removal of slappart0"]);
    done(&mut agenda, &removal, now);
    assert_eq!(begin(&mut agenda, now), ["format"]);
    // Free now, and in use again later: nothing of before is left.
    agenda.want(&document(&[], vec![]), now);
    done(&mut agenda, &Task::Format, now);
    agenda.want(&wanted(InstanceState::Started, 3), now);
    assert_eq!(begin(&mut agenda, now), ["partition slappart0"]);
}

#[derive(Debug, Clone)]
enum Act {
    Want(Vec<(u8, bool, u32)>),
    Wake(u8),
    End(usize, u8),
    Time(u16),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        proptest::collection::vec((0..4_u8, any::<bool>(), 0..3_u32), 0..4).prop_map(Act::Want),
        (0..4_u8).prop_map(Act::Wake),
        (any::<usize>(), 0..3_u8).prop_map(|(which, how)| Act::End(which, how)),
        (0..20_000_u16).prop_map(Act::Time),
    ]
}

proptest! {
    /// Whatever happens in whatever order: no partition is worked on twice at once, the widths
    /// hold, and once all goes well everything wanted gets done.
    #[test]
    fn nothing_is_forgotten_and_nothing_done_twice(acts in proptest::collection::vec(act(), 0..60)) {
        let mut now = Instant::now();
        let mut agenda = Agenda::new(WIDTH, now);
        let mut running: Vec<Task> = Vec::new();
        let mut last = document(&["a"], vec![]);
        let begin = |agenda: &mut Agenda, running: &mut Vec<Task>, now| {
            while let Some(task) = agenda.next(now) {
                running.push(task);
            }
            let partitions = running.iter().filter_map(Task::partition);
            let mut seen: Vec<_> = partitions.clone().collect();
            seen.sort();
            seen.dedup();
            prop_assert_eq!(seen.len(), partitions.count());
            for (kind, most) in [(Kind::Instance, 2), (Kind::Report, 2), (Kind::Software, 1)] {
                prop_assert!(running.iter().filter(|task| task.kind() == kind).count() <= most);
            }
            Ok(())
        };
        for act in acts {
            match act {
                Act::Want(wishes) => {
                    let mut partitions = BTreeMap::new();
                    for (number, destroyed, time) in wishes {
                        let state = if destroyed { InstanceState::Destroyed } else { InstanceState::Started };
                        partitions.insert(number, partition(number, state, "a", time));
                    }
                    last = document(&["a"], partitions.into_values().collect());
                    agenda.want(&last, now);
                }
                Act::Wake(number) => agenda.wake(&Task::Partition(id(number)), Why::Files, now),
                Act::End(which, how) if !running.is_empty() => {
                    let task = running.remove(which % running.len());
                    let finish = match how {
                        0 => Finish::Done { next: Some(Duration::from_secs(120)) },
                        1 => Finish::Failed { reason: String::new() },
                        _ => Finish::Postponed { after: Duration::from_secs(1), reason: String::new() },
                    };
                    agenda.finish(&task, finish, now);
                }
                Act::End(..) => {}
                Act::Time(milliseconds) => now += Duration::from_millis(milliseconds.into()),
            }
            begin(&mut agenda, &mut running, now)?;
        }
        // From here on everything succeeds: after a while all that is wanted was done.
        agenda.want(&last, now);
        let mut finished: Vec<Task> = Vec::new();
        for _ in 0..1000 {
            begin(&mut agenda, &mut running, now)?;
            match running.pop() {
                Some(task) => {
                    done(&mut agenda, &task, now);
                    finished.push(task);
                }
                None => match agenda.next_wake() {
                    Some(next) => now = now.max(next),
                    None => break,
                },
            }
        }
        prop_assert!(running.is_empty());
        for (task, entry) in agenda.entries() {
            prop_assert!(entry.done && entry.due.is_none(), "{}: {:?}", task, entry);
        }
        for wanted in &last.partitions {
            let task = match wanted.state {
                Some(InstanceState::Destroyed) => Task::Removal(wanted.partition.clone()),
                _ => Task::Partition(wanted.partition.clone()),
            };
            prop_assert!(agenda.entries().any(|(known, _)| *known == task), "{} is forgotten", task);
        }
    }
}

#[test]
fn an_instance_whose_release_is_there_waits_for_no_build() {
    let now = Instant::now();
    let mut agenda = empty(now);
    agenda.are_ready(BTreeSet::from([url("b")]));
    let started = InstanceState::Started;
    let partitions = vec![partition(0, started, "a", 1), partition(1, started, "b", 1)];
    agenda.want(&document(&["a", "b"], partitions), now);
    // The one build that may go on at once is that of the other release.
    assert_eq!(
        begin(&mut agenda, now),
        ["release /a.cfg", "partition slappart1"]
    );
}

#[test]
fn what_was_put_off_for_want_of_the_master_is_resumed() {
    let now = Instant::now();
    let mut agenda = empty(now);
    let started = InstanceState::Started;
    let mut wanted = document(
        &[],
        (0..2)
            .map(|number| partition(number, started, "x", 1))
            .collect(),
    );
    agenda.want(&wanted, now);
    let tasks = [Task::Partition(id(0)), Task::Partition(id(1))];
    assert_eq!(begin(&mut agenda, now).len(), 2);
    let after = Duration::from_secs(30);
    let reason = "away".to_owned();
    agenda.finish(&tasks[0], Finish::Postponed { after, reason }, now);
    done(&mut agenda, &tasks[1], now);
    assert_eq!(agenda.next_wake(), Some(now + after));

    // The second one is as the Master remembers, but for what was never told.
    wanted.partitions[1].access_status = Some("#access".to_owned());
    let later = now + Duration::from_secs(10);
    agenda.resume(&wanted, later);
    assert_eq!(begin(&mut agenda, later), ["partition slappart0"]);
    done(&mut agenda, &tasks[0], later);
    wanted.partitions[1].access_status = None;
    wanted.partitions[0].access_status = Some("#access".to_owned());
    agenda.resume(&wanted, later);
    assert_eq!(begin(&mut agenda, later), ["partition slappart1"]);
    // What has just been begun is not begun again at once.
    agenda.finish(
        &tasks[1],
        Finish::Postponed {
            after,
            reason: "away".to_owned(),
        },
        later,
    );
    agenda.resume(&wanted, later);
    assert!(begin(&mut agenda, later).is_empty());
    assert_eq!(begin(&mut agenda, later + OWN_PAUSE).len(), 1);
}
