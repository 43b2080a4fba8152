//! What the tests share: a Master on a free port, a raw HTTP client, forms as Python clients send
//! them.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proxy::{Server, Settings};
use slap::{NodeId, Value, marshal};

pub const NODE: &str = "local_computer";
pub const RELEASE: &str = "http://example.com/dummy/software.cfg";

/// A Master, and the directory its data is in.
pub struct Rig {
    pub server: Option<Server>,
    pub directory: tempfile::TempDir,
    pub settings: Settings,
}

/// A reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    #[track_caller]
    pub fn value(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        marshal::decode(self.body.as_bytes()).unwrap()
    }

    /// An attribute of the marshalled object that was answered.
    #[track_caller]
    pub fn attribute(&self, name: &str) -> Value {
        let value = self.value();
        let object = value.as_object().expect("an object");
        object.attributes.get(name).cloned().unwrap_or_default()
    }

    /// The `timestamp` among the parameters.
    #[track_caller]
    pub fn timestamp(&self) -> String {
        let parameters = self.attribute("_parameter_dict");
        let timestamp = &parameters.as_dict().unwrap()["timestamp"];
        timestamp.as_str().unwrap().to_owned()
    }
}

impl Rig {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(
            directory.path().join("proxy.db"),
            NodeId::new(NODE).unwrap(),
        );
        change(&mut settings);
        let server = Server::start(settings.clone()).unwrap();
        Rig {
            server: Some(server),
            directory,
            settings,
        }
    }

    pub fn database(&self) -> PathBuf {
        self.settings.database.clone()
    }

    pub fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().address()
    }

    /// Stops the Master and starts another one on the same data.
    pub fn restart(&mut self) {
        self.server = None;
        self.server = Some(Server::start(self.settings.clone()).unwrap());
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        exchange(self.address(), method, path, headers, body)
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "")
    }

    pub fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.post_as(None, path, fields)
    }

    pub fn post_as(&self, caller: Option<&str>, path: &str, fields: &[(&str, &str)]) -> Reply {
        post(self.address(), caller, path, fields)
    }

    pub fn rpc(&self, method: &str, input: serde_json::Value) -> Reply {
        let reply = self.send(
            "POST",
            &format!("/{method}"),
            &[("Content-Type", "application/json")],
            &input.to_string(),
        );
        if let Some(method) = slap_server::json_rpc::Method::named(method)
            && reply.status == 200
        {
            assert_eq!(method.check_answer(&reply.json()), Ok(()), "{reply:?}");
        }
        reply
    }

    /// Describes a node with this many partitions, as `node format` does.
    pub fn format(&self, node: &str, partitions: usize) {
        assert_eq!(
            self.post(
                "/loadComputerConfigurationFromXML",
                &[("xml", &description(node, partitions))]
            )
            .ok(),
            "done"
        );
    }

    pub fn register(&self, partition: &str) -> Reply {
        self.register_on(NODE, partition)
    }

    pub fn register_on(&self, node: &str, partition: &str) -> Reply {
        self.get(&format!(
            "/registerComputerPartition?computer_reference={node}&computer_partition_reference={partition}"
        ))
    }

    pub fn full(&self) -> Reply {
        self.get(&format!("/getFullComputerInformation?computer_id={NODE}"))
    }

    pub fn request(&self, ask: &Ask<'_>) -> Reply {
        request(self.address(), ask)
    }
}

/// What a node of this many partitions tells about itself.
pub fn description(node: &str, partitions: usize) -> String {
    let partitions = (0..partitions)
        .map(|index| {
            let address = |addr: String, netmask: &str| {
                Value::dict([
                    ("addr", Value::String(addr)),
                    ("netmask", Value::text(netmask)),
                ])
            };
            Value::dict([
                ("reference", Value::String(format!("slappart{index}"))),
                (
                    "tap",
                    Value::dict([("name", Value::String(format!("slaptap{index}")))]),
                ),
                (
                    "address_list",
                    Value::List(vec![
                        address(format!("10.0.0.{}", index + 1), "255.255.255.255"),
                        address(format!("fd00::{}", index + 1), "ffff::"),
                    ]),
                ),
            ])
        })
        .collect();
    let value = Value::dict([
        ("reference", Value::text(node)),
        ("address", Value::text("127.0.0.1")),
        ("netmask", Value::text("255.255.255.0")),
        ("partition_list", Value::List(partitions)),
    ]);
    marshal::encode(&value).unwrap()
}

