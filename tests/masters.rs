//! Two Masters, as processes, on one PostgreSQL: under load from both sides, while either of them and
//! then the database is killed, no partition is given twice and nothing acknowledged is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use slap::{InstallationState, InstanceState, NodeId, ReleaseUrl, SoftwareType, Value};
use slap_client::{Client, Error, Identity, Request, RequestReply, Settings, Trust};
use testkit::{Port, Postgres, Running, Slapos, eventually};

const RELEASE: &str = "https://example.com/software.cfg";
const NODES: usize = 4;
const PARTITIONS: usize = 60;
const CLIENTS: usize = 4;
const READY: Duration = Duration::from_secs(120);

/// Two Masters and their database.
struct World {
    directory: tempfile::TempDir,
    server: Postgres,
    database: String,
    ports: [Port; 2],
    running: [Mutex<Option<Running>>; 2],
}

impl World {
    fn new() -> Self {
        let server = Postgres::start();
        let world = World {
            directory: tempfile::tempdir().unwrap(),
            database: server.new_database(),
            server,
            ports: [Port::reserve(), Port::reserve()],
            running: [Mutex::default(), Mutex::default()],
        };
        world.start(0);
        // What opens the secrets in the database is all that the Masters share besides it.
        fs::create_dir_all(world.data(1)).unwrap();
        fs::copy(
            world.data(0).join("secret.key"),
            world.data(1).join("secret.key"),
        )
        .unwrap();
        world.start(1);
        world
    }

    fn data(&self, master: usize) -> PathBuf {
        self.directory.path().join(format!("master{master}"))
    }

    fn start(&self, master: usize) {
        let listen = format!("127.0.0.1:{}", self.ports[master].number());
        let running = Slapos::new(env!("CARGO_BIN_EXE_slapos"))
            .invoke(
                self.directory.path(),
                ["master", "start", "--listen", &listen],
            )
            .args(["--database", &self.database])
            .arg("--data-dir")
            .arg(self.data(master))
            .start(&self.log(master));
        *self.running[master].lock().unwrap() = Some(running);
        eventually("the Master answers", READY, || {
            if self.ports[master].is_open() {
                Ok(())
            } else {
                Err(fs::read_to_string(self.log(master)).unwrap_or_default())
            }
        });
    }

    fn log(&self, master: usize) -> PathBuf {
        self.directory.path().join(format!("master{master}.log"))
    }

    fn kill(&self, master: usize) {
        self.running[master].lock().unwrap().take().unwrap().kill();
    }

    fn url(&self, master: usize) -> String {
        format!("https://127.0.0.1:{}", self.ports[master].number())
    }

    fn client(&self, master: usize, identity: &Identity) -> Client {
        let mut settings = Settings::new(self.url(master));
        settings.trust = Trust::CaFile(self.data(master).join("ca.crt"));
        settings.identity = Some(identity.clone());
        Client::new(settings).unwrap()
    }
}

fn wanted(title: &str) -> Request {
    Request {
        requester: None,
        release: ReleaseUrl::new(RELEASE).unwrap(),
        software_type: SoftwareType::default(),
        title: title.parse().unwrap(),
        parameters: BTreeMap::new(),
        sla: BTreeMap::new(),
        state: Some(InstanceState::Started),
        shared: false,
    }
}

