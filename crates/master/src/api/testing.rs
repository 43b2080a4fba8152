//! A Master without sockets, for tests: requests go straight into the entrance, callers are named
//! as a trusted proxy names them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use axum::{Extension, Router};
use serde_json::Value as Json;
use slap::{Value, marshal};
use tower::Service;

use network_cache::NetworkCache;

use super::{App, Cache, Place, router};
use crate::auth::Auth;
use crate::catalogue::CatalogueSettings;
use crate::domain::{
    Caller, CertificateOwner, Clock, NodeKind, NodeReference, PersonKey, ProjectKey, Role,
    Timestamp,
};
use crate::events::Hub;
use crate::pki::{Authority, Sealer};
use crate::server::Peer;
use crate::store::{Browser, Database, NewCertificate, NewPerson, Store};

/// The SHA-512 of `hello`.
pub const HELLO: &str = "9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca7\
                         2323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043";

/// A network cache with `hello` in it, and an entry about it under `some:key`.
async fn app_cache(directory: &std::path::Path) -> Cache {
    let settings = network_cache::Settings::new(directory.join("data"), directory.join("dir"));
    let kept = NetworkCache::open(&settings).unwrap();
    kept.take(None, &HeaderMap::new(), Body::from("hello"))
        .await
        .unwrap();
    let text = serde_json::json!({"sha512": HELLO}).to_string();
    let body = serde_json::json!([text, "c2ln"]).to_string();
    let json = [("content-type", "application/json")].map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    kept.add_entry("some:key", &json.into_iter().collect(), &body.into(), "x")
        .await
        .unwrap();
    Cache {
        kept,
        public: false,
    }
}

/// When tests begin: some day in 2026.
pub const START: Timestamp = Timestamp(1_780_000_000_000_000);
pub const PUBLIC_URL: &str = "https://slap.example.com";

/// A clock that goes only when it is told to.
#[derive(Debug)]
pub struct Watch(AtomicI64);

impl Clock for Watch {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

impl Watch {
    pub fn advance(&self, by: Duration) {
        self.0
            .fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

/// A reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// The value of a marshalled success.
    #[track_caller]
    pub fn value(self) -> Value {
        marshal::decode(self.ok().as_bytes()).unwrap()
    }
}

/// A Master in a temporary directory, with one administrator and one project.
pub struct Rig {
    pub store: Arc<Store>,
    pub clock: Arc<Watch>,
    pub project: ProjectKey,
    pub app: Arc<App>,
    router: Router,
    serial: AtomicI64,
    _directory: tempfile::TempDir,
}

impl Rig {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(Watch(AtomicI64::new(START.0)));
        let database = Database::Sqlite(directory.path().join("master.db"));
        let clock_too: Arc<dyn Clock> = Arc::<Watch>::clone(&clock);
        let hub = Arc::new(Hub::default());
        let store = Arc::new(Store::open_with_clock(&database, hub, clock_too).unwrap());
        let (authority, _) = Authority::create("Test", START.system()).unwrap();
        let auth = Auth::new(
            Arc::clone(&store),
            Arc::new(authority),
            Arc::new(Sealer::from_key(&[7; 32]).unwrap()),
            vec!["192.0.2.1".parse().unwrap()],
        );
        let place = Place {
            public_url: PUBLIC_URL.to_owned(),
            trusted_proxies: vec!["192.0.2.1".parse().unwrap()],
        };
        let app = App::new(
            Arc::clone(&store),
            Arc::new(auth),
            place,
            "0123456789abcdef0123456789abcdef".to_owned(),
            "epoch".to_owned(),
        );
        let cache = app_cache(directory.path()).await;
        let app = app
            .with_cache(Some(cache))
            .with_catalogue(CatalogueSettings {
                private: true,
                local: true,
            });
        let app = Arc::new(app);
        let rig = Rig {
            router: router(Arc::clone(&app)),
            app,
            project: store
                .create_project(Caller::Master, "Main".to_owned())
                .await
                .unwrap(),
            store,
            clock,
            serial: AtomicI64::new(0),
            _directory: directory,
        };
        rig.person("admin", true).await;
        rig
    }

