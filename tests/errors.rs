//! What a person sees when the configuration, the Master or the network is not as it should be: one
//! line, a hint, an exit code; and nothing is changed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use testkit::{Invocation, Rig, Run, Unprivileged};

/// Somebody who is known to a Master with TLS. Not root, whom no file mode keeps out.
struct World {
    rig: Rig,
}

impl World {
    fn new() -> World {
        let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos"))
            .user(Unprivileged::when_root())
            .build();
        rig.start_full_master();
        let world = World { rig };
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
        world
    }

    fn slapos(&self, line: &[&str]) -> Invocation {
        Invocation::new(&self.rig.program().path, self.rig.path().join("home"))
            .user(self.rig.user().cloned())
            .args(line)
    }

    fn run(&self, line: &[&str]) -> Run {
        self.slapos(line).run()
    }

    /// What is said, without what differs from run to run.
    fn seen(&self, line: &[&str]) -> String {
        let run = self.run(line);
        assert!(!run.stderr.contains("panicked"), "{run}");
        assert_eq!(run.stdout, "", "{run}");
        let said: Vec<&str> = run
            .stderr
            .lines()
            .filter(|line| !line.starts_with(" INFO"))
            .collect();
        assert!(said[0].starts_with("error: "), "{run}");
        assert!(said.len() <= 2, "one line and a hint: {run}");
        format!("exit code {}\n{}", run.code(), said.join("\n"))
            .replace(&self.rig.path().display().to_string(), "RIG")
            .replace(&self.rig.full_master_url(), "https://MASTER")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.rig.path().join("home/.slapos").join(name)
    }

    /// The list of services with a configuration that is changed.
    fn with(&self, from: &str, to: &str) -> String {
        let text = fs::read_to_string(self.file("slapos-client.cfg")).unwrap();
        assert!(text.contains(from), "{text}");
        self.rig.write("changed.cfg", text.replace(from, to));
        let cfg = self.rig.path().join("changed.cfg");
        self.seen(&["service", "list", "--cfg", cfg.to_str().unwrap()])
    }

    /// The list of services while a file is something else.
    fn while_file(&self, name: &str, content: Option<&[u8]>) -> String {
        let path = self.file(name);
        let before = fs::read(&path).unwrap();
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let seen = self.seen(&["service", "list"]);
        self.rig.write(&format!("home/.slapos/{name}"), before);
        seen
    }
}

/// A web server that answers every question with the same page.
fn web_site() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 4096];
            // One read gets a small request as a whole.
            if stream.read(&mut bytes).is_err() {
                continue;
            }
            let page = "<!DOCTYPE html><html><h1>Welcome</h1></html>";
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close";
            let _ = write!(
                stream,
                "{head}\r\nContent-Length: {}\r\n\r\n{page}",
                page.len()
            );
        }
    });
    url
}

