//! Real Masters, as processes, spoken to over HTTP as nodes, instances and persons do, and over
//! their sockets as administrators do. Callers are named as a proxy that ended TLS names them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use master::events::Hub;
use master::store::Store;
use slap::document::{InstanceDocument, NodeDocument, PartitionDocument};
use slap::{InstallationState, Value, marshal, python};
use testkit::{Port, Postgres, Random, Running, Slapos, eventually};

use crate::backdoor::{self, Backdoor};
use crate::cast::PEOPLE;
use crate::generate::Abilities;
use crate::in_process::{people, person_key};
use crate::operation::{
    Actor, Ask, Described, NodeSeen, OnPartition, Op, PartitionSeen, Place, ReleaseWord, Reply,
    Served, Texts, Told, What, Word,
};
use crate::system::{System, Unseen};

/// Only a hang takes that long.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a node says it used.
const USAGE: &str = "<journal><transaction type=\"Sale Packing List\"><title>t</title>\
     <start_date>2026-01-01 00:00:00</start_date><stop_date>2026-01-01 23:59:59</stop_date>\
     <reference>2026-01-01-global</reference><currency></currency><payment_mode></payment_mode>\
     <category></category><arrow type=\"Administration\"><source></source>\
     <destination></destination></arrow><movement><resource>r</resource><title>CPU</title>\
     <reference>slappart0</reference><quantity>1</quantity><price>0.0</price><VAT>None</VAT>\
     <category>None</category></movement></transaction></journal>";

/// What the Master adds to an instance's own parameters in a node's document.
const FACTS: [&str; 11] = [
    "full_ip_list",
    "instance_title",
    "ip_list",
    "root_instance_short_title",
    "root_instance_title",
    "slap_computer_id",
    "slap_computer_partition_id",
    "slap_software_release_url",
    "slap_software_type",
    "slave_instance_list",
    "timestamp",
];

/// One process.
struct Process {
    data: PathBuf,
    port: Port,
    secure: Port,
    running: Mutex<Option<Running>>,
}

/// One or more Masters on one database.
pub struct Masters {
    processes: Vec<Process>,
    database: backdoor::Database,
    address: String,
    agent: ureq::Agent,
    /// Whom to ask next, and whom to kill.
    chance: AtomicU64,
    directory: tempfile::TempDir,
}

impl Masters {
    /// One Master with a file.
    pub fn with_sqlite(seed: u64) -> Masters {
        let directory = crate::in_process::quick_directory();
        let file = directory.path().join("master.db");
        let address = format!("sqlite:{}", file.display());
        Self::start_on(
            directory,
            backdoor::Database::Sqlite(file),
            address,
            1,
            seed,
        )
    }

    /// Several Masters that share a database of a server.
    pub fn with_postgres(server: &Postgres, count: usize, seed: u64) -> Masters {
        let url = server.new_database();
        let database = backdoor::Database::Postgres(url.clone());
        Self::start_on(
            crate::in_process::quick_directory(),
            database,
            url,
            count,
            seed,
        )
    }

    fn start_on(
        directory: tempfile::TempDir,
        database: backdoor::Database,
        address: String,
        count: usize,
        seed: u64,
    ) -> Masters {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let parsed = master::store::Database::parse(&address).expect("an address");
        let hub = Arc::new(Hub::default());
        let store = runtime.block_on(async { Store::open(&parsed, hub) });
        let store = store.expect("the store opens");
        people(&runtime, &store);
        drop(store);
        let processes = (0..count)
            .map(|index| Process {
                data: directory.path().join(format!("m{index}")),
                port: Port::reserve(),
                secure: Port::reserve(),
                running: Mutex::new(None),
            })
            .collect();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections(0)
            .timeout_global(Some(DEADLINE))
            .build()
            .new_agent();
        let masters = Masters {
            processes,
            database,
            address,
            agent,
            chance: AtomicU64::new(seed),
            directory,
        };
        let persons: Vec<i64> = (0..PEOPLE.len()).map(person_key).collect();
        let mut door = masters.backdoor();
        door.certify("person", &persons);
        masters.start();
        masters
    }