    /// A certificate's common name that speaks for this owner.
    pub async fn certificate(&self, owner: CertificateOwner) -> String {
        let number = self.serial.fetch_add(1, Ordering::SeqCst);
        let common_name = format!("CERTLOGIN-{number}-{owner}");
        self.store
            .record_certificate(
                Caller::Master,
                NewCertificate {
                    owner,
                    common_name: common_name.clone(),
                    serial: format!("{number:032X}"),
                    fingerprint: format!("{number:064x}"),
                    expires_at: START.plus(Duration::from_secs(1_000_000_000)),
                },
            )
            .await
            .unwrap();
        common_name
    }

    /// A person, and the common name of its certificate.
    pub async fn person(&self, login: &str, administrator: bool) -> (PersonKey, String) {
        let person = self
            .store
            .create_person(
                Caller::Master,
                NewPerson {
                    login: login.parse().unwrap(),
                    name: String::new(),
                    administrator,
                },
            )
            .await
            .unwrap();
        let name = self.certificate(CertificateOwner::Person(person)).await;
        (person, name)
    }

    /// A person of the project; the common name of its certificate.
    pub async fn member(&self, login: &str, role: Role) -> String {
        let (_, name) = self.person(login, false).await;
        self.store
            .set_member(
                Caller::Master,
                self.project,
                login.parse().unwrap(),
                Some(role),
            )
            .await
            .unwrap();
        name
    }

    /// A node of the project, and the common name of its certificate.
    pub async fn node(&self, title: &str) -> (NodeReference, String) {
        let node = self
            .store
            .create_node(
                Caller::Master,
                self.project,
                NodeKind::Compute,
                title.to_owned(),
            )
            .await
            .unwrap();
        let name = self.certificate(CertificateOwner::Node(node)).await;
        (node, name)
    }

