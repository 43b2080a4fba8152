//! The dashboard as people see it: Debian's Chromium walks it from the administrator's first link to
//! signing out, against a Master with mutual TLS and a node that really deploys. The walk itself is
//! in `tests/browser`.
//!
//! With `SLAPOS_SCREENSHOTS=docs/images` (`make screenshots`) it makes the pictures of the guide.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::time::Duration;

use serde_json::json;
use testkit::{Browser, Rig, eventually_some, project};

/// Products with their titles, and where their release is. The last one is never supplied.
const PRODUCTS: [(&str, &str, &str); 3] = [
    ("helloworld", "Hello World", "software/helloworld"),
    ("shop", "Shop", "tests/software/tree"),
    ("blog", "Blog", "tests/software/site"),
];

/// The link with which the first administrator sets a password.
fn first_link(rig: &Rig) -> String {
    let what = "the Master says where the administrator comes in";
    eventually_some(what, Duration::from_secs(60), || {
        let said = rig.read("log/master.log");
        let words = said.lines().flat_map(str::split_whitespace);
        let mut links = words.filter(|word| word.contains("/password?token="));
        links.next().map(str::to_owned)
    })
}

#[test]
fn a_person_walks_the_whole_dashboard() {
    let rig = Rig::builder(env!("CARGO_BIN_EXE_slapos")).build();
    let target = rig.program().target_directory();
    let Some(browser) = Browser::get(&target) else {
        return;
    };
    // The release is read from this machine's files, which a Master does not do unless told.
    let options = rig.write("master.cfg", "[master]\ncatalogue_local = true\n");
    let listen = format!("127.0.0.1:{}", rig.port().number());
    let url = rig.full_master_url();
    let start = rig
        .slapos(["master", "start", "--listen", &listen, "--public-url", &url])
        .arg("--cfg")
        .arg(options)
        .arg("--data-dir")
        .arg(rig.full_master_data());
    rig.start_master_as(&start);

    let products: Vec<[String; 3]> = PRODUCTS
        .iter()
        .map(|(reference, title, source)| {
            [
                (*reference).to_owned(),
                (*title).to_owned(),
                rig.release(source),
            ]
        })
        .collect();

    // The last one has two types; and of the first there is a better release one day.
    let types = json!({
        "name": "Blog",
        "serialisation": "xml",
        "software-type": {
            "default": {"title": "A blog", "request": "nothing.json", "index": 0},
            "mirror": {"title": "A mirror", "description": "Follows a blog", "request": "nothing.json", "index": 1},
        },
    });
    rig.write("releases/site/software.cfg.json", types.to_string());
    rig.write("releases/site/nothing.json", r#"{"type": "object"}"#);
    let newer = rig.path().join("releases/newer/software.cfg");

    let pictures = std::env::var_os("SLAPOS_SCREENSHOTS").map(|path| project().join(path));
    let settings = json!({
        "url": url,
        "link": first_link(&rig),
        "chromium": browser.chromium,
        "slapos": rig.program().path,
        "directory": rig.path().join("home"),
        "builder": target.join("test-builder"),
        "products": products,
        "newer": newer,
        "pictures": pictures,
        // The last page, when the walk fails.
        "failure": target.join("dashboard-failure.png"),
    });
    let settings = rig.write("walk.json", settings.to_string());
    let walk = rig
        .invoke(&browser.node)
        .arg(project().join("tests/browser/walk.js"))
        .arg(settings)
        .env("NODE_PATH", &browser.modules)
        // What the browser leaves behind goes with the rig.
        .env("TMPDIR", rig.path().join("run"))
        .run();
    println!("{}", walk.stdout);
    walk.ok();

    rig.shut_down();
}