    /// A number that differs each time.
    fn chance(&self, below: usize) -> usize {
        let seed = self.chance.fetch_add(1, Ordering::Relaxed);
        let number = Random::seeded(seed).below(below as u64);
        usize::try_from(number).unwrap_or(0)
    }

    fn send(&self, by: Actor, method: &str, path: &str, form: &Form) -> Result<Answer, String> {
        let process = &self.processes[self.chance(self.processes.len())];
        let encoded = form.encoded();
        let mut url = format!("http://127.0.0.1:{}/{path}", process.port.number());
        let get = method == "GET";
        if get && !encoded.is_empty() {
            url = format!("{url}?{encoded}");
        }
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        if let Some(name) = common_name(by) {
            request = request.header("Remote-User", name);
        }
        if let Some(tag) = &form.tag {
            request = request.header("If-None-Match", tag);
        }
        request = request.header("Content-Type", "application/x-www-form-urlencoded");
        let body = if get {
            Vec::new()
        } else {
            encoded.into_bytes()
        };
        let request = request.body(body).expect("a request");
        let mut response = self.agent.run(request).map_err(|error| error.to_string())?;
        let tag = response.headers().get("etag");
        let tag = tag.and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let body = response
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_vec();
        Ok(Answer {
            status: response.status().as_u16(),
            tag,
            body: body.map_err(|error| error.to_string())?,
        })
    }

    fn post(&self, by: Actor, path: &str, form: Form) -> Result<Vec<u8>, Reply> {
        let answer = self
            .send(by, "POST", path, &form)
            .map_err(|_| Reply::Lost)?;
        match answer.status {
            200 => Ok(answer.body),
            408 => Err(Reply::Waiting(answer.text())),
            status @ 400..500 => Err(Reply::Refused(status, answer.text())),
            status => Err(Reply::Broken(format!("{status} {}", answer.text()))),
        }
    }

    fn done(&self, by: Actor, path: &str, form: Form) -> Reply {
        match self.post(by, path, form) {
            Ok(_) => Reply::Done,
            Err(reply) => reply,
        }
    }

    /// Asks as the administrator of the machine does.
    fn administrate(&self, command: &serde_json::Value) -> Reply {
        let process = &self.processes[self.chance(self.processes.len())];
        let answer = (|| {
            let mut stream = UnixStream::connect(process.data.join("master.sock"))?;
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.write_all(format!("{command}\n").as_bytes())?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line)?;
            std::io::Result::Ok(line)
        })();
        let answer = match answer {
            Ok(line) if !line.is_empty() => line,
            _ => return Reply::Lost,
        };
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        let Some(refused) = answer.get("Err") else {
            return Reply::Done;
        };
        let text = refused.to_string();
        match refused["kind"].as_str() {
            Some("not_found") => Reply::Refused(404, text),
            Some("invalid") => Reply::Refused(400, text),
            Some("conflict") => Reply::Refused(409, text),
            Some("forbidden") => Reply::Refused(403, text),
            _ => Reply::Broken(text),
        }
    }
}

