#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use crate::api::testing::Rig;
use crate::auth::password;
use crate::domain::{Caller, CertificateOwner};
use crate::web::tests::{World, approve, keeps_the_rules, leads_to};

const PASSWORD: &str = "correct horse battery";

async fn with_password() -> (World, Caller) {
    let world = World::new().await;
    let ada = Caller::Person {
        person: world.person,
        administrator: false,
    };
    let hash = password::hash(PASSWORD).unwrap();
    let store = &world.rig.store;
    store.set_password(ada, world.person, hash).await.unwrap();
    let cookie = world.rig.browser(world.person).await;
    (World { cookie, ..world }, ada)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_one_is() {
    let world = World::new().await;
    approve!("account", world.page("account").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_issued_once_shown_and_revoked() {
    let world = World::new().await;
    let path = "account/certificates";
    let rig = &world.rig;
    let made = rig.send_form(&world.cookie, path, &[]).await;
    keeps_the_rules(path, &made);
    let made = made.ok();
    assert!(
        made.contains("PRIVATE KEY") && made.contains("BEGIN CERTIFICATE"),
        "{made}"
    );
    rig.clock.advance(Duration::from_secs(90));
    let list = world.page(path).await;
    assert!(!list.contains("PRIVATE KEY"));
    let owner = CertificateOwner::Person(world.person);
    let known = rig.store.certificates(Caller::Master, owner).await.unwrap();
    let serial = &known.last().unwrap().serial;
    approve!("certificates", list.replace(serial.as_str(), "[serial]"));

    let revoke = format!("{path}/{serial}/revoke");
    approve!(
        "certificate-revoke",
        world
            .page(&revoke)
            .await
            .replace(serial.as_str(), "[serial]")
    );
    let done = rig.send_form(&world.cookie, &revoke, &[]).await;
    leads_to(
        &done,
        "../../../account/certificates?done=certificate-revoked",
    );
    let list = world
        .page(&format!("{path}?done=certificate-revoked"))
        .await;
    assert!(list.contains("The certificate is revoked."), "{list}");
    assert!(list.contains("Revoked"), "{list}");
    let nothing = rig.page(&world.cookie, &format!("{path}/00/revoke")).await;
    assert_eq!(nothing.status, 404);
    // Of somebody else, even with the right form.
    let (_, other) = rig.person("bob", false).await;
    assert!(!other.is_empty());
    let bob = rig
        .store
        .sign_in_facts("bob".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let cookie = rig.browser(bob.person).await;
    let refused = rig.send_form(&cookie, &revoke, &[]).await;
    assert_eq!(refused.status, 404, "{}", refused.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_and_revoked() {
    let world = World::new().await;
    let rig = &world.rig;
    let path = "account/tokens";
    approve!("tokens-empty", world.page(path).await);
    let made = rig.send_form(&world.cookie, path, &[]).await;
    keeps_the_rules(path, &made);
    assert!(made.ok().contains("slapos configure client --master-url"));
    approve!("tokens", world.page(path).await);
    let revoke = format!("{path}/1/revoke");
    assert!(world.page(&revoke).await.contains("Revoke this token?"));
    let done = rig.send_form(&world.cookie, &revoke, &[]).await;
    leads_to(&done, "../../../account/tokens?done=token-revoked");
    let again = rig.send_form(&world.cookie, &revoke, &[]).await;
    assert_eq!(again.status, 404, "{}", again.body);
    assert!(world.page(path).await.contains("No token waits"));
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_signed_out() {
    let world = World::new().await;
    let rig = &world.rig;
    rig.clock.advance(Duration::from_secs(600));
    let second = rig.browser(world.person).await;
    let third = rig.browser(world.person).await;
    let list = world.page("account/sessions").await;
    assert_eq!(list.matches("Firefox on Linux").count(), 3);
    assert_eq!(list.matches("This one").count(), 1);
    let (_, rest) = list.split_once("action=\"../account/sessions/").unwrap();
    let end = format!("account/sessions/{}", rest.split('"').next().unwrap());
    let done = rig.send_form(&world.cookie, &end, &[]).await;
    leads_to(&done, "../../../account/sessions?done=signed-out");
    let signed_in = async |cookie: &str| rig.page(cookie, "account").await.status == 200;
    assert!(
        signed_in(&second).await != signed_in(&third).await,
        "one of them"
    );
    let done = rig.send_form(&world.cookie, "account/sessions", &[]).await;
    leads_to(&done, "../account/sessions?done=signed-out");
    assert!(!signed_in(&second).await && !signed_in(&third).await);
    assert!(signed_in(&world.cookie).await, "not the one that asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_changed_by_who_knows_it() {
    let (world, _) = with_password().await;
    let rig = &world.rig;
    let path = "account/password";
    approve!("password", world.page(path).await);
    let other = rig.browser(world.person).await;
    let change = async |present: &str, new: &str, again: &str| {
        let fields = [("present", present), ("password", new), ("again", again)];
        rig.send_form(&world.cookie, path, &fields).await
    };
    let new = "battery staple horse";
    for (present, new, again, status, said) in [
        ("wrong", new, new, 403, "not your present password"),
        (PASSWORD, new, "other", 400, "not the same"),
        (PASSWORD, "short", "short", 400, "at least 10 characters"),
    ] {
        let reply = change(present, new, again).await;
        keeps_the_rules(path, &reply);
        assert_eq!(reply.status, status, "{}", reply.body);
        assert!(reply.body.contains(said), "{}", reply.body);
    }
    let done = change(PASSWORD, new, new).await;
    leads_to(&done, "../account?done=password");
    let cookie = done
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    assert_eq!(rig.page(cookie, "account").await.status, 200);
    for old in [&world.cookie, &other] {
        assert_eq!(rig.page(old, "account").await.status, 303);
    }
    assert!(Rig::form_token(cookie) != Rig::form_token(&world.cookie));
}
