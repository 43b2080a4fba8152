//! Who is who, on the store itself: persons, projects, tokens, certificates, the audit trail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use testkit::{TestDatabase, for_each_database};

use super::sql::params;
use super::*;
use crate::domain::{
    Caller, CertificateOwner, InstanceKey, Login, NodeKey, NodeKind, NodeReference, PersonKey,
    ProjectKey, Refusal, Role, Timestamp, TokenPurpose, TreeKey,
};

/// A clock that stands still unless told.
struct Still(AtomicI64);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// A Master with an administrator, a project with a manager and a member, and a stranger.
struct World {
    store: Arc<Store>,
    clock: Arc<Still>,
    root: Caller,
    manager: Caller,
    member: Caller,
    stranger: Caller,
    project: ProjectKey,
    _database: TestDatabase,
}

fn login(text: &str) -> Login {
    text.parse().unwrap()
}

fn key(caller: Caller) -> PersonKey {
    match caller {
        Caller::Person { person, .. } => person,
        other => panic!("{other:?} is no person"),
    }
}

fn refused<T>(result: Result<T, StoreError>) -> Refusal {
    match result {
        Err(StoreError::Refused(refusal)) => refusal,
        Err(other) => panic!("not refused: {other}"),
        Ok(_) => panic!("not refused"),
    }
}

macro_rules! assert_refused {
    ($result:expr, $kind:ident) => {
        let refusal = refused($result);
        assert!(matches!(refusal, Refusal::$kind(_)), "{refusal:?}");
    };
}

impl Store {
    /// Puts an instance of a person's on a node, in a tree of its own.
    pub(crate) async fn place_for_tests(
        &self,
        project: ProjectKey,
        person: PersonKey,
        node: NodeReference,
    ) -> InstanceKey {
        self.write(move |tx| {
            let release = tx.insert("INSERT INTO release (url) VALUES ('u') RETURNING id", &[])?;
            let tree = tx.insert(
                "INSERT INTO tree (project_id, person_id, title, upgrade, created_at) \
                 VALUES (?1, ?2, 't', 'ask', 0) RETURNING id",
                params![project.0, person.0],
            )?;
            let instance = tx.insert(
                "INSERT INTO instance (tree_id, project_id, title, shared, release_id, \
                 software_type, parameters, sla, state, timestamp, placed, units, reported, \
                 created_at) VALUES (?1, ?2, 't', 0, ?3, 'default', '{}', '{}', 'started', 1, \
                 1, 1, '', 0) RETURNING id",
                params![tree, project.0, release],
            )?;
            tx.execute(
                "INSERT INTO partition (node_id, name, position, active, addresses, \
                 capabilities, instance_id) VALUES (?1, 'slappart0', 0, 1, '[]', '[]', ?2)",
                params![node.key.0, instance],
            )?;
            Ok(InstanceKey(instance))
        })
        .await
        .unwrap()
    }
}

impl World {
    async fn new(database: TestDatabase) -> Self {
        let clock = Arc::new(Still(AtomicI64::new(1_000_000_000_000_000)));
        let store = Store::open_with_clock(
            &Database::parse(database.url()).unwrap(),
            Arc::new(Hub::default()),
            Arc::clone(&clock) as Arc<dyn Clock>,
        )
        .map(Arc::new)
        .unwrap();
        let mut callers = Vec::new();
        for name in ["root", "manager", "member", "stranger"] {
            let administrator = name == "root";
            let new = NewPerson {
                login: login(name),
                name: String::new(),
                administrator,
            };
            let person = store.create_person(Caller::Master, new).await.unwrap();
            callers.push(Caller::Person {
                person,
                administrator,
            });
        }
        let project = store
            .create_project(Caller::Master, "one".to_owned())
            .await
            .unwrap();
        for (name, role) in [("manager", Role::Manager), ("member", Role::Member)] {
            store
                .set_member(Caller::Master, project, login(name), Some(role))
                .await
                .unwrap();
        }
        World {
            store,
            clock,
            root: callers[0],
            manager: callers[1],
            member: callers[2],
            stranger: callers[3],
            project,
            _database: database,
        }
    }

    fn pass(&self, duration: Duration) {
        let microseconds = i64::try_from(duration.as_micros()).unwrap();
        self.clock.0.fetch_add(microseconds, Ordering::SeqCst);
    }

    async fn token(&self, caller: Caller, purpose: TokenPurpose) -> String {
        let new = NewToken {
            purpose,
            person: key(caller),
            project: None,
            life: TOKEN_LIFE,
        };
        self.store.create_token(self.root, new).await.unwrap().token
    }

    fn new_certificate(&self, owner: CertificateOwner, nth: u32) -> NewCertificate {
        NewCertificate {
            owner,
            common_name: format!("CERTLOGIN-{nth}-x-{owner}"),
            serial: format!("AB{nth:04}"),
            fingerprint: format!("{nth:064x}"),
            expires_at: self.clock.now().plus(Duration::from_secs(1000)),
        }
    }