/// A request, with defaults.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    pub title: &'a str,
    pub release: &'a str,
    pub software_type: &'a str,
    pub parameters: Vec<(&'a str, Value)>,
    pub sla: Vec<(&'a str, &'a str)>,
    pub state: Option<&'a str>,
    pub shared: bool,
    pub requester: Option<&'a str>,
}

pub fn ask(title: &str) -> Ask<'_> {
    Ask {
        title,
        release: RELEASE,
        software_type: "default",
        parameters: Vec::new(),
        sla: Vec::new(),
        state: None,
        shared: false,
        requester: None,
    }
}

pub fn request(address: SocketAddr, ask: &Ask<'_>) -> Reply {
    let parameters = Value::dict(ask.parameters.clone());
    let sla = Value::dict(ask.sla.iter().map(|(key, text)| (*key, Value::text(*text))));
    let state = ask.state.map_or(Value::None, Value::text);
    let encode = |value: &Value| marshal::encode(value).unwrap();
    let (parameters, sla) = (encode(&parameters), encode(&sla));
    let (state, shared) = (encode(&state), encode(&Value::Bool(ask.shared)));
    let mut fields = Vec::new();
    if let Some(partition) = ask.requester {
        fields.push(("computer_id", NODE));
        fields.push(("computer_partition_id", partition));
    }
    fields.extend([
        ("software_release", ask.release),
        ("partition_reference", ask.title),
        ("partition_parameter_xml", parameters.as_str()),
        ("filter_xml", sla.as_str()),
        ("software_type", ask.software_type),
        ("state", state.as_str()),
        ("shared_xml", shared.as_str()),
    ]);
    post(address, None, "/requestComputerPartition", &fields)
}

pub fn post(
    address: SocketAddr,
    caller: Option<&str>,
    path: &str,
    fields: &[(&str, &str)],
) -> Reply {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let authorization = caller.map(|partition| {
        format!("X-SlapPartition computer_id={NODE}, computer_partition_id={partition}")
    });
    let mut headers = vec![("Content-Type", "application/x-www-form-urlencoded")];
    if let Some(authorization) = &authorization {
        headers.push(("Authorization", authorization));
    }
    exchange(address, "POST", path, &headers, &body)
}

/// One exchange on a connection of its own.
pub fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        head += &format!("Host: {address}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    // A Master that refuses the body may have closed already.
    let _ = stream.write_all(body.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no HTTP: {answer:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    Reply {
        status: status.parse().unwrap(),
        headers: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}

/// The document with every float timestamp replaced, for comparison byte by byte.
pub fn masked(document: &str) -> String {
    let mut out = String::new();
    let mut rest = document;
    let start = "<string>timestamp</string><string>";
    while let Some(at) = rest.find(start) {
        let (before, after) = rest.split_at(at + start.len());
        out.push_str(before);
        out.push_str("TIMESTAMP");
        rest = after.find('<').map_or("", |end| &after[end..]);
    }
    out + rest
}

/// A database as upstream's proxy leaves it, schema 18, with these rows.
pub fn upstream_database(path: &Path, rows: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE config18 (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
             CREATE TABLE software18 (url VARCHAR(255), computer_reference VARCHAR(255),
               requested_state VARCHAR(255), PRIMARY KEY (url, computer_reference));
             CREATE TABLE computer18 (reference VARCHAR(255) PRIMARY KEY, address VARCHAR(255),
               netmask VARCHAR(255));
             CREATE TABLE partition18 (reference VARCHAR(255), computer_reference VARCHAR(255),
               slap_state VARCHAR(255) DEFAULT 'free', software_release VARCHAR(255), xml TEXT,
               connection_xml TEXT, slave_instance_list TEXT, software_type VARCHAR(255),
               partition_reference VARCHAR(255), requested_by VARCHAR(255) NOT NULL DEFAULT '',
               requester_id VARCHAR(255) NOT NULL DEFAULT '',
               requested_state VARCHAR(255) NOT NULL DEFAULT 'started', timestamp REAL,
               PRIMARY KEY (reference, computer_reference));
             CREATE TABLE slave18 (reference VARCHAR(255), computer_reference VARCHAR(255),
               connection_xml TEXT, hosted_by VARCHAR(255),
               requester_id VARCHAR(255) NOT NULL DEFAULT '');
             CREATE TABLE partition_network18 (partition_reference VARCHAR(255),
               computer_reference VARCHAR(255), reference VARCHAR(255), address VARCHAR(255),
               netmask VARCHAR(255));
             CREATE TABLE forwarded_partition_request18 (partition_reference VARCHAR(255),
               master_url VARCHAR(255), PRIMARY KEY (partition_reference, master_url));",
        )
        .unwrap();
    connection.execute_batch(rows).unwrap();
}
