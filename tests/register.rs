//! The released upstream, from PyPI, becomes known to our Master: `slapos configure client` and
//! `slapos node register`, unchanged, and what follows with the certificates they were given.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use testkit::{Invocation, Peer, Rig, Run, Unprivileged};

const SERVICES: &str = "tests/software/services";
/// Asks for a token with a person's certificate, as the latest command line does not any more.
const TOKEN: &str = "\
import os, requests
answer = requests.get(os.environ['MASTER'] + '/hateoas/computer_module/Base_getComputerToken',
                      cert=(os.environ['CRT'], os.environ['KEY']), verify=False)
answer.raise_for_status()
print(answer.json()['access_token'])
";
/// What a certificate can see of an instance, by the library.
const SEES: &str = "\
import os, requests, slapos.slap
slap = slapos.slap.slap()
slap.initializeConnection(os.environ['MASTER'], os.environ['KEY'], os.environ['CRT'])
try:
    partition = slap.registerComputerPartition('COMP-1', 'part0')
    print('sees', partition.getInstanceParameterDict()['instance_title'])
except requests.HTTPError as error:
    print('refused', error.response.status_code)
";
/// Takes the node's certificate away.
const REVOKE: &str = "\
import os, slapos.slap
slap = slapos.slap.slap()
slap.initializeConnection(os.environ['MASTER'], os.environ['KEY'], os.environ['CRT'])
slap.registerComputer('COMP-1').revokeCertificate()
";

/// A Master, and whoever wants to be known to it.
struct World {
    rig: Rig,
    peer: Peer,
    url: String,
    /// For the first administrator's certificate.
    token: String,
}

impl World {
    fn new() -> Option<Self> {
        let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos"))
            .user(Unprivileged::when_root())
            .build();
        let peer = Peer::get(&rig)?;
        rig.start_full_master();
        Some(World {
            url: rig.full_master_url(),
            token: rig.welcome().token,
            rig,
            peer,
        })
    }

    fn configure(&self, token: &str, file: &Path) -> Run {
        let url = &self.url;
        let with_slash = format!("{url}/");
        self.peer
            .slapos(&self.rig, &["configure", "client", "--token", token])
            .args(["--master-url", &with_slash, "--master-url-web", url])
            .env("SLAPOS_CLIENT_CONFIGURATION", file)
            .run()
    }

    /// The library, with a certificate and its key.
    fn python(&self, program: &str, certificate: &Path, key: &Path) -> Run {
        let python = self.peer.client.with_file_name("python");
        self.rig
            .invoke(&python)
            .env("MASTER", &self.url)
            .env("CRT", certificate)
            .env("KEY", key)
            .args(["-W", "ignore", "-c", program])
            .run()
    }

    /// `slapos node register`, which is for root only.
    fn register(&self, title: &str, token: &str, directory: &Path) -> Run {
        let url = &self.url;
        let with_slash = format!("{url}/");
        Invocation::new(&self.peer.node, self.rig.path().join("home"))
            .args(["node", "register", title, "--token", token])
            .args(["--master-url", &with_slash, "--master-url-web", url])
            .env("SLAPOS_CONFIGURATION", directory.join("slapos.cfg"))
            .run()
    }

    /// The rig's node is given the certificate that was registered.
    fn take_certificate(&self, registered: &Path) {
        for (from, to) in [("ssl/certificate", "node.crt"), ("ssl/key", "node.key")] {
            let text = fs::read_to_string(registered.join(from)).unwrap();
            self.rig.write(to, text);
        }
    }

    /// The rig's node becomes the one that was registered.
    fn become_node(&self) {
        let path = self.rig.path().display();
        let configuration = self
            .rig
            .read("slapos.cfg")
            .replace("computer_id = local_computer", "computer_id = COMP-1")
            .replace(&self.rig.master_url(), &format!("{}/", self.url))
            .replace(
                "\n[slapformat]",
                &format!(
                    "cert_file = {path}/node.crt\nkey_file = {path}/node.key\n\
                     certificate_repository_path = {path}/pki\n[slapformat]"
                ),
            );
        self.rig.write("slapos.cfg", configuration);
    }
}

