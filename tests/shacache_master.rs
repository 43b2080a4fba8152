//! The network cache of the full Master (N 1.4): over TLS, for nodes with their certificates and for
//! the released library with one, noted in the audit trail, and whole after a `kill -9`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};
use testkit::{Invocation, Peer, Rig, Run, Welcome, eventually};

const SOON: Duration = Duration::from_secs(60);
const LIBRARY: &str = include_str!("interop/networkcache.py");

/// Gives 64 MiB to the cache, slowly.
const SLOW: &str = "\
import http.client, ssl, sys, time
host, ca, certificate, key = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.load_cert_chain(certificate, key)
connection = http.client.HTTPSConnection(host, context=context)
connection.putrequest('POST', '/shacache')
connection.putheader('Content-Length', str(64 << 20))
connection.endheaders()
for _ in range(64):
    connection.send(b'x' * (1 << 20))
    time.sleep(0.2)
";

/// A Master with a cache, its administrator, and nodes whose releases are at the same place.
struct Cloud {
    rig: Rig,
    welcome: Welcome,
}

impl Cloud {
    fn new() -> Cloud {
        let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
        let options = format!("cache_directory = {}/cache\n", rig.path().display());
        Self::start_master(&rig, &options);
        let welcome = rig.welcome();
        let cloud = Cloud { rig, welcome };
        cloud
            .slapos(&["configure", "client", "--token", &cloud.welcome.token])
            .args(["--master-url", &cloud.rig.full_master_url()])
            .args(["--fingerprint", &cloud.welcome.fingerprint])
            .run()
            .ok();
        cloud
    }

    fn start_master(rig: &Rig, options: &str) {
        let file = rig.write("master.cfg", format!("[master]\n{options}"));
        let (url, listen) = (
            rig.full_master_url(),
            format!("127.0.0.1:{}", rig.port().number()),
        );
        let start = rig
            .slapos(["master", "start", "--listen", &listen, "--public-url", &url])
            .args(["--data-dir".as_ref(), rig.full_master_data().as_os_str()])
            .args(["--cfg".as_ref(), file.as_os_str()]);
        rig.start_master_as(&start);
    }

    /// The program, with nothing but the administrator's home.
    fn slapos(&self, line: &[&str]) -> Invocation {
        Invocation::new(&self.rig.program().path, self.rig.path().join("home")).args(line)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.rig.path().join(name)
    }

    fn cfg(&self, node: &str) -> PathBuf {
        self.path(node).join("etc/slapos.cfg")
    }

    fn add_node(&self, node: &str) {
        let token = self
            .slapos(&[
                "master",
                "token",
                "create",
                "--user",
                "admin",
                "--purpose",
                "node",
            ])
            .args([
                "--data-dir".as_ref(),
                self.rig.full_master_data().as_os_str(),
            ])
            .run()
            .ok()
            .json();
        let soft = self.path("soft");
        self.slapos(&[
            "node",
            "register",
            node,
            "--unprivileged",
            "--partition-number",
            "1",
        ])
        .args(["--master-url", &self.rig.full_master_url()])
        .args(["--fingerprint", &self.welcome.fingerprint])
        .args(["--token", token["token"].as_str().unwrap()])
        .args(["--cfg".as_ref(), self.cfg(node).as_os_str()])
        .args(["--software-root".as_ref(), soft.as_os_str()])
        .run()
        .ok();
        let builder = self.rig.program().target_directory().join("test-builder");
        let own = format!(
            "software_min_free_space = 1M\ninstance_min_free_space = 1M\nbuilder_directory = {}\n",
            builder.display()
        );
        let text = fs::read_to_string(self.cfg(node)).unwrap();
        let text = text.replace("\n[slapformat]", &format!("{own}\n[slapformat]"));
        fs::write(self.cfg(node), text).unwrap();
        self.node(node, "format").ok();
    }

    fn node(&self, node: &str, command: &str) -> Run {
        self.slapos(&["node", command, "--now", "--cfg"])
            .args([self.cfg(node)])
            .run()
    }