    /// Sends a request on behalf of whoever bears that common name.
    pub async fn send(
        &self,
        who: Option<&str>,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        let response = self.begin(who, method, path, headers, body).await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
        Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// As [`Rig::send`], for answers that do not end.
    pub async fn begin(
        &self,
        who: Option<&str>,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: impl Into<Body>,
    ) -> Response<Body> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/{path}"))
            .header("host", "inner:8080")
            .body(body.into())
            .unwrap();
        let sent = who.iter().map(|who| ("remote-user", *who));
        for (name, value) in sent.chain(headers.iter().copied()) {
            request.headers_mut().insert(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let peer = Peer {
            address: "192.0.2.1:4000".parse().unwrap(),
            certificate: None,
            tls: false,
        };
        let mut router = self.router.clone().layer(Extension(peer));
        router.call(request).await.unwrap()
    }

    /// Makes a JSON call; its status and document. A document of a success is one that the call
    /// promises.
    pub async fn json(&self, who: &str, method: &str, input: &Json) -> (u16, Json) {
        let headers = [("content-type", "application/json")];
        let reply = self
            .send(Some(who), Method::POST, method, &headers, input.to_string())
            .await;
        assert_eq!(reply.header("content-type"), Some("application/json"));
        let document: Json = serde_json::from_str(&reply.body).unwrap();
        if reply.status == 200 {
            let call = slap_server::json_rpc::Method::named(method).unwrap();
            assert_eq!(call.check_answer(&document), Ok(()), "{method}: {document}");
        }
        (reply.status, document)
    }

    pub async fn get(&self, who: &str, path: &str) -> Reply {
        self.send(Some(who), Method::GET, path, &[], "").await
    }

    /// Signs a person in with a browser; its cookie.
    pub async fn browser(&self, person: PersonKey) -> String {
        let number = self.serial.fetch_add(1, Ordering::SeqCst);
        let secret = format!("browser-{number}");
        let from = Browser {
            address: Some("192.0.2.7".parse().unwrap()),
            agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".into(),
        };
        self.store
            .open_session(person, &secret, from)
            .await
            .unwrap();
        format!("slapos={secret}")
    }

    /// What the forms of a browser carry.
    pub fn form_token(cookie: &str) -> String {
        let (_, secret) = cookie.split_once('=').unwrap();
        crate::pki::token_hash(&format!("form {secret}"))
    }

    /// A page, as a browser gets it.
    pub async fn page(&self, cookie: &str, path: &str) -> Reply {
        let headers = [("cookie", cookie), ("accept", "text/html")];
        self.send(None, Method::GET, path, &headers, "").await
    }

    /// Sends a form of a page.
    pub async fn send_form(&self, cookie: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("form_token", &Self::form_token(cookie))
            .extend_pairs(fields)
            .finish();
        let headers = [
            ("cookie", cookie),
            ("accept", "text/html"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        self.send(None, Method::POST, path, &headers, form).await
    }

    /// Posts a form.
    pub async fn post(&self, who: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.send(Some(who), Method::POST, path, &headers, form)
            .await
    }
}

/// A marshalled document.
pub fn document(value: &Value) -> String {
    marshal::encode(value).unwrap()
}

/// A marshalled dictionary of texts.
pub fn texts(pairs: &[(&str, &str)]) -> String {
    document(&Value::dict(
        pairs.iter().map(|(name, text)| (*name, Value::text(*text))),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_entrance_keeps_its_promises() {
    let rig = Rig::new().await;
    let (_, admin) = rig.person("root", true).await;
    let send = async |who: Option<&str>, method, path: &str, headers: &[(&'static str, &str)]| {
        rig.send(who, method, path, headers, "").await
    };
    let reply = send(None, Method::GET, "healthz", &[]).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "ok\n"));
    assert!(reply.header("x-request-id").is_some());
    let id = [("x-request-id", "my-id.1")];
    let reply = send(None, Method::GET, "healthz", &id).await;
    assert_eq!(reply.header("x-request-id"), Some("my-id.1"));
    let id = [("x-request-id", "my id")];
    let reply = send(None, Method::GET, "readyz", &id).await;
    assert_ne!(reply.header("x-request-id"), Some("my id"));

    let reply = send(None, Method::GET, "no/such/thing", &[]).await;
    assert_eq!(reply.status, 404);
    let reply = send(None, Method::GET, "metrics", &[]).await;
    assert_eq!(reply.status, 401);
    assert!(reply.header("www-authenticate").is_some());
    let reply = send(Some(&admin), Method::GET, "metrics", &[]).await;
    assert!(reply.ok().contains("slapos_master_nodes 0"));
    let member = rig.member("ada", Role::Member).await;
    let reply = send(Some(&member), Method::GET, "metrics", &[]).await;
    assert_eq!(reply.status, 403);

    let reply = send(Some(&admin), Method::POST, "getRunId", &[]).await;
    assert_eq!(
        (reply.status, reply.header("allow")),
        (405, Some("OPTIONS, GET, HEAD"))
    );
    let reply = send(None, Method::OPTIONS, "supplySupply", &[]).await;
    assert_eq!(
        (reply.status, reply.header("allow")),
        (200, Some("OPTIONS, POST"))
    );
    let reply = send(None, Method::PUT, "supplySupply", &[]).await;
    assert_eq!(reply.status, 405);

    for origin in [
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let reply = send(Some(&admin), Method::POST, "requestComputer", &[origin]).await;
        assert_eq!(reply.status, 403);
        assert!(reply.body.contains("other sites"), "{}", reply.body);
    }
    for who in [None, Some("CERTLOGIN-unknown")] {
        let reply = send(
            who,
            Method::GET,
            "getFullComputerInformation?computer_id=COMP-1",
            &[],
        );
        assert_eq!(reply.await.status, 401);
    }
    let large = "x".repeat((16 << 20) + 1);
    let headers = [("content-length", "16777217")];
    let reply = rig
        .send(Some(&admin), Method::POST, "useComputer", &headers, large)
        .await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE.as_u16());
}
