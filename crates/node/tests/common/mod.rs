//! A node on disk with a real supervisor, and a Master that answers what the test says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    missing_docs,
    unreachable_pub
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use node::config::{NodeConfig, Overrides};
use node::software::{BuildError, Builder, PartitionJob, ReleaseJob};
use slap::document::{InstallationDocument, NodeDocument, PartitionDocument, ReleaseForm};
use slap::{InstallationState, InstanceState, NodeId, PartitionId, ReleaseUrl, Value, marshal};

#[track_caller]
pub fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !check() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the Master says and what it heard.
pub struct State {
    pub document: NodeDocument,
    /// Answers to calls, by name: status and body. Everything else is 200 `OK`.
    pub answers: BTreeMap<String, Vec<(u16, String)>>,
    /// `name field=value …`, in the order they came.
    pub calls: Vec<String>,
}

pub struct Master {
    pub url: String,
    pub state: Arc<Mutex<State>>,
}

impl Master {
    pub fn start() -> Master {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            document: NodeDocument {
                node: NodeId::new("COMP-1").unwrap(),
                partitions: Vec::new(),
                installations: Vec::new(),
            },
            answers: BTreeMap::new(),
            calls: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Master { url, state }
    }

    pub fn edit(&self, change: impl FnOnce(&mut NodeDocument)) {
        change(&mut self.state.lock().unwrap().document);
    }

    /// Answers the next calls of this name with these, the last one for ever.
    pub fn answer(&self, call: &str, answers: &[(u16, &str)]) {
        let answers = answers.iter().rev();
        let answers = answers.map(|(status, body)| (*status, (*body).to_owned()));
        let mut state = self.state.lock().unwrap();
        state.answers.insert(call.to_owned(), answers.collect());
    }