    /// Whom this certificate speaks for now, shown to the Master itself.
    async fn speaks_for(&self, certificate: &NewCertificate) -> Caller {
        self.store
            .certificate_caller(
                &certificate.common_name,
                Some((&certificate.serial, &certificate.fingerprint)),
            )
            .await
            .unwrap()
    }

    /// An instance of the member's on a node of the project.
    async fn instance(&self) -> (NodeReference, TreeKey, InstanceKey) {
        let node = self
            .store
            .create_node(self.manager, self.project, NodeKind::Compute, "n".into())
            .await
            .unwrap();
        let person = key(self.member);
        let instance = self.store.place_for_tests(self.project, person, node).await;
        (node, TreeKey(1), instance)
    }

    async fn remove_instance(&self, instance: InstanceKey) {
        self.store
            .write(move |tx| {
                tx.execute(
                    "UPDATE instance SET removed_at = 1, placed = 0 WHERE id = ?1",
                    params![instance.0],
                )?;
                tx.execute(
                    "UPDATE partition SET instance_id = NULL WHERE instance_id = ?1",
                    params![instance.0],
                )?;
                Ok(())
            })
            .await
            .unwrap();
    }

    /// All that is written in the audit trail, as one text.
    async fn trail(&self) -> String {
        let query = AuditQuery {
            limit: PAGE_MAX,
            ..AuditQuery::default()
        };
        let notes = self.store.audit_trail(self.root, query).await.unwrap();
        format!("{notes:?}")
    }
}

for_each_database!(
    only_administrators_administrate_and_one_of_them_stays,
    projects_are_for_those_who_belong_to_them,
    a_token_works_once_whatever_it_is_tried_for,
    who_may_make_a_token_for_whom,
    of_several_who_use_a_token_at_once_one_gets_it,
    a_password_is_set_by_a_link_and_ends_sessions,
    what_acts_for_a_person_is_seen_and_ended_by_that_person,
    a_certificate_speaks_for_its_owner_as_long_as_it_is_good,
    a_node_has_one_certificate_and_its_managers_give_it,
    an_instance_is_given_the_same_key_again_and_only_through_its_node,
    the_audit_trail_is_read_in_pages_by_those_it_is_for,
    whoever_is_named_in_the_audit_trail_is_found_by_that_name,
);

async fn only_administrators_administrate_and_one_of_them_stays(database: TestDatabase) {
    let world = World::new(database).await;
    let store = &world.store;
    let new = |name: &str| NewPerson {
        login: login(name),
        name: "Ada L.".to_owned(),
        administrator: false,
    };
    for caller in [world.manager, world.member, world.stranger] {
        assert_refused!(store.create_person(caller, new("ada")).await, Forbidden);
        assert_refused!(store.persons(caller, None).await, Forbidden);
        assert_refused!(store.create_project(caller, "p".into()).await, Forbidden);
        assert_refused!(
            store.set_administrator(caller, login("member"), true).await,
            Forbidden
        );
        assert_refused!(
            store.set_disabled(caller, login("root"), true).await,
            Forbidden
        );
        // Nor does one learn who else there is.
        assert_refused!(store.person(caller, key(world.root)).await, NotFound);
        assert_refused!(store.person(caller, PersonKey(99)).await, NotFound);
        store.person(caller, key(caller)).await.unwrap();
    }
    assert_refused!(
        store.create_person(Caller::Anonymous, new("ada")).await,
        Unauthenticated
    );

    let ada = store.create_person(world.root, new("ada")).await.unwrap();
    assert_refused!(store.create_person(world.root, new("ADA")).await, Conflict);
    let record = store
        .person_by_login(world.root, login("ada"))
        .await
        .unwrap();
    assert_eq!((record.key, record.name.as_str()), (ada, "Ada L."));
    assert!(!record.has_password && record.disabled_at.is_none());
    let bad = NewPerson {
        name: "two\nlines".to_owned(),
        ..new("eve")
    };
    assert_refused!(store.create_person(world.root, bad).await, Invalid);
    let logins = |persons: Vec<PersonRecord>| -> Vec<String> {
        persons
            .iter()
            .map(|person| person.login.to_string())
            .collect()
    };
    let all = store.persons(world.root, None).await.unwrap();
    let third = all[2].key;
    assert_eq!(
        logins(all),
        ["root", "manager", "member", "stranger", "ada"]
    );
    let rest = store.persons(world.root, Some(third)).await.unwrap();
    assert_eq!(logins(rest), ["stranger", "ada"]);

    // The last administrator can neither resign nor be disabled, not even by the Master.
    for caller in [world.root, Caller::Master] {
        assert_refused!(
            store.set_administrator(caller, login("root"), false).await,
            Conflict
        );
        assert_refused!(
            store.set_disabled(caller, login("root"), true).await,
            Conflict
        );
    }
    store
        .set_administrator(world.root, login("ada"), true)
        .await
        .unwrap();
    store
        .set_disabled(world.root, login("root"), true)
        .await
        .unwrap();
    assert_refused!(
        store
            .set_administrator(Caller::Master, login("ada"), false)
            .await,
        Conflict
    );
}

