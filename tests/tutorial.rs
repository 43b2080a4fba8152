//! The user's tutorial, typed into a real terminal from its first line to its last: against a Master
//! with mutual TLS and a node that really deploys. What a person sees is compared with what the
//! tutorial says.
//!
//! Its applications are `tests/software/site` under their names; its `COMP-12345` is the node there
//! is, and its OpenSSL is the machine's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use testkit::{Invocation, Rig, Terminal, http_get};

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(60);
/// The console's prompt, and the one inside brackets.
const PROMPT: &str = ">>> ";
const MORE: &str = "... ";
const PRODUCTS: [&str; 3] = ["kvm", "wordpress", "mysql-5.1"];

/// A Master, one node called `mycomputer`, and products `kvm` and `wordpress`.
struct World {
    rig: Rig,
    url: String,
}

impl World {
    fn new() -> Self {
        let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
        // What the console loads; no test program links it.
        rig.program().python_module();
        rig.start_full_master();
        let world = World {
            url: rig.full_master_url(),
            rig,
        };
        // Without IPython and bpython, which this machine may have: the tutorial shows neither.
        Invocation::new("python3", world.home(""))
            .args(["-m", "venv", "--without-pip", "python"])
            .run()
            .ok();
        let source = testkit::project().join("tests/software/site");
        for product in PRODUCTS {
            fs::create_dir(world.rig.path().join(product)).unwrap();
            for file in ["software.cfg", "instance.cfg.in"] {
                let text = fs::read(source.join(file)).unwrap();
                world.rig.write(&format!("{product}/{file}"), text);
            }
            let release = world.release(product);
            world.admin(&["product", "add", product]);
            world.admin(&["product", "release", "add", product, &release]);
        }
        world
    }

    /// The one release of a product.
    fn release(&self, product: &str) -> String {
        let file = self.rig.path().join(product).join("software.cfg");
        file.to_str().unwrap().to_owned()
    }

    fn admin(&self, words: &[&str]) {
        self.rig
            .slapos(["master"])
            .args(words)
            .arg("--data-dir")
            .arg(self.rig.full_master_data())
            .run()
            .ok();
    }

    fn home(&self, name: &str) -> PathBuf {
        self.rig.path().join("home").join(name)
    }

    /// `slapos` as the tutorial types it, at a terminal.
    fn types(&self, line: &str) -> Terminal {
        let home = self.home("");
        let words = line
            .replace("~/", &format!("{}/", home.display()))
            .replace("$HOME/", &format!("{}/", home.display()));
        let mut words = words.split(' ').map(str::to_owned);
        let program = match words.next().as_deref() {
            Some("slapos") => PathBuf::from(env!("CARGO_BIN_EXE_slapos")),
            Some("openssl") => PathBuf::from("openssl"),
            other => panic!("who is {other:?}?"),
        };
        Invocation::new(program, home)
            .args(words)
            .env("SLAPOS_PYTHON", self.home("python/bin/python3"))
            .at_terminal()
    }

    /// The node's commands, as its daemon would run them.
    fn node(&self, command: &str) {
        self.rig
            .slapos(["node", command, "--now", "--cfg"])
            .arg(self.home("node/slapos.cfg"))
            .run()
            .ok();
    }

    /// *Servers* in the side menu, *Token* in the subheader.
    fn token(&self, browser: &Browser) -> String {
        let home = browser.get("/");
        assert!(home.contains(">Servers<"), "{home}");
        let servers = browser.get("/servers");
        assert!(servers.contains(">Token<"), "{servers}");
        let asked = browser.get("/servers/token");
        let page = browser.send("/servers/token", &asked, &[]);
        between(&page, "<pre tabindex=\"0\">", "</pre>").to_owned()
    }
}

/// Somebody who clicks.
struct Browser {
    url: String,
    agent: ureq::Agent,
    cookie: String,
}

impl Browser {
    /// Follows the administrator's one-time link and chooses a password.
    fn new(world: &World) -> Self {
        let authority = fs::read(world.rig.full_master_data().join("ca.crt")).unwrap();
        let authority = ureq::tls::Certificate::from_pem(&authority).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(
                ureq::tls::TlsConfig::builder()
                    .unversioned_rustls_crypto_provider(provider)
                    .root_certs(ureq::tls::RootCerts::new_with_certs(&[authority]))
                    .build(),
            )
            .build()
            .new_agent();
        let mut browser = Browser {
            url: world.url.clone(),
            agent,
            cookie: String::new(),
        };
        let said = world.rig.read("log/master.log");
        let token = between(&said, "/password?token=", "\n").trim();
        let reply = browser
            .agent
            .post(format!("{}/password", browser.url))
            .header("Origin", &browser.url)
            .send_form([
                ("token", token),
                ("password", "correct horse battery"),
                ("again", "correct horse battery"),
            ])
            .unwrap();
        let cookie = reply.headers()["set-cookie"].to_str().unwrap();
        browser.cookie = cookie.split(';').next().unwrap().to_owned();
        browser
    }

