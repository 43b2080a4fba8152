//! `slapos apply`: a file says what there shall be, on both Masters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value as Json, json};
use testkit::{Invocation, Rig, Run};

const SOON: Duration = Duration::from_secs(60);

const FILE: &str = r#"
[[supply]]
release = "hello"
node = "NODE"

[[service]]
title = "one"
release = "hello"
parameters = { name = "World", color = "navy" }
sla = { computer_guid = "NODE" }

[[service]]
title = "two"
release = "hello"
state = "stopped"
"#;

/// Somebody with a node and an alias, at either kind of Master.
struct World {
    rig: Rig,
    node: &'static str,
}

impl World {
    fn with_proxy() -> World {
        let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
        rig.start();
        let world = World {
            rig,
            node: "local_computer",
        };
        world.run(&["login", &world.rig.master_url()]).ok();
        world.named()
    }

    fn with_full_master() -> World {
        let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
        rig.start_full_master();
        let world = World {
            rig,
            node: "COMP-1",
        };
        let (url, welcome) = (world.rig.full_master_url(), world.rig.welcome());
        world
            .run(&[
                "login",
                &url,
                "--token",
                &welcome.token,
                "--fingerprint",
                &welcome.fingerprint,
            ])
            .ok();
        let token = world
            .slapos(&[
                "master",
                "token",
                "create",
                "--user",
                "admin",
                "--purpose",
                "node",
            ])
            .arg("--data-dir")
            .arg(world.rig.full_master_data())
            .run()
            .ok()
            .json();
        let cfg = world.rig.path().join("home/node/etc/slapos.cfg");
        world
            .slapos(&[
                "node",
                "register",
                "machine",
                "--master-url",
                &url,
                "--unprivileged",
            ])
            .args(["--fingerprint", &welcome.fingerprint, "--token"])
            .arg(token["token"].as_str().unwrap())
            .arg("--cfg")
            .arg(&cfg)
            .run()
            .ok();
        world
            .slapos(&["node", "format", "--now", "--cfg"])
            .arg(&cfg)
            .run()
            .ok();
        world.named()
    }

    /// With the alias `hello`.
    fn named(self) -> World {
        let release = self.rig.release("tests/software/services");
        let cfg = self.rig.path().join("home/.slapos/slapos-client.cfg");
        let mut cfg = std::fs::OpenOptions::new().append(true).open(cfg).unwrap();
        write!(cfg, "alias =\n  hello {release}\n").unwrap();
        self
    }

    fn slapos(&self, line: &[&str]) -> Invocation {
        Invocation::new(&self.rig.program().path, self.rig.path().join("home")).args(line)
    }

    fn run(&self, line: &[&str]) -> Run {
        self.slapos(line).run()
    }

    fn apply(&self, text: &str, more: &[&str]) -> Run {
        let file = self
            .rig
            .write("services.toml", text.replace("NODE", self.node));
        let line = ["apply", "-f", file.to_str().unwrap(), "-o", "table"];
        self.run(&[&line, more].concat())
    }

    /// The difference, as people read it.
    fn difference(&self, text: &str) -> String {
        let run = self.apply(text, &["--dry-run"]).ok();
        let release = self.rig.release("tests/software/services");
        run.stdout
            .replace(&release, "RELEASE")
            .replace(self.node, "NODE")
    }

    fn same(&self, text: &str) {
        let difference = self.difference(text);
        assert!(difference.starts_with("Nothing to do"), "{difference}");
    }

    fn info(&self, title: &str) -> Json {
        self.run(&["service", "info", title]).ok().json()
    }

    fn titles(&self) -> String {
        self.run(&["service", "list", "-o", "name"]).ok().stdout
    }
}

