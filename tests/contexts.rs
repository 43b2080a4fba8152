//! Several Masters, each under a name: `slapos login`, `logout`, `context`, `--context`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};
use testkit::{Invocation, Rig, Run};

const SOON: Duration = Duration::from_secs(60);

/// Somebody with a home and nothing else, a Master with TLS, and one that asks nobody who they are.
struct World {
    secure: Rig,
    open: Rig,
}

impl World {
    fn new() -> World {
        let rig = || Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
        let world = World {
            secure: rig(),
            open: rig(),
        };
        world.secure.start_full_master();
        world.open.start_master();
        fs::create_dir_all(world.home("")).unwrap();
        world
    }

    fn slapos(&self, line: &[&str]) -> Invocation {
        Invocation::new(&self.secure.program().path, self.home("")).args(line)
    }

    fn run(&self, line: &[&str]) -> Run {
        self.slapos(line).run()
    }

    fn home(&self, name: &str) -> PathBuf {
        self.secure.path().join("person").join(name)
    }

    /// The URL of the Master that asks nobody.
    fn open_url(&self) -> String {
        self.open.master_url().trim_end_matches('/').to_owned()
    }

    fn token(&self) -> String {
        let json = self
            .slapos(&["master", "token", "create", "--user", "admin"])
            .args(["--purpose", "client", "--data-dir"])
            .arg(self.secure.full_master_data())
            .run()
            .ok()
            .json();
        json["token"].as_str().unwrap().to_owned()
    }

    /// Becomes known to both Masters: `default` is the open one, `lab` the other.
    fn known_to_both(&self) {
        self.run(&["login", &self.open_url()]).ok();
        let (url, fingerprint) = (
            self.secure.full_master_url(),
            self.secure.welcome().fingerprint,
        );
        self.slapos(&["login", &url, "--context", "lab"])
            .args(["--fingerprint", &fingerprint])
            .env("SLAPOS_TOKEN", self.token())
            .run()
            .ok()
            .says("`lab` is the current context");
    }

    /// The nodes of the Master that these options and variables mean.
    fn nodes(&self, options: &[&str], variables: &[(&str, &str)]) -> String {
        let mut invocation = self.slapos(&["computer", "list"]).args(options);
        for (name, value) in variables {
            invocation = invocation.env(*name, *value);
        }
        invocation.args(["-o", "name"]).run().ok().stdout
    }
}

fn members(list: &Json, name: &str) -> Vec<Json> {
    let list = list.as_array().unwrap();
    list.iter().map(|one| one[name].clone()).collect()
}