    fn get(&self, path: &str) -> String {
        let reply = self
            .agent
            .get(format!("{}{path}", self.url))
            .header("Cookie", &self.cookie)
            .call()
            .unwrap();
        reply.into_body().read_to_string().unwrap()
    }

    /// Sends the form of a page, its hidden fields and first choices included.
    fn send(&self, path: &str, page: &str, more: &[(&str, &str)]) -> String {
        let mut fields = vec![(
            "form_token",
            between(page, "name=\"form_token\" value=\"", "\""),
        )];
        if page.contains("name=\"project\"") {
            fields.push(("project", between(page, "<option value=\"", "\"")));
        }
        fields.extend(more);
        let reply = self
            .agent
            .post(format!("{}{path}", self.url))
            .header("Cookie", &self.cookie)
            .header("Origin", &self.url)
            .send_form(fields)
            .unwrap();
        reply.into_body().read_to_string().unwrap()
    }
}

#[track_caller]
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    text.split_once(before)
        .and_then(|(_, rest)| rest.split_once(after))
        .unwrap_or_else(|| panic!("no {before:?} … {after:?} in:\n{text}"))
        .0
}

/// Types a statement of the tutorial into the console, and answers what it printed.
#[track_caller]
fn says(console: &mut Terminal, statement: &str) -> String {
    let lines: Vec<&str> = statement.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        console.type_line(line);
        if index + 1 < lines.len() {
            console.wait_for(MORE, SOON);
        }
    }
    let shown = console.wait_for(PROMPT, SOON);
    // The terminal shows what was typed first.
    let typed = lines.last().unwrap();
    let printed = shown
        .strip_prefix(typed)
        .unwrap_or_else(|| panic!("not typed {typed:?} but {shown:?}"));
    printed.trim().to_owned()
}

#[test]
fn the_tutorial_works_line_by_line() {
    let world = World::new();
    let browser = Browser::new(&world);

    // A server is there, associated with a token of the same page.
    let token = world.token(&browser);
    world
        .rig
        .slapos(["node", "register", "mycomputer", "--unprivileged"])
        .args(["--master-url", &world.url, "--token", &token])
        .args(["--fingerprint", &world.rig.welcome().fingerprint, "--cfg"])
        .arg(world.home("node/slapos.cfg"))
        .run()
        .ok();
    world.node("format");

    // # slapos configure client
    let token = world.token(&browser);
    let url = &world.url;
    let mut configure = world.types(&format!("slapos configure client --master-url {url}"));
    configure.wait_for(&world.rig.welcome().fingerprint, SOON);
    configure.wait_for("Is it the same? [y/N] ", SOON);
    configure.type_line("y");
    configure.wait_for("Credential security token: ", SOON);
    configure.type_line(&token);
    let (code, said) = configure.wait_end(SOON);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("slapos console"), "{said}");

    // You should find the following files.
    for file in [
        "slapos-client.cfg",
        "certificate",
        "key",
        "client.crt",
        "client.key",
    ] {
        let file = world.home(".slapos").join(file);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }

    // You can now edit it by including aliases, as printed: not indented.
    let file = world.home(".slapos/slapos-client.cfg");
    let mut text = fs::read_to_string(&file).unwrap();
    text.push_str("\nalias =\nwebrunner https://lab.nexedi.com/nexedi/slapos/raw/1.0.49/software/slaprunner/software.cfg\n");
    fs::write(&file, text).unwrap();

    // Verify the certificates are ok.
    let shows = world.types("openssl x509 -noout -in $HOME/.slapos/client.crt");
    assert_eq!(shows.wait_end(SOON), (0, String::new()));
    let shows = world.types("openssl rsa -noout -in $HOME/.slapos/client.key -check");
    assert_eq!(shows.wait_end(SOON), (0, "RSA key ok\n".to_owned()));

    console(&world);
    again(&world);
    world
        .rig
        .slapos(["node", "supervisorctl", "--cfg"])
        .arg(world.home("node/slapos.cfg"))
        .arg("shutdown")
        .run()
        .ok();
    world.rig.shut_down();
}

