//! Two Masters of two owners: what is requested at one runs on a node of the other (P 6.15, 6.16).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use master::admin::{Admin, Answer, Command, Secret};
use master::{Server, Settings, Started};
use slap::document::{InstanceDocument, NodeDocument};
use slap::{InstanceState, Value};
use slap_client::{Client, Identity, Request, RequestReply};

use common::{RELEASE, authority, client, ready_node, redeem, request, settings, url};

const SOON: Duration = Duration::from_secs(60);

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < SOON, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn administrate(settings: &Settings, command: &Command) -> Answer {
    Admin::connect(settings).unwrap().call(command).unwrap()
}

fn first_administrator(started: &Started) -> Client {
    let token = started.welcome.as_ref().unwrap().client_token.clone();
    let identity = redeem(started, "Person_getCertificate", &token, &[]);
    client(started, Some(&identity))
}

/// A member of the other Master's project, as whom we come there.
fn guest(settings: &Settings, started: &Started) -> Identity {
    for command in [
        Command::UserAdd {
            login: "guest".to_owned(),
            name: None,
            administrator: false,
            password: None,
        },
        Command::MemberAdd {
            project: "PROJ-1".to_owned(),
            login: "guest".to_owned(),
            role: "member".to_owned(),
        },
    ] {
        administrate(settings, &command);
    }
    let Answer::Token(token) = administrate(
        settings,
        &Command::TokenCreate {
            login: "guest".to_owned(),
            purpose: "client".to_owned(),
            project: None,
        },
    ) else {
        panic!("no token");
    };
    redeem(started, "Person_getCertificate", &token.token.0, &[])
}

fn allocated(person: &Client, request: &Request) -> InstanceDocument {
    match person.request(request).unwrap() {
        RequestReply::Allocated(document) => *document,
        RequestReply::NotReady { .. } => panic!("a gate always has a place"),
    }
}

fn only_instance(
    document: &NodeDocument,
) -> Option<(String, InstanceState, BTreeMap<String, Value>)> {
    let partition = document.partitions.first()?;
    let parameters = partition.parameters.clone()?;
    let title = parameters.get("instance_title")?.as_str()?.to_owned();
    Some((title, partition.state?, parameters))
}

#[test]
fn an_instance_of_one_master_runs_on_a_node_of_the_other() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut theirs = settings(there.path());
    let mut server_there = Server::start(theirs.clone()).unwrap();
    let started_there = server_there.started().clone();
    theirs.listen[0].port = started_there.listen[0].port();
    let owner_there = first_administrator(&started_there);
    let (node, node_id, partition) = ready_node(&started_there, &owner_there);
    let identity = guest(&theirs, &started_there);

    let ours = settings(here.path());
    let server_here = Server::start(ours.clone()).unwrap();
    let person = first_administrator(server_here.started());
    let wanted = request("web");
    assert!(matches!(
        person.request(&wanted).unwrap(),
        RequestReply::NotReady { .. }
    ));
    let Answer::Made(gate) = administrate(
        &ours,
        &Command::RemoteAdd {
            title: "theirs".to_owned(),
            project: None,
            master_url: url(&started_there),
            authority: Some(authority(&started_there)),
            certificate: Some(identity.certificate.clone()),
            key: Some(Secret(identity.key.clone())),
            releases: vec![RELEASE.to_owned()],
        },
    ) else {
        panic!("no gate");
    };

    // It waited; the gate gave it a place, and its Master was asked.
    let document = allocated(&person, &wanted);
    assert_eq!(document.node, gate.reference);
    let guid = document.guid.clone().unwrap();
    let (title, state, parameters) = eventually("it is requested there", || {
        only_instance(&node.node(&node_id).unwrap())
    });
    assert_eq!(title, format!("_remote_PROJ-1_{guid}"));
    assert_eq!(state, InstanceState::Started);
    assert_eq!(parameters["a"], Value::text("b"));

    // What it publishes there arrives here.
    let published = BTreeMap::from([("url".to_owned(), "https://there/".to_owned())]);
    node.publish(&node_id, &partition, &published, None)
        .unwrap();
    node.instance_started(&node_id, &partition).unwrap();
    eventually("what it published comes back", || {
        let connection = allocated(&person, &wanted).connection;
        (connection.get("url").map(String::as_str) == Some("https://there/")).then_some(())
    });

    // The other side is away: requests are taken here, and carried out when it is back.
    server_there.stop().unwrap();
    drop(server_there);
    let mut changed = wanted.clone();
    changed
        .parameters
        .insert("a".to_owned(), Value::text("changed"));
    allocated(&person, &changed);
    eventually("it is noticed that nobody answers", || {
        match administrate(&ours, &Command::RemoteList) {
            Answer::Remotes(remotes) => remotes.first()?.error.clone(),
            _ => None,
        }
    });
    let server_there = Server::start(theirs.clone()).unwrap();
    eventually("the change arrives", || {
        let (_, _, parameters) = only_instance(&node.node(&node_id).ok()?)?;
        (parameters["a"] == Value::text("changed")).then_some(())
    });

    // Destroyed here, it is destroyed there, by that node.
    let mut destroyed = wanted.clone();
    destroyed.state = Some(InstanceState::Destroyed);
    assert!(matches!(
        person.request(&destroyed).unwrap(),
        RequestReply::NotReady { .. }
    ));
    eventually("it is to be destroyed there", || {
        let (_, state, _) = only_instance(&node.node(&node_id).unwrap())?;
        (state == InstanceState::Destroyed).then_some(())
    });
    node.instance_destroyed(&node_id, &partition).unwrap();
    assert!(only_instance(&node.node(&node_id).unwrap()).is_none());
    let Answer::Problems(problems) = administrate(&ours, &Command::Check) else {
        panic!("no check");
    };
    assert!(problems.is_empty(), "{problems:?}");
    drop((server_here, server_there));
    keys_are_nowhere_in(here.path(), &identity);
}

/// Our key for the other Master is kept sealed.
fn keys_are_nowhere_in(directory: &Path, identity: &Identity) {
    let line = identity.key.lines().nth(3).unwrap().as_bytes().to_vec();
    for entry in std::fs::read_dir(directory.join("data")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(
                !bytes.windows(line.len()).any(|window| window == line),
                "{}",
                path.display()
            );
        }
    }
}