#[test]
fn the_released_client_and_node_become_known_and_work() {
    let Some(world) = World::new() else { return };
    let (rig, peer) = (&world.rig, &world.peer);

    // A person.
    let client = rig.path().join("home/client");
    let configuration = client.join("slapos-client.cfg");
    world.configure(&world.token, &configuration).ok();
    let (certificate, key) = (client.join("client.crt"), client.join("client.key"));
    for file in [&configuration, &certificate, &key] {
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    let other = rig.path().join("home/other/slapos-client.cfg");
    world
        .configure(&world.token, &other)
        .exits(1)
        .says("Access denied to the SlapOS Master");
    let token = || {
        let run = world.python(TOKEN, &certificate, &key).ok();
        run.stdout.trim().to_owned()
    };
    let upstream = |arguments: &[&str]| {
        peer.slapos(rig, arguments)
            .env("SLAPOS_CLIENT_CONFIGURATION", &configuration)
            .run()
    };

    // A node.
    if Unprivileged::when_root().is_none() {
        eprintln!("SKIPPED: `slapos node register` is for root");
        return;
    }
    let registered = rig.path().join("registered");
    world.register("my node", &token(), &registered).ok();
    let written = fs::read_to_string(registered.join("slapos.cfg")).unwrap();
    for line in [
        "computer_id = COMP-1",
        &format!("master_url = {}/", world.url),
    ] {
        assert!(written.contains(line), "{line:?} is not in:\n{written}");
    }
    let again = rig.path().join("again");
    world
        .register("my node", &token(), &again)
        .exits(1)
        .says("is already in use");
    world
        .register("other", "nonsense", &again)
        .exits(1)
        .says("Access denied to the SlapOS Master");

    // It works for that person.
    world.take_certificate(&registered);
    world.become_node();
    let node = |command: &str| peer.node(rig, &[command, "--now"]).run();
    node("format").ok();
    let release = rig.release(SERVICES);
    upstream(&["supply", &release, "COMP-1"]).ok();
    node("software").ok();
    upstream(&["request", "mine", &release]).ok();
    node("instance").ok();
    rig.running("part0", "sleep", 3);

    // What it shows is what ours shows, with the same configuration and whom to believe.
    let text = fs::read_to_string(&configuration).unwrap();
    let authority = rig.full_master_data().join("ca.crt");
    let believing = format!("[slapos]\nmaster_ca_file = {}", authority.display());
    let ours = rig.write("ours.cfg", text.replace("[slapos]", &believing));
    assert_eq!(
        upstream(&["service", "list"]).ok().json(),
        json!({"mine": release})
    );
    let info = upstream(&["service", "info", "mine"]).ok().json();
    assert_eq!(
        info["connection-parameters"],
        json!({"partition": "part0", "text": "hello"})
    );
    assert_eq!(info["requested-state"], json!("start_requested"));
    upstream(&["computer", "list"]).ok().says("COMP-1");
    for line in [
        &["service", "list"][..],
        &["service", "info", "mine"],
        &["computer", "list"],
        &["computer", "info", "COMP-1"],
    ] {
        let said = rig.slapos(line).arg("--cfg").arg(&ours).run().ok();
        assert_eq!(said.stdout, upstream(line).ok().stdout, "{line:?}");
    }

    // The instance was given a certificate of its own.
    let pki = |name: &str| rig.path().join("pki").join(name);
    let (crt, private) = (pki("part0.crt"), pki("part0.key"));
    let (node_crt, node_key) = (rig.path().join("node.crt"), rig.path().join("node.key"));
    // A copy, as a thief would have it: the node removes its own.
    let stolen = |name: &str, file: &Path| rig.write(name, fs::read(file).unwrap());
    let (stolen_crt, stolen_key) = (stolen("s.crt", &crt), stolen("s.key", &private));
    let before = fs::read(&private).unwrap();
    for (crt, key) in [
        (&crt, &private),
        (&node_crt, &node_key),
        (&certificate, &key),
    ] {
        world.python(SEES, crt, key).ok().says("sees mine");
    }
    upstream(&["request", "mine", &release, "--parameters", "text=new"]).ok();
    node("instance").ok();
    assert_eq!(fs::read(&private).unwrap(), before, "it keeps its key");

    // Revoked is revoked at once.
    world.python(REVOKE, &certificate, &key).ok();
    let refused = "refused 401";
    world.python(SEES, &node_crt, &node_key).ok().says(refused);
    world.python(SEES, &crt, &private).ok().says("sees mine");
    let renewed = rig.path().join("renewed");
    world.register("my node", &token(), &renewed).ok();
    world.take_certificate(&renewed);
    world
        .python(SEES, &node_crt, &node_key)
        .ok()
        .says("sees mine");
    // A full Master has nothing to show of what is destroyed (P 6.3).
    upstream(&["request", "mine", &release, "--state", "destroyed"]).exits(2);
    node("report").ok();
    world
        .python(SEES, &stolen_crt, &stolen_key)
        .ok()
        .says(refused);
    rig.stop_master(0);
}