#[test]
fn a_key_or_certificate_that_cannot_be_used_is_named() {
    let world = World::new();
    insta::assert_snapshot!(world.while_file("client.key", None), @r"
    exit code 1
    error: cannot use RIG/home/.slapos/client.key: No such file or directory (os error 2)
    hint: `slapos login` gets a new key and certificate
    ");
    insta::assert_snapshot!(world.while_file("client.key", Some(b"garbage")), @r"
    exit code 1
    error: cannot use RIG/home/.slapos/client.key: it holds no private key in PEM form
    hint: `slapos login` gets a new key and certificate
    ");
    insta::assert_snapshot!(world.while_file("client.crt", Some(b"garbage")), @r"
    exit code 1
    error: cannot use RIG/home/.slapos/client.crt: it holds no certificate in PEM form
    hint: `slapos login` gets a new key and certificate
    ");
    insta::assert_snapshot!(world.while_file("ca.crt", Some(b"garbage")), @r"
    exit code 1
    error: cannot use RIG/home/.slapos/ca.crt: it holds no certificate in PEM form
    hint: `slapos login` gets a new key and certificate
    ");
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    insta::assert_snapshot!(world.while_file("client.crt", Some(broken)), @r"
    exit code 1
    error: cannot use RIG/home/.slapos/client.crt: it is broken (BadEncoding)
    hint: `slapos login` gets a new key and certificate
    ");
    // That of the authority is a good key, but another one.
    let other = fs::read(world.rig.full_master_data().join("ca.crt")).unwrap();
    insta::assert_snapshot!(world.while_file("client.crt", Some(&other)), @r"
    exit code 1
    error: cannot use RIG/home/.slapos/client.key: it is not the key of RIG/home/.slapos/client.crt
    hint: `slapos login` gets a new key and certificate
    ");
    let key = world.file("client.key");
    insta::assert_snapshot!(
        world.with(key.to_str().unwrap(), "/nonexistent/client.key"), @r"
        exit code 1
        error: cannot use /nonexistent/client.key: No such file or directory (os error 2)
        hint: `slapos login` gets a new key and certificate
        ");
    insta::assert_snapshot!(world.with("key_file", "no_key_file"), @r"
    exit code 1
    error: RIG/changed.cfg has the option `cert_file` but not `key_file`; they belong together
    hint: name both or none
    ");
    insta::assert_snapshot!(world.with("[slapconsole]", "[elsewhere]"), @r"
    exit code 1
    error: No option `key_file` and `cert_file` in RIG/changed.cfg, which an https Master needs
    hint: `slapos login URL` gets a key and a certificate
    ");
    world.run(&["service", "list"]).ok();
}

#[test]
fn who_answers_is_not_the_master() {
    let world = World::new();
    let url = world.rig.full_master_url();
    let site = web_site();
    let hidden = |said: String| said.replace(&site, "http://SITE/");
    insta::assert_snapshot!(world.with("master_ca_file", "no_ca_file"), @r"
    exit code 1
    error: no trustworthy connection to the Master at https://MASTER/: its certificate is not accepted (UnknownIssuer)
    hint: name the authority of the Master's certificate with `master_ca_file` in [slapos]
    ");
    insta::assert_snapshot!(world.with(&url, &url.replace("https", "http")), @r"
    exit code 1
    error: the Master refused getHateoasUrl with status 400: This address speaks HTTPS: begin it with https.
    hint: write `master_url = https://…` into your configuration
    ");
    insta::assert_snapshot!(world.with(&url, "https://host.invalid"), @r"
    exit code 1
    error: cannot reach the Master at https://host.invalid/: failed to lookup address information: Name or service not known
    hint: check `master_url` in your configuration, and that the Master is running
    ");
    insta::assert_snapshot!(world.with(&url, "https://127.0.0.1:99999"), @r"
    exit code 1
    error: `https://127.0.0.1:99999/` cannot be the URL of a Master: its port is no number up to 65535
    ");
    insta::assert_snapshot!(world.with(&url, "not a URL"), @r"
    exit code 1
    error: `not a URL/` cannot be the URL of a Master: invalid uri character
    ");
    insta::assert_snapshot!(hidden(world.with(&url, site.trim_end_matches('/'))), @r"
    exit code 1
    error: the answer of getHateoasUrl cannot be understood: it is a web page; is http://SITE/ really the URL of a Master's API?
    ");
    let said = world.with(&url, &site.replace("http:", "https:"));
    insta::assert_snapshot!(said.replace(&site.replace("http:", "https:"), "https://SITE/"), @r"
    exit code 1
    error: no trustworthy connection to the Master at https://SITE//: it does not speak TLS there; perhaps its URL begins with http://
    hint: check `master_url` in your configuration
    ");
    // Also what sends something.
    let cfg = world
        .rig
        .write("site.cfg", format!("[slapos]\nmaster_url = {site}\n"));
    let cfg = cfg.to_str().unwrap();
    for line in [
        &["supply", "http://a/software.cfg", "COMP-1"][..],
        &["remove", "http://a/software.cfg", "COMP-1"],
        &["request", "a", "http://127.0.0.1:9/software.cfg"],
        &["computer", "list"],
        &["service", "info", "a"],
    ] {
        let said = world.seen(&[line, &["--cfg", cfg]].concat());
        assert!(said.starts_with("exit code 1\n"), "{said}");
        assert!(said.contains("it is a web page"), "{line:?}: {said}");
    }
    let said = world.seen(&["login", &site, "--context", "site"]);
    assert!(said.contains("it is a web page"), "{said}");
    assert!(!world.file("contexts/site").exists());
}

#[test]
fn a_token_or_certificate_that_is_no_good_any_more_is_named() {
    let world = World::new();
    let used = world.rig.welcome().token;
    let before = fs::read(world.file("client.key")).unwrap();
    insta::assert_snapshot!(world.seen(&["login", "--token", &used]), @r"
    exit code 1
    error: Access denied to the SlapOS Master. Please check the authentication token or require a new one.
    hint: the Master says: this token was used already, and each works once: make a new one
    ");
    insta::assert_snapshot!(world.seen(&["login", "--token", "unknown"]), @r"
    exit code 1
    error: Access denied to the SlapOS Master. Please check the authentication token or require a new one.
    hint: the Master says: this token is not known here, or it is long gone: make a new one
    ");
    insta::assert_snapshot!(world.seen(&["login", "--token", "two words"]), @r"
    exit code 1
    error: cannot send the token: a token has at most 1024 letters, digits and signs, no blanks
    ");
    assert_eq!(fs::read(world.file("client.key")).unwrap(), before);

    let shown = world.run(&["context", "show"]).ok().json();
    world
        .slapos(&["master", "certificate", "revoke"])
        .arg(shown["certificate"].as_str().unwrap())
        .arg("--data-dir")
        .arg(world.rig.full_master_data())
        .run()
        .ok();
    for line in [
        &["service", "list"][..],
        &["computer", "list"],
        &["supply", "http://a/software.cfg", "COMP-1"],
        &["request", "a", "http://127.0.0.1:9/software.cfg"],
    ] {
        let said = world.seen(line);
        assert!(said.contains("neither expired nor revoked"), "{said}");
        assert!(said.contains("hint: `slapos login` gets"), "{said}");
    }
    insta::assert_snapshot!(world.seen(&["service", "list"]), @r"
    exit code 1
    error: the Master refused the HATEOAS root with status 401: this needs a certificate of this Master that is neither expired nor revoked: see `slapos configure client` and `slapos node register`
    hint: `slapos login` gets a new key and certificate
    ");
}

#[test]
fn a_check_finds_what_is_wrong() {
    let world = World::new();
    let checked = |code: i32| {
        let run = world.run(&["check", "-o", "table"]).exits(code);
        let lines: Vec<&str> = run.stdout.lines().skip(1).collect();
        let words = |line: &str| {
            line.split_whitespace()
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        };
        lines.iter().map(|line| words(line)).collect::<Vec<_>>()
    };
    assert_eq!(
        checked(0),
        [
            "ok configuration",
            "ok key",
            "ok certificate",
            "ok encryption",
            "ok Master",
            "ok clock",
            "ok services",
            "careful nodes",
        ]
    );
    let key = world.file("client.key");
    let good = fs::read(&key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(checked(0)[1], "careful key");
    fs::write(&key, "garbage").unwrap();
    assert_eq!(checked(1).last().unwrap(), "WRONG connection");
    fs::remove_file(&key).unwrap();
    assert_eq!(checked(1).last().unwrap(), "WRONG key");
    world.rig.write("home/.slapos/client.key", &good);
    fs::write(
        world.file("slapos-client.cfg"),
        "[slapos]\nmaster_url = http://127.0.0.1:1\n",
    )
    .unwrap();
    assert_eq!(checked(1).last().unwrap(), "WRONG Master");
    fs::write(world.file("slapos-client.cfg"), "nonsense").unwrap();
    assert_eq!(checked(1), ["WRONG configuration"]);
}

/// A web server that knows nothing but these paths, and has its own idea of the time.
fn web_server(known: &'static str, date: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                head.push(byte[0]);
            }
            let asked = String::from_utf8_lossy(&head).into_owned();
            let status = if !known.is_empty() && asked.contains(known) {
                "200 OK"
            } else {
                "404 Not Found"
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nDate: {date}\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
            );
        }
    });
    format!("http://{address}/")
}

#[test]
fn not_every_web_server_is_a_master_and_clocks_are_compared() {
    let world = World::new();
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let check = |known| {
        let url = web_server(known, date);
        fs::write(
            world.file("slapos-client.cfg"),
            format!("[slapos]\nmaster_url = {url}\n"),
        )
        .unwrap();
        world.run(&["check", "-o", "table"]).exits(1).stdout
    };
    let nobody = check("");
    assert!(
        nobody.contains("WRONG") && nobody.contains("is a Master"),
        "{nobody}"
    );
    let behind = check("getRunId");
    assert!(behind.contains("ahead of the Master's"), "{behind}");
}

#[test]
fn where_nothing_can_be_written_nothing_is_used_up() {
    let world = World::new();
    let token = {
        let made = world
            .slapos(&["master", "token", "create", "--user", "admin"])
            .args(["--purpose", "client", "--data-dir"])
            .arg(world.rig.full_master_data())
            .run()
            .ok()
            .json();
        made["token"].as_str().unwrap().to_owned()
    };
    let url = world.rig.full_master_url();
    insta::assert_snapshot!(
        world.seen(&["configure", "client", "--cfg", "/proc/none/a.cfg", "--master-url", &url, "--token", &token]),
        @r"
        exit code 1
        error: cannot create /proc/none: No such file or directory (os error 2)
        ");
    insta::assert_snapshot!(
        world.seen(&["configure", "client", "--cfg", "/", "--master-url", &url, "--token", &token]), @r"
        exit code 1
        error: / cannot be the name of a configuration
        ");
    // It is as good as before.
    world.run(&["login", "--token", &token]).ok();
}

#[test]
fn titles_of_every_kind_are_titles() {
    let world = World::new();
    for title in [
        "a \"b\" 'c'",
        "a/b",
        "é \u{1f600}",
        "<b>&amp;",
        "-dash",
        "%zz",
        " blank ",
    ] {
        let line = ["request", "--", title, "http://127.0.0.1:9/software.cfg"];
        let run = world.run(&line);
        assert_eq!(run.code(), 2, "not ready: {run}");
        assert!(run.stderr.contains("not ready yet"), "{run}");
        let info = world.run(&["service", "info", "--", title]).ok();
        assert_eq!(
            info.json()["software-url"],
            "http://127.0.0.1:9/software.cfg"
        );
    }
    let names = world.run(&["service", "list", "-o", "name"]).ok().stdout;
    assert_eq!(names.lines().count(), 7, "{names}");
    insta::assert_snapshot!(world.seen(&["service", "info", "nothing"]), @r"
    exit code 2
    error: Instance nothing does not exist.
    hint: see yours with `slapos service list`
    ");
    insta::assert_snapshot!(world.seen(&["request", "a", "product.nothing"]), @r"
    exit code 1
    error: No Software Release corresponding to the Software Product `nothing` has been found
    hint: give the URL of the release instead
    ");
    insta::assert_snapshot!(world.seen(&["supply", "product.nothing", "COMP-1"]), @r"
    exit code 1
    error: No Software Release corresponding to the Software Product `nothing` has been found
    hint: give the URL of the release instead
    ");
    insta::assert_snapshot!(world.seen(&["supply", "http://a/software.cfg", "COMP-9"]), @r"
    exit code 1
    error: supplySupply: there is no compute node COMP-9 that you may see
    hint: see the nodes there are with `slapos computer list`
    ");
    insta::assert_snapshot!(world.seen(&["request", "", "http://a/"]), @r"
    exit code 2
    error: `` is no value of <TITLE>: an instance's title is empty
    hint: see `slapos request --help`
    ");
    insta::assert_snapshot!(world.seen(&["request", "a\u{1}b", "http://a/"]), @r#"
    exit code 2
    error: `a\u{1}b` is no value of <TITLE>: an instance's title "a\u{1}b" holds a character that is not allowed: '\u{1}'
    hint: see `slapos request --help`
    "#);
}
