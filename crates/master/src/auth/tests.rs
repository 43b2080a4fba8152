//! Who calls, and how one becomes somebody, with real certificates and a real database.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};

use super::*;
use crate::domain::{Clock, NodeKind, PersonKey, ProjectKey, Timestamp};
use crate::events::Hub;
use crate::pki::{certificate_facts, peer_common_name};
use crate::store::{Browser, Database, NewPerson, NewToken, TOKEN_LIFE};

const PROXY: &str = "10.0.0.2";
const PASSWORD: &str = "correct horse";

struct Still(AtomicI64);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// A browser at an address.
fn at(address: IpAddr) -> Browser {
    Browser {
        address: Some(address),
        agent: String::new(),
    }
}

/// A Master with an administrator, who has a password, and a project.
struct World {
    auth: Auth,
    store: Arc<Store>,
    clock: Arc<Still>,
    root: Caller,
    person: PersonKey,
    project: ProjectKey,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(Still(AtomicI64::new(1_800_000_000_000_000)));
        let database = Database::Sqlite(directory.path().join("m.db"));
        let hub = Arc::new(Hub::default());
        let store = Store::open_with_clock(&database, hub, Arc::clone(&clock) as Arc<dyn Clock>);
        let store = Arc::new(store.unwrap());
        let (authority, _) = Authority::create("Test", clock.now().system()).unwrap();
        let sealer = Sealer::from_key(&Sealer::new_key().unwrap()).unwrap();
        let auth = Auth::new(
            Arc::clone(&store),
            Arc::new(authority),
            Arc::new(sealer),
            vec![PROXY.parse().unwrap()],
        );
        let new = NewPerson {
            login: "root".parse().unwrap(),
            name: String::new(),
            administrator: true,
        };
        let person = store.create_person(Caller::Master, new).await.unwrap();
        let root = Caller::Person {
            person,
            administrator: true,
        };
        let project = store.create_project(root, "one".into()).await.unwrap();
        let hash = password::hash(PASSWORD).unwrap();
        store.set_password(root, person, hash).await.unwrap();
        World {
            auth,
            store,
            clock,
            root,
            person,
            project,
            _directory: directory,
        }
    }

    async fn caller(&self, from: &str, names: &[&str], certificate: Option<&Certified>) -> Caller {
        let mut headers = HeaderMap::new();
        for name in names {
            headers.append(REMOTE_USER, HeaderValue::from_str(name).unwrap());
        }
        self.auth
            .caller(&headers, &peer(from, certificate))
            .await
            .unwrap()
    }

    async fn sign_in(
        &self,
        login: &str,
        password: &str,
        from: &str,
    ) -> Result<SignedIn, SignInError> {
        let from: IpAddr = from.parse().unwrap();
        self.auth
            .sign_in(login, password.to_owned(), at(from))
            .await
    }
}