struct Answer {
    status: u16,
    tag: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The name in the certificate of a caller.
fn common_name(by: Actor) -> Option<String> {
    match by {
        Actor::Nobody => None,
        Actor::Person(person) => Some(format!("person-{}", person_key(person))),
        Actor::Node(key) => Some(format!("node-{key}")),
        Actor::Instance(key) => Some(format!("instance-{key}")),
    }
}

/// Fields of a call.
#[derive(Default)]
struct Form {
    fields: Vec<(&'static str, String)>,
    tag: Option<String>,
}

impl Form {
    fn of(fields: &[(&'static str, &str)]) -> Form {
        let fields = fields
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        Form {
            fields: fields.collect(),
            tag: None,
        }
    }

    fn at(place: &Place) -> Form {
        Form::of(&[
            ("computer_id", &format!("COMP-{}", place.node)),
            ("computer_partition_id", &place.partition),
        ])
    }

    fn node(node: i64) -> Form {
        Form::of(&[("computer_id", &format!("COMP-{node}"))])
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Form {
        self.fields.push((name, value.into()));
        self
    }

    fn value(self, name: &'static str, value: &Value) -> Form {
        self.with(name, marshal::encode(value).expect("it can be written"))
    }

    fn shared(self, shared: Option<i64>) -> Form {
        match shared {
            Some(key) => self.with("slave_reference", format!("SOFTINST-{key}")),
            None => self,
        }
    }

    fn encoded(&self) -> String {
        let quoted = |text: &str| -> String {
            text.bytes()
                .map(|byte| match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                        char::from(byte).to_string()
                    }
                    other => format!("%{other:02X}"),
                })
                .collect()
        };
        let fields: Vec<String> = self
            .fields
            .iter()
            .map(|(name, value)| format!("{name}={}", quoted(value)))
            .collect();
        fields.join("&")
    }
}

fn request_form(requester: Option<&Place>, ask: &Ask) -> Form {
    let mut form = requester.map_or_else(Form::default, Form::at);
    form = form
        .with("software_release", &ask.release)
        .with("partition_reference", &ask.title);
    if let Some(kind) = &ask.kind {
        form = form.with("software_type", kind);
    }
    if let Some(parameters) = &ask.parameters {
        form = form.value("partition_parameter_xml", &Value::text_dict(parameters));
    }
    if let Some(sla) = &ask.sla {
        form = form.value("filter_xml", &Value::text_dict(sla));
    }
    if let Some(state) = ask.state {
        form = form.value("state", &Value::text(state.as_str()));
    }
    if let Some(shared) = ask.shared {
        form = form.value("shared_xml", &Value::Bool(shared));
    }
    if let Some(project) = ask.project {
        form = form.with("project_reference", format!("PROJ-{project}"));
    }
    form
}

fn description(node: i64, partitions: &[Described]) -> Value {
    let list = partitions
        .iter()
        .map(|told| {
            let interface = told
                .addresses
                .first()
                .map_or("", |(interface, _)| interface);
            let addresses = told.addresses.iter().map(|(_, ip)| {
                Value::dict([
                    ("addr", Value::text(ip)),
                    ("netmask", Value::text("255.0.0.0")),
                ])
            });
            Value::dict([
                ("reference", Value::text(&told.name)),
                ("address_list", Value::List(addresses.collect())),
                ("tap", Value::dict([("name", Value::text(interface))])),
                (
                    "capability_list",
                    Value::List(told.capabilities.iter().map(Value::text).collect()),
                ),
            ])
        })
        .collect();
    Value::dict([
        ("reference", Value::text(format!("COMP-{node}"))),
        ("address", Value::text("10.0.0.1")),
        ("netmask", Value::text("255.0.0.0")),
        ("partition_list", Value::List(list)),
    ])
}

// ---------------------------------------------------------------------------------------------
// Reading

fn number(text: &str, prefix: &str) -> i64 {
    text.strip_prefix(prefix)
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{text:?} is no {prefix}n"))
}

fn text(entries: &BTreeMap<String, Value>, name: &str) -> String {
    entries.get(name).map(python::str).unwrap_or_default()
}

fn texts(entries: &BTreeMap<String, Value>) -> Texts {
    entries
        .iter()
        .map(|(key, value)| (key.clone(), python::str(value)))
        .collect()
}

fn addresses(value: Option<&Value>) -> Vec<(String, String)> {
    let list = value.and_then(Value::as_sequence).unwrap_or_default();
    list.iter()
        .filter_map(|pair| match pair.as_sequence()? {
            [interface, ip] => Some((python::str(interface), python::str(ip))),
            _ => None,
        })
        .collect()
}

/// The answer to a request.
fn told(body: &[u8]) -> Result<Told, String> {
    let value = marshal::decode(body).map_err(|error| error.to_string())?;
    let document = InstanceDocument::from_value(&value).map_err(|error| error.to_string())?;
    let further = &document.further;
    Ok(Told {
        key: number(&document.guid.unwrap_or_default(), "SOFTINST-"),
        title: text(further, "instance_title"),
        root_title: text(further, "root_instance_title"),
        release: document.release.unwrap_or_default(),
        kind: document.software_type.unwrap_or_default(),
        parameters: texts(&document.parameters),
        sla: further
            .get("_filter_dict")
            .and_then(Value::as_dict)
            .map(texts)
            .unwrap_or_default(),
        connection: document.connection,
        state: document
            .state
            .unwrap_or_default()
            .parse()
            .map_err(|error| format!("{error}"))?,
        timestamp: text(further, "timestamp").parse().unwrap_or_default(),
        node: number(&document.node, "COMP-"),
        partition: document.partition,
        addresses: addresses(further.get("ip_list")),
    })
}

fn on_partition(document: &PartitionDocument) -> Option<OnPartition> {
    let guid = document.guid.as_ref()?;
    let mut parameters = document.parameters.clone().unwrap_or_default();
    let facts: BTreeMap<String, Value> = FACTS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), parameters.remove(*name)?)))
        .collect();
    let served = facts
        .get("slave_instance_list")
        .and_then(Value::as_sequence);
    let served = served.unwrap_or_default().iter().filter_map(Value::as_dict);
    Some(OnPartition {
        told: Told {
            key: number(guid, "SOFTINST-"),
            title: text(&facts, "instance_title"),
            root_title: text(&facts, "root_instance_title"),
            release: text(&facts, "slap_software_release_url"),
            kind: text(&facts, "slap_software_type"),
            parameters: texts(&parameters),
            sla: document.sla.clone().unwrap_or_default(),
            connection: document.connection.clone().unwrap_or_default(),
            state: document.state?,
            timestamp: text(&facts, "timestamp").parse().unwrap_or_default(),
            node: number(&text(&facts, "slap_computer_id"), "COMP-"),
            partition: text(&facts, "slap_computer_partition_id"),
            addresses: addresses(facts.get("ip_list")),
        },
        status: document.access_status.clone(),
        served: served
            .map(|entries| {
                let mut entries = entries.clone();
                let mut take = |name: &str| {
                    let value = entries.remove(name);
                    value.as_ref().map(python::str).unwrap_or_default()
                };
                let (kind, key) = (take("slap_software_type"), take("slave_reference"));
                let (title, timestamp) = (take("slave_title"), take("timestamp"));
                Served {
                    key: number(&key, "SOFTINST-"),
                    title,
                    kind,
                    entries: texts(&entries),
                    timestamp: timestamp.parse().unwrap_or_default(),
                }
            })
            .collect(),
    })
}