/// The life of a file.
fn lives(world: &World) {
    insta::allow_duplicates! {
        insta::assert_snapshot!(world.difference(FILE), @r#"
        + supply RELEASE on NODE
        + service one
            release            RELEASE
            sla.computer_guid  "NODE"
            parameters.color   "navy"
            parameters.name    "World"
        + service two
            release  RELEASE
            state    stopped
        3 to create, 0 to change, 0 to destroy.
        "#);
    }
    assert_eq!(world.titles(), "", "nothing is done yet");
    world.apply(FILE, &[]).exits(2).says("--yes");
    assert_eq!(world.titles(), "", "nobody said yes");
    world.apply(FILE, &["--yes"]).ok();
    assert_eq!(world.titles(), "one\ntwo\n");
    assert_eq!(
        world.info("one")["instance-parameters"],
        json!({"name": "World", "color": "navy"})
    );
    insta::allow_duplicates! {
        insta::assert_snapshot!(world.difference(FILE), @r"Nothing to do; 3 are as they shall be.");
    }
    let again = world.apply(FILE, &["--yes"]).ok();
    assert!(!again.stderr.contains("requested"), "{again}");

    // What the file leaves out stays; what it names is as it says.
    let changed = FILE
        .replace("color = \"navy\"", "size = \"big\"")
        .replace("state = \"stopped\"", "state = \"started\"")
        .replace("name = \"World\"", "name = \"Moon\"");
    insta::allow_duplicates! {
        insta::assert_snapshot!(world.difference(&changed), @r#"
        ~ service one
            parameters.color  "navy" is removed
            parameters.name   "World" → "Moon"
            parameters.size   "big"
        ~ service two
            state  stopped → started
        0 to create, 2 to change, 0 to destroy; 1 is as it shall be.
        "#);
    }
    world.apply(&changed, &["--yes"]).ok();
    let info = world.info("one");
    assert_eq!(
        info["instance-parameters"],
        json!({"name": "Moon", "size": "big"})
    );
    world.same(&changed);
    let few = "[[service]]\ntitle = \"one\"\nrelease = \"hello\"\n";
    world.same(few);

    // A person sees what would be done, and says no, then yes.
    let last = "[[service]]\ntitle = \"two\"\nrelease = \"hello\"\nstate = \"destroyed\"\n";
    let file = world.rig.write("last.toml", last);
    let line = ["apply", "-f", file.to_str().unwrap()];
    let mut terminal = world.slapos(&line).at_terminal();
    terminal.wait_for("- service two", SOON);
    terminal.wait_for("[y/N]", SOON);
    terminal.type_line("n");
    assert_eq!(terminal.wait_end(SOON).0, 1);
    assert_eq!(world.titles(), "one\ntwo\n");
    let mut terminal = world.slapos(&line).at_terminal();
    terminal.wait_for("[y/N]", SOON);
    terminal.type_line("y");
    terminal.wait_for("service two: requested", SOON);
    assert_eq!(terminal.wait_end(SOON).0, 0);
    world.same(last);

    // For programs, from one, in another form.
    let json =
        json!({"service": [{"title": "three", "release": "hello", "parameters": {"n": [1]}}]});
    let mut child = world
        .slapos(&["apply", "-f", "-", "--dry-run", "-o", "json"])
        .command()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(json.to_string().as_bytes())
        .unwrap();
    let answer: Json = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(answer[0]["service"], json!("three"));
    assert_eq!(answer[0]["action"], json!("create"));
}

#[test]
fn a_file_is_applied_to_a_proxy() {
    lives(&World::with_proxy());
}

#[test]
fn a_file_is_applied_to_a_full_master() {
    lives(&World::with_full_master());
}

#[test]
fn what_is_wrong_in_a_file_changes_nothing() {
    let world = World::with_proxy();
    let good = "[[service]]\ntitle = \"a\"\nrelease = \"hello\"\n";
    for (bad, said) in [
        (
            "[[service]]\ntitle = \"b\"\nrelease = \"helo\"\n",
            "did you mean `hello`?",
        ),
        (
            "[[service]]\ntitle = \"b\"\nrelease = \"hello\"\nstaet = \"x\"\n",
            "did you mean `state`?",
        ),
        (
            "[[service]]\ntitle = \"a\"\nrelease = \"hello\"\n",
            "there twice",
        ),
        (
            "[[supply]]\nrelease = \"hello\"\nnode = \"COMP-9\"\n",
            "COMP-9 does not exist",
        ),
        ("nonsense", "line 5"),
        ("\u{1f600} = 1", "not TOML"),
    ] {
        let run = world.apply(&format!("{good}\n{bad}"), &["--yes"]);
        assert_eq!(run.code(), 2, "{run}");
        assert!(run.stderr.contains(said), "{said:?}: {run}");
        assert_eq!(world.titles(), "", "{run}");
    }
    world
        .run(&["apply", "-f", "/nonexistent.toml"])
        .exits(2)
        .says("/nonexistent.toml: No such file");
    world
        .run(&["apply", "-f", "/dev/zero"])
        .exits(2)
        .says("bytes");
    let latin = world.rig.write("latin.yaml", b"service:\n- title: \xe9\n");
    world
        .run(&["apply", "-f", latin.to_str().unwrap()])
        .exits(2)
        .says("not UTF-8");
    // The release says what its parameters are.
    std::fs::create_dir(world.rig.path().join("typed")).unwrap();
    world
        .rig
        .write("typed/software.cfg", "[buildout]\nparts =\n");
    world.rig.write(
        "typed/software.cfg.json",
        json!({"name": "typed", "serialisation": "json-in-xml",
               "software-type": {"default": {"request": "input.json"}}})
        .to_string(),
    );
    world.rig.write(
        "typed/input.json",
        json!({"type": "object", "properties": {"port": {"type": "integer"}}}).to_string(),
    );
    let text = |port: &str| {
        format!(
            "[[service]]\ntitle = \"t\"\nrelease = \"typed/software.cfg\"\nparameters = {{ port = {port} }}\n"
        )
    };
    let run = world.apply(&text("\"many\""), &["--yes"]).exits(2);
    assert!(run.stderr.contains("service `t`: parameters.port"), "{run}");
    assert_eq!(world.titles(), "");
    world.apply(&text("80"), &["--yes"]).ok();
    assert_eq!(
        world.info("t")["instance-parameters"],
        json!({"_": {"port": 80}})
    );
    world.same(&text("80"));
}
