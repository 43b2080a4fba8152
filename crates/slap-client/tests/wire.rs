//! The client on real sockets: what it sends, and what it makes of answers.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use slap::{
    InstallationState, InstanceState, InstanceTitle, NodeId, PartitionId, ReleaseUrl, SoftwareType,
    Value,
};
use slap_client::{Client, Enrolment, Error, Hateoas, Request, RequestReply, Settings, Trust};

/// A request as it arrived.
#[derive(Debug)]
struct Arrived {
    connection: usize,
    line: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// Answers each request with the next of the given answers; an empty one breaks the connection.
fn master(answers: Vec<&'static str>) -> (Client, Receiver<Arrived>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut answers = answers.into_iter();
        for connection in 0.. {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while let Some(mut arrived) = read_request(&mut reader) {
                arrived.connection = connection;
                sender.send(arrived).unwrap();
                let Some(answer) = answers.next() else { return };
                if answer.is_empty() {
                    break;
                }
                write_answer(&stream, answer);
            }
        }
    });
    let mut settings = Settings::new(url);
    settings.timeout = Duration::from_secs(10);
    (Client::new(settings).unwrap(), receiver)
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Arrived> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Arrived {
        connection: 0,
        line: line.trim().to_owned(),
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}

/// An answer is `STATUS BODY`.
fn write_answer(mut stream: &TcpStream, answer: &str) {
    let (status, body) = answer.split_once(' ').unwrap();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
}

fn node() -> NodeId {
    NodeId::new("COMP-1").unwrap()
}

fn partition() -> PartitionId {
    PartitionId::new("slappart0").unwrap()
}

fn request() -> Request {
    Request {
        requester: None,
        release: ReleaseUrl::new("http://example.com/dummy/software.cfg").unwrap(),
        software_type: SoftwareType::default(),
        title: InstanceTitle::new("root1").unwrap(),
        parameters: BTreeMap::from([
            ("a".to_owned(), Value::text("b<&>é")),
            ("n".to_owned(), Value::Int(1)),
            ("t".to_owned(), Value::Bool(true)),
        ]),
        sla: BTreeMap::from([("computer_guid".to_owned(), Value::text("local_computer"))]),
        state: None,
        shared: false,
    }
}