#[test]
fn each_master_has_a_name_and_one_is_meant() {
    let world = World::new();
    world
        .run(&["context", "list", "-o", "table"])
        .ok()
        .says("You know no Master yet");
    world.run(&["login"]).exits(2).says("slapos login https://");
    world.known_to_both();
    // Only the open one has a node.
    world.open.node("format", &[]).ok();
    let open = "local_computer\n";
    let default = ("SLAPOS_CONTEXT", "default");
    assert_eq!(world.nodes(&[], &[]), "");
    assert_eq!(world.nodes(&["--context", "default"], &[]), open);
    assert_eq!(world.nodes(&[], &[default]), open);
    // What is said in more detail counts more.
    let lab = world.home(".slapos/contexts/lab/slapos-client.cfg");
    let lab = lab.to_str().unwrap();
    assert_eq!(world.nodes(&["--cfg", lab], &[default]), "");
    // The classic file is the first context, for upstream's client as well.
    let classic = world.home(".slapos/slapos-client.cfg");
    let text = fs::read_to_string(&classic).unwrap();
    assert!(text.contains(&world.open_url()), "{text}");
    let classic = ("SLAPOS_CLIENT_CONFIGURATION", classic.to_str().unwrap());
    assert_eq!(world.nodes(&[], &[classic]), open);
    assert_eq!(world.nodes(&["--context", "lab"], &[classic]), "");
    let url = world.open_url();
    let url = ("SLAPOS_MASTER_URL", url.as_str());
    assert_eq!(world.nodes(&["--context", "lab"], &[url]), "");
    let nobody = world.slapos(&["computer", "list", "-o", "name"]);
    let nobody = nobody.env("HOME", "/nonexistent").env(url.0, url.1);
    assert_eq!(nobody.run().ok().stdout, open);
    world
        .run(&["--context", "lab", "service", "list"])
        .exits(2)
        .says("write `slapos service list --context …`");

    let list = world.run(&["context", "list"]).ok().json();
    assert_eq!(members(&list, "name"), ["default", "lab"]);
    assert_eq!(members(&list, "current"), [false, true]);
    assert_eq!(list[0]["state"], json!("needs no certificate"));
    assert!(
        list[1]["state"]
            .as_str()
            .unwrap()
            .starts_with("good until 20")
    );
    world.run(&["context", "use", "default"]).ok();
    assert_eq!(world.nodes(&[], &[]), "local_computer\n");
    assert_eq!(
        world.run(&["context", "show", "-o", "name"]).ok().stdout,
        "default\n"
    );
    world
        .run(&["context", "show", "lab", "-o", "table"])
        .ok()
        .says(&world.secure.full_master_url());
    // A Master is known once, whatever it is typed like.
    world
        .run(&["login", &format!("{}/", world.open_url())])
        .ok();
    assert_eq!(
        world.run(&["context", "list", "-o", "name"]).ok().stdout,
        "default\nlab\n"
    );
    for mode in ["client.key", "client.crt", "slapos-client.cfg"] {
        let path = world.home(".slapos/contexts/lab").join(mode);
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    // A node's token, in upstream's words; a Master that asks nobody has none.
    let said = world
        .run(&["computer", "token", "--context", "lab"])
        .ok()
        .stdout;
    let token = said.strip_prefix("Computer token: ").unwrap().trim();
    let json = world.run(&["computer", "token", "--context", "lab", "-o", "json"]);
    assert_ne!(json.ok().json()["token"], json!(token), "each works once");
    let name = world.home("node/etc/slapos.cfg");
    world
        .slapos(&[
            "node",
            "register",
            "machine",
            "--unprivileged",
            "--master-url",
        ])
        .arg(world.secure.full_master_url())
        .args(["--fingerprint", &world.secure.welcome().fingerprint])
        .args(["--token", token, "--cfg"])
        .arg(name)
        .run()
        .ok();
    world
        .run(&["computer", "token"])
        .exits(1)
        .says("gives no tokens");

    // What is not there, or cannot be a name.
    world
        .run(&["service", "list", "--context", "lap"])
        .exits(2)
        .says("there is no context `lap`")
        .says("did you mean `lab`?");
    world
        .run(&["context", "use", "nothing"])
        .exits(2)
        .says("there is default, lab");
    for bad in ["../x", "", "a b", "-", "a\nb", "é"] {
        let option = format!("--context={bad}");
        let run = world.run(&["login", "http://127.0.0.1:9", &option]);
        assert_eq!(run.code(), 2, "{bad:?}: {run}");
        assert!(
            run.stderr.contains("cannot be the name of a context"),
            "{run}"
        );
    }
    world
        .run(&["login", "slapos.example.com"])
        .exits(2)
        .says("https://slapos.example.com");
    world
        .run(&["login", "http://127.0.0.1:9", "--context", "lab"])
        .exits(1)
        .says("of another Master");
    world
        .run(&["login", "http://127.0.0.1:9", "--context", "new"])
        .exits(1)
        .says("cannot reach the Master");
    assert_eq!(
        world.run(&["context", "list", "-o", "name"]).ok().stdout,
        "default\nlab\n"
    );
}

#[test]
fn who_logs_out_can_come_back_and_keeps_the_rest() {
    let world = World::new();
    world.known_to_both();
    let directory = world.home(".slapos/contexts/lab");
    let file = directory.join("slapos-client.cfg");
    let text = fs::read_to_string(&file).unwrap();
    let edited = text.replace("# alias =\n#   hello", "alias =\n   hello");
    assert_ne!(edited, text);
    fs::write(&file, &edited).unwrap();

    world.run(&["logout"]).exits(2).says("--yes");
    assert!(directory.join("client.key").exists());
    world
        .run(&["logout", "lab", "--yes"])
        .ok()
        .says("`slapos login lab`");
    let left: Vec<String> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "ca.crt" && name != "slapos-client.cfg")
        .collect();
    assert_eq!(left, Vec::<String>::new());
    world
        .run(&["service", "list"])
        .exits(1)
        .says("`slapos login` gets a new key and certificate");
    let list = world.run(&["context", "list"]).ok().json();
    assert_eq!(list[1]["state"], json!("logged out"));

    // The Master is recognised by what was kept; the token is typed, and not shown.
    let mut terminal = world.slapos(&["login"]).at_terminal();
    terminal.wait_for("Credential security token: ", SOON);
    let token = world.token();
    terminal.press("wrong\u{15}x\u{7f}");
    terminal.type_line(&token);
    terminal.wait_for("key and certificate written", SOON);
    assert!(!terminal.screen().contains(&token), "{terminal:?}");
    assert!(!terminal.screen().contains("wrong"), "{terminal:?}");
    assert_eq!(terminal.wait_end(SOON).0, 0);
    world.run(&["service", "list"]).ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), edited);

    // Whoever changes their mind leaves nothing behind.
    let before = fs::read(directory.join("client.key")).unwrap();
    let mut terminal = world.slapos(&["login", "lab"]).at_terminal();
    terminal.wait_for("Credential security token: ", SOON);
    terminal.press("\u{3}");
    let (code, rest) = terminal.wait_end(SOON);
    assert_eq!((code, rest.trim()), (130, ""));
    assert_eq!(fs::read(directory.join("client.key")).unwrap(), before);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 6);

    // A person is asked, and no is the answer of who only presses return.
    let mut terminal = world.slapos(&["context", "remove", "lab"]).at_terminal();
    terminal.wait_for("[y/N]", SOON);
    terminal.type_line("");
    assert_eq!(terminal.wait_end(SOON).0, 1);
    assert!(file.exists());
    let mut terminal = world.slapos(&["context", "remove", "lab"]).at_terminal();
    terminal.wait_for("[y/N]", SOON);
    terminal.type_line("y");
    terminal.wait_for("`default` is the current context", SOON);
    assert_eq!(terminal.wait_end(SOON).0, 0);
    assert!(!directory.exists());
    world.run(&["service", "list"]).ok();
}