    /// What was called since the last time, reads of the node's document left out.
    pub fn calls(&self) -> Vec<String> {
        let mut state = self.state.lock().unwrap();
        let calls = std::mem::take(&mut state.calls);
        calls
            .into_iter()
            .filter(|call| !call.starts_with("getFullComputerInformation"))
            .collect()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut head = String::new();
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let path = head
            .split_whitespace()
            .nth(1)
            .unwrap()
            .trim_start_matches('/');
        let (name, query) = path.split_once('?').unwrap_or((path, ""));
        let fields = if body.is_empty() {
            query.to_owned()
        } else {
            String::from_utf8(body).unwrap()
        };
        let (status, text) = {
            let mut state = state.lock().unwrap();
            state.calls.push(describe(name, &fields));
            let answers = state.answers.get_mut(name);
            match answers {
                Some(answers) if answers.len() > 1 => answers.pop().unwrap(),
                Some(answers) => answers[0].clone(),
                None if name == "getFullComputerInformation" => {
                    (200, marshal::encode(&state.document.to_value()).unwrap())
                }
                None => (200, "OK".to_owned()),
            }
        };
        let answer = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn describe(name: &str, fields: &str) -> String {
    let mut out = name.to_owned();
    for field in fields.split('&') {
        let Some((key, value)) = field.split_once('=') else {
            continue;
        };
        if key != "computer_id" {
            out.push_str(&format!(" {key}={}", decode(value)));
        }
    }
    out
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex = std::str::from_utf8(&rest[..2]).unwrap();
                bytes.push(u8::from_str_radix(hex, 16).unwrap());
                rest = &rest[2..];
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// A node with partitions `part0` …; its supervisor is stopped with everything it keeps when the
/// test ends.
pub struct Node {
    pub root: tempfile::TempDir,
    pub master: Master,
}

impl Drop for Node {
    fn drop(&mut self) {
        let client = supervisor::Client::new(self.path("inst/sv.sock"));
        let _ = client.shutdown_and_wait(Duration::from_secs(30));
    }
}

impl Node {
    pub fn new(partitions: usize) -> Node {
        // Short: the supervisor's socket is in it.
        let root = tempfile::Builder::new().prefix("nd").tempdir().unwrap();
        let node = Node {
            root,
            master: Master::start(),
        };
        for name in ["soft", "inst"] {
            fs::create_dir(node.path(name)).unwrap();
        }
        for index in 0..partitions {
            let path = node.path(&format!("inst/part{index}"));
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
            fs::write(path.join(".slapos-resource"), "{}").unwrap();
        }
        node
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn config(&self, more: &str) -> NodeConfig {
        self.config_for(&self.master.url, more)
    }

    pub fn config_for(&self, master: &str, more: &str) -> NodeConfig {
        let root = self.root.path().display();
        let text = format!(
            "[slapos]\ncomputer_id = COMP-1\nmaster_url = {master}\nroot_check = false\n\
             software_root = {root}/soft\ninstance_root = {root}/inst\n\
             pidfile_software = {root}/s.pid\npidfile_instance = {root}/i.pid\npidfile_report = {root}/r.pid\n\
             software_min_free_space = 1M\ninstance_min_free_space = 1M\nworkers = 4\n{more}\n"
        );
        let file = self.path("slapos.cfg");
        fs::write(&file, text).unwrap();
        let mut config = NodeConfig::load(&file, &Overrides::new()).unwrap();
        config.supervisor_command = vec![supervisord().into(), config.supervisord_conf().into()];
        config
    }

    /// The Master wants this instance, with this timestamp.
    pub fn want(&self, partition: &str, state: InstanceState, timestamp: &str) {
        let mut wanted = PartitionDocument::new(
            NodeId::new("COMP-1").unwrap(),
            PartitionId::new(partition).unwrap(),
        );
        wanted.state = Some(state);
        wanted.occupied = Some(true);
        wanted.release = Some(ReleaseForm::Object(installation(RELEASE, None)));
        wanted.parameters = Some(BTreeMap::from([
            ("timestamp".to_owned(), Value::text(timestamp)),
            ("slap_software_type".to_owned(), Value::text("default")),
        ]));
        self.master.edit(|document| {
            document
                .partitions
                .retain(|other| other.partition != wanted.partition);
            document.partitions.push(wanted);
        });
    }

    /// Its release is there.
    pub fn with_release(&self) -> PathBuf {
        let directory = self.path("soft").join(node::layout::release_key(
            &ReleaseUrl::new(RELEASE).unwrap(),
        ));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("instance.cfg"), "[buildout]\nparts =\n").unwrap();
        directory
    }

    /// The running processes of a partition, by name.
    pub fn running(&self, partition: &str) -> Vec<String> {
        let client = supervisor::Client::new(self.path("inst/sv.sock"));
        client
            .all_process_info()
            .unwrap()
            .into_iter()
            .filter(|process| process.group == partition && process.pid > 0)
            .map(|process| process.name)
            .collect()
    }
}

pub const RELEASE: &str = "https://example.org/software.cfg";

pub fn installation(url: &str, state: Option<InstallationState>) -> InstallationDocument {
    InstallationDocument {
        node: NodeId::new("COMP-1").unwrap(),
        release: ReleaseUrl::new(url).unwrap(),
        state,
    }
}

fn supervisord() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/supervisord");
    assert!(program.exists(), "{} was not built", program.display());
    program
}

pub fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

type Output<'a> = &'a mut dyn FnMut(&str);
type ReleaseWork = dyn Fn(&ReleaseJob<'_>, Output<'_>) -> Result<(), BuildError> + Sync;
type PartitionWork = dyn Fn(&PartitionJob<'_>, Output<'_>) -> Result<(), BuildError> + Sync;

/// A builder that does what the test says.
pub struct Fake {
    pub release: Box<ReleaseWork>,
    pub partition: Box<PartitionWork>,
    pub partitions_built: Mutex<Vec<String>>,
}

impl Fake {
    /// Every partition gets a watched service `daemon` and a one-shot `once`.
    pub fn new() -> Fake {
        Fake {
            release: Box::new(|_, _| Ok(())),
            partition: Box::new(|job, output| {
                output("building");
                script(&job.directory.join("etc/service/daemon"), "exec sleep 1000");
                script(&job.directory.join("etc/run/once"), "exec sleep 1000");
                Ok(())
            }),
            partitions_built: Mutex::default(),
        }
    }

    pub fn built(&self) -> Vec<String> {
        let mut built = std::mem::take(&mut *self.partitions_built.lock().unwrap());
        built.sort();
        built
    }
}

impl Builder for Fake {
    fn build_release(
        &self,
        job: &ReleaseJob<'_>,
        output: &mut dyn FnMut(&str),
    ) -> Result<(), BuildError> {
        (self.release)(job, output)
    }

    fn process_partition(
        &self,
        job: &PartitionJob<'_>,
        output: &mut dyn FnMut(&str),
    ) -> Result<(), BuildError> {
        let name = job.directory.file_name().unwrap().to_string_lossy();
        self.partitions_built
            .lock()
            .unwrap()
            .push(name.into_owned());
        (self.partition)(job, output)
    }
}
