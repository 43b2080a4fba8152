//! The pages of services, as their owner and others get them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use slap::{InstallationState, InstanceState, InstanceTitle, ReleaseUrl, SoftwareType};
use slap_server::promises::Promise;

use crate::domain::{Caller, InstanceKey, NodeReference, Role, TreeKey};
use crate::store::{
    InstallationReport, InstanceRecord, Reported, Requested, Subject, Texts, Wanted,
};
use crate::web::tests::{World, approve, keeps_the_rules};

const RELEASE: &str = "https://example.com/shop/software.cfg";

/// A world with a server that has the release, and a service of several instances on it.
struct Services {
    world: World,
    node: NodeReference,
    tree: TreeKey,
    root: InstanceKey,
}

fn texts(pairs: &[(&str, &str)]) -> Texts {
    pairs
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}

fn wanted(title: &str, parameters: &[(&str, &str)]) -> Wanted {
    Wanted {
        requester: None,
        project: None,
        title: InstanceTitle::new(title).unwrap(),
        release: ReleaseUrl::new(RELEASE).unwrap(),
        software_type: None,
        parameters: Some(texts(parameters)),
        sla: None,
        state: None,
        shared: None,
    }
}

impl Services {
    async fn new() -> Self {
        let world = World::new().await;
        let node = world.node("rack one", 4).await;
        let store = &world.rig.store;
        let ada = Caller::Person {
            person: world.person,
            administrator: false,
        };
        let me = Caller::Node(node.key);
        let release = ReleaseUrl::new(RELEASE).unwrap();
        store
            .supply(ada, node, release.clone(), InstallationState::Available)
            .await
            .unwrap();
        store
            .report_installation(me, node, release, InstallationReport::Available)
            .await
            .unwrap();
        let services = Services {
            world,
            node,
            tree: TreeKey(0),
            root: InstanceKey(0),
        };
        let root = services
            .request(
                ada,
                wanted(
                    "shop",
                    &[("domain", "shop.example"), ("theme", "<b>dark</b>")],
                ),
            )
            .await;
        let by = Caller::Instance {
            instance: root.key,
            tree: root.tree,
        };
        let part = |title: &str, shared: bool| Wanted {
            requester: Some(Subject::Instance(root.key)),
            software_type: Some(SoftwareType::new("part").unwrap()),
            shared: Some(shared),
            ..wanted(title, &[])
        };
        let database = services.request(by, part("database", false)).await;
        services.request(by, part("frontend", false)).await;
        services.request(by, part("account", true)).await;
        let store = &services.world.rig.store;
        for (key, reported) in [
            (root.key, Reported::Started),
            (database.key, Reported::Started),
        ] {
            store
                .report_instance(me, Subject::Instance(key), reported)
                .await
                .unwrap();
        }
        let published = texts(&[
            ("url", "https://shop.example/"),
            ("admin-password", "hunter2"),
            ("note", "<script>alert(1)</script>"),
        ]);
        store
            .publish(me, Subject::Instance(root.key), None, published)
            .await
            .unwrap();
        let promise = |title: &str, failed: bool, message: &str| Promise {
            title: title.to_owned(),
            failed,
            message: message.to_owned(),
            since: 7,
            checked_at: 7,
            next_check_at: None,
        };
        let log = "promise replication failed".to_owned();
        store
            .instance_error(me, Subject::Instance(database.key), None, log)
            .await
            .unwrap();
        let told = vec![
            promise("disk-space", false, ""),
            promise("replication", true, "the replica is 12 min behind"),
        ];
        store
            .report_promises(me, Subject::Instance(database.key), told)
            .await
            .unwrap();
        Services {
            tree: root.tree,
            root: root.key,
            ..services
        }
    }

    async fn request(&self, caller: Caller, wanted: Wanted) -> InstanceRecord {
        match self.world.rig.store.request(caller, wanted).await.unwrap() {
            Requested::Placed(record) => *record,
            other => panic!("{other:?}"),
        }
    }

    async fn state(&self) -> InstanceState {
        let root = self
            .world
            .rig
            .store
            .whole_tree(Caller::Master, self.tree)
            .await;
        root.unwrap().members[0].0.state
    }

