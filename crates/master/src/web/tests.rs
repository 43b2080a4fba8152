//! The pages as a browser gets them: approved as snapshots, with a clock that stands still; and the
//! rules every page keeps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use axum::http::Method;

use super::assets::ASSETS;
use crate::api::endpoint::Verb;
use crate::api::testing::{Reply, Rig};
use crate::api::{Api, Audience, endpoints};
use crate::domain::{PersonKey, Role};
use crate::store::{NodeDescription, PartitionDescription};

/// What a page, its style and its script weigh together at most, in bytes.
const PAGE_BYTES_MAX: usize = 100_000;

/// A Master with a few things on it, and the cookie of a manager's browser.
pub(super) struct World {
    pub(super) rig: Rig,
    pub(super) person: PersonKey,
    pub(super) cookie: String,
}

impl World {
    /// With a manager of the project and nothing else.
    pub(super) async fn new() -> Self {
        let rig = Rig::new().await;
        rig.member("ada", Role::Manager).await;
        let person = rig
            .store
            .sign_in_facts("ada".parse().unwrap())
            .await
            .unwrap()
            .unwrap()
            .person;
        let cookie = rig.browser(person).await;
        World {
            rig,
            person,
            cookie,
        }
    }

    /// A node with so many partitions that called just now.
    pub(super) async fn node(
        &self,
        title: &str,
        partitions: usize,
    ) -> crate::domain::NodeReference {
        let (node, _) = self.rig.node(title).await;
        let me = crate::domain::Caller::Node(node.key);
        let description = NodeDescription {
            partitions: (0..partitions)
                .map(|number| PartitionDescription {
                    name: format!("slappart{number}"),
                    addresses: vec![crate::store::Address {
                        interface: format!("slaptap{number}"),
                        ip: format!("2001:db8::{number:x}"),
                        route: None,
                    }],
                    capabilities: Vec::new(),
                })
                .collect(),
            further: "{}".to_owned(),
        };
        self.rig.store.format(me, node, description).await.unwrap();
        node
    }

    /// A page that is there.
    pub(super) async fn page(&self, path: &str) -> String {
        let reply = self.rig.page(&self.cookie, path).await;
        keeps_the_rules(path, &reply);
        show(path, &reply.body);
        reply.ok()
    }
}

