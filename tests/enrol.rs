//! Our client and node become known to a Master with TLS and an authority of its own, and work with
//! it: `slapos configure client`, `slapos node register`, and what follows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};
use testkit::{Invocation, Rig, Run, Unprivileged, Welcome, eventually, http_get};

const SOON: Duration = Duration::from_secs(60);

/// Types an answer into a terminal once the program has asked.
const TYPIST: &str = "\
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
said = b''
answered = False
while True:
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    if not piece:
        break
    said += piece
    if b'[y/N]' in said and not answered:
        answered = True
        os.write(terminal, sys.argv[1].encode() + b'\\n')
sys.stdout.write(said.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

/// A Master, and somebody who wants to be known to it.
struct World {
    rig: Rig,
    welcome: Welcome,
}

impl World {
    /// An ordinary user, or whoever runs the tests: users cannot share the tests' builder.
    fn new(user: Option<Unprivileged>) -> Self {
        let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos"))
            .user(user)
            .build();
        rig.start_full_master();
        let welcome = rig.welcome();
        World { rig, welcome }
    }

    /// The program, as that user types it: with nothing but a home.
    fn slapos(&self, line: &[&str]) -> Invocation {
        Invocation::new(&self.rig.program().path, self.rig.path().join("home"))
            .user(self.rig.user().cloned())
            .args(line)
    }

    fn home(&self, name: &str) -> PathBuf {
        self.rig.path().join("home").join(name)
    }

    /// With the Master's URL and these.
    fn with_master(&self, line: &[&str], more: &[&str]) -> Invocation {
        self.slapos(line)
            .args(["--master-url", &self.rig.full_master_url()])
            .args(more)
    }

    /// `slapos configure client` with the Master's URL and these.
    fn configure(&self, more: &[&str]) -> Run {
        self.with_master(&["configure", "client"], more).run()
    }

    /// With the first administrator's token, recognised by the fingerprint.
    fn configured(&self) {
        let (token, fingerprint) = (&self.welcome.token, &self.welcome.fingerprint);
        self.configure(&["--token", token, "--fingerprint", fingerprint])
            .ok();
    }

    /// A token for a node, or a client, made on the Master's machine.
    fn token(&self, purpose: &str) -> String {
        let data = self.rig.full_master_data();
        let line = ["master", "token", "create", "--user", "admin", "--purpose"];
        let run = self.slapos(&line).arg(purpose).arg("--data-dir").arg(data);
        let json = run.run().ok().json();
        assert_eq!(json["url"], json!(self.rig.full_master_url()));
        assert_eq!(json["fingerprint"], json!(self.welcome.fingerprint));
        json["token"].as_str().unwrap().to_owned()
    }

    /// `slapos node register` in the user's own directory.
    fn register(&self, name: &str, token: &str, more: &[&str]) -> Run {
        self.with_master(&["node", "register", name], more)
            .args(["--unprivileged", "--token", token, "--cfg"])
            .arg(self.node_cfg())
            .run()
    }

    fn node_cfg(&self) -> PathBuf {
        self.home("node/etc/slapos.cfg")
    }

    fn node(&self, command: &str) -> Run {
        self.slapos(&["node", command, "--now", "--cfg"])
            .arg(self.node_cfg())
            .run()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .permissions()
        .mode()
        & 0o777
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn nobody_is_believed_to_be_the_master_without_a_word_from_elsewhere() {
    let world = World::new(Unprivileged::when_root());
    let token = world.welcome.token.as_str();
    let right = world.welcome.fingerprint.as_str();
    let nothing_there = || {
        let left = names(&world.home(".slapos"));
        assert!(left.is_empty(), "{left:?}");
    };

    // Piped input is no yes.
    let run = world.configure(&["--token", token]).exits(1);
    let run = run.says("nobody vouches").says(right);
    assert!(!run.stderr.contains(token), "{run}");
    nothing_there();
    let wrong = "00".repeat(32);
    world
        .configure(&["--token", token, "--fingerprint", &wrong])
        .exits(1)
        .says("which is not the one you gave");
    nothing_there();
    world
        .configure(&["--token", token, "--fingerprint", "1234"])
        .exits(2)
        .says("64 hexadecimal digits");
    // Another authority's certificate.
    let stranger = world.rig.write("stranger.crt", STRANGER);
    let stranger = stranger.to_str().unwrap();
    world
        .configure(&["--token", token, "--master-ca-file", stranger])
        .exits(1)
        .says("no trustworthy connection");
    nothing_there();

    // In a terminal the person is asked.
    let ask = |answer: &str| {
        let program = world.rig.program().path.to_str().unwrap().to_owned();
        let url = world.rig.full_master_url();
        Invocation::new("python3", world.home(""))
            .user(world.rig.user().cloned())
            .args(["-c", TYPIST, answer, &program, "configure", "client"])
            .args(["--master-url", &url, "--token", token])
            .run()
    };
    ask("").exits(1).says("was not recognised");
    ask("no").exits(1).says("nothing was sent");
    nothing_there();
    let run = ask("yes").ok().says(right);
    assert!(run.stdout.contains("knows you"), "{run}");
    world.slapos(&["service", "list"]).run().ok();

    // Whoever takes the Master's place later is not believed.
    world.rig.stop_master(0);
    let impostor = world.rig.path().join("impostor");
    fs::rename(world.rig.full_master_data(), &impostor).unwrap();
    world.rig.start_full_master();
    world
        .slapos(&["service", "list"])
        .run()
        .exits(1)
        .says("no trustworthy connection");
}

#[test]
fn n_6_9_a_client_is_configured_once_and_replaced_when_wanted_only() {
    let world = World::new(Unprivileged::when_root());
    let directory = world.home(".slapos");
    world.configured();
    assert_eq!(
        names(&directory),
        [
            "ca.crt",
            "certificate",
            "client.crt",
            "client.key",
            "key",
            "slapos-client.cfg"
        ]
    );
    assert_eq!(mode(&directory), 0o700);
    for name in [
        "certificate",
        "client.crt",
        "client.key",
        "key",
        "slapos-client.cfg",
    ] {
        assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
    }
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
    assert_eq!(read("certificate"), read("client.crt"));
    assert_eq!(read("key"), read("client.key"));
    // The tutorial's checks, where they can be made.
    let openssl = |words: &[&str]| {
        Invocation::new("openssl", &directory)
            .user(world.rig.user().cloned())
            .args(words)
            .run()
            .ok()
    };
    if Path::new("/usr/bin/openssl").exists() {
        openssl(&["x509", "-noout", "-in", "client.crt"]);
        openssl(&["rsa", "-noout", "-in", "client.key", "-check"]).says("RSA key ok");
    }
    assert_eq!(
        world
            .slapos(&["service", "list"])
            .run()
            .ok()
            .json()
            .to_string(),
        "{}"
    );

    // What is there stays, and the token is not used up.
    let before = (read("client.key"), read("slapos-client.cfg"));
    let token = world.token("client");
    let fingerprint = world.welcome.fingerprint.as_str();
    let with = |more: &[&str]| {
        world.configure(&[&["--token", &token, "--fingerprint", fingerprint], more].concat())
    };
    with(&[])
        .exits(1)
        .says("There is a file in")
        .says("Please remove it before creating a new configuration.");
    assert_eq!((read("client.key"), read("slapos-client.cfg")), before);
    with(&["--force"]).ok();
    assert_ne!(read("client.key"), before.0);
    assert_eq!(read("slapos-client.cfg"), before.1);

    // It is used up now; what is there stays all the same.
    let kept = read("client.key");
    with(&["--force"])
        .exits(1)
        .says("Access denied to the SlapOS Master.")
        .says("used already");
    assert_eq!(read("client.key"), kept);
    assert_eq!(names(&directory).len(), 6, "nothing is left behind");

    // The token may come from the standard input, the authority from a file, the place be named.
    let cfg = world.home("elsewhere/my.cfg");
    let authority = world.home("authority.crt");
    fs::copy(world.rig.full_master_data().join("ca.crt"), &authority).unwrap();
    fs::set_permissions(&authority, fs::Permissions::from_mode(0o644)).unwrap();
    let program = world.rig.program().path.display().to_string();
    let shell = |input: &str| {
        let line = format!(
            "printf '{input}' | {program} configure client --master-url {} --ca-file {} --cfg {}",
            world.rig.full_master_url(),
            authority.display(),
            cfg.display()
        );
        Invocation::new("/bin/sh", world.home(""))
            .user(world.rig.user().cloned())
            .args(["-c", &line])
            .run()
    };
    shell("\\n\\n").exits(1).says("Credential security token: ");
    shell(&format!("\\n  {}\\n", world.token("client"))).ok();
    world
        .slapos(&["service", "list", "--cfg"])
        .arg(&cfg)
        .run()
        .ok();
    // A node's token is no person's.
    world
        .configure(&["--force", "--fingerprint", fingerprint, "--token"])
        .exits(2);
    let token = world.token("node");
    world
        .configure(&["--force", "--fingerprint", fingerprint, "--token", &token])
        .exits(1)
        .says("Access denied to the SlapOS Master.");
}

#[test]
fn who_believes_anybody_has_said_so() {
    let world = World::new(Unprivileged::when_root());
    let token = world.welcome.token.as_str();
    world
        .configure(&["--token", token, "--insecure"])
        .ok()
        .says("whoever answers");
    let text = fs::read_to_string(world.home(".slapos/slapos-client.cfg")).unwrap();
    assert!(text.contains("master_tls_verify = false"), "{text}");
    world.slapos(&["service", "list"]).run().ok();
}

#[test]
fn n_6_3_a_machine_is_registered_and_works_and_is_free_again() {
    let world = World::new(None);
    world.configured();
    let fingerprint = world.welcome.fingerprint.as_str();
    let register = |name: &str, token: &str, more: &[&str]| {
        let trust = ["--fingerprint", fingerprint];
        world.register(name, token, &[&trust, more].concat())
    };

    // Whose machine it is has to be said; a rehearsal uses nothing up.
    let token = world.token("node");
    Invocation::new(&world.rig.program().path, "/")
        .user(Unprivileged::when_root())
        .args(["node", "register", "x", "--token", &token])
        .run()
        .exits(5)
        .says("--cfg");
    register("rack", &token, &["--dry-run"])
        .ok()
        .says("would write");
    assert!(!world.home("node").exists());
    let roots = [
        "--instance-root",
        world.rig.path().join("inst").to_str().unwrap(),
        "--partition-number",
        "2",
    ]
    .map(str::to_owned);
    let roots: Vec<&str> = roots.iter().map(String::as_str).collect();
    register("rack", &token, &roots)
        .ok()
        .says("Node has successfully been configured as COMP-1.");
    let etc = world.home("node/etc");
    assert_eq!(names(&etc), ["slapos.cfg", "ssl"]);
    assert_eq!(
        names(&etc.join("ssl")),
        ["ca.crt", "certificate", "key", "partition_pki"]
    );
    for (name, expected) in [
        ("ssl", 0o711),
        ("ssl/partition_pki", 0o711),
        ("ssl/key", 0o600),
        ("ssl/certificate", 0o600),
        ("slapos.cfg", 0o644),
    ] {
        assert_eq!(mode(&etc.join(name)), expected, "{name}");
    }
    register("rack", &world.token("node"), &roots)
        .exits(1)
        .says("The node name \"rack\" is already in use.");
    register("other", "nonsense", &roots)
        .exits(1)
        .says("Access denied to the SlapOS Master.");
    assert_eq!(names(&etc), ["slapos.cfg", "ssl"], "nothing is touched");

    // It works as it was written, but for what keeps the tests quick and small.
    let text = fs::read_to_string(world.node_cfg()).unwrap();
    let builder = world.rig.program().target_directory().join("test-builder");
    let own = format!(
        "software_min_free_space = 1M\ninstance_min_free_space = 1M\nbuilder_directory = {}\n",
        builder.display()
    );
    let text = text.replace("\n[slapformat]", &format!("{own}\n[slapformat]"));
    fs::write(world.node_cfg(), text).unwrap();
    lives(&world);

    // Registered again under another name: the former configuration is kept.
    register("second", &world.token("node"), &roots)
        .ok()
        .says("configured as COMP-2.");
    assert_eq!(
        names(&etc),
        ["slapos.cfg", "slapos.cfg.old", "ssl", "ssl.old"]
    );
    let kept = fs::read_to_string(etc.join("slapos.cfg.old")).unwrap();
    assert!(kept.contains("computer_id = COMP-1\n"), "{kept}");
    world.rig.shut_down();
}

/// A web application, from the request to the free partition.
fn lives(world: &World) {
    let (rig, client) = (&world.rig, |line: &[&str]| world.slapos(line).run());
    let release = rig.release("software/helloworld");
    world.node("format").ok();
    client(&["supply", &release, "COMP-1"]).ok();
    // Nobody has the release yet.
    client(&["request", "web", &release, "--parameters", "name=Ada"]).exits(2);
    world.node("software").ok();
    client(&["request", "web", &release]).ok();
    world.node("instance").ok();
    let info: Json = client(&["service", "info", "web", "--output", "json"])
        .ok()
        .json();
    let url = info["connection-parameters"]["url"]
        .as_str()
        .unwrap_or_else(|| panic!("{info}"));
    eventually("the page answers", SOON, || match http_get(url) {
        Ok(page) if page.body.contains("Hello, Ada!") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(
        client(&["service", "list"]).ok().json(),
        json!({"web": release})
    );
    // The instance has a certificate of its own, for it alone.
    let pki = world.home("node/etc/ssl/partition_pki");
    for name in ["slappart0.crt", "slappart0.key"] {
        assert_eq!(mode(&pki.join(name)), 0o400, "{name}");
    }

    client(&["request", "web", &release, "--state", "destroyed"]).ok();
    world.node("instance").ok();
    world.node("report").ok();
    http_get(url).expect_err("nobody listens");
    assert_eq!(names(&rig.partition("slappart0")), [""; 0]);
    assert_eq!(client(&["service", "list"]).ok().json(), json!({}));
    let nodes = ["master", "node", "list", "--output", "json", "--data-dir"];
    let nodes = world
        .slapos(&nodes)
        .arg(rig.full_master_data())
        .run()
        .ok()
        .json();
    assert_eq!(nodes[0]["free"], json!(2), "{nodes}");
}

/// A certificate of nobody in particular.
const STRANGER: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBiDCCAS2gAwIBAgIUXTl1wezOVlRuDMh1u9p6ibfbfL0wCgYIKoZIzj0EAwIw\n\
GDEWMBQGA1UEAwwNU29tZWJvZHkgZWxzZTAgFw0yNjExMjIyMzExMDFaGA8yMTI2\n\
MTAyOTIzMTEwMVowGDEWMBQGA1UEAwwNU29tZWJvZHkgZWxzZTBZMBMGByqGSM49\n\
AgEGCCqGSM49AwEHA0IABCL3Jcp0KlJK6kxv37xojbu8GysFWCTyGVS5M3u85/Ak\n\
9jhKax7dOfNxA5BuzvwNDHaXE5iPeb7EYdF5+BacmEGjUzBRMB0GA1UdDgQWBBSc\n\
Fg0mZW9+7cHJ3wQWssLKo/mT9TAfBgNVHSMEGDAWgBScFg0mZW9+7cHJ3wQWssLK\n\
o/mT9TAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0kAMEYCIQD1g+yNVhRr\n\
tlPXNl1zJ2/BAsnVjAhDKFt6hh2VYJhz1gIhAO1mTIkjzkCM7ytm5wpn+85lOGVn\n\
jxnk3wCiSavIyux+\n\
-----END CERTIFICATE-----\n\
";
