//! A service is requested and its parameters changed, as a browser without scripts does it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value as Json, json};
use slap::ReleaseUrl;

use crate::api::testing::Reply;
use crate::domain::{Caller, Role};
use crate::store::Texts;
use crate::web::tests::{World, approve, keeps_the_rules};

/// A world with a product whose release is in a directory.
struct Shop {
    world: World,
    release: String,
    directory: tempfile::TempDir,
}

impl Shop {
    async fn new(told: &Json, files: &[(&str, Json)]) -> Self {
        let world = World::new().await;
        let directory = tempfile::tempdir().unwrap();
        let release = directory.path().join("software.cfg");
        let release = release.to_str().unwrap().to_owned();
        if !told.is_null() {
            std::fs::write(format!("{release}.json"), told.to_string()).unwrap();
        }
        for (name, schema) in files {
            std::fs::write(directory.path().join(name), schema.to_string()).unwrap();
        }
        let store = &world.rig.store;
        let project = world.rig.project;
        let product = ("shop".to_owned(), "Shop".to_owned());
        store
            .create_product(Caller::Master, project, product.0.clone(), product.1)
            .await
            .unwrap();
        let url = ReleaseUrl::new(release.as_str()).unwrap();
        store
            .add_release(Caller::Master, project, product.0, url, None)
            .await
            .unwrap();
        Shop {
            world,
            release,
            directory,
        }
    }

    /// With two types, one of them described.
    async fn told() -> Self {
        let told = json!({"name": "Shop", "description": "Sells.", "serialisation": "json-in-xml",
            "software-type": {
                "default": {"title": "A shop", "request": "shop.json", "index": 0},
                "counter": {"title": "A counter", "request": "gone.json", "index": 1,
                            "serialisation": "xml"}}});
        let schema = json!({"type": "object", "additionalProperties": false, "required": ["owner"],
            "properties": {
                "owner": {"title": "Owner", "type": "string", "minLength": 1},
                "port": {"title": "Port", "$ref": "parts.json#/definitions/port"},
                "shelves": {"title": "Shelves", "type": "array", "items": {
                    "title": "Shelf", "type": "object", "required": ["wood"],
                    "properties": {"wood": {"enum": ["oak", "fir"]}}}}}});
        let parts = json!({"definitions": {"port": {"type": "integer", "minimum": 1024}}});
        Shop::new(&told, &[("shop.json", schema), ("parts.json", parts)]).await
    }

    fn address(&self, kind: &str) -> String {
        form_urlencoded::Serializer::new("services/new?".to_owned())
            .append_pair("project", &self.world.rig.project.to_string())
            .append_pair("release", &self.release)
            .append_pair("type", kind)
            .finish()
            .replace("?&", "?")
    }

    /// Sends a step.
    async fn send(&self, fields: &[(&str, &str)]) -> Reply {
        let project = self.world.rig.project.to_string();
        let mut all = vec![("project", project.as_str()), ("release", &self.release)];
        if !fields.iter().any(|(name, _)| *name == "type") {
            all.push(("type", "default"));
        }
        all.extend(fields);
        self.post("services/new", &all).await
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let reply = self
            .world
            .rig
            .send_form(&self.world.cookie, path, fields)
            .await;
        if reply.status != 303 {
            keeps_the_rules(path, &reply);
        }
        reply
    }

    fn plain(&self, page: &str) -> String {
        page.replace(self.directory.path().to_str().unwrap(), "/shop")
    }

