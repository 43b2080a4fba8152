//! Events of the Master for one machine, through real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{NODE, RELEASE, Rig, ask};
use slap::{InstallationState, NodeId};
use slap_client::{Client, Error, Events, Settings, Watch};

const LIFETIME: Duration = Duration::from_secs(30);

fn client(rig: &Rig) -> Client {
    Client::new(Settings::new(format!("http://{}/", rig.address()))).unwrap()
}

fn node() -> NodeId {
    NodeId::new(NODE).unwrap()
}

fn events(client: &Client, last: Option<&str>) -> Events {
    client.events(&Watch::Node(node()), last, LIFETIME).unwrap()
}

#[test]
fn a_node_is_told_what_changes_and_nothing_twice() {
    let rig = Rig::new();
    rig.format(NODE, 2);
    let client = client(&rig);
    let mut stream = events(&client, None);
    let first = stream.next().unwrap();
    assert_eq!(
        (first.kind.as_str(), &first.data["computer_guid"]),
        ("node", &NODE.into())
    );

    rig.request(&ask("x")).ok();
    let second = stream.next().unwrap();
    assert_ne!(second.id, first.id);
    assert!(second.data["revision"].as_u64() > first.data["revision"].as_u64());
    // The same again changes nothing: the next event is the supply's.
    rig.request(&ask("x")).ok();
    let release = slap::ReleaseUrl::new(format!("{RELEASE}2")).unwrap();
    client
        .supply(&release, &node(), InstallationState::Available)
        .unwrap();
    let third = stream.next().unwrap();
    assert_eq!(
        third.data["revision"].as_u64().unwrap(),
        second.data["revision"].as_u64().unwrap() + 1
    );

    // Who comes back knowing the state hears of the next one only.
    let mut again = events(&client, third.id.as_deref());
    rig.request(&ask("y")).ok();
    assert_ne!(again.next().unwrap().id, third.id);
    // And who was away hears of it at once.
    let late = events(&client, first.id.as_deref()).next().unwrap();
    assert_eq!(late.data["computer_guid"], NODE);
}

#[test]
fn a_stream_ends_with_the_master() {
    let rig = Rig::new();
    let mut stream = events(&client(&rig), None);
    assert!(stream.next().is_some());
    drop(rig);
    assert_eq!(stream.next(), None);
}

#[test]
fn what_has_no_revision_here_is_not_found() {
    let rig = Rig::new();
    let client = client(&rig);
    for watch in [Watch::Mine, Watch::Tree("x".into())] {
        assert!(matches!(
            client.events(&watch, None, LIFETIME),
            Err(Error::NotFound { .. })
        ));
    }
}
