#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use slap::{InstallationState, InstanceTitle, ReleaseUrl};
use slap_server::promises::Promise;

use crate::api::testing::Reply;
use crate::domain::{
    AllocationScope, Caller, CertificateOwner, NodeReference, PersonKey, Role, TreeKey,
};
use crate::store::{InstallationReport, Reported, Requested, Subject, Wanted};
use crate::web::tests::{World, approve, keeps_the_rules};

const RELEASE: &str = "https://example.com/software/web/software.cfg";
const OTHER: &str = "https://example.com/software/db/software.cfg";

fn release(url: &str) -> ReleaseUrl {
    ReleaseUrl::new(url).unwrap()
}

/// Has a release installed there.
async fn install(world: &World, node: NodeReference, url: &str) {
    let store = &world.rig.store;
    let state = InstallationState::Available;
    store
        .supply(Caller::Master, node, release(url), state)
        .await
        .unwrap();
    let me = Caller::Node(node.key);
    for report in [InstallationReport::Building, InstallationReport::Available] {
        store
            .report_installation(me, node, release(url), report)
            .await
            .unwrap();
    }
}

/// Requests a service; its tree.
async fn request(world: &World, person: PersonKey, title: &str) -> TreeKey {
    let wanted = Wanted {
        requester: None,
        project: Some(world.rig.project),
        title: InstanceTitle::new(title).unwrap(),
        release: release(RELEASE),
        software_type: None,
        parameters: None,
        sla: None,
        state: None,
        shared: None,
    };
    let caller = Caller::Person {
        person,
        administrator: false,
    };
    match world.rig.store.request(caller, wanted).await.unwrap() {
        Requested::Placed(record) => record.tree,
        Requested::Waiting { why, .. } => panic!("{why}"),
    }
}

fn day(day: u32, cpu: f64, memory: f64) -> String {
    let movement = |resource: &str, quantity: f64| {
        format!(
            "<movement><resource>service_module/{resource}</resource><title>t</title>\
             <reference>COMP-1</reference><quantity>{quantity}</quantity></movement>"
        )
    };
    format!(
        "<journal><transaction type=\"t\"><reference>2026-05-{day:02}-global</reference>{}{}\
         </transaction></journal>",
        movement("cpu_load_percent", cpu),
        movement("memory_used", memory),
    )
}

