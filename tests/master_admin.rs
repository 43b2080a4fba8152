//! `slapos master …` as an administrator types it: against a Master that runs, one that was killed,
//! and one that does not run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};
use testkit::{Invocation, Run, Running, Unprivileged};

const SOON: Duration = Duration::from_secs(60);

/// A Master and a place for an administrator's files.
struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        World {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn slapos(&self, line: &str) -> Invocation {
        let words = line.split_whitespace().map(str::to_owned);
        Invocation::new(env!("CARGO_BIN_EXE_slapos"), self.directory.path())
            .directory(self.directory.path())
            .env("SLAPOS_MASTER_DATA_DIR", self.path("data"))
            .args(words)
    }

    /// What an administrator types after `slapos master`.
    fn master(&self, line: &str) -> Run {
        self.slapos(&format!("master {line}")).run()
    }

    fn json(&self, line: &str) -> Json {
        self.master(line).ok().json()
    }

    fn start(&self) -> Running {
        // What an earlier one said is not to be taken for this one's.
        let log = self.path("master.log");
        if log.exists() {
            fs::rename(&log, self.path("earlier.log")).unwrap();
        }
        let start = self.slapos("master start --listen 127.0.0.1:0 --with-parent");
        let mut running = start.start(&log);
        running.wait_for_output("the Master answers at", SOON);
        running
    }

    fn names(&self, line: &str, name: &str) -> Vec<String> {
        let list = self.json(line);
        let names = list.as_array().unwrap().iter();
        names
            .map(|item| item[name].as_str().unwrap().to_owned())
            .collect()
    }

    fn password(&self, login: &str, password: &str) -> Run {
        let file = self.path("password");
        fs::write(&file, format!("{password}\n")).unwrap();
        // The shell hands the file over, as people do it.
        let program = env!("CARGO_BIN_EXE_slapos");
        Invocation::new("/bin/sh", self.directory.path())
            .directory(self.directory.path())
            .env("SLAPOS_MASTER_DATA_DIR", self.path("data"))
            .arg("-c")
            .arg(format!(
                "{program} master user password {login} --stdin < {}",
                file.display()
            ))
            .run()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_administrator_works_with_a_master_that_runs_was_killed_or_does_not_run() {
    let world = World::new();
    world
        .master("user list")
        .exits(2)
        .says("there is no Master in");
    assert!(!world.path("data").exists(), "asking made a Master");
    let mut running = world.start();

    // People and projects.
    let link = world.json("user add Ada --name Lovelace");
    assert_eq!(link["login"], "ada");
    let url = link["link"].as_str().unwrap();
    assert!(url.contains("/password?token="), "{url}");
    world.master("user add ada").exits(1).says("ada already");
    world.master("user add -x").exits(2);
    world.password("ada", "short").exits(2).says("password");
    world.password("ada", "correct horse battery").ok();
    world.master("user add bob").ok();
    world.master("user admin bob").ok();
    world.master("user disable bob").ok();
    world
        .master("user disable admin")
        .exits(1)
        .says("only administrator");
    world.json("project add Observatory --manager ada");
    world
        .master("project add X --manager nobody")
        .exits(2)
        .says("nobody");
    assert_eq!(
        world.names("project list", "title"),
        ["Main", "Observatory"]
    );
    world.master("project member add Observatory bob").ok();
    let members = world.json("project member list PROJ-2");
    assert_eq!(
        members,
        json!([
            {"login": "ada", "name": "Lovelace", "role": "manager"},
            {"login": "bob", "name": "bob", "role": "member"},
        ])
    );
    world.master("project member remove PROJ-2 bob").ok();
    world.master("project close Main").ok();

    // Tokens are told once and kept nowhere.
    let token = world.json("token create --user ada --purpose node");
    let token = token["token"].as_str().unwrap();
    assert_eq!(world.names("token list", "purpose")[0], "node");
    world
        .master("token create --user bob")
        .exits(1)
        .says("disabled");

    // Nodes; the only open project is meant.
    let node = world.json("node add rack1 --certificate a.crt --key a.key");
    assert_eq!(node["reference"], "COMP-1");
    assert_eq!(mode(&world.path("a.key")), 0o600);
    assert!(
        fs::read_to_string(world.path("a.key"))
            .unwrap()
            .contains("PRIVATE KEY")
    );
    world
        .master("node add rack2 --certificate a.crt --key b.key")
        .exits(1)
        .says("exists");
    assert_eq!(world.names("node list", "title"), ["rack1"]);
    world.master("node scope COMP-1 close/maintenance").ok();
    world.master("node scope COMP-1 shut").exits(2);
    world.master("node capacity COMP-1 5").ok();
    world.master("node categories COMP-1 region=eu/paris").ok();
    world.json("network add lan");
    world.master("node network COMP-1 NET-1").ok();
    let node = &world.json("node list")[0];
    assert_eq!(node["scope"], "close/maintenance");
    assert_eq!(node["capacity"], 5);
    assert_eq!(node["network"], "NET-1");
    assert_eq!(node["categories"], json!({"region": "eu/paris"}));
    let certificate = &world.json("certificate list --owner COMP-1")[0];
    let name = certificate["common_name"].as_str().unwrap();
    world.master(&format!("certificate revoke {name}")).ok();
    assert_eq!(world.names("certificate list", "state"), ["revoked"]);
    let serial = certificate["serial"].as_str().unwrap();
    assert!(world.master("ca crl").ok().stdout.contains("X509 CRL"));
    assert!(!serial.is_empty());
    world.master("ca export").ok().says("BEGIN CERTIFICATE");
    let fingerprint = world.json("ca show")["fingerprint"].clone();
    assert_eq!(fingerprint.as_str().unwrap().len(), 64);

    // Products.
    world.master("product add wordpress").ok();
    world
        .master("product release add wordpress https://e.com/1 --effective 2020-01-01")
        .ok();
    world
        .master("product release add wordpress https://e.com/2 --effective 2030-01-01")
        .ok();
    world
        .master("product release add wordpress https://e.com/3")
        .ok();
    world
        .master("product release add nothing https://e.com/4")
        .exits(2)
        .says("nothing");
    assert_eq!(
        world.names("product release list wordpress", "url"),
        ["https://e.com/3", "https://e.com/1", "https://e.com/2"]
    );
    world
        .master("product type wordpress default --units 4")
        .ok();
    assert_eq!(
        world.json("product list")[0]["units"],
        json!({"default": 4})
    );
    assert_eq!(world.json("decision list"), json!([]));
    assert_eq!(world.json("waiting"), json!([]));
    world.master("decision accept 1").exits(2);
    world.master("upgrade").ok().says("up to date");
    world.master("check").ok().says("No contradiction");

    // What is done is told, what is secret is not.
    let trail = world.master("audit --limit 1000").ok().stdout;
    assert!(trail.contains("create_product") && trail.contains("COMP-1"));
    let log = fs::read_to_string(world.path("master.log")).unwrap();
    for secret in [token, "correct horse battery", "PRIVATE KEY"] {
        assert!(!trail.contains(secret) && !log.contains(secret), "{secret}");
    }

    // Killed, it left its socket behind; what was acknowledged is there.
    running.kill();
    assert!(world.path("data/master.sock").exists());
    assert_eq!(world.names("user list", "login"), ["admin", "ada", "bob"]);
    world.master("user enable bob").ok();
    world.master("check").ok();
    let mut running = world.start();
    assert_eq!(world.names("node list", "title"), ["rack1"]);
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.wait(SOON), 0);
    assert!(!world.path("data/master.sock").exists());
}

#[test]
fn a_backup_becomes_a_master_again() {
    let world = World::new();
    let running = world.start();
    world.master("user add ada").ok();
    world.master("backup plain.db").ok();
    world.master("backup whole.db --with-secret").ok();
    world.master("backup whole.db").exits(1).says("exists");
    symlink("elsewhere", world.path("link.db")).unwrap();
    world.master("backup link.db").exits(1).says("exists");
    assert_eq!(mode(&world.path("whole.db")), 0o600);
    drop(running);
    fs::copy(world.path("data/secret.key"), world.path("kept.key")).unwrap();
    fs::remove_dir_all(world.path("data")).unwrap();

    // Without the key it is of no use; with another one neither.
    world
        .master("restore plain.db")
        .exits(2)
        .says("--secret-key");
    fs::write(world.path("other.key"), format!("{}\n", "ab".repeat(32))).unwrap();
    let refused = world
        .master("restore plain.db --secret-key other.key")
        .exits(1);
    assert!(refused.stdout.contains("does not open"), "{refused}");
    world.master("restore kept.key").exits(1);
    world
        .master("restore nowhere.db")
        .exits(1)
        .says("nowhere.db");
    assert_eq!(fs::read_dir(world.path("data")).unwrap().count(), 0);
    world.master("restore plain.db --secret-key kept.key").ok();
    assert_eq!(world.names("user list", "login"), ["admin", "ada"]);
    world
        .master("restore whole.db")
        .exits(1)
        .says("is not empty");
    world.master("restore whole.db --data-dir other").ok();
    world.master("check --data-dir other").ok();
    let tokens = world.json("token list --data-dir other");
    assert_eq!(tokens, json!([]), "tokens of before can still be used");
    drop(world.start());
}

/// The directory is private, and so is the socket. Where both were opened by mistake, the Master still
/// asks the system who it is that asks.
#[test]
fn nobody_else_administrates() {
    let Some(other) = Unprivileged::when_root() else {
        return;
    };
    let world = World::new();
    let running = world.start();
    let open = |name: &str, mode: u32| {
        fs::set_permissions(world.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    open("", 0o755);
    let list = || {
        world
            .slapos("master user list")
            .user(Some(other.clone()))
            .run()
    };
    list().exits(5);
    open("data", 0o755);
    list()
        .exits(5)
        .says("for root and for the user the Master runs as");
    open("data/master.sock", 0o666);
    let refused = list().exits(5).says("for the Master's own user");
    assert_eq!(refused.stdout, "");
    world.master("user list").ok();
    drop(running);
}
