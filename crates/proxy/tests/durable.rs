//! What is acknowledged is kept, partitions are given once, one process owns the data, and the
//! ready documents never lag behind the database.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use common::{Ask, NODE, Rig, ask, request};
use proptest::prelude::*;
use proxy::store::{OpenError, Store};
use proxy::{ServeError, Server};
use slap::{NodeId, Value};

#[test]
fn many_at_once_get_distinct_partitions_and_the_rest_is_told() {
    const PARTITIONS: usize = 40;
    const REQUESTS: usize = 64;
    let rig = Rig::new();
    rig.format(NODE, PARTITIONS);
    let address = rig.address();
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            thread::spawn(move || {
                (0..REQUESTS / 8)
                    .map(|number| {
                        let title = format!("t{thread}-{number}");
                        (request(address, &ask(&title)), title)
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let mut partitions = HashSet::new();
    let mut refused = 0;
    for (reply, title) in threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
    {
        if reply.status == 200 {
            let partition = reply.attribute("slap_computer_partition_id");
            assert!(
                partitions.insert(partition.as_str().unwrap().to_owned()),
                "{title} got a partition that was given already"
            );
        } else {
            assert_eq!(reply.status, 404);
            assert!(
                reply
                    .body
                    .contains(&format!("No free computer partition found for: {title}")),
                "{}",
                reply.body
            );
            refused += 1;
        }
    }
    assert_eq!(
        (partitions.len(), refused),
        (PARTITIONS, REQUESTS - PARTITIONS)
    );
}

#[test]
fn the_same_title_at_once_is_one_instance() {
    let rig = Rig::new();
    rig.format(NODE, 20);
    let address = rig.address();
    let threads: Vec<_> = (0..8)
        .map(|_| thread::spawn(move || request(address, &ask("one")).ok()))
        .collect();
    let replies: HashSet<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(replies.len(), 1);
}

#[test]
fn everything_is_there_after_a_restart_byte_for_byte() {
    let mut rig = Rig::new();
    rig.format(NODE, 4);
    rig.request(&Ask {
        parameters: vec![("a", Value::text("é<&>"))],
        ..ask("root")
    })
    .ok();
    rig.request(&Ask {
        requester: Some("slappart0"),
        state: Some("stopped"),
        ..ask("child")
    })
    .ok();
    rig.request(&Ask {
        shared: true,
        parameters: vec![("l", Value::List(vec![Value::Int(1), Value::Float(1.5)]))],
        ..ask("sh")
    })
    .ok();
    rig.post(
        "/supplySupply",
        &[
            ("url", "http://x/a"),
            ("computer_id", NODE),
            ("state", "available"),
        ],
    )
    .ok();
    let before = rig.full().ok();
    rig.restart();
    assert_eq!(rig.full().ok(), before);
    // The list's own types survive too, so asking again changes nothing.
    rig.request(&Ask {
        shared: true,
        parameters: vec![("l", Value::List(vec![Value::Int(1), Value::Float(1.5)]))],
        ..ask("sh")
    })
    .ok();
    assert_eq!(rig.full().ok(), before);
}

#[test]
fn what_was_acknowledged_is_in_the_file_while_the_master_still_runs() {
    let rig = Rig::new();
    rig.format(NODE, 2);
    rig.request(&ask("kept")).ok();
    // As if the process were killed now: only what the files hold counts.
    let copy = rig.directory.path().join("copy.db");
    for suffix in ["", "-wal"] {
        let mut from = rig.database().into_os_string();
        from.push(suffix);
        let mut to = copy.clone().into_os_string();
        to.push(suffix);
        if std::path::Path::new(&from).exists() {
            std::fs::copy(from, to).unwrap();
        }
    }
    let store = Store::open(&copy, &NodeId::new(NODE).unwrap()).unwrap();
    let kept = store.root("kept", false).unwrap().unwrap();
    assert_eq!(kept.place.unwrap().partition.as_str(), "slappart0");
}

#[test]
fn a_stopped_master_leaves_one_file() {
    let mut rig = Rig::new();
    rig.format(NODE, 1);
    rig.server = None;
    let mut names: Vec<_> = std::fs::read_dir(rig.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["proxy.db", "proxy.db.lock"]);
}

#[test]
fn the_database_is_its_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master.db");
    let node = NodeId::new(NODE).unwrap();
    let modes = || -> Vec<u32> {
        ["master.db", "master.db-wal", "master.db-shm"]
            .iter()
            .filter_map(|name| std::fs::metadata(directory.path().join(name)).ok())
            .map(|metadata| metadata.permissions().mode() & 0o777)
            .collect()
    };
    let store = Store::open(&path, &node).unwrap();
    assert_eq!(modes(), [0o600, 0o600, 0o600]);
    drop(store);
    // One that was left open to others is closed to them.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let _store = Store::open(&path, &node).unwrap();
    assert_eq!(modes(), [0o600, 0o600, 0o600]);
}

#[test]
fn a_second_master_on_the_same_data_is_refused() {
    let rig = Rig::new();
    let error = Server::start(rig.settings.clone()).unwrap_err();
    assert!(
        matches!(&error, ServeError::Open(OpenError::InUse { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("in use by another process"));
}

#[test]
fn a_port_that_is_taken_is_said_so() {
    let rig = Rig::new();
    let mut settings = rig.settings.clone();
    settings.port = rig.address().port();
    settings.database = rig.directory.path().join("other.db");
    let error = Server::start(settings.clone()).unwrap_err();
    assert!(matches!(error, ServeError::PortInUse { .. }), "{error}");
    assert!(!settings.database.exists());
}

#[test]
fn ipv6_hosts_work() {
    let rig = Rig::with(|settings| settings.host = "[::1]".into());
    assert!(
        rig.server
            .as_ref()
            .unwrap()
            .url()
            .starts_with("http://[::1]:")
    );
    rig.full().ok();
    let url = rig.get("/getHateoasUrl").ok();
    assert_eq!(url, format!("http://{}/hateoas/", rig.address()));
}

#[test]
fn files_that_are_not_ours_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let node = NodeId::new(NODE).unwrap();
    let text = directory.path().join("text");
    std::fs::write(
        &text,
        "certainly not a database, but long enough to look at twice",
    )
    .unwrap();
    assert!(matches!(
        Store::open(&text, &node),
        Err(OpenError::Foreign { .. })
    ));
    assert!(
        std::fs::read_to_string(&text)
            .unwrap()
            .starts_with("certainly")
    );

    let foreign = directory.path().join("foreign.db");
    let connection = rusqlite::Connection::open(&foreign).unwrap();
    connection.execute_batch("CREATE TABLE mine (a)").unwrap();
    drop(connection);
    assert!(matches!(
        Store::open(&foreign, &node),
        Err(OpenError::Foreign { .. })
    ));

    let newer = directory.path().join("newer.db");
    drop(Store::open(&newer, &node).unwrap());
    let connection = rusqlite::Connection::open(&newer).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    assert!(matches!(
        Store::open(&newer, &node),
        Err(OpenError::TooNew { found: 99, .. })
    ));
}

/// One thing that may happen.
#[derive(Debug, Clone)]
enum Event {
    Request {
        title: u8,
        from: Option<u8>,
        state: Option<u8>,
        shared: bool,
        parameter: u8,
    },
    Destroyed(u8),
    Publish(u8, u8),
    Bang(u8),
    Rename(u8, u8),
    Format(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..6_u8, prop::option::of(0..5_u8), prop::option::of(0..3_u8), prop::bool::weighted(0.3), 0..2_u8)
            .prop_map(|(title, from, state, shared, parameter)| Event::Request { title, from, state, shared, parameter }),
        2 => (0..5_u8).prop_map(Event::Destroyed),
        1 => (0..5_u8, 0..2_u8).prop_map(|(place, value)| Event::Publish(place, value)),
        1 => (0..5_u8).prop_map(Event::Bang),
        1 => (0..5_u8, 0..6_u8).prop_map(|(place, title)| Event::Rename(place, title)),
        1 => (1..6_u8).prop_map(Event::Format),
    ]
}

fn happen(rig: &Rig, event: &Event) -> u16 {
    let states = ["started", "stopped", "destroyed"];
    let partition = |index: u8| format!("slappart{index}");
    let at = |index: u8| {
        let partition = partition(index);
        move |path: &str, more: (&str, &str)| {
            rig.post(
                path,
                &[
                    ("computer_id", NODE),
                    ("computer_partition_id", &partition),
                    more,
                ],
            )
            .status
        }
    };
    match event {
        Event::Request {
            title,
            from,
            state,
            shared,
            parameter,
        } => {
            let from = from.map(partition);
            let title = format!("t{title}");
            rig.request(&Ask {
                requester: from.as_deref(),
                state: state.map(|state| states[usize::from(state)]),
                shared: *shared,
                parameters: vec![("p", Value::Int((*parameter).into()))],
                ..ask(&title)
            })
            .status
        }
        Event::Destroyed(place) => at(*place)("/destroyedComputerPartition", ("x", "")),
        Event::Publish(place, value) => {
            let connection = Value::dict([("k", Value::Int((*value).into()))]);
            let connection = slap::marshal::encode(&connection).unwrap();
            at(*place)(
                "/setComputerPartitionConnectionXml",
                ("connection_xml", &connection),
            )
        }
        Event::Bang(place) => at(*place)("/softwareInstanceBang", ("message", "x")),
        Event::Rename(place, title) => at(*place)(
            "/softwareInstanceRename",
            ("new_name", &format!("t{title}")),
        ),
        Event::Format(partitions) => {
            rig.format(NODE, usize::from(*partitions));
            200
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever happens: no failure of ours, documents as new as the database (a fresh process, with
    /// no document ready, says the same), and doing the last thing again changes nothing more.
    #[test]
    fn whatever_happens_documents_tell_the_database(events in prop::collection::vec(event(), 1..25)) {
        let mut rig = Rig::new();
        rig.format(NODE, 4);
        for event in &events {
            rig.full().ok();
            let status = happen(&rig, event);
            prop_assert!(matches!(status, 200 | 404 | 408 | 409), "{event:?} gave {status}");
        }
        let seen = rig.full().ok();
        let partitions: Vec<_> = (0..5).map(|index| rig.register(&format!("slappart{index}"))).collect();
        rig.restart();
        prop_assert_eq!(&rig.full().ok(), &seen);
        for (index, before) in partitions.iter().enumerate() {
            prop_assert_eq!(&rig.register(&format!("slappart{index}")).body, &before.body);
        }
        if let Some(last @ Event::Request { .. }) = events.last() {
            let status = happen(&rig, last);
            let removed = status == 408;
            if !removed {
                prop_assert_eq!(rig.full().ok(), seen);
            }
        }
    }
}