async fn projects_are_for_those_who_belong_to_them(database: TestDatabase) {
    let world = World::new(database).await;
    let (store, project) = (&world.store, world.project);
    let titles = |projects: Vec<ProjectRecord>| -> Vec<(String, Option<Role>)> {
        projects
            .into_iter()
            .map(|project| (project.title, project.role))
            .collect()
    };
    let two = store
        .create_project(world.root, " two ".to_owned())
        .await
        .unwrap();
    assert_refused!(store.create_project(world.root, "\n".into()).await, Invalid);
    assert_eq!(
        titles(store.projects(world.root, None).await.unwrap()),
        [
            ("one".to_owned(), None),
            ("two".to_owned(), Some(Role::Manager))
        ]
    );
    assert_eq!(
        titles(store.projects(world.member, None).await.unwrap()),
        [("one".to_owned(), Some(Role::Member))]
    );
    assert!(
        store
            .projects(world.stranger, None)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        store
            .projects(Caller::Node(NodeKey(1)), None)
            .await
            .unwrap()
            .is_empty()
    );
    assert_refused!(
        store.projects(Caller::Anonymous, None).await,
        Unauthenticated
    );

    assert_refused!(
        store
            .set_member(world.member, project, login("stranger"), Some(Role::Member))
            .await,
        Forbidden
    );
    assert_refused!(
        store.members(world.member, project, None, 9).await,
        Forbidden
    );
    for unknown in [project, ProjectKey(99)] {
        assert_refused!(
            store.members(world.stranger, unknown, None, 9).await,
            NotFound
        );
        assert_refused!(
            store
                .set_member(
                    world.stranger,
                    unknown,
                    login("stranger"),
                    Some(Role::Manager)
                )
                .await,
            NotFound
        );
    }
    assert_refused!(
        store
            .set_member(world.manager, project, login("nobody"), Some(Role::Member))
            .await,
        NotFound
    );
    store
        .set_member(
            world.manager,
            project,
            login("stranger"),
            Some(Role::Member),
        )
        .await
        .unwrap();
    store
        .set_member(
            world.manager,
            project,
            login("stranger"),
            Some(Role::Manager),
        )
        .await
        .unwrap();
    store
        .set_member(world.stranger, project, login("member"), None)
        .await
        .unwrap();
    let members = store
        .members(world.manager, project, None, 9)
        .await
        .unwrap();
    let members: Vec<_> = members.iter().map(|m| (m.login.as_str(), m.role)).collect();
    assert_eq!(
        members,
        [("manager", Role::Manager), ("stranger", Role::Manager)]
    );

    // A project with something in it cannot be closed, and a closed one takes nobody.
    world.instance().await;
    assert_refused!(store.close_project(world.manager, project).await, Forbidden);
    assert_refused!(store.close_project(world.root, project).await, Conflict);
    store.close_project(world.root, two).await.unwrap();
    store.close_project(world.root, two).await.unwrap();
    assert_refused!(
        store
            .set_member(world.root, two, login("member"), Some(Role::Member))
            .await,
        Conflict
    );
    let root = key(world.root);
    let open = store
        .read(move |sql| Ok(projects::projects_of(sql, root)?))
        .await
        .unwrap();
    assert_eq!(open, []);
}

async fn a_token_works_once_whatever_it_is_tried_for(database: TestDatabase) {
    use TokenPurpose::{Any, Client, Node, Password};
    let world = World::new(database).await;
    let store = &world.store;
    for (made, wanted, good) in [
        (Client, Client, true),
        (Any, Client, true),
        (Any, Node, true),
        (Node, Node, true),
        (Client, Node, false),
        (Node, Client, false),
        (Password, Client, false),
        (Client, Password, false),
        (Any, Password, false),
    ] {
        let token = world.token(world.manager, made).await;
        let result = store.redeem(&token, wanted).await;
        if good {
            let bearer = result.unwrap();
            assert_eq!(bearer.caller, world.manager);
            assert_eq!(bearer.login.as_str(), "manager");
            let project = (made != Client).then_some(world.project);
            assert_eq!(bearer.project, project, "{made}");
        } else {
            assert_refused!(result, Forbidden);
        }
        // Used up, even for what it was made for.
        assert_refused!(store.redeem(&token, made).await, Forbidden);
    }
    assert_refused!(store.redeem("nonsense", Client).await, Forbidden);
    assert_refused!(store.redeem("", Client).await, Forbidden);

    // White space comes with what is pasted.
    let token = world.token(world.manager, Client).await;
    store.redeem(&format!(" {token}\n"), Client).await.unwrap();

    let token = world.token(world.manager, Client).await;
    world.pass(TOKEN_LIFE);
    assert_refused!(store.redeem(&token, Client).await, Forbidden);

    let token = world.token(world.member, Client).await;
    store
        .set_disabled(world.root, login("member"), true)
        .await
        .unwrap();
    assert_refused!(store.redeem(&token, Client).await, Forbidden);

    let kept = world.token(world.manager, Client).await;
    assert_eq!(
        store
            .tokens(world.manager, key(world.manager))
            .await
            .unwrap()
            .len(),
        1
    );
    assert_refused!(
        store.tokens(world.stranger, key(world.manager)).await,
        NotFound
    );
    world.pass(Duration::from_secs(3600));
    assert_eq!(store.forget_expired().await.unwrap(), 0);
    store.redeem(&kept, Client).await.unwrap();
    world.pass(Duration::from_secs(3 * 24 * 3600));
    store.forget_expired().await.unwrap();
    let left = store
        .read(|sql| {
            Ok(sql
                .one("SELECT COUNT(*) FROM token", &[])?
                .unwrap()
                .int(0)?)
        })
        .await
        .unwrap();
    assert_eq!(left, 0);
}