fn node_seen(body: &[u8], tag: Option<String>) -> Result<NodeSeen, String> {
    let value = marshal::decode(body).map_err(|error| error.to_string())?;
    let document = NodeDocument::from_value(&value).map_err(|error| error.to_string())?;
    Ok(NodeSeen {
        tag,
        partitions: document
            .partitions
            .iter()
            .map(|partition| PartitionSeen {
                name: partition.partition.to_string(),
                on: on_partition(partition),
            })
            .collect(),
        installations: document
            .installations
            .iter()
            .map(|one| {
                let wanted = one.requested_state() == InstallationState::Available;
                (one.release.to_string(), wanted)
            })
            .collect(),
    })
}

// ---------------------------------------------------------------------------------------------
// The system

impl System for Masters {
    fn abilities(&self) -> Abilities {
        Abilities {
            only_the_administrator_manages: true,
        }
    }

    fn call(&self, op: &Op) -> Reply {
        let by = op.by;
        match &op.what {
            What::Request { requester, ask } => {
                let form = request_form(requester.as_ref(), ask);
                match self.post(by, "requestComputerPartition", form) {
                    Ok(body) => match told(&body) {
                        Ok(told) => Reply::Placed(Box::new(told)),
                        Err(error) => Reply::Broken(error),
                    },
                    Err(reply) => reply,
                }
            }
            What::Report { at, word } => {
                let path = match word {
                    Word::Started => "startedComputerPartition",
                    Word::Stopped => "stoppedComputerPartition",
                    Word::Destroyed => "destroyedComputerPartition",
                };
                self.done(by, path, Form::at(at))
            }
            What::Error { at, shared, log } => {
                let form = Form::at(at).shared(*shared).with("error_log", log);
                self.done(by, "softwareInstanceError", form)
            }
            What::Bang { at, message } => {
                let form = Form::at(at).with("message", message);
                self.done(by, "softwareInstanceBang", form)
            }
            What::Publish {
                at,
                shared,
                parameters,
            } => {
                let form = Form::at(at).shared(*shared);
                let form = form.value("connection_xml", &Value::text_dict(parameters));
                self.done(by, "setComputerPartitionConnectionXml", form)
            }
            What::Rename { at, shared, title } => {
                let form = Form::at(at).shared(*shared).with("new_name", title);
                self.done(by, "softwareInstanceRename", form)
            }
            What::Related { at } => {
                let form = Form::at(at).value("instance_reference_xml", &Value::List(Vec::new()));
                self.done(by, "updateComputerPartitionRelatedInstanceList", form)
            }
            What::Supply {
                node,
                release,
                wanted,
            } => {
                let state = if *wanted { "available" } else { "destroyed" };
                let form = Form::node(*node).with("url", release).with("state", state);
                self.done(by, "supplySupply", form)
            }
            What::ReportRelease {
                node,
                release,
                word,
            } => {
                let path = match word {
                    ReleaseWord::Building => "buildingSoftwareRelease",
                    ReleaseWord::Available => "availableSoftwareRelease",
                    ReleaseWord::Error => "softwareReleaseError",
                    ReleaseWord::Destroyed => "destroyedSoftwareRelease",
                };
                let form = Form::node(*node).with("url", release);
                self.done(by, path, form.with("error_log", "it failed"))
            }
            What::Format { node, partitions } => {
                let form = Form::default().value("xml", &description(*node, partitions));
                self.done(by, "loadComputerConfigurationFromXML", form)
            }
            What::BangNode { node, message } => {
                let form = Form::node(*node).with("message", message);
                self.done(by, "computerBang", form)
            }
            What::Usage { node } => {
                let form = Form::node(*node).with("use_string", USAGE);
                self.done(by, "useComputer", form)
            }
            What::Poll { node } => match self.node(by, *node) {
                Ok(_) => Reply::Done,
                Err(Unseen::Refused(status)) => Reply::Refused(status, String::new()),
                Err(Unseen::Broken(text)) => Reply::Broken(text),
                Err(Unseen::Lost) => Reply::Lost,
            },
            What::NewNode { project, title } => {
                let project = format!("PROJ-{project}");
                let form = Form::of(&[("computer_title", title), ("project_reference", &project)]);
                match self.post(by, "requestComputer", form) {
                    Ok(body) => {
                        let value = marshal::decode(&body).expect("a document");
                        let document = NodeDocument::from_value(&value).expect("of a node");
                        Reply::Node(number(document.node.as_str(), "COMP-"))
                    }
                    Err(reply) => reply,
                }
            }
            What::Scope { node, scope } => self.administrate(&serde_json::json!({
                "command": "node_scope", "node": format!("COMP-{node}"), "scope": scope,
            })),
            What::Capacity { node, capacity } => self.administrate(&serde_json::json!({
                "command": "node_capacity", "node": format!("COMP-{node}"), "units": capacity,
            })),
            What::Network { node, network } => self.administrate(&serde_json::json!({
                "command": "node_network", "node": format!("COMP-{node}"),
                "network": network.map(|network| format!("NET-{network}")),
            })),
            What::Region { node, region } => {
                let categories: Texts = region
                    .iter()
                    .map(|region| ("region".to_owned(), region.clone()))
                    .collect();
                self.administrate(&serde_json::json!({
                    "command": "node_categories", "node": format!("COMP-{node}"),
                    "categories": categories,
                }))
            }
            What::RemoveNode { node } => self.administrate(&serde_json::json!({
                "command": "node_remove", "node": format!("COMP-{node}"),
            })),
            What::Member {
                person,
                project,
                manager,
            } => {
                let (project, login) = (format!("PROJ-{project}"), PEOPLE[*person].0);
                self.administrate(&match manager {
                    Some(manager) => serde_json::json!({
                        "command": "member_add", "project": project, "login": login,
                        "role": if *manager { "manager" } else { "member" },
                    }),
                    None => serde_json::json!({
                        "command": "member_remove", "project": project, "login": login,
                    }),
                })
            }
        }
    }