/// The first session at the console.
fn console(world: &World) {
    let mut console = world.types("slapos console --cfg ~/.slapos/slapos-client.cfg");
    let c = &mut console;
    c.wait_for(PROMPT, SOON);

    // API: Global Functions and Variables
    let list = says(c, "software_list");
    for name in ["kvm", "mysql-5.1", "webrunner", "wordpress"] {
        assert!(list.contains(&format!("'{name}': '")), "{list}");
    }
    let kvm = format!("'{}'", world.release("kvm"));
    for name in ["software_list['kvm']", "product.kvm", "kvm"] {
        assert_eq!(says(c, name), kvm, "{name}");
    }
    let mysql = format!("'{}'", world.release("mysql-5.1"));
    for name in [
        "software_list['mysql-5.1']",
        "product['mysql-5.1']",
        "mysql_5_1",
    ] {
        assert_eq!(says(c, name), mysql, "{name}");
    }
    let webrunner =
        "'https://lab.nexedi.com/nexedi/slapos/raw/1.0.49/software/slaprunner/software.cfg'";
    assert_eq!(says(c, "webrunner"), webrunner);
    assert_eq!(says(c, "slap = slapos.slap.slap()"), "");
    let connect = "slap.initializeConnection(
  config.master_url,
  key_file=config.key_file,
  cert_file=config.cert_file
)";
    assert_eq!(says(c, connect), "");

    // API: Methods, Example Usage
    assert_eq!(says(c, r#"supply(product.kvm, "mycomputer")"#), "");
    let shown = says(c, r#"request(product.kvm, "myuniquekvm")"#);
    assert!(shown.contains("myuniquekvm"), "{shown}");
    world.node("software");
    let elsewhere = "request(product.kvm, \"myotheruniquekvm\", filter_kw = {
  \"computer_guid\": \"COMP-1\"
})";
    let shown = says(c, elsewhere);
    for word in ["myotheruniquekvm", "started", "COMP-1"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let parameters = "request(product.kvm, \"mythirduniquekvm\", partition_parameter_kw = {
  \"nbd_ip\":\"2a01:e35:2e27:460:e2cb:4eff:fed9:48dc\", \"nbd_port\":\"1024\"
})";
    let shown = says(c, parameters);
    assert!(shown.contains("mythirduniquekvm"), "{shown}");
    world.node("instance");
    let state = r#"request(product.kvm, "myuniquekvm").getState()"#;
    assert_eq!(says(c, state), "'started'");
    let url = r#"request(product.kvm, "myuniquekvm").getConnectionParameter("url")"#;
    let url = says(c, url).trim_matches('\'').to_owned();
    assert!(http_get(&url).unwrap().body.contains("an unnamed site"));
    // To fetch the status is not to change the instance.
    let kept =
        r#"sorted(request(product.kvm, "mythirduniquekvm").getInstanceParameterDict().items())"#;
    let kept = says(c, kept);
    assert!(kept.contains("('nbd_port', '1024')"), "{kept}");

    // Instance Allocation: the exception of an instance that is not ready, because its software is
    // not compiled yet, and the retry.
    assert_eq!(says(c, r#"supply(product.wordpress, "mycomputer")"#), "");
    let request = r#"instance_a = request(wordpress, "Wordpress A from console")"#;
    assert_eq!(says(c, request), "");
    let traceback = says(c, "instance_a.getState()");
    assert!(
        traceback.starts_with("Traceback (most recent call last):"),
        "{traceback}"
    );
    let last = traceback.lines().last().unwrap();
    assert!(
        last.contains("ResourceNotReady: /requestComputerPartition"),
        "{traceback}"
    );
    assert!(!traceback.contains("another exception"), "{traceback}");
    world.node("software");
    world.node("instance");
    assert_eq!(says(c, request), "");
    assert_eq!(
        says(c, "instance_a.getState()").trim_matches('\''),
        "started"
    );
    site(c, "instance_a", "an unnamed site");

    c.press("\x04");
    let (code, said) = console.wait_end(SOON);
    assert_eq!(code, 0, "{said}");
}

/// The other sessions: a specific node, and parameters.
fn again(world: &World) {
    let mut console = world.types("slapos console --cfg ~/.slapos/slapos-client.cfg");
    let c = &mut console;
    c.wait_for(PROMPT, SOON);
    let request = "instance_b = request(wordpress, \"Wordpress B from console\",
  filter_kw={ \"computer_guid\": \"COMP-1\" }
)";
    assert_eq!(says(c, request), "");
    world.node("instance");
    assert_eq!(says(c, request), "");
    assert_eq!(
        says(c, "instance_b.getState()").trim_matches('\''),
        "started"
    );
    site(c, "instance_b", "an unnamed site");

    let modify = "instance_a = request(wordpress, \"Wordpress A from console\",
  partition_parameter_kw={\"domain\":\"mydomain.com\"}
)";
    assert_eq!(says(c, modify), "");
    world.node("instance");
    assert_eq!(says(c, modify), "");
    site(c, "instance_a", "mydomain.com");

    // remove() uninstalls a software from a node.
    assert_eq!(says(c, r#"remove(product.kvm, "mycomputer")"#), "");
    c.type_line("exit()");
    assert_eq!(console.wait_end(SOON).0, 0);
}

/// The URL an instance published answers with its page.
#[track_caller]
fn site(console: &mut Terminal, instance: &str, page: &str) {
    let shown = says(
        console,
        &format!("{instance}.getConnectionParameter('url')"),
    );
    let url = shown.trim_matches('\'');
    let body = testkit::eventually(url, SOON, || match http_get(url) {
        Ok(found) if found.body.contains(page) => Ok(found.body),
        Ok(found) => Err(found.body),
        Err(error) => Err(error.to_string()),
    });
    assert_eq!(body.trim(), format!("<h1>{page}</h1>"));
}