/// A server with two services on it, one of somebody else, which tells how it is.
async fn busy() -> (World, NodeReference) {
    let world = World::new().await;
    let node = world.node("rack-1", 4).await;
    let store = &world.rig.store;
    let me = Caller::Node(node.key);
    install(&world, node, RELEASE).await;
    request(&world, world.person, "shop").await;
    let (bob, _) = world.rig.person("bob", false).await;
    let member = Some(Role::Member);
    store
        .set_member(
            Caller::Master,
            world.rig.project,
            "bob".parse().unwrap(),
            member,
        )
        .await
        .unwrap();
    request(&world, bob, "blog").await;
    let at = |partition: &str| Subject::At {
        node,
        partition: partition.to_owned(),
    };
    let began = store.clock().now().0;
    world.rig.clock.advance(Duration::from_secs(120));
    store
        .report_instance(me, at("slappart0"), Reported::Started)
        .await
        .unwrap();
    let promise = Promise {
        title: "frontend is available".to_owned(),
        failed: true,
        message: "connection refused on [2001:db8::]:8443".to_owned(),
        since: began,
        checked_at: began,
        next_check_at: None,
    };
    store
        .report_promises(me, at("slappart0"), vec![promise])
        .await
        .unwrap();
    for number in 1..=14_u32 {
        let wave = f64::from((number * 5) % 11);
        let memory = f64::from(number % 5 + 3) * f64::from(1 << 30);
        let report = day(number, 12.5 + wave * 4.0, memory);
        store
            .usage(me, node, format!("day {number}"), report)
            .await
            .unwrap();
    }
    (world, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_reported_last_is_a_metric() {
    let (world, _) = busy().await;
    let (_, admin) = world.rig.person("root", true).await;
    let text = world.rig.get(&admin, "metrics").await.ok();
    // The fourteenth day's.
    for line in [
        "# TYPE slapos_node_cpu_percent gauge",
        "slapos_node_cpu_percent{node=\"COMP-1\"} 28.5",
        "slapos_node_memory_used_bytes{node=\"COMP-1\"} 7516192768",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

/// The page a form leads to.
async fn done(world: &World, path: &str, fields: &[(&str, &str)]) -> String {
    let reply = world.rig.send_form(&world.cookie, path, fields).await;
    assert_eq!(reply.status, 303, "{}", reply.body);
    let place = reply.header("location").unwrap();
    let place = place.trim_start_matches("../").to_owned();
    world.page(&place).await
}

async fn refused(world: &World, path: &str, fields: &[(&str, &str)]) -> Reply {
    let reply = world.rig.send_form(&world.cookie, path, fields).await;
    keeps_the_rules(path, &reply);
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_shows_how_it_is() {
    let (world, _) = busy().await;
    approve!("server", world.page("servers/COMP-1").await);
    approve!(
        "server-partitions",
        world.page("servers/COMP-1/partitions").await
    );
    approve!(
        "server-releases",
        world.page("servers/COMP-1/releases").await
    );
    approve!("server-events", world.page("servers/COMP-1/events").await);
    approve!(
        "server-settings",
        world.page("servers/COMP-1/settings").await
    );
    let list = world.page("servers").await;
    assert!(
        list.contains("href=\"servers/COMP-1\">rack-1</a>"),
        "{list}"
    );
    world.page("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_tells_what_to_do_next() {
    let world = World::new().await;
    world.rig.node("fresh").await;
    approve!("server-new", world.page("servers/COMP-1").await);
    assert!(
        world
            .page("servers/COMP-1/partitions")
            .await
            .contains("slapos node format")
    );
    assert!(
        world
            .page("servers/COMP-1/releases")
            .await
            .contains("No release yet")
    );
    world.page("servers/COMP-1/events").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_manage_it_sees_it_and_no_more() {
    let (world, _) = busy().await;
    let bob = world
        .rig
        .store
        .sign_in_facts("bob".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let cookie = world.rig.browser(bob.person).await;
    let page = world.rig.page(&cookie, "servers/COMP-1").await.ok();
    assert!(
        !page.contains("Settings") && !page.contains("Certificates"),
        "{page}"
    );
    assert!(
        !page.contains("connection refused"),
        "another's promise: {page}"
    );
    let page = world
        .rig
        .page(&cookie, "servers/COMP-1/partitions")
        .await
        .ok();
    assert!(page.contains("blog") && !page.contains("shop"), "{page}");
    assert!(page.contains("somebody else's"));
    let page = world
        .rig
        .page(&cookie, "servers/COMP-1/releases")
        .await
        .ok();
    assert!(
        !page.contains("<form class=\"inline\"") && !page.contains("Remove"),
        "{page}"
    );
    for hidden in ["settings", "certificates", "settings/remove"] {
        let reply = world
            .rig
            .page(&cookie, &format!("servers/COMP-1/{hidden}"))
            .await;
        assert_eq!(reply.status, 403, "{hidden}");
        keeps_the_rules(hidden, &reply);
    }
    for nothing in ["COMP-9", "COMP-x", "REMOTE-1", "%2e%2e", "COMP-1%00"] {
        let reply = world.rig.page(&cookie, &format!("servers/{nothing}")).await;
        assert_eq!(reply.status, 404, "{nothing}");
        keeps_the_rules(nothing, &reply);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_supplied_and_removed() {
    let (world, node) = busy().await;
    let path = "servers/COMP-1/releases";
    let wrong = refused(&world, path, &[("release", "two\u{7}words")]).await;
    assert_eq!(wrong.status, 400);
    assert!(
        wrong.body.contains("value=\"two\u{7}words\""),
        "{}",
        wrong.body
    );
    assert!(
        wrong.body.contains("aria-invalid=\"true\""),
        "{}",
        wrong.body
    );
    let page = done(&world, path, &[("release", OTHER)]).await;
    assert!(page.contains("The release is asked for"), "{page}");
    assert!(page.contains(OTHER) && page.contains("Asked for"), "{page}");
    let store = &world.rig.store;
    let found = store
        .installation(Caller::Master, node, release(OTHER))
        .await
        .unwrap();
    let remove = format!("{path}/{}/remove", found.key);
    approve!("server-release-remove", world.page(&remove).await);
    let page = done(&world, &remove, &[]).await;
    assert!(page.contains("Removing"), "{page}");
    let found = store
        .installation(Caller::Master, node, release(OTHER))
        .await
        .unwrap();
    assert_eq!(found.state, InstallationState::Destroyed);
    let nothing = refused(&world, &format!("{path}/SOFTINSTALL-99/remove"), &[]).await;
    assert_eq!(nothing.status, 404);
    // One that is to be built and cannot be.
    install(&world, node, OTHER).await;
    let failed = InstallationReport::Error("no compiler\nstop".to_owned());
    store
        .report_installation(Caller::Node(node.key), node, release(OTHER), failed)
        .await
        .unwrap();
    assert!(world.page(path).await.contains("Failed"));
    let events = world.page("servers/COMP-1/events").await;
    assert!(
        events.contains("Could not be built") && events.contains("no compiler"),
        "{events}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_closed_bounded_and_removed() {
    let (world, node) = busy().await;
    let store = &world.rig.store;
    let path = "servers/COMP-1/settings";
    let page = done(
        &world,
        &format!("{path}/scope"),
        &[("scope", "close/maintenance")],
    )
    .await;
    assert!(
        page.contains("The scope is set.") && page.contains("Maintenance"),
        "{page}"
    );
    let record = store.node(Caller::Master, node).await.unwrap();
    assert_eq!(record.scope, AllocationScope::Maintenance);
    let nonsense = refused(&world, &format!("{path}/scope"), &[("scope", "ajar")]).await;
    assert_eq!(nonsense.status, 400);
    let page = done(&world, &format!("{path}/capacity"), &[("capacity", "7")]).await;
    assert!(page.contains("value=\"7\""), "{page}");
    for wrong in ["-1", "many", "1.5"] {
        let reply = refused(&world, &format!("{path}/capacity"), &[("capacity", wrong)]).await;
        assert_eq!(reply.status, 400, "{wrong}");
        assert!(reply.body.contains("A whole number"), "{}", reply.body);
    }
    done(&world, &format!("{path}/capacity"), &[("capacity", "")]).await;
    assert_eq!(
        store.node(Caller::Master, node).await.unwrap().capacity,
        None
    );

    approve!("server-remove", world.page(&format!("{path}/remove")).await);
    let busy = refused(&world, &format!("{path}/remove"), &[]).await;
    assert_eq!(busy.status, 409);
    assert!(busy.body.contains("holds 2 instances"), "{}", busy.body);
    world.rig.node("empty").await;
    let page = done(&world, "servers/COMP-2/settings/remove", &[]).await;
    assert!(
        page.contains("The server is removed.") && !page.contains("COMP-2"),
        "{page}"
    );
    world.rig.node("emptied").await;
    let scope = [("scope", "close/forever")];
    let page = done(&world, "servers/COMP-3/settings/scope", &scope).await;
    assert!(page.contains("<h1>Servers</h1>"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_server_is_revoked_and_issued_anew() {
    let (world, node) = busy().await;
    let store = &world.rig.store;
    let path = "servers/COMP-1/certificates";
    let owner = CertificateOwner::Node(node);
    let serial = async || {
        let known = store.certificates(Caller::Master, owner).await.unwrap();
        known.last().unwrap().serial.clone()
    };
    let first = serial().await;
    let page = world.page(path).await;
    assert!(!page.contains("Issue a certificate"), "{page}");
    approve!("server-certificates", page.replace(&first, "[serial]"));
    let again = refused(&world, path, &[]).await;
    assert_eq!(again.status, 409, "{}", again.body);
    let revoke = format!("{path}/{first}/revoke");
    assert!(
        world
            .page(&revoke)
            .await
            .contains("Revoke this certificate?")
    );
    let page = done(&world, &revoke, &[]).await;
    assert!(
        page.contains("Revoked") && page.contains("Issue a certificate"),
        "{page}"
    );
    let made = refused(&world, path, &[]).await.ok();
    assert!(made.contains("PRIVATE KEY"), "{made}");
    assert_ne!(serial().await, first);
    // That of another server is none of this one's.
    let (other, _) = world.rig.node("other").await;
    let known = store
        .certificates(Caller::Master, CertificateOwner::Node(other))
        .await
        .unwrap();
    let strange = refused(&world, &format!("{path}/{}/revoke", known[0].serial), &[]).await;
    assert_eq!(strange.status, 404);
}