    fn node(&self, by: Actor, node: i64) -> Result<NodeSeen, Unseen> {
        let form = Form::node(node);
        let answer = self.send(by, "GET", "getFullComputerInformation", &form);
        let answer = answer.map_err(|_| Unseen::Lost)?;
        match answer.status {
            200 => node_seen(&answer.body, answer.tag).map_err(Unseen::Broken),
            status @ 400..500 => Err(Unseen::Refused(status)),
            status => Err(Unseen::Broken(format!("{status} {}", answer.text()))),
        }
    }

    fn is_unchanged(&self, node: i64, tag: &str) -> bool {
        let form = Form {
            tag: Some(tag.to_owned()),
            ..Form::node(node)
        };
        let answer = self.send(
            Actor::Node(node),
            "GET",
            "getFullComputerInformation",
            &form,
        );
        answer.is_ok_and(|answer| answer.status == 304 && answer.body.is_empty())
    }

    fn backdoor(&self) -> Backdoor {
        Backdoor::open(&self.database)
    }

    fn introduce(&self, nodes: &[i64], instances: &[i64]) {
        let mut door = self.backdoor();
        door.certify("node", nodes);
        door.certify("instance", instances);
    }

    fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| {
            i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
        })
    }

    fn kill(&self) {
        // Of several, sometimes one goes on.
        let spared = self.chance(self.processes.len() * 2);
        let several = self.processes.len() > 1;
        for (index, process) in self.processes.iter().enumerate() {
            if several && index == spared {
                continue;
            }
            let running = process.running.lock().expect("unpoisoned").take();
            if let Some(mut running) = running {
                running.kill();
            }
        }
        // What a server was told last it may still be doing.
        self.backdoor().wait_for_others();
    }

    fn start(&self) {
        for (index, process) in self.processes.iter().enumerate() {
            let mut running = process.running.lock().expect("unpoisoned");
            if running.is_some() {
                continue;
            }
            let key = process.data.join("secret.key");
            if index > 0 && !key.exists() {
                // Masters on one database share the key of its secrets.
                std::fs::create_dir_all(&process.data).expect("a directory");
                let first = self.processes[0].data.join("secret.key");
                std::fs::copy(first, &key).expect("the first Master made it");
            }
            let program = Slapos::new(env!("CARGO_BIN_EXE_slapos"));
            let listen = |port: &Port| format!("127.0.0.1:{}", port.number());
            let invocation = program
                .invoke(self.directory.path(), ["master", "start", "--data-dir"])
                .arg(&process.data)
                .args(["--database", &self.address])
                .args(["--listen", &listen(&process.secure)])
                .args(["--plain", &listen(&process.port)])
                .args(["--trusted-proxy", "127.0.0.1"])
                .args(["--public-url", "https://slap.example.com"]);
            let log = self.directory.path().join(format!("m{index}.log"));
            let mut started = invocation.start(&log);
            let url = format!("http://127.0.0.1:{}/readyz", process.port.number());
            eventually("the Master is ready", DEADLINE, || {
                assert!(started.is_running(), "it ended:\n{}", started.output());
                match self.agent.get(&url).call() {
                    Ok(answer) if answer.status() == 200 => Ok(()),
                    Ok(answer) => Err(answer.status().to_string()),
                    Err(error) => Err(error.to_string()),
                }
            });
            *running = Some(started);
        }
    }

    fn log(&self) -> String {
        let mut text = String::new();
        for process in &self.processes {
            if let Some(running) = &*process.running.lock().expect("unpoisoned") {
                let output = running.output();
                let from = output.len().saturating_sub(1500);
                let from = (from..output.len()).find(|at| output.is_char_boundary(*at));
                text.push_str(&output[from.unwrap_or(0)..]);
            }
        }
        text
    }
}