#[test]
fn a_persons_request_is_the_one_of_p1_4_1() {
    let (client, arrived) = master(vec!["408 "]);
    let nothing = RequestReply::NotReady { why: String::new() };
    assert_eq!(client.request(&request()).unwrap(), nothing);
    let arrived = arrived.recv().unwrap();
    assert_eq!(arrived.line, "POST /requestComputerPartition HTTP/1.1");
    assert_eq!(
        arrived.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert!(!arrived.headers.contains_key("authorization"));
    assert_eq!(
        arrived.body,
        "software_release=http%3A%2F%2Fexample.com%2Fdummy%2Fsoftware.cfg\
         &partition_reference=root1\
         &partition_parameter_xml=%3Cmarshal%3E%3Cdictionary+id%3D%22i2%22%3E%3Cstring%3Ea%3C%2Fstring%3E\
         %3Cstring%3Eb%26amp%3Blt%3B%26amp%3Bamp%3B%26amp%3Bgt%3B%26%23233%3B%3C%2Fstring%3E\
         %3Cstring%3En%3C%2Fstring%3E%3Cint%3E1%3C%2Fint%3E%3Cstring%3Et%3C%2Fstring%3E\
         %3Cbool%3E1%3C%2Fbool%3E%3C%2Fdictionary%3E%3C%2Fmarshal%3E\
         &filter_xml=%3Cmarshal%3E%3Cdictionary+id%3D%22i2%22%3E%3Cstring%3Ecomputer_guid%3C%2Fstring%3E\
         %3Cstring%3Elocal_computer%3C%2Fstring%3E%3C%2Fdictionary%3E%3C%2Fmarshal%3E\
         &software_type=default&state=%3Cmarshal%3E%3Cnone%2F%3E%3C%2Fmarshal%3E\
         &shared_xml=%3Cmarshal%3E%3Cbool%3E0%3C%2Fbool%3E%3C%2Fmarshal%3E"
    );
}

#[test]
fn a_partitions_request_names_the_partition_in_form_and_header() {
    let (client, arrived) = master(vec!["408 "]);
    let request = Request {
        requester: Some((node(), partition())),
        state: Some(InstanceState::Stopped),
        ..request()
    };
    client.request(&request).unwrap();
    let arrived = arrived.recv().unwrap();
    assert_eq!(
        arrived.headers["authorization"],
        "X-SlapPartition computer_id=COMP-1, computer_partition_id=slappart0"
    );
    let names: Vec<&str> = arrived
        .body
        .split('&')
        .filter_map(|field| field.split_once('=').map(|(name, _)| name))
        .collect();
    assert_eq!(
        names,
        [
            "computer_id",
            "computer_partition_id",
            "software_release",
            "software_type",
            "partition_reference",
            "shared_xml",
            "partition_parameter_xml",
            "filter_xml",
            "state"
        ]
    );
}

#[test]
fn statuses_become_errors_and_the_masters_words_survive() {
    let (client, _arrived) = master(vec![
        "404 <h1>Not Found</h1><p>No free computer partition found for: root1</p>",
        "503 busy",
        "403 no",
        "200 not xml",
    ]);
    let error = client.request(&request()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "requestComputerPartition: No free computer partition found for: root1"
    );
    assert!(
        client
            .request(&request())
            .unwrap_err()
            .is_master_unreachable()
    );
    assert!(matches!(
        client.request(&request()).unwrap_err(),
        Error::Refused { status: 403, .. }
    ));
    assert!(matches!(
        client.request(&request()).unwrap_err(),
        Error::Reply { .. }
    ));
}

#[test]
fn one_connection_serves_many_calls() {
    let (client, arrived) = master(vec!["200 OK", "200 done", "200 Ignored"]);
    let release = ReleaseUrl::new("http://x/é.cfg").unwrap();
    client
        .supply(&release, &node(), InstallationState::Available)
        .unwrap();
    client
        .publish(&node(), &partition(), &BTreeMap::new(), None)
        .unwrap();
    client.instance_started(&node(), &partition()).unwrap();
    let all: Vec<Arrived> = arrived.iter().take(3).collect();
    assert!(all.iter().all(|arrived| arrived.connection == 0));
    assert_eq!(
        all[0].body,
        "url=http%3A%2F%2Fx%2F%C3%A9.cfg&computer_id=COMP-1&state=available"
    );
    assert!(all[1].body.ends_with("&slave_reference=None"));
}

#[test]
fn a_read_is_tried_again_and_a_write_is_not() {
    let node_document = "200 <marshal><object id=\"i2\" module=\"slapos.slap.slap\" class=\"Computer\"><tuple>\
        <string>COMP-1</string></tuple><dictionary id=\"i3\"><string>_computer_id</string>\
        <string>COMP-1</string></dictionary></object></marshal>";
    let (client, arrived) = master(vec!["", node_document, ""]);
    assert_eq!(client.node(&node()).unwrap().node, node());
    assert!(matches!(
        client.node_bang(&node(), "x").unwrap_err(),
        Error::Connection { .. }
    ));
    let lines: Vec<String> = arrived
        .try_iter()
        .map(|arrived| arrived.line.split(' ').take(1).collect())
        .collect();
    assert_eq!(lines, ["GET", "GET", "POST"]);
}

#[test]
fn an_old_master_is_asked_by_the_old_name() {
    let (client, arrived) = master(vec!["404 ", "404 "]);
    assert!(client.node(&node()).unwrap_err().is_not_found());
    let lines: Vec<String> = arrived.iter().take(2).map(|arrived| arrived.line).collect();
    assert_eq!(
        lines,
        [
            "GET /getFullComputerInformation?computer_id=COMP-1 HTTP/1.1",
            "GET /getComputerInformation?computer_id=COMP-1 HTTP/1.1"
        ]
    );
}

#[test]
fn the_calls_that_only_a_full_master_answers() {
    let (client, arrived) = master(vec![
        "200 <marshal><object id=\"i2\" module=\"slapos.slap.slap\" class=\"Computer\"><tuple>\
         <string>COMP-1</string></tuple><dictionary id=\"i3\"><string>_computer_id</string>\
         <string>COMP-1</string></dictionary></object></marshal>",
        "200 <marshal><dictionary id=\"i2\"><string>certificate</string><string>PUBLIC</string>\
         <string>key</string><string>SECRET</string></dictionary></marshal>",
        "200 None",
        "200 <marshal><list id=\"i2\"><string>http://x/b</string></list></marshal>",
        "200 abc",
    ]);
    assert_eq!(client.request_node("my node").unwrap().node, node());
    let issued = client.issue_node_certificate(&node()).unwrap();
    assert_eq!(issued.certificate, "PUBLIC");
    assert_eq!(issued.key, "SECRET");
    assert!(
        !format!("{issued:?}").contains("SECRET"),
        "keys reach no log"
    );
    client.revoke_node_certificate(&node()).unwrap();
    let release = ReleaseUrl::new("http://x/a").unwrap();
    assert_eq!(
        client.sibling_releases(&release).unwrap(),
        [ReleaseUrl::new("http://x/b").unwrap()]
    );
    assert_eq!(client.run_id().unwrap(), "abc");
    let seen: Vec<(String, String)> = arrived
        .iter()
        .take(5)
        .map(|arrived| (arrived.line, arrived.body))
        .collect();
    let expected = [
        ("POST /requestComputer HTTP/1.1", "computer_title=my+node"),
        (
            "POST /generateComputerCertificate HTTP/1.1",
            "computer_id=COMP-1",
        ),
        (
            "POST /revokeComputerCertificate HTTP/1.1",
            "computer_id=COMP-1",
        ),
        (
            "GET /getSoftwareReleaseListFromSoftwareProduct?software_release_url=http%3A%2F%2Fx%2Fa HTTP/1.1",
            "",
        ),
        ("GET /getRunId HTTP/1.1", ""),
    ];
    assert_eq!(
        seen,
        expected.map(|(line, body)| (line.to_owned(), body.to_owned()))
    );
}

#[test]
fn nobody_there_is_said_in_one_line() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let client = Client::new(Settings::new(format!("http://127.0.0.1:{port}"))).unwrap();
    let error = client.node(&node()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot reach the Master at http://127.0.0.1:{port}/: the connection is refused; is the Master running?"
        )
    );
    assert!(error.is_master_unreachable());
}