fn peer(from: &str, certificate: Option<&Certified>) -> Peer {
    let address: IpAddr = from.parse().unwrap();
    let certificate = certificate.map(|certified| {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        let der = CertificateDer::from_pem_slice(certified.certificate.as_bytes()).unwrap();
        Arc::new(peer_common_name(&der).unwrap())
    });
    Peer {
        address: SocketAddr::new(address, 1),
        certificate,
        tls: true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_or_a_trusted_proxy_says_who_calls() {
    let world = World::new().await;
    let certified = world
        .auth
        .certifier()
        .for_person(world.root, world.person)
        .await
        .unwrap();
    let name = certified.common_name.as_str();
    assert!(
        name.starts_with("CERTLOGIN-") && name.ends_with("PERSON-1"),
        "{name}"
    );
    let shown = Some(&certified);
    for (from, names, certificate, known) in [
        ("192.0.2.1", &[][..], shown, true),
        ("192.0.2.1", &[], None, false),
        // Anybody can write a header.
        ("192.0.2.1", &[name], None, false),
        ("192.0.2.1", &["CERTLOGIN-9"], shown, true),
        (PROXY, &[name], None, true),
        ("::ffff:10.0.0.2", &[name], None, true),
        (PROXY, &[], None, false),
        (PROXY, &[""], None, false),
        (PROXY, &["CERTLOGIN-9"], None, false),
        (PROXY, &[name, name], None, false),
        // A proxy speaks for others, never for itself.
        (PROXY, &[], shown, false),
        (PROXY, &["CERTLOGIN-9"], shown, false),
    ] {
        let expected = if known { world.root } else { Caller::Anonymous };
        let found = world.caller(from, names, certificate).await;
        assert_eq!(found, expected, "{from} {names:?}");
    }
    // The same name in a certificate of another authority that somebody made up.
    let (other, _) = Authority::create("Test", world.clock.now().system()).unwrap();
    let subject = crate::pki::Subject {
        common_name: name.to_owned(),
        email: "a@b".to_owned(),
    };
    let forged = other
        .issue(
            &subject,
            crate::pki::Profile::Instance,
            world.clock.now().system(),
        )
        .unwrap();
    let forged = Certified {
        certificate: forged.certificate_pem,
        key: forged.key_pem,
        serial: forged.serial_hex,
        common_name: forged.common_name,
    };
    assert_eq!(
        world.caller("192.0.2.1", &[], Some(&forged)).await,
        Caller::Anonymous
    );

    world
        .store
        .revoke_certificate(world.root, certified.serial.clone())
        .await
        .unwrap();
    assert_eq!(
        world.caller("192.0.2.1", &[], shown).await,
        Caller::Anonymous
    );
    assert_eq!(world.caller(PROXY, &[name], None).await, Caller::Anonymous);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_and_its_instances_are_certified() {
    let world = World::new().await;
    let certifier = world.auth.certifier();
    let node = world
        .store
        .create_node(world.root, world.project, NodeKind::Compute, "n".into())
        .await
        .unwrap();
    let certified = certifier.for_node(world.root, node).await.unwrap();
    // What the released client cuts out (P 5.4).
    let text = &certified.certificate;
    let start = text.find("COMP-").unwrap();
    let end = start + text[start..].find("/email").unwrap();
    assert_eq!(&text[start..end], node.to_string());
    let on_node = Caller::Node(node.key);
    assert_eq!(
        world.caller("192.0.2.1", &[], Some(&certified)).await,
        on_node
    );
    let Err(StoreError::Refused(again)) = certifier.for_node(world.root, node).await else {
        panic!("a second certificate");
    };
    assert!(
        again.to_string().contains("Certificate still active."),
        "{again}"
    );

    // Two at once for one node: one of them gets it.
    let owner = crate::domain::CertificateOwner::Node(node);
    world
        .store
        .revoke_certificates(world.root, owner)
        .await
        .unwrap();
    let (first, second) = tokio::join!(
        certifier.for_node(world.root, node),
        certifier.for_node(world.root, node)
    );
    assert_eq!(u8::from(first.is_ok()) + u8::from(second.is_ok()), 1);

    let instance = world
        .store
        .place_for_tests(world.project, world.person, node)
        .await;
    let (first, second) = tokio::join!(
        certifier.for_instance(on_node, instance),
        certifier.for_instance(on_node, instance)
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(
        (&first.certificate, &first.key),
        (&second.certificate, &second.key)
    );
    assert!(first.key.contains("PRIVATE KEY"));
    let facts = certificate_facts(&first.certificate).unwrap();
    assert!(facts.common_name.unwrap().ends_with(&instance.to_string()));
    let caller = world.caller("192.0.2.1", &[], Some(&first)).await;
    assert!(matches!(caller, Caller::Instance { instance: found, .. } if found == instance));
    let refused = certifier.for_instance(Caller::Anonymous, instance).await;
    assert!(matches!(
        refused,
        Err(StoreError::Refused(Refusal::Unauthenticated(_)))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_signs_in_and_out() {
    let world = World::new().await;
    for (login, password) in [
        ("root", "wrong"),
        ("nobody", PASSWORD),
        ("not a login", PASSWORD),
        ("", ""),
    ] {
        let refused = world.sign_in(login, password, "192.0.2.1").await;
        assert!(matches!(refused, Err(SignInError::Wrong)), "{login}");
    }
    for secure in [true, false] {
        let signed_in = world
            .sign_in(" ROOT ", PASSWORD, "192.0.2.1")
            .await
            .unwrap();
        assert_eq!(signed_in.person, world.person);
        let set = signed_in.set_cookie(secure);
        assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax"));
        assert_eq!(set.contains("; Secure"), secure);
        let pair = set.split(';').next().unwrap();
        let headers = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("cookie", HeaderValue::from_str(value).unwrap());
            headers
        };
        let good = headers(&format!("a=b; {pair}; c=d"));
        let session = world.auth.session(&good, secure).await.unwrap().unwrap();
        assert_eq!(session.caller, world.root);
        assert!(session.sent(&session.form_token()));
        assert!(!session.sent("") && !session.sent(&signed_in.cookie));
        for bad in ["", "a=b", &format!("{pair}; {pair}"), &format!("x{pair}")] {
            assert!(
                world
                    .auth
                    .session(&headers(bad), secure)
                    .await
                    .unwrap()
                    .is_none()
            );
        }
        assert!(world.auth.session(&good, !secure).await.unwrap().is_none());
        // A cookie is for pages: calls know certificates only.
        let nobody = world
            .auth
            .caller(&good, &peer("192.0.2.1", None))
            .await
            .unwrap();
        assert_eq!(nobody, Caller::Anonymous);
        world.auth.sign_out(&session).await.unwrap();
        assert!(world.auth.session(&good, secure).await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_tries_too_often_has_to_wait() {
    let world = World::new().await;
    let too_many = |result: Result<SignedIn, SignInError>| {
        matches!(
            result,
            Err(SignInError::Store(StoreError::Refused(Refusal::TooMany(_))))
        )
    };
    // One name, from everywhere.
    for nth in 0..10 {
        let from = format!("192.0.2.{nth}");
        assert!(!too_many(world.sign_in("root", "wrong", &from).await));
    }
    assert!(too_many(
        world.sign_in("root", PASSWORD, "192.0.2.99").await
    ));
    world.clock.0.fetch_add(6_000_000, Ordering::SeqCst);
    world.sign_in("root", PASSWORD, "192.0.2.99").await.unwrap();
    // Good ones do not count.
    for _ in 0..12 {
        world.clock.0.fetch_add(1, Ordering::SeqCst);
        world.sign_in("root", PASSWORD, "192.0.2.99").await.unwrap();
    }
    // One address, all names.
    for nth in 0..20 {
        let result = world
            .sign_in(&format!("p{nth}"), "wrong", "192.0.2.200")
            .await;
        assert!(!too_many(result));
    }
    assert!(too_many(
        world.sign_in("root", PASSWORD, "192.0.2.200").await
    ));

    let from: Option<IpAddr> = Some("192.0.2.201".parse().unwrap());
    for _ in 0..60 {
        let refused = world.auth.redeem("x", TokenPurpose::Client, from).await;
        assert!(matches!(
            refused,
            Err(StoreError::Refused(Refusal::Forbidden(_)))
        ));
    }
    let refused = world.auth.redeem("x", TokenPurpose::Client, from).await;
    assert!(matches!(
        refused,
        Err(StoreError::Refused(Refusal::TooMany(_)))
    ));
    let refused = world.auth.password_token("x", from).await;
    assert!(matches!(
        refused,
        Err(StoreError::Refused(Refusal::TooMany(_)))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_not_taken_does_not_use_the_link_up() {
    let world = World::new().await;
    let new = NewToken {
        purpose: TokenPurpose::Password,
        person: world.person,
        project: None,
        life: TOKEN_LIFE,
    };
    let token = world
        .store
        .create_token(Caller::Master, new)
        .await
        .unwrap()
        .token;
    for bad in ["short", "root", "aaaaaaaaaaaaaa"] {
        let refused = world
            .auth
            .set_password(&token, bad.to_owned(), Browser::default())
            .await;
        assert!(matches!(refused, Err(SignInError::Password(_))), "{bad}");
    }
    world
        .auth
        .set_password(&token, "a new password".to_owned(), Browser::default())
        .await
        .unwrap();
    let again = world
        .auth
        .set_password(&token, "another password".to_owned(), Browser::default())
        .await;
    assert!(matches!(
        again,
        Err(SignInError::Store(StoreError::Refused(_)))
    ));
    world
        .clock
        .0
        .fetch_add(Duration::from_secs(60).as_micros() as i64, Ordering::SeqCst);
    let old = world.sign_in("root", PASSWORD, "192.0.2.1").await;
    assert!(matches!(old, Err(SignInError::Wrong)));
    world
        .sign_in("root", "a new password", "192.0.2.1")
        .await
        .unwrap();
}
