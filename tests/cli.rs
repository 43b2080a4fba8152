//! What the command line says when something is wrong: one line, a hint, an exit code; never a
//! panic, and never half an action.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value as Json, json};
use testkit::{Process, Rig, Run, eventually};

fn rig() -> Rig {
    Rig::builder(env!("CARGO_BIN_EXE_slapos")).build()
}

/// What a person sees: the exit code and stderr, without what differs from run to run.
fn seen(rig: &Rig, run: &Run) -> String {
    assert_polite(run);
    let text = format!("exit code {}\n{}", run.code(), run.stderr);
    text.replace(&rig.path().display().to_string(), "RIG")
        .replace(&format!("127.0.0.1:{}", rig.port().number()), "MASTER")
        .replace(&format!("port {}", rig.port().number()), "port PORT")
}

/// No traces of the program's insides, whatever happened.
fn assert_polite(run: &Run) {
    for word in [
        "panicked",
        "RUST_BACKTRACE",
        "stack backtrace",
        "unwrap()",
        "Os {",
        "Error {",
    ] {
        assert!(
            !run.stderr.contains(word) && !run.stdout.contains(word),
            "{word}: {run}"
        );
    }
    assert!(run.code() < 128, "ended by a signal: {run}");
}

#[test]
fn a_missing_or_broken_configuration_is_named() {
    let rig = rig();
    let list = |name: &str, content: &[u8]| {
        let file = rig.write(name, content);
        let run = rig.slapos(["service", "list", "--cfg"]).arg(file).run();
        assert_eq!(run.stdout, "", "{run}");
        seen(&rig, &run)
    };
    let missing = rig.run(&["service", "list", "--cfg", "/nonexistent/slapos.cfg"]);
    insta::assert_snapshot!(seen(&rig, &missing), @r"
    exit code 1
    error: Configuration file does not exist: /nonexistent/slapos.cfg
    hint: make one with `slapos login URL`, name another one with --cfg, or try `slapos standalone` which makes its own
    ");
    insta::assert_snapshot!(list("garbage.cfg", b"this is not\na configuration\n"), @r"
    exit code 1
    error: Cannot parse RIG/garbage.cfg: line 1: `this is not` stands before any [section]
    ");
    insta::assert_snapshot!(list("empty.cfg", b""), @r"
    exit code 1
    error: No option `master_url` in section [slapos] of RIG/empty.cfg
    hint: add a line such as `master_url = https://slap.vifib.com/`
    ");
    insta::assert_snapshot!(
        list("twice.cfg", b"[slapos]\nmaster_url = http://a/\nmaster_url = http://b/\n"), @r"
    exit code 1
    error: Cannot parse RIG/twice.cfg: line 3: option `master_url` in section [slapos] is given twice
    ");
    insta::assert_snapshot!(list("percent.cfg", b"[slapos]\nmaster_url = http://a/%zz\n"), @r"
    exit code 1
    error: Cannot parse RIG/percent.cfg: option `master_url` in section [slapos]: `%zz` cannot be understood (write `%%` for a percent sign)
    ");
    insta::assert_snapshot!(list("no-url.cfg", b"[slapos]\n"), @r"
    exit code 1
    error: No option `master_url` in section [slapos] of RIG/no-url.cfg
    hint: add a line such as `master_url = https://slap.vifib.com/`
    ");
    insta::assert_snapshot!(list("latin1.cfg", b"[slapos]\nmaster_url = http://\xe9/\n"), @r"
    exit code 1
    error: Cannot read configuration file RIG/latin1.cfg: it is not UTF-8 text
    ");
    insta::assert_snapshot!(list("url.cfg", b"[slapos]\nmaster_url = gopher://a/\n"), @r"
    exit code 1
    error: `gopher://a/` cannot be the URL of a Master: it starts neither with http:// nor with https://
    ");
    insta::assert_snapshot!(list("https.cfg", b"[slapos]\nmaster_url = https://127.0.0.1:1/\n"), @r"
    exit code 1
    error: No option `key_file` and `cert_file` in RIG/https.cfg, which an https Master needs
    hint: `slapos login URL` gets a key and a certificate
    ");
    let directory = rig.run(&["service", "list", "--cfg", "/tmp"]);
    insta::assert_snapshot!(seen(&rig, &directory), @r"
    exit code 1
    error: Cannot read configuration file /tmp: Is a directory (os error 21)
    ");
    // No configuration at all: where it was looked for.
    let nowhere = rig
        .slapos(["service", "list"])
        .env("SLAPOS_CLIENT_CONFIGURATION", "")
        .run();
    insta::assert_snapshot!(seen(&rig, &nowhere), @r"
    exit code 1
    error: Configuration file does not exist: RIG/home/.slapos/slapos-client.cfg
    hint: make one with `slapos login URL`, name another one with --cfg, or try `slapos standalone` which makes its own
    ");
    let node = rig
        .slapos(["node", "software"])
        .env("SLAPOS_CONFIGURATION", "/nonexistent")
        .run();
    insta::assert_snapshot!(seen(&rig, &node), @r"
    exit code 1
    error: cannot read the configuration /nonexistent: No such file or directory (os error 2)
    hint: name another one with --cfg, or try `slapos standalone` which makes its own
    ");
    let endless = rig.slapos(["node", "software", "--cfg", "/dev/zero"]).run();
    assert_eq!(endless.code(), 1, "{endless:?}");
    let endless = rig.slapos(["service", "list", "--cfg", "/dev/zero"]).run();
    assert_eq!(endless.code(), 1, "{endless:?}");
    let empty = rig.write("node.cfg", "[slapos]\n");
    let node = rig.slapos(["node", "software", "--cfg"]).arg(empty).run();
    insta::assert_snapshot!(seen(&rig, &node), @r"
    exit code 1
    error: RIG/node.cfg: option `master_url` is missing from section [slapos]
    ");
}

#[test]
fn a_master_that_is_not_there_is_named() {
    let rig = rig();
    for arguments in [
        &["service", "list"][..],
        &["service", "info", "a"],
        &["computer", "list"],
        &["computer", "info", "a"],
        &["supply", "http://a/software.cfg", "local_computer"],
        &["remove", "http://a/software.cfg", "local_computer"],
        &["request", "a", "http://127.0.0.1:9/software.cfg"],
        &["node", "software", "--now"],
        &["node", "report", "--now"],
        &["node", "bang"],
    ] {
        let run = rig.run(arguments).exits(1);
        assert_polite(&run);
        let master = format!("127.0.0.1:{}", rig.port().number());
        assert!(run.stderr.contains(&master), "names the Master: {run}");
        let errors = run
            .stderr
            .lines()
            .filter(|line| line.starts_with("error:"))
            .count();
        assert_eq!(errors, 1, "{run}");
        if arguments != ["node", "bang"] {
            assert_eq!(run.stdout, "", "{run}");
        }
    }
    insta::assert_snapshot!(seen(&rig, &rig.run(&["service", "list"])), @r"
    exit code 1
    error: cannot reach the Master at http://MASTER/: the connection is refused; is the Master running?
    hint: check `master_url` in your configuration, and that the Master is running
    ");
}

#[test]
fn wrong_words_are_explained() {
    let rig = rig();
    let said = |arguments: &[&str]| seen(&rig, &rig.run(arguments));
    insta::assert_snapshot!(said(&["serv", "list"]), @r"
    exit code 5
    error: there is no command `slapos serv`
    hint: did you mean `slapos service`?
    ");
    insta::assert_snapshot!(said(&["service", "lst"]), @r"
    exit code 5
    error: there is no command `slapos service lst`
    hint: did you mean `slapos service list`?
    ");
    insta::assert_snapshot!(said(&["service"]), @r"
    exit code 2
    Look at the instances you requested

    Usage: slapos service [OPTIONS] <COMMAND>

    Commands:
      list      List your instances: what they are to be, how they are, where, why they wait
      info      Show one of your instances: states, parameters, connection parameters
      tree      Draw one of your instances with all the instances it requested
      events    Tell what happened to one of your instances
      logs      Show the errors that nodes reported of one of your instances
      promises  Show the promises of one of your instances: which fail, since when, and what they say
      wait      Wait until an instance is what it is asked to be
      open      Open the address an instance has published in a browser
      start     Start instances that are stopped
      stop      Stop instances; what they hold stays
      destroy   Destroy instances and all they hold
      rename    Give an instance another title
      upgrade   Bring an instance to the release it is offered, or to another one
      help      Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Global options:
      -v, --verbose...       Say more; twice for everything
      -q, --quiet            Say only what went wrong
          --log-file <FILE>  Also write everything to this file
          --log-time         Begin each message with the time
          --color <WHEN>     When to use colours; `auto` is on terminals, unless NO_COLOR, CLICOLOR=0 or
                             TERM=dumb say no [possible values: auto, always, never]
    ");
    insta::assert_snapshot!(said(&["request", "a"]), @r"
    exit code 2
    error: `slapos request` needs <URL>
    hint: usage: slapos request [OPTIONS] <TITLE> <URL>; see `slapos request --help`
    ");
    insta::assert_snapshot!(said(&["request", "a", "http://a/", "--state", "running"]), @r"
    exit code 2
    error: `running` is no value of --state: `running` is not a state; expected `started`, `stopped` or `destroyed`
    hint: see `slapos request --help`
    ");
    insta::assert_snapshot!(said(&["request", "a", "http://a/", "--parameters", "novalue"]), @r"
    exit code 2
    error: `novalue` is no value of --parameters: `novalue` is not of the form KEY=VALUE
    hint: give --parameters after everything that is no option, or end its values with `--`
    ");
    insta::assert_snapshot!(said(&["request", "a", "http://a/", "--node", "=x"]), @r"
    exit code 2
    error: `=x` is no value of --node: `=x` is not of the form KEY=VALUE
    hint: give --node after everything that is no option, or end its values with `--`
    ");
    insta::assert_snapshot!(said(&["request", "", "http://a/"]), @r"
    exit code 2
    error: `` is no value of <TITLE>: an instance's title is empty
    hint: see `slapos request --help`
    ");
    insta::assert_snapshot!(said(&["request", "a", "http://a/", "--timeout", "soon"]), @r"
    exit code 2
    error: `soon` is no value of --timeout: `soon` is not a unit of time; use s, m or h
    hint: see `slapos request --help`
    ");
    insta::assert_snapshot!(said(&["request", "a", "no/such/profile.cfg"]), @r"
    exit code 2
    error: `no/such/profile.cfg` is neither a URL, nor a file, nor the name of a software release
    hint: a product of the Master is named product.NAME
    ");
    insta::assert_snapshot!(said(&["supply", "http://a/software.cfg"]), @r"
    exit code 2
    error: `slapos supply` needs <NODE>
    hint: usage: slapos supply [OPTIONS] <URL> <NODE>; see `slapos supply --help`
    ");
    insta::assert_snapshot!(said(&["service", "list", "--output", "xml"]), @r"
    exit code 2
    error: `xml` is no value of --output
    hint: did you mean `yaml`? It is one of table, json, yaml, csv, name
    ");
    insta::assert_snapshot!(said(&["service", "list", "-v", "-q"]), @r"
    exit code 2
    error: --verbose and --quiet do not go together
    hint: see `slapos service list --help`
    ");
}

#[test]
fn parameter_files_that_cannot_be_used_change_nothing() {
    let rig = rig();
    rig.start();
    let release = rig.release("software/helloworld");
    rig.request("a", &release, &["--parameters", "name=kept"])
        .ok();
    let before = rig.info("a");
    let with = |name: &str, content: &[u8]| {
        let file = rig.write(name, content);
        let run = rig
            .slapos(["request", "a", &release, "--parameters-file"])
            .arg(file)
            .run();
        assert_ne!(run.code(), 0, "{run}");
        let text = seen(&rig, &run);
        text.lines()
            .filter(|line| !line.contains("INFO"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    insta::assert_snapshot!(with("broken.json", b"{\"name\": "), @r"
    exit code 2
    error: RIG/broken.json: not JSON: EOF while parsing a value at line 1 column 9
    ");
    insta::assert_snapshot!(with("list.json", b"[1, 2]"), @r"
    exit code 2
    error: RIG/list.json: it must hold a dictionary of parameters
    ");
    insta::assert_snapshot!(with("empty.json", b""), @r"
    exit code 2
    error: RIG/empty.json: not JSON: EOF while parsing a value at line 1 column 0
    ");
    insta::assert_snapshot!(with("broken.yaml", b"a: [1\nb: }"), @r"
    exit code 2
    error: RIG/broken.yaml: not YAML: line 2 column 2: illegal placement of ':' indicator
    ");
    insta::assert_snapshot!(with("broken.xml", b"<instance><parameter id=\"a\">1</instance>"), @r"
    exit code 2
    error: RIG/broken.xml: not well-formed XML near byte 29: ill-formed document: expected `</parameter>`, but `</instance>` was found
    ");
    insta::assert_snapshot!(with("latin1.json", b"{\"name\": \"\xe9\"}"), @r"
    exit code 2
    error: RIG/latin1.json: it is not UTF-8 text
    ");
    let mut huge = b"{\"name\": \"".to_vec();
    huge.resize(80 << 20, b'x');
    huge.extend(b"\"}");
    insta::assert_snapshot!(with("huge.json", &huge), @r"
    exit code 2
    error: RIG/huge.json: it has more than 16777216 bytes, the most that is accepted
    ");
    let deep = [vec![b'['; 200_000], vec![b']'; 200_000]].concat();
    with("deep.json", &[b"{\"a\": ".as_slice(), &deep, b"}"].concat());
    with("deep.yaml", &[b"a: ".as_slice(), &deep].concat());
    let bomb = b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
        c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
        e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
        g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: &h [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n";
    with("bomb.yaml", bomb);
    let missing = rig.run(&[
        "request",
        "a",
        &release,
        "--parameters-file",
        "/nonexistent.json",
    ]);
    insta::assert_snapshot!(seen(&rig, &missing), @r"
    exit code 2
    error: /nonexistent.json: No such file or directory (os error 2)
    ");
    let device = rig.run(&["request", "a", &release, "--parameters-file", "/dev/zero"]);
    assert_polite(&device.exits(2));
    assert_eq!(rig.info("a"), before);
}

#[test]
fn what_does_not_exist_is_named() {
    let rig = rig();
    rig.start();
    let said = |arguments: &[&str]| {
        let text = seen(&rig, &rig.run(arguments));
        text.lines()
            .filter(|line| !line.contains("INFO"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    insta::assert_snapshot!(said(&["service", "info", "nope"]), @r"
    exit code 2
    error: Instance nope does not exist.
    hint: see yours with `slapos service list`
    ");
    insta::assert_snapshot!(said(&["computer", "info", "nope"]), @r"
    exit code 2
    error: Computer nope does not exist.
    hint: see the nodes there are with `slapos computer list`
    ");
    insta::assert_snapshot!(said(&["supply", "product.nope", "local_computer"]), @r"
    exit code 1
    error: No Software Release corresponding to the Software Product `nope` has been found
    hint: give the URL of the release instead
    ");
    insta::assert_snapshot!(said(&["request", "a", "product.nope"]), @r"
    exit code 1
    error: No Software Release corresponding to the Software Product `nope` has been found
    hint: give the URL of the release instead
    ");
    insta::assert_snapshot!(
        said(&["request", "a", "http://127.0.0.1:9/s.cfg", "--node", "computer_guid=COMP-404"]), @r"
    exit code 1
    error: requestComputerPartition: No free computer partition found for: a
    hint: free a partition, or choose another node with --node computer_guid=NODE
    ");
    insta::assert_snapshot!(said(&["node", "instance", "--now", "--only", "part99"]), @r"
    exit code 1
    error: Unknown partition(s): part99
    ");
    insta::assert_snapshot!(said(&["proxy", "show", "-u", "/nonexistent/proxy.db"]), @r"
    exit code 1
    error: there is no database /nonexistent/proxy.db; `slapos proxy start` creates it
    ");
    assert_eq!(rig.run(&["service", "list"]).ok().stdout, "{}\n");
}

#[test]
fn a_second_master_says_that_the_port_is_taken() {
    let rig = rig();
    rig.start_master();
    let run = rig.run(&["proxy", "start", "-u", "other.db"]).exits(1);
    insta::assert_snapshot!(seen(&rig, &run), @r"
    exit code 1
    error: port PORT of 127.0.0.1 is in use; stop what listens there (perhaps another `slapos proxy start`), or give another --port
    ");
    let run = rig.run(&["proxy", "start", "--host", "0.0.0.0", "--port", "0"]);
    assert_ne!(run.code(), 0, "not for everybody, unless told so: {run}");
    assert_polite(&run);
}

/// Every command of the program, from its own help.
fn commands(rig: &Rig, prefix: &[String]) -> Vec<Vec<String>> {
    let help = rig.slapos(prefix).arg("--help").run().ok();
    assert_eq!(help.stderr, "", "{help}");
    assert!(help.stdout.contains("Usage:"), "{help}");
    let mut found = Vec::new();
    // Usage, then commands and arguments under their headings, then options and examples.
    let list = help.stdout.split("\nOptions:\n").next().unwrap();
    for line in list.lines() {
        let indented = line.strip_prefix("  ").unwrap_or_default();
        let name = indented.split(' ').next().unwrap_or_default();
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            continue;
        }
        if name != "help" {
            let command = [prefix, &[name.to_owned()]].concat();
            found.push(command.clone());
            found.extend(commands(rig, &command));
        }
    }
    found
}

#[test]
fn every_command_has_a_help() {
    let rig = rig();
    let all: Vec<String> = commands(&rig, &[])
        .iter()
        .map(|words| words.join(" "))
        .collect();
    for expected in [
        "request",
        "supply",
        "remove",
        "service list",
        "service info",
        "computer list",
        "computer info",
        "node format",
        "node software",
        "node instance",
        "node report",
        "node promise",
        "node bang",
        "node status",
        "node start",
        "node stop",
        "node restart",
        "node tail",
        "node supervisorctl",
        "node supervisord",
        "proxy start",
        "proxy show",
        "standalone",
        "complete",
        "master token create",
    ] {
        assert!(
            all.iter().any(|command| command == expected),
            "no {expected} in {all:?}"
        );
    }
    let first = rig.run(&["help"]).ok();
    assert_eq!(first.stdout, rig.run(&["--help"]).ok().stdout);
    let named = rig.run(&["help", "service", "list"]).ok();
    assert_eq!(named.stdout, rig.run(&["service", "list", "--help"]).stdout);
    assert!(!first.stdout.contains('\u{1b}'), "{first}");
    let coloured = rig.run(&["--color", "always", "--help"]).ok();
    assert!(coloured.stdout.contains('\u{1b}'), "{coloured}");
    let version = rig.run(&["--version"]).ok();
    assert_eq!(
        version.stdout,
        format!("slapos {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(rig.run(&["service", "list", "--version"]).code(), 0);
    for shell in ["bash", "fish", "zsh"] {
        let script = rig.run(&["complete", "--shell", shell]).ok();
        assert!(script.stdout.contains("slapos"), "{script}");
    }
    // A machine without any configuration is no reason to refuse help.
    let bare = rig
        .slapos(["help", "request"])
        .env("SLAPOS_CLIENT_CONFIGURATION", "/x")
        .run();
    assert!(bare.ok().stdout.contains("--parameters"));
}

#[test]
fn every_command_has_a_manual_page() {
    let rig = rig();
    let directory = rig.path().join("man/man1");
    rig.slapos(["man"]).arg(&directory).run().ok();
    let all = commands(&rig, &[]);
    for command in &all {
        let page = directory.join(format!("slapos-{}.1", command.join("-")));
        let text = std::fs::read_to_string(&page).unwrap_or_default();
        assert!(text.contains(".SH SYNOPSIS"), "{}: {text}", page.display());
    }
    let pages = std::fs::read_dir(&directory).unwrap().count();
    assert_eq!(pages, all.len() + 1);
    let first = rig.run(&["man"]).ok().stdout;
    let kept = std::fs::read_to_string(directory.join("slapos.1")).unwrap();
    assert_eq!(first.trim_end(), kept.trim_end());
    for words in ["Examples:", "slapos request hello"] {
        let page = std::fs::read_to_string(directory.join("slapos-request.1")).unwrap();
        assert!(page.contains(words), "{page}");
    }
}

#[test]
fn json_is_json_and_nothing_else_is_on_stdout() {
    let rig = rig();
    rig.start();
    let release = rig.release("tests/software/services");
    let request = rig
        .request("\u{e9} \"a\" <b>", &release, &["--output", "json"])
        .ok();
    assert_eq!(
        request.json(),
        json!({
            "title": "\u{e9} \"a\" <b>",
            "software-url": release,
            "software-type": "default",
            "requested-state": "started",
            "node": "local_computer",
            "partition": "part0",
            "connection-parameters": {},
        })
    );
    for arguments in [
        &["service", "list", "--output", "json"][..],
        &["service", "info", "\u{e9} \"a\" <b>", "--output", "json"],
        &["computer", "list", "-o", "json"],
        &["computer", "info", "local_computer", "-o", "json"],
        &["proxy", "show", "-o", "json"],
    ] {
        let run = rig.run(arguments).ok();
        assert_ne!(run.json(), Json::Null);
        assert!(run.stdout.is_ascii(), "{run}");
    }
    let said = |arguments: &[&str]| rig.run(arguments).ok().stdout;
    assert_eq!(
        said(&["service", "list", "-o", "yaml"]),
        format!("\"\u{e9} \\\"a\\\" <b>\": {release}\n")
    );
    assert_eq!(
        said(&["service", "list", "-o", "name"]),
        "\u{e9} \"a\" <b>\n"
    );
    assert_eq!(
        said(&["computer", "list", "-o", "name"]),
        "local_computer\n"
    );
    assert_eq!(
        said(&["computer", "info", "local_computer", "-o", "yaml"]),
        "reference: local_computer\ntitle: local_computer\n"
    );
    // For people: a table, and no JSON.
    let table = rig.run(&["service", "list", "--output", "table"]).ok();
    assert!(
        table.stdout.contains("TITLE") && table.stdout.contains(&release),
        "{table}"
    );
    // Quiet means: only results, on stdout.
    let quiet = rig.request("b", &release, &["-q"]).ok();
    assert_eq!(quiet.stderr, "");
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_complain() {
    let rig = rig();
    rig.start();
    let release = rig.release("tests/software/services");
    // More than a pipe holds.
    let long = "x".repeat(100_000);
    rig.request("a", &release, &["--parameters", &format!("text={long}")])
        .ok();
    for arguments in [
        &["service", "info", "a"][..],
        &["service", "info", "a", "--output", "json"],
        &["proxy", "show"],
        &["complete"],
        &["--help"],
    ] {
        let mut child = rig
            .slapos(arguments)
            .command()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut byte = [0];
        child.stdout.take().unwrap().read_exact(&mut byte).unwrap();
        let mut stderr = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut stderr)
            .unwrap();
        let status = child.wait().unwrap();
        assert_eq!(stderr, "", "{arguments:?}");
        assert!(status.code().is_some(), "{arguments:?}: {status}");
    }
}

#[test]
fn a_node_that_is_already_running_is_left_alone() {
    let rig = rig();
    rig.start();
    // A lock whose owner is gone is no obstacle.
    rig.write("run/software.pid", "4194303");
    rig.node("software", &[]).ok();

    rig.supply(&rig.release("tests/software/slow"));
    let log = rig.path().join("log/software.log");
    let mut first = rig.slapos(["node", "software", "--now"]).start(&log);
    let minute = Duration::from_secs(60);
    eventually("the build is at it", minute, || {
        assert!(first.is_running(), "{}", first.output());
        let sleeping = |process: &Process| process.command.contains("sleep 3.003");
        if rig.processes().iter().any(sleeping) {
            Ok(())
        } else {
            Err(first.output())
        }
    });
    let second = rig.node("software", &[]).exits(10);
    assert!(
        second.stderr.contains(&first.pid().to_string()),
        "names who runs: {second}"
    );
    assert_eq!(first.wait(minute), 0, "{}", first.output());
}