    async fn parameters(&self, title: &str) -> (String, Texts) {
        let ada = Caller::Person {
            person: self.world.person,
            administrator: false,
        };
        let store = &self.world.rig.store;
        let tree = store.tree_titled(ada, title.to_owned()).await.unwrap();
        let whole = store.whole_tree(ada, tree.unwrap()).await.unwrap();
        let root = &whole.members[0].0;
        (format!("services/{}", whole.key), root.parameters.clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_requested_step_by_step() {
    let shop = Shop::told().await;
    let page = shop.world.page("services/new").await;
    assert!(page.contains("<h2>Shop</h2>"), "{page}");
    let page = shop.world.page(&shop.address("")).await;
    assert!(page.contains("A counter"), "{page}");
    let page = shop.world.page(&shop.address("default")).await;
    approve!("request-parameters", shop.plain(&page));

    // A row more, with what was typed.
    let typed = [("stage", "parameters"), ("tab", "form"), ("p.owner", "Ada")];
    let with = |more: &[(&'static str, &'static str)]| {
        let mut fields = typed.to_vec();
        fields.extend(more);
        fields
    };
    let page = shop.send(&with(&[("do", "add p.shelves 0")])).await.ok();
    assert!(page.contains(" name=\"p.shelves.0.wood\""), "{page}");
    assert!(page.contains("value=\"Ada\""), "{page}");

    // What is wrong stands at its field.
    let wrong = [("p.port", "80"), ("p.shelves:rows", "1"), ("do", "next")];
    let reply = shop.send(&with(&wrong)).await;
    assert_eq!(reply.status, 400);
    for id in ["p.port-error", "p.shelves.0.wood-error"] {
        assert!(
            reply.body.contains(&format!(" id=\"{id}\"")),
            "{}",
            reply.body
        );
    }

    // The other tab has the same.
    let right = [
        ("p.port", "8080"),
        ("p.shelves:rows", "1"),
        ("p.shelves.0.wood", "1"),
    ];
    let mut other = with(&right);
    other.push(("do", "json"));
    let page = shop.send(&other).await.ok();
    assert!(page.contains("&quot;wood&quot;: &quot;fir&quot;"), "{page}");
    let json = r#"{"owner": "Ada", "port": 8080, "shelves": [{"wood": "fir"}]}"#;
    let back = [
        ("stage", "parameters"),
        ("tab", "json"),
        ("json", json),
        ("do", "form"),
    ];
    let page = shop.send(&back).await.ok();
    assert!(page.contains(" name=\"p.shelves.0.wood\""), "{page}");

    let mut done = with(&right);
    done.push(("do", "next"));
    let page = shop.send(&done).await.ok();
    assert!(page.contains(" name=\"document\""), "{page}");
    let placed = |more: &[(&'static str, &'static str)]| {
        let mut fields = vec![("stage", "place"), ("document", json), ("do", "next")];
        fields.extend(more);
        fields
    };
    let reply = shop.send(&placed(&[])).await;
    assert_eq!(reply.status, 400);
    assert!(reply.body.contains("Give it a title."), "{}", reply.body);
    let page = shop.send(&placed(&[("title", "my shop")])).await.ok();
    approve!("request-review", shop.plain(&page));

    let send = [
        ("stage", "review"),
        ("document", json),
        ("title", "my shop"),
        ("state", "stopped"),
        ("do", "send"),
    ];
    let reply = shop.send(&send).await;
    assert_eq!(reply.status, 303, "{}", reply.body);
    let (path, parameters) = shop.parameters("my shop").await;
    let place = reply.header("location").unwrap();
    assert_eq!(place, format!("../{path}?done=requested"));
    let document: Json = serde_json::from_str(&parameters["_"]).unwrap();
    assert_eq!(document, serde_json::from_str::<Json>(json).unwrap());
    // Sent again it changes nothing: one's services are changed elsewhere.
    let reply = shop.send(&send).await;
    assert_eq!(reply.status, 400);
    assert!(
        reply.body.contains("of this title already"),
        "{}",
        reply.body
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_schema_there_is_json() {
    let shop = Shop::told().await;
    let page = shop.world.page(&shop.address("counter")).await;
    assert!(page.contains("There is no form"), "{page}");
    assert!(page.contains("gone.json"), "{page}");
    let typed = |json: &'static str| {
        [
            ("type", "counter"),
            ("stage", "parameters"),
            ("tab", "json"),
            ("json", json),
            ("do", "next"),
        ]
    };
    for wrong in ["{", "[1]"] {
        let reply = shop.send(&typed(wrong)).await;
        assert_eq!(reply.status, 400, "{}", reply.body);
    }
    let page = shop.send(&typed("{\"a\": true, \"b\": \"x\"}")).await.ok();
    assert!(page.contains(" name=\"document\""), "{page}");
    let send = [
        ("type", "counter"),
        ("stage", "review"),
        ("document", "{\"a\": true, \"b\": \"x\"}"),
        ("title", "c"),
        ("do", "send"),
    ];
    assert_eq!(shop.send(&send).await.status, 303);
    let (_, parameters) = shop.parameters("c").await;
    assert_eq!(parameters["a"], "True");
    assert_eq!(parameters["b"], "x");

    // A release that says nothing is asked for by its type's name.
    let silent = Shop::new(&Json::Null, &[]).await;
    let page = silent.world.page(&silent.address("")).await;
    assert!(page.contains(" name=\"serialisation\""), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_releases_of_products_one_sees_are_read() {
    let shop = Shop::told().await;
    let other = shop.release.replace("software.cfg", "other.cfg");
    std::fs::write(format!("{other}.json"), "{\"name\": \"Secret\"}").unwrap();
    let address = shop.address("").replace("software.cfg", "other.cfg");
    let reply = shop.world.rig.page(&shop.world.cookie, &address).await;
    assert_eq!(reply.status, 404);
    assert!(!reply.body.contains("Secret"));
    // Nor what belongs to the project of others.
    let (person, _) = shop.world.rig.person("eve", false).await;
    let eve = shop.world.rig.browser(person).await;
    let reply = shop.world.rig.page(&eve, &shop.address("")).await;
    assert_eq!(reply.status, 404);
    let page = shop.world.rig.page(&eve, "services/new").await.ok();
    assert!(page.contains("No product yet"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_changed_after_their_difference_was_shown() {
    let shop = Shop::told().await;
    let send = [
        ("stage", "review"),
        ("document", r#"{"owner": "Ada", "port": 8080}"#),
        ("title", "s"),
        ("do", "send"),
    ];
    assert_eq!(shop.send(&send).await.status, 303);
    let (path, _) = shop.parameters("s").await;
    let path = format!("{path}/parameters");
    let page = shop.world.page(&path).await;
    assert!(
        page.contains(" name=\"p.port\" type=\"text\" inputmode=\"numeric\" value=\"8080\""),
        "{page}"
    );
    let typed = [
        ("tab", "form"),
        ("p.owner", "Bob"),
        ("p.port", "8080"),
        ("do", "next"),
    ];
    let page = shop.post(&path, &typed).await.ok();
    assert!(page.contains("<del><code>Ada</code></del>"), "{page}");
    assert!(page.contains("<ins><code>Bob</code></ins>"), "{page}");
    assert!(!page.contains("8080</code>"), "{page}");
    let document = r#"{"owner": "Bob", "port": 8080}"#;
    let send = [("stage", "review"), ("document", document), ("do", "send")];
    let reply = shop.post(&path, &send).await;
    assert_eq!(reply.status, 303, "{}", reply.body);
    let (_, parameters) = shop.parameters("s").await;
    assert!(parameters["_"].contains("\"Bob\""), "{parameters:?}");

    // Who manages the project sees it, and changes nothing of others.
    shop.world.rig.member("max", Role::Manager).await;
    let max = shop
        .world
        .rig
        .store
        .sign_in_facts("max".parse().unwrap())
        .await;
    let max = shop.world.rig.browser(max.unwrap().unwrap().person).await;
    for reply in [
        shop.world.rig.page(&max, &path).await,
        shop.world.rig.send_form(&max, &path, &send).await,
    ] {
        assert_eq!(reply.status, 403, "{}", reply.body);
    }
}