    fn path(&self, rest: &str) -> String {
        format!("services/{}{rest}", self.tree)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_says_what_to_do() {
    let world = World::new().await;
    approve!("services-empty", world.page("services").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_listed_and_found() {
    let services = Services::new().await;
    let world = &services.world;
    approve!("services", world.page("services").await);
    for (query, is_there) in [
        ("q=SHO", true),
        ("q=100%25", false),
        ("state=started", true),
        ("state=stopped", false),
        ("state=upgradable", false),
        ("state=waiting", false),
        ("state=failing", true),
        ("page=2", false),
        ("page=nonsense&state=nonsense", true),
    ] {
        let page = world.page(&format!("services?{query}")).await;
        assert_eq!(page.contains(">shop</a>"), is_there, "{query}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_shows_its_instances_and_what_they_say() {
    let services = Services::new().await;
    let page = services.world.page(&services.path("")).await;
    assert!(!page.contains("<script>alert"), "{page}");
    let before_secret = page.split("hunter2").next().unwrap();
    let opened = before_secret.rfind("<details").unwrap();
    assert!(
        before_secret[opened..].contains("Show"),
        "a secret is shown when it is asked for only"
    );
    approve!("service", page);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_stopped_started_and_destroyed_after_it_was_asked() {
    let services = Services::new().await;
    let (rig, cookie) = (&services.world.rig, &services.world.cookie);
    for (word, state) in [
        ("stop", InstanceState::Stopped),
        ("start", InstanceState::Started),
        ("destroy", InstanceState::Destroyed),
    ] {
        let before = services.state().await;
        let path = services.path(&format!("/{word}"));
        let page = services.world.page(&path).await;
        assert!(page.contains(&format!("action=\"../../{path}\"")), "{page}");
        assert_eq!(services.state().await, before, "asking changes nothing");
        let reply = rig.send_form(cookie, &path, &[]).await;
        assert_eq!(reply.status, 303, "{}", reply.body);
        assert_eq!(services.state().await, state);
    }
    approve!(
        "service-destroyed",
        services.world.page(&services.path("")).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_was_is_told_with_what_changed() {
    let services = Services::new().await;
    let ada = Caller::Person {
        person: services.world.person,
        administrator: false,
    };
    services
        .request(
            ada,
            wanted(
                "shop",
                &[("domain", "shop.example.org"), ("password", "hunter2")],
            ),
        )
        .await;
    let page = services.world.page(&services.path("/history")).await;
    for text in ["shop.example.org", "shop.example<", "&lt;b&gt;dark", "ada"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    approve!("service-history", page);
    let page = services.world.page(&services.path("/events")).await;
    for text in [
        "promise replication fails",
        "published admin-password, note, url",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    approve!("service-events", page);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_see_nothing_and_managers_change_nothing() {
    let services = Services::new().await;
    let rig = &services.world.rig;
    let browser = async |login: &str| {
        let facts = rig.store.sign_in_facts(login.parse().unwrap()).await;
        rig.browser(facts.unwrap().unwrap().person).await
    };
    rig.member("bob", Role::Member).await;
    rig.member("mia", Role::Manager).await;
    let (bob, mia) = (browser("bob").await, browser("mia").await);
    for rest in ["", "/history", "/events", "/stop", "/destroy"] {
        let reply = rig.page(&bob, &services.path(rest)).await;
        assert_eq!(reply.status, 404, "{rest}");
        keeps_the_rules(rest, &reply);
    }
    let reply = rig.page(&mia, &services.path("")).await;
    assert!(
        !reply.ok().contains("/destroy"),
        "it is not hers to destroy"
    );
    for cookie in [&bob, &mia] {
        for word in ["stop", "destroy"] {
            let path = services.path(&format!("/{word}"));
            let reply = rig.send_form(cookie, &path, &[]).await;
            assert!([403, 404].contains(&reply.status), "{}", reply.status);
        }
    }
    assert_eq!(services.state().await, InstanceState::Started);
    assert!(
        services
            .world
            .rig
            .page(&mia, "services")
            .await
            .ok()
            .contains("No service yet")
    );
    let _ = (services.node, services.root);
}