impl World {
    /// The certificate of the first administrator, for the token the first start shows.
    fn administrator(&self) -> Identity {
        let log = fs::read_to_string(self.log(0)).unwrap();
        let token = log
            .split("--token ")
            .nth(1)
            .unwrap_or_else(|| panic!("{log}"));
        let token = token.split_whitespace().next().unwrap();
        let root = fs::read(self.data(0).join("ca.crt")).unwrap();
        let root = ureq::tls::Certificate::from_pem(&root).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::new_with_certs(&[root]))
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let config = ureq::Agent::config_builder().tls_config(tls).build();
        let text = ureq::Agent::new_with_config(config)
            .post(format!("{}/Person_getCertificate", self.url(0)))
            .header("x-access-token", token)
            .send_empty()
            .unwrap()
            .body_mut()
            .read_to_string()
            .unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let pem = |name: &str| json[name].as_str().unwrap().to_owned();
        Identity {
            certificate: pem("certificate"),
            key: pem("key"),
        }
    }

    /// A node with partitions, which has the release.
    fn node(&self, master: usize, person: &Client, title: &str) -> (NodeId, Identity) {
        let id = person.request_node(title).unwrap().node;
        let issued = person.issue_node_certificate(&id).unwrap();
        let identity = Identity {
            certificate: issued.certificate,
            key: issued.key,
        };
        let node = self.client(master, &identity);
        let partition = |number| {
            let address = Value::dict([
                ("addr", Value::text(format!("fd00::{number:x}"))),
                ("netmask", Value::text("ffff::")),
            ]);
            Value::dict([
                ("reference", Value::text(format!("part{number}"))),
                ("address_list", Value::List(vec![address])),
            ])
        };
        node.post_format(&Value::dict([
            ("reference", Value::text(id.as_str())),
            (
                "partition_list",
                Value::List((0..PARTITIONS).map(partition).collect()),
            ),
        ]))
        .unwrap();
        let release = ReleaseUrl::new(RELEASE).unwrap();
        person
            .supply(&release, &id, InstallationState::Available)
            .unwrap();
        node.release_available(&release, &id).unwrap();
        (id, identity)
    }
}

type Place = (String, String);

/// Asks one Master, and when it does not answer the other one, until the instance has its place.
fn request(clients: [&Client; 2], first: usize, title: &str) -> Place {
    let mut turn = first;
    let mut trouble = Vec::new();
    loop {
        match clients[turn % 2].request(&wanted(title)) {
            Ok(RequestReply::Allocated(instance)) => {
                return (instance.node, instance.partition);
            }
            // It waits in the database: whoever comes next may find it placed.
            Ok(RequestReply::NotReady { .. }) => {}
            Err(
                error @ (Error::Server { .. } | Error::Connection { .. } | Error::Reply { .. }),
            ) => {
                trouble.push(error.to_string());
                assert!(trouble.len() < 2_000, "{title}: {trouble:#?}");
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => panic!("{title}: {error}"),
        }
        turn += 1;
    }
}

#[test]
fn either_master_and_the_database_may_be_killed_under_load() {
    if Postgres::is_left_out() {
        return;
    }
    let world = World::new();
    let administrator = world.administrator();
    let persons = [0, 1].map(|master| world.client(master, &administrator));
    let nodes: Vec<_> = (0..NODES)
        .map(|number| {
            let master = number % 2;
            world.node(master, &persons[master], &format!("node{number}"))
        })
        .collect();

    let all = NODES * PARTITIONS;
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let places = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (next, done, places) = (&next, &done, &places);
            let persons = [0, 1].map(|master| world.client(master, &administrator));
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= all {
                        return;
                    }
                    let title = format!("instance {number}");
                    let place = request([&persons[0], &persons[1]], client + number, &title);
                    places.lock().unwrap().insert(title, place);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let reached = |count: usize| {
            eventually("instances are placed", READY, || {
                let done = done.load(Ordering::Relaxed);
                if done >= count { Ok(()) } else { Err(done) }
            });
        };
        reached(all / 5);
        world.kill(0);
        reached(all * 2 / 5);
        world.start(0);
        world.kill(1);
        reached(all * 3 / 5);
        world.start(1);
        world.server.kill();
        world.server.start_again();
    });

    let places = places.into_inner().unwrap();
    let taken: BTreeSet<&Place> = places.values().collect();
    assert_eq!(places.len(), all);
    assert_eq!(taken.len(), all, "a partition was given twice");
    // Both know everything that either acknowledged.
    for (nth, (title, place)) in places.iter().enumerate() {
        assert_eq!(
            &request([&persons[0], &persons[1]], nth, title),
            place,
            "{title}"
        );
    }
    let titles: BTreeMap<&Place, &str> = places
        .iter()
        .map(|(title, place)| (place, title.as_str()))
        .collect();
    for (id, identity) in &nodes {
        let documents = [0, 1].map(|master| world.client(master, identity).node(id).unwrap());
        assert_eq!(documents[0], documents[1]);
        assert_eq!(documents[0].partitions.len(), PARTITIONS);
        for partition in &documents[0].partitions {
            let place = (id.to_string(), partition.partition.to_string());
            let parameters = partition.parameters.as_ref().unwrap();
            assert_eq!(
                parameters.get("instance_title"),
                Some(&Value::text(titles[&place])),
                "{place:?}"
            );
        }
    }
}