/// Writes a page where the variable `SHOW` says, for whoever wants to see it: a browser opens it from
/// there with its style.
fn show(path: &str, page: &str) {
    let Some(directory) = std::env::var_os("SHOW").map(std::path::PathBuf::from) else {
        return;
    };
    let plain = |c: char| match c {
        '/' | '-' | '.' => c,
        c if c.is_ascii_alphanumeric() => c,
        _ => '_',
    };
    let name: String = path.chars().map(plain).collect();
    let name = if name.is_empty() { "index" } else { &name };
    for (name, text) in [
        (format!("{name}.html"), page),
        (ASSETS.style.path.clone(), ASSETS.style.text()),
        (ASSETS.mark.path.clone(), ASSETS.mark.text()),
    ] {
        let file = directory.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
}

/// What holds for every page.
#[track_caller]
pub(super) fn keeps_the_rules(path: &str, reply: &Reply) {
    let body = &reply.body;
    let policy = reply.header("content-security-policy").unwrap_or_default();
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{path}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{path}: {policy}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
    for forbidden in [
        " style=\"",
        " onclick=",
        "javascript:",
        "<script>",
        "http-equiv=\"Content",
    ] {
        assert!(!body.contains(forbidden), "{path} has {forbidden}");
    }
    assert_eq!(body.matches("<h1>").count(), 1, "{path}");
    assert!(body.contains("<main id=\"main\""), "{path}");
    let weight = body.len() + ASSETS.weight();
    assert!(weight < PAGE_BYTES_MAX, "{path} weighs {weight}");
    // Every form that writes carries the token of its browser.
    for form in body.split("<form").skip(1) {
        let form = form.split("</form>").next().unwrap();
        let is_door = ["login\"", "password\""]
            .iter()
            .any(|end| form.contains(end));
        if form.contains("method=\"post\"") && !is_door {
            assert!(form.contains("name=\"form_token\""), "{path}: {form}");
        }
    }
}

/// What a form leads to.
#[track_caller]
pub(super) fn leads_to(reply: &Reply, place: &str) {
    let location = reply.header("location").unwrap_or_default();
    assert_eq!((reply.status, location), (303, place), "{}", reply.body);
}

/// A page without one of its parts.
fn without(page: &str, begin: &str, end: &str) -> String {
    let found = page
        .split_once(begin)
        .and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    match found {
        Some((before, after)) => format!("{before}{begin}…{end}{after}"),
        None => page.to_owned(),
    }
}

/// Snapshots are not to change with every line of the style, nor with random secrets.
pub(super) fn plain(page: &str) -> String {
    // The frame is the same everywhere, and approved once.
    let mut page = without(page, "<header class=\"side\">", "</header>");
    page = without(&page, "<head>", "</head>");
    for asset in [&ASSETS.style, &ASSETS.script, &ASSETS.mark] {
        page = page.replace(&asset.path, &asset.name);
    }
    // One tag a line, so that a difference is seen where it is.
    page = page.replace("><", ">\n<");
    let mut kept = String::new();
    let mut drawing = false;
    for line in page.lines() {
        if line.starts_with("<svg class=\"i\"") {
            drawing = true;
            kept.push_str("<svg…>\n");
        }
        if !drawing {
            let line = match line.split_once("name=\"form_token\" value=\"") {
                Some((before, _)) => format!("{before}name=\"form_token\">"),
                None => line.to_owned(),
            };
            kept.push_str(&line);
            kept.push('\n');
        }
        if drawing && line.contains("</svg>") {
            drawing = false;
            if let Some((_, rest)) = line.split_once("</svg>")
                && !rest.is_empty()
            {
                kept.push_str(rest);
                kept.push('\n');
            }
        }
    }
    kept
}

macro_rules! approve {
    ($name:literal, $page:expr) => {
        let page = $crate::web::tests::plain(&$page);
        insta::with_settings!({
            prepend_module_to_snapshot => false,
            filters => vec![
                (r"[0-9a-f]{64}", "[fingerprint]"),
                (r"value=.browser-\d+.", "value=[cookie]"),
                // An issued certificate's number is random, and so is the name it gets.
                (r"title=.(\[serial\]|[0-9A-F]{32,40}).>[0-9A-F]+…[0-9A-F]+", "title=[serial]>[short serial]"),
                (r"CERTLOGIN-\d+-[0-9a-f]{16}", "CERTLOGIN-[random]"),
            ]
        }, {
            insta::assert_snapshot!($name, page);
        });
    };
}
#[allow(unused_imports)]
pub(super) use approve;

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_signed_in_is_shown_the_door() {
    let world = World::new().await;
    let rig = &world.rig;
    let html = [("accept", "text/html")];
    let reply = rig.send(None, Method::GET, "", &html, "").await;
    keeps_the_rules("", &reply);
    approve!("welcome", reply.ok());
    let reply = rig.send(None, Method::GET, "login", &html, "").await;
    keeps_the_rules("login", &reply);
    approve!("login", reply.ok());

    for endpoint in endpoints() {
        if (endpoint.api, endpoint.audience) != (Api::Web, Audience::SignedIn) {
            continue;
        }
        let path = endpoint.name.replace(['{', '}'], "");
        let method = match endpoint.verb {
            Verb::Get => Method::GET,
            _ => Method::POST,
        };
        let reply = rig.send(None, method, &path, &[], "").await;
        assert_eq!(reply.status, 303, "{path}");
        let up = "../".repeat(path.matches('/').count());
        let place = reply.header("location").unwrap();
        assert!(place.starts_with(&format!("{up}login")), "{path}: {place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_in_comes_to_the_page_that_was_wanted() {
    let world = World::new().await;
    let rig = &world.rig;
    let hash = crate::auth::password::hash("correct horse battery").unwrap();
    let ada = crate::domain::Caller::Person {
        person: world.person,
        administrator: false,
    };
    rig.store
        .set_password(ada, world.person, hash)
        .await
        .unwrap();
    let reply = rig
        .send(None, Method::GET, "servers?q=a%20b&state=silent", &[], "")
        .await;
    let door = reply.header("location").unwrap().to_owned();
    assert_eq!(door, "login?next=servers%3Fq%3Da%2520b%26state%3Dsilent");
    let page = rig.send(None, Method::GET, &door, &[], "").await.ok();
    assert!(
        page.contains("value=\"servers?q=a%20b&amp;state=silent\""),
        "{page}"
    );
    let sign_in = async |next: &str| {
        let fields = [
            ("login", "ada"),
            ("password", "correct horse battery"),
            ("next", next),
        ];
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let reply = rig.send(None, Method::POST, "login", &[], form).await;
        assert_eq!(reply.status, 303);
        assert!(reply.header("set-cookie").unwrap().contains("HttpOnly"));
        reply.header("location").unwrap().to_owned()
    };
    assert_eq!(sign_in("servers?q=a%20b").await, "servers?q=a%20b");
    for elsewhere in [
        "https://evil.example/",
        "//evil.example",
        "/servers",
        "../servers",
        "javascript:alert(1)",
        "metrics",
        "logout",
        "",
    ] {
        assert_eq!(sign_in(elsewhere).await, "./", "{elsewhere}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_lost_keeps_the_menu() {
    let world = World::new().await;
    let reply = world.rig.page(&world.cookie, "servers/none/of/these").await;
    assert_eq!(reply.status, 404);
    keeps_the_rules("servers/none/of/these", &reply);
    assert!(
        reply.body.contains("href=\"../../../servers\""),
        "{}",
        reply.body
    );
    approve!("lost", reply.body);
    // Programs get what they always got.
    let reply = world
        .rig
        .send(None, Method::GET, "none/of/these", &[], "")
        .await;
    assert_eq!(reply.status, 404);
    assert!(!reply.body.contains("<main"), "{}", reply.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_others_are_refused() {
    let world = World::new().await;
    let headers = [("cookie", world.cookie.as_str())];
    for endpoint in endpoints() {
        if endpoint.api != Api::Web || endpoint.verb != Verb::Post {
            continue;
        }
        if endpoint.audience != Audience::SignedIn {
            continue;
        }
        let path = endpoint.name.replace(['{', '}'], "");
        let reply = world
            .rig
            .send(None, Method::POST, &path, &headers, "form_token=wrong")
            .await;
        assert_eq!(reply.status, 403, "{path}: {}", reply.body);
        assert!(reply.body.contains("out of date"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn assets_are_kept_for_ever_under_their_names() {
    let world = World::new().await;
    let page = world.page("").await;
    for asset in [&ASSETS.style, &ASSETS.script, &ASSETS.mark] {
        assert!(page.contains(&asset.path), "{}", asset.path);
        let reply = world
            .rig
            .send(None, Method::GET, &asset.path, &[], "")
            .await;
        assert!(reply.header("cache-control").unwrap().contains("immutable"));
        assert!(!reply.ok().is_empty());
    }
    let reply = world
        .rig
        .send(None, Method::GET, "assets/style-0.css", &[], "")
        .await;
    assert_eq!(reply.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_frame_is_around_every_page() {
    let world = World::new().await;
    let page = world.page("account/sessions").await;
    let (_, rest) = page.split_once("<head>").unwrap();
    let frame = rest.split_once("<main").unwrap().0;
    // What is approved is what other snapshots leave out.
    let frame = frame.replace("<header class=\"side\">", "<header>");
    approve!("frame", frame);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overview_of_nothing_and_of_something() {
    let world = World::new().await;
    approve!("overview-empty", world.page("").await);
    let node = world.node("one", 4).await;
    world.node("two", 2).await;
    world.rig.clock.advance(Duration::from_secs(3600));
    world.rig.store.close_silent_nodes().await.unwrap();
    let me = crate::domain::Caller::Node(node.key);
    world.rig.store.node_revision(me, node).await.unwrap();
    approve!("overview", world.page("").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_servers_is_searched_and_paged() {
    let world = World::new().await;
    let empty = world.page("servers").await;
    approve!("servers-empty", empty);
    for number in 0..52 {
        world.node(&format!("node-{number}"), 3).await;
    }
    let first = world.page("servers").await;
    assert_eq!(
        first.matches("<tr>").count(),
        51,
        "the heading and a page of them"
    );
    assert!(first.contains("href=\"servers?page=2\""), "{first}");
    let second = world.page("servers?page=2").await;
    assert_eq!(second.matches("<tr>").count(), 3);
    let named = world.page("servers?q=NODE-51").await;
    assert_eq!(named.matches("<tr>").count(), 2);
    approve!("servers", named);
    let called = world.page("servers?q=comp-7").await;
    assert!(called.contains("node-6"), "{called}");
    for nothing in ["servers?q=%25", "servers?state=silent", "servers?page=99"] {
        let page = world.page(nothing).await;
        assert!(
            page.contains("No server is like that") || nothing.contains("page"),
            "{page}"
        );
        assert_eq!(page.matches("<tr>").count(), 0, "{nothing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_made_where_the_tutorial_says() {
    let world = World::new().await;
    let servers = world.page("servers").await;
    assert!(
        servers.contains("<a href=\"servers/token\">Token</a>"),
        "{servers}"
    );
    approve!("token", world.page("servers/token").await);
    let project = world.rig.project.to_string();
    let made = world
        .rig
        .send_form(&world.cookie, "servers/token", &[("project", &project)])
        .await;
    keeps_the_rules("servers/token", &made);
    let made = made.ok();
    let (_, rest) = made.split_once("<pre tabindex=\"0\">").unwrap();
    let token = rest.split_once("</pre>").unwrap().0;
    assert_eq!(
        made.matches(token).count(),
        3,
        "the token and two commands with it"
    );
    approve!("token-made", made.replace(token, "[token]"));
}