    /// How the released library, and our nodes, reach the cache with a node's certificate.
    fn networkcache(&self, node: &str) -> Vec<(String, String)> {
        let url = self.rig.full_master_url();
        let ssl = self.path(node).join("etc/ssl");
        let mut options = Vec::new();
        for what in ["shacache", "shadir"] {
            for (option, file) in [("ca", "ca.crt"), ("cert", "certificate"), ("key", "key")] {
                let path = ssl.join(file).display().to_string();
                options.push((format!("{what}-{option}-file"), path));
            }
        }
        for prefix in ["download-", "upload-", "download-binary-", "upload-binary-"] {
            options.push((format!("{prefix}cache-url"), format!("{url}/shacache")));
            options.push((format!("{prefix}dir-url"), format!("{url}/shadir")));
        }
        options
    }

    /// Runs the released library's side.
    fn library(&self, peer: &Peer, options: &[(String, String)], steps: &Json) -> Vec<Json> {
        let options: serde_json::Map<String, Json> = options
            .iter()
            .filter(|(name, _)| !name.contains("binary"))
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        let todo = json!({
            "configuration": options, "steps": steps,
            "authority": self.rig.full_master_data().join("ca.crt"),
        });
        self.rig.write("networkcache.json", todo.to_string());
        let run = peer.python(&self.rig, LIBRARY).ok();
        let lines = run.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|found| found.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".lock")
        .collect();
    names.sort();
    names
}

