#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use serde_json::json;
use slap::{InstallationState, InstanceTitle, ReleaseUrl};

use crate::domain::{Caller, Role};
use crate::store::{InstallationReport, Wanted};
use crate::web::tests::{World, approve, keeps_the_rules, leads_to};

const SHOP: &str = "https://example.com/shop/software.cfg";
const NEXT: &str = "https://example.com/shop-2/software.cfg";

/// Somebody else's browser.
async fn browser(world: &World, login: &str, role: Option<Role>) -> String {
    let (person, _) = world.rig.person(login, false).await;
    let (project, login) = (world.rig.project, login.parse().unwrap());
    let set = world
        .rig
        .store
        .set_member(Caller::Master, project, login, role);
    set.await.unwrap();
    world.rig.browser(person).await
}

/// A shop with two releases, the first one on a server.
async fn shop() -> World {
    let world = World::new().await;
    let rig = &world.rig;
    let fields = [
        ("project", "PROJ-1"),
        ("reference", "shop"),
        ("title", "The <Shop>"),
        ("release", SHOP),
    ];
    let made = rig.send_form(&world.cookie, "software", &fields).await;
    leads_to(&made, "software/1?done=product");
    let node = world.node("rack-1", 2).await;
    let release = || ReleaseUrl::new(SHOP).unwrap();
    let store = &rig.store;
    store
        .supply(
            Caller::Master,
            node,
            release(),
            InstallationState::Available,
        )
        .await
        .unwrap();
    let me = Caller::Node(node.key);
    store
        .report_installation(me, node, release(), InstallationReport::Available)
        .await
        .unwrap();
    rig.clock.advance(Duration::from_secs(3600));
    let added = rig
        .send_form(&world.cookie, "software/1", &[("release", NEXT)])
        .await;
    leads_to(&added, "../software/1?done=release");
    rig.clock.advance(Duration::from_secs(60));
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_yet() {
    let world = World::new().await;
    approve!("software-empty", world.page("software").await);
    // Who manages nothing makes nothing.
    let bob = browser(&world, "bob", Some(Role::Member)).await;
    let page = world.rig.page(&bob, "software").await.ok();
    assert!(page.contains("Who manages a project adds one") && !page.contains("Make the product"));
    let fields = [("project", "PROJ-1"), ("reference", "x")];
    let refused = world.rig.send_form(&bob, "software", &fields).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn products_and_their_releases() {
    let world = shop().await;
    let rig = &world.rig;
    approve!("software", world.page("software").await);
    approve!("product", world.page("software/1").await);
    approve!("product-servers", world.page("software/1/servers").await);
    approve!(
        "product-day",
        world
            .page("software/1?release=https%3A%2F%2Fexample.com%2Fshop%2Fsoftware.cfg")
            .await
    );
    assert!(world.page("software?q=SHOP").await.contains("software/1"));
    assert!(world.page("software?q=proj-1").await.contains("software/1"));
    assert!(
        world
            .page("software?q=100%25")
            .await
            .contains("No product is called like that")
    );
    let stranger = browser(&world, "eve", None).await;
    assert!(!rig.page(&stranger, "software").await.ok().contains("shop"));
    for path in [
        "software/1",
        "software/1/servers",
        "software/1/services",
        "software/9",
        "software/x",
    ] {
        assert_eq!(rig.page(&stranger, path).await.status, 404, "{path}");
    }
    // A member reads it, and changes nothing.
    let bob = browser(&world, "bob", Some(Role::Member)).await;
    let page = rig.page(&bob, "software/1").await.ok();
    assert!(
        page.contains("Request") && !page.contains("Take out"),
        "{page}"
    );
    let refused = rig
        .send_form(&bob, "software/1", &[("release", SHOP)])
        .await;
    assert_eq!(refused.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_stands_at_the_field() {
    let world = shop().await;
    let rig = &world.rig;
    for (path, fields, status, said) in [
        (
            "software",
            vec![("project", "PROJ-1"), ("reference", "")],
            400,
            "reference is one line",
        ),
        (
            "software",
            vec![
                ("project", "PROJ-1"),
                ("reference", "a"),
                ("release", "not a url"),
            ],
            400,
            "no address of a release",
        ),
        (
            "software",
            vec![("project", "PROJ-1"), ("reference", "a"), ("release", SHOP)],
            409,
            "belongs to one only",
        ),
        ("software/1", vec![("release", "")], 400, "aria-invalid"),
        (
            "software/1",
            vec![("release", NEXT), ("from", "soon")],
            400,
            "This is no day",
        ),
    ] {
        let refused = rig.send_form(&world.cookie, path, &fields).await;
        keeps_the_rules(path, &refused);
        assert_eq!(refused.status, status, "{fields:?}: {}", refused.body);
        assert!(
            refused.body.contains(said) && refused.body.contains("aria-invalid"),
            "{fields:?}: {}",
            refused.body
        );
    }
    assert_eq!(rig.page(&world.cookie, "software/2").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_that_use_a_product_are_listed() {
    let world = shop().await;
    let rig = &world.rig;
    let page = world.page("software/1/services").await;
    assert!(
        page.contains("No service uses it") && page.contains("product.shop"),
        "{page}"
    );
    let bob = browser(&world, "bob", Some(Role::Member)).await;
    let person = rig.store.sign_in_facts("bob".parse().unwrap()).await;
    let caller = Caller::Person {
        person: person.unwrap().unwrap().person,
        administrator: false,
    };
    for title in ["blue", "green"] {
        let wanted = Wanted {
            requester: None,
            project: None,
            title: InstanceTitle::new(title).unwrap(),
            release: ReleaseUrl::new(SHOP).unwrap(),
            software_type: None,
            parameters: None,
            sla: None,
            state: None,
            shared: None,
        };
        rig.store.request(caller, wanted).await.unwrap();
    }
    rig.clock.advance(Duration::from_secs(60));
    // Who manages the project sees all of them, with their owners.
    approve!("product-services", world.page("software/1/services").await);
    let page = world.page("software/1/services?q=BLUE&state=started").await;
    assert!(page.contains("HOSTSUBS-1") && !page.contains("HOSTSUBS-2"));
    let page = world.page("software/1/services?state=stopped").await;
    assert!(page.contains("No service is like that"), "{page}");
    assert!(
        world
            .page("projects/PROJ-1/services")
            .await
            .contains("HOSTSUBS-2")
    );
    assert!(!world.page("services").await.contains("HOSTSUBS-1"));
    let eve = browser(&world, "eve", None).await;
    let carol = browser(&world, "carol", Some(Role::Member)).await;
    for path in ["software/1/services", "projects/PROJ-1/services"] {
        assert!(rig.page(&bob, path).await.ok().contains("HOSTSUBS-2"));
        assert_eq!(rig.page(&eve, path).await.status, 404, "{path}");
        let page = rig.page(&carol, path).await.ok();
        assert!(
            page.contains("No service") && !page.contains("HOSTSUBS"),
            "{page}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_are_ranked_and_taken_out() {
    let world = shop().await;
    let rig = &world.rig;
    let best = async || {
        let all = rig
            .store
            .product_releases(Caller::Master, "shop".to_owned(), None);
        all.await.unwrap().remove(0)
    };
    assert_eq!(best().await, NEXT);
    let set = rig
        .send_form(
            &world.cookie,
            "software/1",
            &[("release", SHOP), ("now", "1")],
        )
        .await;
    leads_to(&set, "../software/1?done=release");
    assert_eq!(best().await, SHOP);
    // Meant for a day to come, it waits.
    let day = [("release", NEXT), ("from", "2099-01-31")];
    leads_to(
        &rig.send_form(&world.cookie, "software/1", &day).await,
        "../software/1?done=release",
    );
    assert!(world.page("software/1").await.contains("2099-01-31"));

    let question = "software/1/remove?release=https%3A%2F%2Fexample.com%2Fshop-2%2Fsoftware.cfg";
    assert!(
        world
            .page(question)
            .await
            .contains("Take this release out?")
    );
    let out = [("release", NEXT)];
    let done = rig
        .send_form(&world.cookie, "software/1/remove", &out)
        .await;
    leads_to(&done, "../../software/1?done=release-removed");
    let again = rig
        .send_form(&world.cookie, "software/1/remove", &out)
        .await;
    assert_eq!(again.status, 404);
    assert_eq!(best().await, SHOP);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_installed_from_its_product() {
    let world = shop().await;
    let rig = &world.rig;
    let fields = [("release", NEXT), ("server", "COMP-1")];
    let done = rig
        .send_form(&world.cookie, "software/1/servers", &fields)
        .await;
    leads_to(&done, "../../software/1/servers?done=supplied");
    assert!(world.page("software/1/servers").await.contains("Asked for"));
    // What no product has is said, and can become one.
    let loose = ReleaseUrl::new("https://example.com/loose.cfg").unwrap();
    let node = "COMP-1".parse().unwrap();
    rig.store
        .supply(Caller::Master, node, loose, InstallationState::Available)
        .await
        .unwrap();
    let page = world.page("software").await;
    assert!(
        page.contains("in no product") && page.contains("loose.cfg"),
        "{page}"
    );
    let offered = "software?project=PROJ-1&release=https%3A%2F%2Fexample.com%2Floose.cfg";
    let page = world.page(offered).await;
    assert!(
        page.contains("name=\"release\" type=\"text\" value=\"https://example.com/loose.cfg\"")
    );
    // The product there is keeps its title, and gets the release.
    let fields = [
        ("project", "PROJ-1"),
        ("reference", "shop"),
        ("release", "https://example.com/loose.cfg"),
    ];
    let added = rig.send_form(&world.cookie, "software", &fields).await;
    leads_to(&added, "software/1?done=product");
    let page = world.page("software").await;
    assert!(
        page.contains("The &lt;Shop&gt;") && !page.contains("in no product"),
        "{page}"
    );
    let out = [("release", "https://example.com/loose.cfg")];
    rig.send_form(&world.cookie, "software/1/remove", &out)
        .await;
    let foreign = [
        ("release", "https://example.com/loose.cfg"),
        ("server", "COMP-1"),
    ];
    let refused = rig
        .send_form(&world.cookie, "software/1/servers", &foreign)
        .await;
    assert_eq!(refused.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_documented() {
    let world = World::new().await;
    let rig = &world.rig;
    let directory = tempfile::tempdir().unwrap();
    let release = directory.path().join("software.cfg");
    let release = release.to_str().unwrap();
    let told = json!({"name": "Hello", "description": "Greets.", "software-type": {
        "default": {"title": "A greeter", "request": "hello.json", "index": 0},
        "quiet": {"title": "A quiet one", "index": 1}}});
    std::fs::write(format!("{release}.json"), told.to_string()).unwrap();
    let schema = include_str!("../../../../../software/helloworld/instance-input-schema.json");
    std::fs::write(directory.path().join("hello.json"), schema).unwrap();
    let fields = [
        ("project", "PROJ-1"),
        ("reference", "hello"),
        ("release", release),
    ];
    rig.send_form(&world.cookie, "software", &fields).await;
    let page = world.page("software/1/parameters").await;
    let place = directory.path().to_str().unwrap();
    let encoded = place.replace('/', "%2F");
    approve!(
        "product-parameters",
        page.replace(place, "/dir").replace(&encoded, "%2Fdir")
    );
    let page = world.page("software/1/parameters?type=quiet").await;
    assert!(page.contains("no schema of its parameters"), "{page}");
    assert_eq!(
        rig.page(&world.cookie, "software/1/parameters?release=x")
            .await
            .status,
        404
    );
    std::fs::remove_file(format!("{release}.json")).unwrap();
    // What was read is kept for a while; a product without releases has nothing to read.
    let empty = [("project", "PROJ-1"), ("reference", "bare")];
    rig.send_form(&world.cookie, "software", &empty).await;
    assert!(
        world
            .page("software/2/parameters")
            .await
            .contains("No release yet")
    );
    assert!(world.page("software/2").await.contains("No release yet"));
}
