//! The doors of the Master over real HTTP: pages for people, one-time tokens, certificates.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use master::{Server, Settings, Welcome};
use serde_json::Value as Json;
use slap::{Value, marshal};
use ureq::Agent;
use ureq::http::Response;

const PASSWORD: &str = "correct horse battery";

/// A Master with plain HTTP for this machine, whose proxy we are too.
struct World {
    server: Server,
    url: String,
    agent: Agent,
    welcome: Welcome,
    _directory: tempfile::TempDir,
}

/// An answer, read.
struct Page {
    status: u16,
    head: Response<()>,
    text: String,
}

impl Page {
    fn header(&self, name: &str) -> &str {
        self.head
            .headers()
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The cookie it sets, as a browser sends it back.
    fn cookie(&self) -> String {
        let set = self.header("set-cookie");
        set.split(';').next().unwrap().to_owned()
    }

    /// The value of a hidden field.
    fn field(&self, name: &str) -> String {
        let mark = format!("name=\"{name}\" value=\"");
        let start = self.text.find(&mark).expect(&self.text) + mark.len();
        self.text[start..].split('"').next().unwrap().to_owned()
    }

    fn json(&self) -> Json {
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.header("cache-control"), "no-store");
        serde_json::from_str(&self.text).unwrap()
    }

    fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    fn says(self, text: &str) -> Self {
        assert!(
            self.text.contains(text),
            "{text:?} is not in:\n{}",
            self.text
        );
        self
    }
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(directory.path().join("data"));
        settings.listen = vec!["127.0.0.1:0".parse().unwrap()];
        settings.plain = vec!["127.0.0.1:0".parse().unwrap()];
        settings.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        let server = Server::start(settings).unwrap();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build();
        World {
            url: format!("http://{}", server.started().plain[0]),
            welcome: server.started().welcome.clone().unwrap(),
            agent: Agent::new_with_config(config),
            server,
            _directory: directory,
        }
    }

    fn answer(result: Result<Response<ureq::Body>, ureq::Error>) -> Page {
        let (head, mut body) = result.unwrap().into_parts();
        Page {
            status: head.status.as_u16(),
            head: Response::from_parts(head, ()),
            text: body.read_to_string().unwrap(),
        }
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Page {
        let mut request = self.agent.get(format!("{}/{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Self::answer(request.call())
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Page {
        let mut request = self.agent.post(format!("{}/{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Self::answer(request.send_form(form.iter().copied()))
    }

    /// The first administrator, signed in: the cookie.
    fn signed_in(&self) -> String {
        let form = [
            ("token", self.welcome.password_token.as_str()),
            ("password", PASSWORD),
            ("again", PASSWORD),
        ];
        let page = self.post("password", &[], &form).is(303);
        assert_eq!(page.header("location"), "./");
        page.cookie()
    }

    /// A certificate of the administrator's: its common name, as a proxy hands it on.
    fn certified(&self) -> String {
        let token = self.welcome.client_token.as_str();
        let page = self.post("Person_getCertificate", &[("x-access-token", token)], &[]);
        let page = page.is(200).json();
        page["common_name"].as_str().unwrap().to_owned()
    }

    /// A token for a node.
    fn node_token(&self, name: &str) -> String {
        let path = "hateoas/computer_module/Base_getComputerToken";
        let page = self.get(path, &[("remote-user", name)]).is(200).json();
        page["access_token"].as_str().unwrap().to_owned()
    }
}

#[test]
fn the_first_administrator_comes_in_by_the_link() {
    let world = World::new();
    let token = world.welcome.password_token.as_str();
    let path = format!("password?token={token}");
    // Looking, as mail programs do, does not use the link up.
    for _ in 0..2 {
        let page = world.get(&path, &[]).is(200).says("value=\"admin\"");
        let policy = page.header("content-security-policy");
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert_eq!(page.header("referrer-policy"), "same-origin");
        assert_eq!(page.header("cache-control"), "no-store");
    }
    let attempt = |password: &str, again: &str| {
        let form = [("token", token), ("password", password), ("again", again)];
        world.post("password", &[], &form)
    };
    attempt(PASSWORD, "other").is(400).says("not the same");
    attempt("short", "short").is(400).says("at least 10");
    let cookie = attempt(PASSWORD, PASSWORD).is(303).cookie();
    attempt(PASSWORD, PASSWORD).is(403).says("used already");
    world.get(&path, &[]).is(403).says("used already");

    let home = world.get("", &[("cookie", &cookie)]).is(200);
    let home = home.says("title=\"admin\"").says(">manager<");
    // Out, which needs the token of the page's own form; and in again with the password.
    let out = |token: &str| world.post("logout", &[("cookie", &cookie)], &[("form_token", token)]);
    out("").is(403);
    out("x").is(403);
    let gone = out(&home.field("form_token")).is(303);
    assert!(gone.header("set-cookie").contains("Max-Age=0"));
    world
        .get("", &[("cookie", &cookie)])
        .is(200)
        .says("Sign in");
    let sign_in = |login: &str, password: &str| {
        world.post("login", &[], &[("login", login), ("password", password)])
    };
    let wrong = sign_in("admin", "wrong").is(403).text;
    let unknown = sign_in("nobody", "wrong").is(403).text;
    assert_eq!(
        wrong.replace("\"admin\"", ""),
        unknown.replace("\"nobody\"", "")
    );
    sign_in("\"><script>", "x")
        .is(403)
        .says("&quot;&gt;&lt;script&gt;");
    let cookie = sign_in("admin", PASSWORD).is(303).cookie();
    world.get("login", &[("cookie", &cookie)]).is(303);
    for path in ["login", ""] {
        world.get(path, &[]).is(200);
    }
}

#[test]
fn who_guesses_passwords_has_to_wait() {
    let world = World::new();
    let cookie = world.signed_in();
    let attempt = |from: &str, login: &str| {
        let form = [("login", login), ("password", "a wrong password")];
        world.post("login", &[("x-forwarded-for", from)], &form)
    };
    let mut waits = 0;
    for nth in 0..16 {
        let page = attempt(&format!("192.0.2.{nth}"), "admin");
        if page.status == 429 {
            page.says("try again in");
            waits += 1;
        } else {
            page.is(403);
        }
    }
    assert!(waits >= 1, "one name from everywhere");
    world
        .get("", &[("cookie", &cookie)])
        .is(200)
        .says("Sign out");
    let limited = (0..40).any(|nth| attempt("192.0.2.99", &format!("p{nth}")).status == 429);
    assert!(limited, "one address, many names");
}

#[test]
fn a_token_from_the_page_registers_a_server_once() {
    let world = World::new();
    let cookie = world.signed_in();
    let to_login = world.get("servers", &[]).is(303);
    assert_eq!(to_login.header("location"), "login?next=servers");
    let place = "servers/token";
    world.post(place, &[], &[("project", "PROJ-1")]).is(303);

    let page = world.get("servers", &[("cookie", &cookie)]).is(200);
    page.says("<a href=\"servers/token\">Token</a>");
    let page = world.get(place, &[("cookie", &cookie)]).is(200);
    let form_token = page.says("(PROJ-1)").field("form_token");
    let make = |headers: &[(&str, &str)], form: &[(&str, &str)]| {
        let mut all = vec![("cookie", cookie.as_str())];
        all.extend(headers);
        world.post(place, &all, form)
    };
    make(&[], &[("project", "PROJ-1")]).is(403);
    let form = [("form_token", form_token.as_str()), ("project", "PROJ-1")];
    // Pages of others cannot send it, even if they knew it.
    make(&[("origin", "https://evil.example.com")], &form).is(403);
    make(&[("sec-fetch-site", "cross-site")], &form).is(403);
    make(&[], &[form[0], ("project", "PROJ-9")]).is(404);
    let page = make(&[("origin", &world.url)], &form).is(200);
    let page = page
        .says("slapos node register NAME --master-url https://")
        .says(&world.server.started().authority_fingerprint);
    let token = page.text.split("<pre tabindex=\"0\">").nth(1).unwrap();
    let token = token.split('<').next().unwrap();
    assert_eq!(token.len(), 32, "{token}");

    let header = [("x-access-token", token)];
    // Without a title nothing is tried.
    world.post("Person_requestComputer", &header, &[]).is(400);
    let form = [("title", "my node")];
    let made = world
        .post("Person_requestComputer", &header, &form)
        .is(200)
        .json();
    assert_eq!(made["reference"], "COMP-1");
    assert_eq!(made["relative_url"], "compute_node_module/1");
    let certificate = made["certificate"].as_str().unwrap();
    let start = certificate.find("COMP-").unwrap();
    let end = start + certificate[start..].find("/email").unwrap();
    assert_eq!(&certificate[start..end], "COMP-1");
    assert!(made["key"].as_str().unwrap().contains("PRIVATE KEY"));
    world
        .post("Person_requestComputer", &header, &form)
        .is(403)
        .says("used already");
}

#[test]
fn a_title_with_a_live_certificate_is_not_given_again() {
    let world = World::new();
    let name = world.certified();
    let register = |title: &str| {
        let token = world.node_token(&name);
        let form = [("title", title), ("access_token", token.as_str())];
        world.post("Person_requestComputer", &[], &form)
    };
    register("one").is(200);
    register("one").is(409).says("Certificate still active.");
    let other = register("two").is(200).json();
    assert_eq!(other["reference"], "COMP-2");

    // The legacy calls (P 5.5).
    let by = [("remote-user", name.as_str())];
    let form = [("computer_id", "COMP-1")];
    let generate = || world.post("generateComputerCertificate", &by, &form);
    generate().is(409).says("Certificate still active.");
    world.post("revokeComputerCertificate", &by, &form).is(200);
    world
        .post("revokeComputerCertificate", &by, &form)
        .is(404)
        .says("No certificate");
    let page = generate().is(200);
    assert_eq!(page.header("cache-control"), "private, no-store");
    let Value::Dict(made) = marshal::decode(page.text.as_bytes()).unwrap() else {
        panic!("{}", page.text);
    };
    assert!(made["key"].as_str().unwrap().contains("PRIVATE KEY"));
    world
        .post("generateComputerCertificate", &[], &form)
        .is(401);

    // Revoked, the title can be registered again, and the node is the same.
    world.post("revokeComputerCertificate", &by, &form).is(200);
    assert_eq!(register("one").is(200).json()["reference"], "COMP-1");
}

#[test]
fn a_token_gives_a_person_a_certificate_once() {
    let world = World::new();
    let name = world.certified();
    assert!(name.starts_with("CERTLOGIN-"), "{name}");
    let home = world.get("", &[("remote-user", &name)]).is(200);
    home.says("showed a person's certificate");
    let again = [("x-access-token", world.welcome.client_token.as_str())];
    world.post("Person_getCertificate", &again, &[]).is(403);
    for headers in [
        &[][..],
        &[("x-access-token", "")],
        &[("x-access-token", "nonsense")],
    ] {
        world.post("Person_getCertificate", headers, &[]).is(403);
    }
    // As a client joins a URL that ends in a slash.
    world.post("/Person_getCertificate", &[], &[]).is(403);
    world.get("Person_getCertificate", &[]).is(405);
    // A token for a node is used up by asking for something else.
    let token = world.node_token(&name);
    let header = [("x-access-token", token.as_str())];
    world
        .post("Person_getCertificate", &header, &[])
        .is(403)
        .says("registering a node");
    world
        .post("Person_requestComputer", &header, &[("title", "n")])
        .is(403)
        .says("used already");
    world
        .get("hateoas/computer_module/Base_getComputerToken", &[])
        .is(401);

    let pem = world.get("ca.crt", &[]).is(200).text;
    assert_eq!(
        pem,
        std::fs::read_to_string(&world.server.started().authority_file).unwrap()
    );
}