async fn who_may_make_a_token_for_whom(database: TestDatabase) {
    use TokenPurpose::{Any, Client, Node, Password};
    let world = World::new(database).await;
    let store = &world.store;
    let new = |purpose, caller, project| NewToken {
        purpose,
        person: key(caller),
        project,
        life: TOKEN_LIFE,
    };
    let one = Some(world.project);
    let member = world.member;
    assert_refused!(
        store
            .create_token(member, new(Client, world.manager, None))
            .await,
        NotFound
    );
    assert_refused!(
        store
            .create_token(member, new(Password, member, None))
            .await,
        Forbidden
    );
    assert_refused!(
        store.create_token(member, new(Node, member, None)).await,
        Invalid
    );
    assert_refused!(
        store.create_token(member, new(Node, member, one)).await,
        Forbidden
    );
    assert_refused!(
        store
            .create_token(world.stranger, new(Node, world.stranger, one))
            .await,
        NotFound
    );
    // An administrator cannot give what the person itself may not do.
    assert_refused!(
        store.create_token(world.root, new(Any, member, one)).await,
        Forbidden
    );
    assert_refused!(
        store.create_token(member, new(Client, member, one)).await,
        Invalid
    );
    assert_refused!(
        store
            .create_token(Caller::Anonymous, new(Client, member, None))
            .await,
        Unauthenticated
    );
    let (node, _, _) = world.instance().await;
    assert_refused!(
        store
            .create_token(Caller::Node(node.key), new(Client, member, None))
            .await,
        NotFound
    );
    for life in [Duration::ZERO, TOKEN_LIFE_MAX + Duration::from_secs(1)] {
        let short = NewToken {
            life,
            ..new(Client, member, None)
        };
        assert_refused!(store.create_token(member, short).await, Invalid);
    }
    let any = store
        .create_token(member, new(Any, member, None))
        .await
        .unwrap();
    assert_eq!(any.project, None);
    let node = store
        .create_token(world.manager, new(Node, world.manager, None))
        .await
        .unwrap();
    assert_eq!(node.project, one);
    let two = store
        .create_project(world.root, "two".into())
        .await
        .unwrap();
    store
        .set_member(world.root, two, login("manager"), Some(Role::Manager))
        .await
        .unwrap();
    let several = refused(
        store
            .create_token(world.manager, new(Node, world.manager, None))
            .await,
    );
    assert!(several.to_string().contains("PROJ-1, PROJ-2"), "{several}");

    for _ in 0..99 {
        store
            .create_token(member, new(Client, member, None))
            .await
            .unwrap();
    }
    assert_refused!(
        store.create_token(member, new(Client, member, None)).await,
        TooMany
    );
}