#[test]
fn a_url_that_makes_no_sense_is_refused_at_once() {
    for url in ["", "m", "ftp://m/", "http://"] {
        assert!(Client::new(Settings::new(url)).is_err(), "{url:?}");
    }
}

#[test]
fn a_token_is_sent_once_to_whom_it_is_for() {
    let (client, arrived) = master(vec!["403 <p>used</p>", "302 elsewhere", ""]);
    let door = Enrolment::new(client.master_url(), Trust::WebRoots).unwrap();
    let Error::Refused {
        status: 403,
        detail,
        ..
    } = door.person("TOKEN").unwrap_err()
    else {
        panic!("refused");
    };
    assert_eq!(detail, "used");
    let first = arrived.recv().unwrap();
    assert_eq!(first.line, "POST /Person_getCertificate HTTP/1.1");
    assert_eq!(first.headers["x-access-token"], "TOKEN");
    assert_eq!(first.body, "");

    // Nobody else gets it, and a connection that breaks does not make it go out twice.
    let moved = door.node("TOKEN", "a & b\u{e9}").unwrap_err();
    assert!(
        matches!(moved, Error::Refused { status: 302, .. }),
        "{moved}"
    );
    let second = arrived.recv().unwrap();
    assert_eq!(second.line, "POST /Person_requestComputer HTTP/1.1");
    assert_eq!(second.body, "title=a+%26+b%C3%A9");
    let broken = door.person("TOKEN").unwrap_err();
    assert!(matches!(broken, Error::Connection { .. }), "{broken}");
    arrived.recv().unwrap();
    assert!(arrived.try_recv().is_err());

    for bad in ["a b", "a\r\nHost: x", "\u{e9}", &"x".repeat(2000)] {
        let error = door.person(bad).unwrap_err();
        assert!(matches!(error, Error::Unsendable { .. }), "{error}");
    }
    assert!(arrived.try_recv().is_err());
}

#[test]
fn a_master_without_tls_may_send_us_to_documents_with_it() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = elsewhere.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = elsewhere.accept().unwrap();
        let _ = stream.write_all(b"this is no TLS");
    });
    let client = Client::new(Settings::new("http://127.0.0.1:1/")).unwrap();
    let root = format!("https://{address}/hateoas");
    let error = Hateoas::open(&client, Some(&root)).unwrap_err();
    assert!(error.is_master_unreachable(), "{error}");
}