#[test]
fn n_1_4_nodes_share_their_releases_through_the_master() {
    let cloud = Cloud::new();
    let Some(peer) = Peer::get(&cloud.rig) else {
        return;
    };
    for node in ["one", "two"] {
        cloud.add_node(node);
    }
    let one = cloud.networkcache("one");
    let keys = cloud.library(&peer, &one, &json!([["keys"]]));
    assert_eq!(keys, [json!(true)]);
    let certificate = cloud.rig.read("home/good.crt").replace('\n', "\n  ");
    let key = cloud.path("home/good.key").display().to_string();
    for node in ["one", "two"] {
        let mut text = fs::read_to_string(cloud.cfg(node)).unwrap();
        text += &format!("\n[networkcache]\nsignature-certificate-list =\n  {certificate}\n");
        for (name, value) in cloud.networkcache(node) {
            // Sources are for buildouts that know them.
            if name.contains("binary") || name.ends_with("-file") {
                text += &format!("{name} = {value}\n");
            }
        }
        if node == "one" {
            text += &format!("signature-private-key-file = {key}\n");
        }
        fs::write(cloud.cfg(node), text).unwrap();
    }
    let release = cloud.rig.release("tests/software/services");
    for node in ["one", "two"] {
        cloud.slapos(&["supply", &release, node]).run().ok();
    }
    let run = cloud.node("one", "software").ok();
    let (data, dir) = (cloud.path("cache/data"), cloud.path("cache/dir"));
    assert_eq!((names(&data).len(), names(&dir).len()), (1, 1), "{run}");

    // Nothing is left to build from: the other node takes it.
    fs::rename(cloud.path("soft"), cloud.path("soft-of-one")).unwrap();
    fs::rename(cloud.path("releases"), cloud.path("releases-away")).unwrap();
    cloud.node("two", "format").ok();
    let run = cloud.node("two", "software").ok();
    let [md5] = &names(&dir)[..] else {
        panic!("one key")
    };
    let taken = cloud.path("soft").join(md5);
    assert!(
        taken.join("instance.cfg").exists() && taken.join(".completed").exists(),
        "{run}"
    );

    // So does the released library, which believes by its own code; it gives as well, with the
    // other node's certificate. Neither replaces what the other one said.
    let steps = json!([
        ["metadata", "good", md5],
        ["metadata", "bad", md5],
        ["upload", "good", "file-urlmd5:x", "hello"],
        ["upload", "bad", "file-urlmd5:x", "hello"],
        ["select", "good", "file-urlmd5:x"],
        ["select", "bad", "file-urlmd5:x"],
        ["upload", "", "file-urlmd5:x", "hello"],
        ["large", 40],
    ]);
    let seen = cloud.library(&peer, &cloud.networkcache("two"), &steps);
    assert_eq!(seen[0][0]["software_url"], release);
    assert_eq!(seen[0][0]["matches"], true);
    assert_eq!(seen[1], json!([]));
    let rest = json!([true, true, [], ["hello"], "HTTP Error 403: Forbidden", true]);
    // The same giver's entry about the same object is replaced.
    assert_eq!(Json::Array(seen[2..].to_vec()), rest);
    let mine = cloud.library(
        &peer,
        &one,
        &json!([
            ["upload", "good", "file-urlmd5:x", "hello"],
            ["select", "good", "file-urlmd5:x"],
            ["select", "bad", "file-urlmd5:x"]
        ]),
    );
    assert_eq!(mine, [json!(true), json!(["hello"]), json!(["hello"])]);

    // Who is nobody gets nothing, and leaves nothing.
    let url = cloud.rig.full_master_url();
    let steps = json!([
        ["anonymous", "GET", format!("{url}/shadir/{md5}"), ""],
        ["anonymous", "POST", format!("{url}/shacache"), "other"],
    ]);
    let refused = "HTTP Error 401: Unauthorized";
    assert_eq!(cloud.library(&peer, &one, &steps), [refused, refused]);

    // Who gave what is noted.
    let audit = cloud
        .slapos(&["master", "audit", "--output", "json", "--data-dir"])
        .args([cloud.rig.full_master_data()])
        .run()
        .ok()
        .json();
    let notes: Vec<[&str; 2]> = audit
        .as_array()
        .unwrap()
        .iter()
        .map(|note| ["actor", "action"].map(|name| note[name].as_str().unwrap()))
        .filter(|[_, action]| action.starts_with("cache_"))
        .collect();
    assert_eq!(
        notes
            .iter()
            .filter(|note| **note == ["COMP-1", "cache_object"])
            .count(),
        1
    );
    assert_eq!(
        notes
            .iter()
            .filter(|note| **note == ["COMP-1", "cache_entry"])
            .count(),
        2
    );
    assert_eq!(
        notes
            .iter()
            .filter(|note| **note == ["COMP-2", "cache_object"])
            .count(),
        2
    );
    assert!(!audit.to_string().contains("PRIVATE"));

    // Killed in the middle of an upload it has what it acknowledged, and nothing else.
    let before = names(&data);
    let ssl = cloud.path("one/etc/ssl");
    let python = peer.client.with_file_name("python");
    let mut slow = cloud
        .rig
        .invoke(&python)
        .args([
            "-c",
            SLOW,
            &format!("127.0.0.1:{}", cloud.rig.port().number()),
        ])
        .args(["ca.crt", "certificate", "key"].map(|name| ssl.join(name)))
        .start(&cloud.path("log/slow.log"));
    eventually("some of it is on the disk", SOON, || {
        let found = names(&data);
        let written = |name: &String| {
            name.starts_with('.')
                && fs::metadata(data.join(name)).is_ok_and(|it| it.len() > 1 << 20)
        };
        if found.iter().any(written) {
            Ok(())
        } else {
            Err((found, slow.output()))
        }
    });
    cloud.rig.kill_master();
    slow.kill();
    let options = format!(
        "cache_directory = {}/cache\ncache_public = true\n",
        cloud.rig.path().display()
    );
    Cloud::start_master(&cloud.rig, &options);
    // Where everybody may read, everybody does, and nobody gives.
    let seen = cloud.library(&peer, &one, &steps);
    assert_eq!(names(&data), before);
    assert!(seen[0].as_str().unwrap().contains(&release), "{seen:?}");
    assert_eq!(seen[1], refused);
}