async fn of_several_who_use_a_token_at_once_one_gets_it(database: TestDatabase) {
    let world = World::new(database).await;
    for _ in 0..20 {
        let token = world.token(world.manager, TokenPurpose::Any).await;
        let attempts: Vec<_> = (0..8)
            .map(|nth| {
                let (store, token) = (Arc::clone(&world.store), token.clone());
                let wanted = [TokenPurpose::Client, TokenPurpose::Node][nth % 2];
                tokio::spawn(async move { store.redeem(&token, wanted).await })
            })
            .collect();
        let mut good = 0;
        for attempt in attempts {
            match attempt.await.unwrap() {
                Ok(_) => good += 1,
                Err(StoreError::Refused(Refusal::Forbidden(_))) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(good, 1);
    }
}

async fn what_acts_for_a_person_is_seen_and_ended_by_that_person(database: TestDatabase) {
    let world = World::new(database).await;
    let store = &world.store;
    let (member, me) = (world.member, key(world.member));
    let token = world.token(member, TokenPurpose::Client).await;
    let id = store.tokens(member, me).await.unwrap()[0].id;
    assert_refused!(store.revoke_token(world.stranger, me, id).await, NotFound);
    assert_refused!(
        store
            .revoke_token(world.stranger, key(world.stranger), id)
            .await,
        NotFound
    );
    store.revoke_token(member, me, id).await.unwrap();
    assert_refused!(store.revoke_token(member, me, id).await, NotFound);
    assert_refused!(store.redeem(&token, TokenPurpose::Client).await, Forbidden);

    for (nth, agent) in ["Firefox", "a\nb"].into_iter().enumerate() {
        world.pass(Duration::from_secs(1));
        let from = Browser {
            address: Some("2001:db8::1".parse().unwrap()),
            agent: agent.to_owned(),
        };
        let cookie = format!("cookie {nth}");
        store.open_session(me, &cookie, from).await.unwrap();
    }
    store
        .open_session(key(world.root), "root", Browser::default())
        .await
        .unwrap();
    assert_refused!(store.sessions(world.stranger, me).await, NotFound);
    let sessions = store.sessions(member, me).await.unwrap();
    let seen: Vec<_> = sessions
        .iter()
        .map(|session| (session.id.clone(), session.agent.as_str()))
        .collect();
    let id = |nth: u8| session_id(&format!("cookie {nth}"));
    assert_eq!(seen, [(id(1), "ab"), (id(0), "Firefox")]);
    assert_eq!(sessions[0].address, "2001:db8::1");
    assert_refused!(
        store.end_sessions(world.stranger, me, id(0), false).await,
        NotFound
    );
    let root_id = session_id("root");
    let ended = store.end_sessions(member, me, root_id, false).await;
    assert_eq!(ended.unwrap(), 0, "another's");
    let ended = store.end_sessions(member, me, id(1), true).await.unwrap();
    assert_eq!(ended, 1);
    assert_eq!(signed_in(store, "cookie 0").await, Caller::Anonymous);
    assert_eq!(signed_in(store, "cookie 1").await, member);
    let ended = store.end_sessions(member, me, id(1), false).await.unwrap();
    assert_eq!(ended, 1);
    assert_eq!(signed_in(store, "cookie 1").await, Caller::Anonymous);
    assert_eq!(signed_in(store, "root").await, world.root);
}

/// Who a browser's cookie speaks for.
async fn signed_in(store: &Store, cookie: &str) -> Caller {
    match store.session_person(cookie).await.unwrap() {
        Some(person) => Caller::Person {
            person: person.key,
            administrator: person.administrator,
        },
        None => Caller::Anonymous,
    }
}

async fn a_password_is_set_by_a_link_and_ends_sessions(database: TestDatabase) {
    let world = World::new(database).await;
    let store = &world.store;
    let first = world.token(world.member, TokenPurpose::Password).await;
    let second = world.token(world.member, TokenPurpose::Password).await;
    let client = world.token(world.member, TokenPurpose::Client).await;
    assert_eq!(
        store.password_token(&first).await.unwrap().as_str(),
        "member"
    );
    assert_refused!(store.password_token(&client).await, Forbidden);
    assert_refused!(store.password_token("nonsense").await, Forbidden);
    let facts = store.sign_in_facts(login("member")).await.unwrap().unwrap();
    assert_eq!(facts.password_hash, None);

    store
        .open_session(key(world.member), "cookie", Browser::default())
        .await
        .unwrap();
    assert_eq!(signed_in(store, "cookie").await, world.member);
    assert_eq!(signed_in(store, "other").await, Caller::Anonymous);
    store
        .set_password_by_token(&first, "$hash$".into())
        .await
        .unwrap();
    assert_eq!(signed_in(store, "cookie").await, Caller::Anonymous);
    for token in [&first, &second] {
        assert_refused!(
            store.set_password_by_token(token, "$x$".into()).await,
            Forbidden
        );
    }
    let facts = store.sign_in_facts(login("member")).await.unwrap().unwrap();
    assert_eq!(facts.password_hash.as_deref(), Some("$hash$"));
    store.redeem(&client, TokenPurpose::Client).await.unwrap();

    // Sessions: of one person not too many, each not too long, none of a disabled person.
    for nth in 0..25 {
        world.pass(Duration::from_secs(1));
        store
            .open_session(
                key(world.member),
                &format!("cookie {nth}"),
                Browser::default(),
            )
            .await
            .unwrap();
    }
    assert_eq!(signed_in(store, "cookie 4").await, Caller::Anonymous);
    assert_eq!(signed_in(store, "cookie 5").await, world.member);
    store.close_session("cookie 5").await.unwrap();
    assert_eq!(signed_in(store, "cookie 5").await, Caller::Anonymous);
    store
        .set_disabled(world.root, login("member"), true)
        .await
        .unwrap();
    assert_eq!(signed_in(store, "cookie 24").await, Caller::Anonymous);
    assert_refused!(
        store
            .open_session(key(world.member), "c", Browser::default())
            .await,
        Forbidden
    );
    let facts = store.sign_in_facts(login("member")).await.unwrap().unwrap();
    assert_eq!(facts.password_hash, None, "a disabled person has none");
    store
        .set_disabled(world.root, login("member"), false)
        .await
        .unwrap();
    assert_eq!(signed_in(store, "cookie 24").await, Caller::Anonymous);
    store
        .open_session(key(world.member), "late", Browser::default())
        .await
        .unwrap();
    world.pass(SESSION_LIFE);
    assert_eq!(signed_in(store, "late").await, Caller::Anonymous);
    assert_eq!(
        store
            .sign_in_facts(login("nobody"))
            .await
            .unwrap()
            .map(|f| f.person),
        None
    );

    let trail = world.trail().await;
    for secret in [&first, &client, "$hash$", "cookie"] {
        assert!(!trail.contains(secret), "{secret} is in the audit trail");
    }
    for action in [
        "create_token",
        "use_token",
        "set_password",
        "sign_in",
        "disable_person",
    ] {
        assert!(trail.contains(action), "{action} is not in the audit trail");
    }
}

async fn a_certificate_speaks_for_its_owner_as_long_as_it_is_good(database: TestDatabase) {
    let world = World::new(database).await;
    let store = &world.store;
    let (node, tree, instance) = world.instance().await;
    let member = world.new_certificate(CertificateOwner::Person(key(world.member)), 1);
    let second = world.new_certificate(CertificateOwner::Person(key(world.member)), 2);
    let machine = world.new_certificate(CertificateOwner::Node(node), 3);
    let service = world.new_certificate(CertificateOwner::Instance(instance), 4);
    assert_eq!(world.speaks_for(&member).await, Caller::Anonymous);
    for (caller, new) in [
        (world.member, &member),
        (world.member, &second),
        (world.manager, &machine),
    ] {
        store.may_certify(caller, new.owner).await.unwrap();
        store.record_certificate(caller, new.clone()).await.unwrap();
    }
    store
        .keep_instance_key(
            Caller::Node(node.key),
            instance,
            service.clone(),
            "pem".into(),
            "sealed".into(),
        )
        .await
        .unwrap();
    assert_eq!(world.speaks_for(&member).await, world.member);
    assert_eq!(world.speaks_for(&machine).await, Caller::Node(node.key));
    assert_eq!(
        world.speaks_for(&service).await,
        Caller::Instance { instance, tree }
    );

    // A name is not enough where the certificate itself was seen.
    for (serial, fingerprint) in [
        (second.serial.as_str(), member.fingerprint.as_str()),
        (&member.serial, &second.fingerprint),
        ("", ""),
    ] {
        let caller = store
            .certificate_caller(&member.common_name, Some((serial, fingerprint)))
            .await
            .unwrap();
        assert_eq!(caller, Caller::Anonymous);
    }
    let by_proxy = store
        .certificate_caller(&member.common_name, None)
        .await
        .unwrap();
    assert_eq!(by_proxy, world.member);
    assert_eq!(
        store.certificate_caller("", None).await.unwrap(),
        Caller::Anonymous
    );

    // One certificate of a person is revoked, the other is not.
    let serial = member.serial.clone();
    for caller in [world.stranger, world.manager, Caller::Node(node.key)] {
        assert_refused!(
            store.revoke_certificate(caller, serial.clone()).await,
            NotFound
        );
    }
    assert_refused!(
        store
            .revoke_certificate(Caller::Anonymous, serial.clone())
            .await,
        Unauthenticated
    );
    store
        .revoke_certificate(world.member, "ab:00:01".into())
        .await
        .unwrap();
    store
        .revoke_certificate(world.member, serial)
        .await
        .unwrap();
    assert_eq!(world.speaks_for(&member).await, Caller::Anonymous);
    let by_proxy = store
        .certificate_caller(&member.common_name, None)
        .await
        .unwrap();
    assert_eq!(by_proxy, Caller::Anonymous);
    assert_eq!(world.speaks_for(&second).await, world.member);
    let list = store
        .certificates(world.member, member.owner)
        .await
        .unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(list[0].serial, member.serial);
    assert!(list[0].revoked_at.is_some() && list[1].revoked_at.is_none());
    assert_refused!(
        store.certificates(world.stranger, member.owner).await,
        NotFound
    );
    let revoked = store.revoked_certificates(world.root).await.unwrap();
    assert_eq!(revoked, [(member.serial.clone(), world.clock.now())]);

    // Disabled, it is worth nothing; enabled again, it is good again.
    store
        .set_disabled(world.root, login("member"), true)
        .await
        .unwrap();
    assert_eq!(world.speaks_for(&second).await, Caller::Anonymous);
    store
        .set_disabled(world.root, login("member"), false)
        .await
        .unwrap();
    assert_eq!(world.speaks_for(&second).await, world.member);

    // Whoever is gone does not speak.
    world.remove_instance(instance).await;
    assert_eq!(world.speaks_for(&service).await, Caller::Anonymous);
    store.remove_node(world.manager, node).await.unwrap();
    assert_eq!(world.speaks_for(&machine).await, Caller::Anonymous);
    // Not even an administrator is told that it is there and another's to speak for.
    assert_refused!(
        store.bang_node(world.root, node, String::new()).await,
        NotFound
    );

    world.pass(Duration::from_secs(1000));
    assert_eq!(world.speaks_for(&second).await, Caller::Anonymous);
    assert_eq!(store.revoked_certificates(world.root).await.unwrap(), []);
}

async fn a_node_has_one_certificate_and_its_managers_give_it(database: TestDatabase) {
    let world = World::new(database).await;
    let store = &world.store;
    let (node, _, _) = world.instance().await;
    let owner = CertificateOwner::Node(node);
    let first = world.new_certificate(owner, 1);
    let second = world.new_certificate(owner, 2);
    for (caller, wanted) in [
        (world.member, "forbidden"),
        (Caller::Node(node.key), "forbidden"),
        (world.stranger, "hidden"),
        (Caller::Node(NodeKey(99)), "hidden"),
        (Caller::Anonymous, "anonymous"),
    ] {
        for result in [
            store.may_certify(caller, owner).await,
            store.record_certificate(caller, first.clone()).await,
            store.revoke_certificates(caller, owner).await.map(|_| ()),
        ] {
            let found = match refused(result) {
                Refusal::Forbidden(_) => "forbidden",
                Refusal::NotFound(_) => "hidden",
                Refusal::Unauthenticated(_) => "anonymous",
                other => panic!("{other}"),
            };
            assert_eq!(found, wanted, "{caller:?}");
        }
    }
    let other_kind = CertificateOwner::Node(node.key.reference(NodeKind::Remote));
    assert_refused!(store.may_certify(world.manager, other_kind).await, NotFound);

    let none = refused(store.revoke_certificates(world.manager, owner).await);
    assert!(none.to_string().contains("No certificate"), "{none}");
    store
        .record_certificate(world.manager, first.clone())
        .await
        .unwrap();
    for result in [
        store.may_certify(world.manager, owner).await,
        store
            .record_certificate(world.manager, second.clone())
            .await,
    ] {
        let active = refused(result);
        assert!(matches!(active, Refusal::Conflict(_)));
        assert!(
            active.to_string().contains("Certificate still active."),
            "{active}"
        );
    }
    assert_eq!(
        store
            .revoke_certificates(world.manager, owner)
            .await
            .unwrap(),
        1
    );
    assert_eq!(world.speaks_for(&first).await, Caller::Anonymous);
    store
        .record_certificate(world.manager, second.clone())
        .await
        .unwrap();
    assert_eq!(world.speaks_for(&second).await, Caller::Node(node.key));
}

async fn an_instance_is_given_the_same_key_again_and_only_through_its_node(database: TestDatabase) {
    let world = World::new(database).await;
    let store = &world.store;
    let (node, tree, instance) = world.instance().await;
    let owner = CertificateOwner::Instance(instance);
    let on_node = Caller::Node(node.key);
    for (caller, hidden) in [
        (world.member, false),
        (world.manager, false),
        (world.stranger, true),
        (Caller::Node(NodeKey(99)), true),
        (
            Caller::Instance {
                instance: InstanceKey(99),
                tree,
            },
            false,
        ),
        (
            Caller::Instance {
                instance: InstanceKey(99),
                tree: TreeKey(99),
            },
            true,
        ),
    ] {
        let refusal = refused(store.instance_key(caller, instance).await);
        assert_eq!(
            matches!(refusal, Refusal::NotFound(_)),
            hidden,
            "{caller:?} {refusal}"
        );
    }
    assert_refused!(store.instance_key(on_node, InstanceKey(99)).await, NotFound);
    assert_eq!(store.instance_key(on_node, instance).await.unwrap(), None);

    let keep = |nth, sealed: &str| {
        let new = world.new_certificate(owner, nth);
        store.keep_instance_key(
            on_node,
            instance,
            new,
            format!("pem {nth}"),
            sealed.to_owned(),
        )
    };
    let first = keep(1, "a").await.unwrap();
    let second = keep(2, "b").await.unwrap();
    assert_eq!(first, ("pem 1".to_owned(), "a".to_owned()));
    assert_eq!(second, first, "what came first stays");
    let itself = Caller::Instance { instance, tree };
    assert_eq!(
        store.instance_key(itself, instance).await.unwrap(),
        Some(first)
    );
    let certificates = store.certificates(world.member, owner).await.unwrap();
    assert_eq!(certificates.len(), 1, "the second one was never made known");

    // A key that got into wrong hands is replaced.
    store
        .revoke_certificate(world.member, certificates[0].serial.clone())
        .await
        .unwrap();
    assert_eq!(store.instance_key(on_node, instance).await.unwrap(), None);
    assert_eq!(keep(3, "c").await.unwrap().1, "c");
    assert_eq!(
        store
            .revoke_certificates(world.manager, owner)
            .await
            .unwrap(),
        1
    );
    assert_eq!(store.instance_key(on_node, instance).await.unwrap(), None);
}

async fn the_audit_trail_is_read_in_pages_by_those_it_is_for(database: TestDatabase) {
    let world = World::new(database).await;
    let store = &world.store;
    let (node, _, _) = world.instance().await;
    for nth in 0..7 {
        store
            .set_member(
                world.manager,
                world.project,
                login("stranger"),
                (nth % 2 == 0).then_some(Role::Member),
            )
            .await
            .unwrap();
    }
    let of_project = AuditQuery {
        project: Some(world.project),
        limit: 3,
        ..AuditQuery::default()
    };
    let mut seen = Vec::new();
    let mut query = of_project.clone();
    loop {
        let page = store
            .audit_trail(world.manager, query.clone())
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 3);
        query.before = Some(last.id);
        seen.extend(page);
    }
    assert!(seen.is_sorted_by(|a, b| a.id > b.id));
    assert!(seen.iter().all(|note| note.project == Some(world.project)));
    assert_eq!(
        seen.iter().filter(|note| note.actor == "manager").count(),
        8
    );
    let created = seen
        .iter()
        .find(|note| note.subject == node.to_string())
        .unwrap();
    assert_eq!(created.action, "create_node");

    let of_node = AuditQuery {
        subject: Some(node.to_string()),
        limit: 10,
        ..AuditQuery::default()
    };
    assert_eq!(
        store
            .audit_trail(world.root, of_node.clone())
            .await
            .unwrap()
            .len(),
        1
    );
    assert_refused!(
        store.audit_trail(world.manager, of_node.clone()).await,
        Forbidden
    );
    let both = AuditQuery {
        project: Some(world.project),
        ..of_node
    };
    assert_eq!(
        store.audit_trail(world.manager, both).await.unwrap().len(),
        1
    );
    assert_refused!(
        store.audit_trail(world.member, of_project.clone()).await,
        Forbidden
    );
    store
        .set_member(world.manager, world.project, login("stranger"), None)
        .await
        .unwrap();
    assert_refused!(
        store.audit_trail(world.stranger, of_project.clone()).await,
        NotFound
    );
    assert_refused!(
        store.audit_trail(Caller::Anonymous, of_project).await,
        Unauthenticated
    );
}

async fn whoever_is_named_in_the_audit_trail_is_found_by_that_name(database: TestDatabase) {
    let world = World::new(database).await;
    let store = &world.store;
    let (node, tree, instance) = world.instance().await;
    let said = || "said".to_owned();
    let node_itself = Caller::Node(node.key);
    store.bang_node(node_itself, node, said()).await.unwrap();
    let itself = Caller::Instance { instance, tree };
    let subject = Subject::Instance(instance);
    store.bang(itself, subject, said()).await.unwrap();
    let whole = AuditQuery {
        limit: PAGE_MAX,
        ..AuditQuery::default()
    };
    let whole = store.audit_trail(world.root, whole).await.unwrap();
    let names: BTreeSet<&str> = whole.iter().map(|note| note.actor.as_str()).collect();
    assert_eq!(
        names,
        BTreeSet::from([
            "manager",
            "master",
            &node.to_string(),
            &instance.to_string()
        ])
    );
    for name in names.into_iter().chain(["nobody", "COMP-999"]) {
        for (subject, project) in [
            (None, None),
            (Some(node.to_string()), None),
            (None, Some(world.project)),
            (Some(node.to_string()), Some(world.project)),
        ] {
            let query = AuditQuery {
                project,
                subject,
                actor: Some(name.to_owned()),
                before: None,
                limit: PAGE_MAX,
            };
            let expected: Vec<_> = whole
                .iter()
                .filter(|note| is_asked_for(note, &query))
                .cloned()
                .collect();
            let found = store.audit_trail(world.root, query.clone()).await;
            assert_eq!(found.unwrap(), expected, "{query:?}");
        }
    }
}

/// What a query of the trail means, said without a database.
fn is_asked_for(note: &AuditRecord, query: &AuditQuery) -> bool {
    let AuditQuery {
        project,
        subject,
        actor,
        ..
    } = query;
    actor.as_ref().is_none_or(|actor| *actor == note.actor)
        && subject
            .as_ref()
            .is_none_or(|subject| *subject == note.subject)
        && project.is_none_or(|project| Some(project) == note.project)
}
