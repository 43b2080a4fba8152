//! Over real TLS: streams of events, and the hypermedia documents behind `service` and `computer`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use master::{Server, Started};
use serde_json::json;
use slap_client::{Client, Event, Events, Hateoas, RequestReply, Watch};

use common::{RELEASE, client, ready_node, redeem, request, settings};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(120);

fn person(started: &Started) -> Client {
    let token = &started.welcome.clone().unwrap().client_token;
    let identity = redeem(started, "Person_getCertificate", token, &[]);
    client(started, Some(&identity))
}

fn open(client: &Client, watch: &Watch) -> Events {
    client.events(watch, None, LONG).unwrap()
}

fn until(events: &mut Events, kind: &str) -> Event {
    events.find(|event| event.kind == kind).unwrap()
}

#[test]
fn changes_arrive_as_they_happen_until_the_master_stops() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(settings(directory.path())).unwrap();
    let started = server.started().clone();
    let person = person(&started);
    let (node, comp, partition) = ready_node(&started, &person);
    let mut of_node = open(&node, &Watch::Mine);
    let first = of_node.next().unwrap();
    assert_eq!(first.kind, "node");
    assert_eq!(first.data["computer_guid"], comp.as_str());
    let mut of_all = open(&person, &Watch::Mine);
    assert_eq!(of_all.next().unwrap().kind, "reset");

    let RequestReply::Allocated(_) = person.request(&request("web")).unwrap() else {
        panic!("there is a place");
    };
    let second = of_node.next().unwrap();
    assert!(second.data["revision"].as_i64() > first.data["revision"].as_i64());
    assert_eq!(until(&mut of_all, "tree").data["title"], "web");
    let mut of_tree = open(&person, &Watch::Tree("web".to_owned()));
    assert_eq!(
        of_tree.next().unwrap().data,
        json!({"tree_guid": "HOSTSUBS-1", "title": "web"})
    );
    // Who knows the present state hears of the next one only.
    let known = second.id.clone();
    let mut again = node.events(&Watch::Mine, known.as_deref(), LONG).unwrap();
    node.instance_started(&comp, &partition).unwrap();
    assert_eq!(of_tree.next().unwrap().kind, "tree");
    assert!(again.next().unwrap().data["revision"].as_i64() > second.data["revision"].as_i64());
    assert!(
        client(&started, None)
            .events(&Watch::Mine, None, LONG)
            .is_err()
    );
    let hidden = Watch::Node("COMP-99".parse().unwrap());
    assert!(person.events(&hidden, None, LONG).is_err());
    server.stop().unwrap();
    assert_eq!(of_tree.next(), None);
    while of_all.next().is_some() {}
}

#[test]
fn a_stream_lives_as_long_as_its_reader_wants() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(settings(directory.path())).unwrap();
    let person = person(server.started());
    let short = Duration::from_millis(300);
    let told: Vec<Event> = person.events(&Watch::Mine, None, short).unwrap().collect();
    assert_eq!(told.len(), 1);
    // And ends at once for who is not known any more.
    let (node, comp, _) = ready_node(server.started(), &person);
    let mut of_node = open(&node, &Watch::Mine);
    let id = of_node.next().unwrap().id.unwrap();
    person.revoke_node_certificate(&comp).unwrap();
    let release = "http://example.com/other.cfg".parse().unwrap();
    let wanted = slap::InstallationState::Available;
    person.supply(&release, &comp, wanted).unwrap();
    assert_eq!(of_node.next(), None);
    assert!(node.events(&Watch::Mine, Some(&id), LONG).is_err());
}

#[test]
fn hypermedia_documents_are_what_our_client_reads() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(settings(directory.path())).unwrap();
    let started = server.started();
    let person = person(started);
    let (_, comp, _) = ready_node(started, &person);
    let title = "a \"quoted\" \\ title";
    person.request(&request(title)).unwrap();
    let hateoas = Hateoas::open(&person, None).unwrap();
    let trees = hateoas.instance_trees().unwrap();
    assert_eq!(trees.len(), 1);
    assert_eq!(
        (trees[0].title.as_str(), trees[0].release.as_str()),
        (title, RELEASE)
    );
    let info = hateoas.instance_tree(&title.parse().unwrap()).unwrap();
    assert_eq!(info.parameters["a"], "b");
    assert_eq!(info.state, "start_requested");
    let nodes = hateoas.nodes().unwrap();
    assert_eq!(nodes[0].reference, comp.as_str());
    assert_eq!(hateoas.node(&comp).unwrap().title, "one");
}
