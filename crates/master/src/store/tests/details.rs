//! What people who watch are told.

use slap_server::promises::Promise;

use super::*;
use crate::domain::upgrade::{Answer, DecisionState};

const BETTER: &str = "https://example.com/2/software.cfg";

fn url(text: &str) -> ReleaseUrl {
    ReleaseUrl::new(text).unwrap()
}

fn error_of<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Refusal {
    match result {
        Err(StoreError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

const ALL: EventQuery = EventQuery {
    before: None,
    after: None,
    limit: 1_000,
};

fn actions(events: &[EventRecord]) -> Vec<&str> {
    let actions = events.iter().map(|event| event.note.action.as_str());
    actions.collect()
}

fn promise(title: &str, failed: bool, message: &str) -> Promise {
    Promise {
        title: title.to_owned(),
        failed,
        message: message.to_owned(),
        since: 7,
        checked_at: 7,
        next_check_at: None,
    }
}

for_each_database! {
    async fn promises_are_kept_and_their_transitions_are_history(database: TestDatabase) {
        let world = World::new(database).await;
        let store = &world.store;
        let node = world.node("n", 2).await;
        let root = world.placed(ALICE, wanted("web")).await;
        let tell = async |caller, told: Vec<Promise>| {
            let subject = Subject::Instance(root.key);
            store.report_promises(caller, subject, told).await
        };
        let by_node = Caller::Node(node.key);
        tell(by_node, vec![promise("disk", false, ""), promise("page", true, "no answer")]).await.unwrap();
        tell(by_node, vec![promise("disk", false, "x"), promise("page", true, "no answer")]).await.unwrap();
        let found = store.tree_promises(ALICE, root.tree).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0, found[0].1.as_str()), (root.key, "web"));
        assert_eq!(found[0].2[0].message, "", "a healthy one that speaks is no news");
        tell(by_node, vec![promise("disk", false, ""), promise("page", false, "")]).await.unwrap();
        let events = store.tree_events(ALICE, root.tree, ALL).await.unwrap();
        let failed: Vec<bool> = events
            .iter()
            .filter(|event| event.note.action == "promise")
            .map(|event| event.note.detail["failed"] == true)
            .collect();
        assert_eq!(failed, [false, true], "the latest first");
        for stranger in [BOB, Caller::Node(NodeKey(99))] {
            let refused = error_of(tell(stranger, vec![]).await);
            assert!(matches!(refused, Refusal::NotFound(_)), "{refused:?}");
            error_of(store.tree_promises(stranger, root.tree).await);
        }
        let whole = store.whole_tree(ALICE, root.tree).await.unwrap();
        assert_eq!(whole.promises[&root.key].len(), 2);
    }

    async fn what_an_instance_was_before_is_kept(database: TestDatabase) {
        let world = World::new(database).await;
        let store = &world.store;
        world.node("n", 2).await;
        let with = |text: &str| Wanted {
            parameters: Some(texts(&[("domain", text)])),
            ..wanted("web")
        };
        let root = world.placed(ALICE, with("one")).await;
        assert_eq!(store.versions(ALICE, root.key).await.unwrap(), []);
        for text in ["one", "two", "three"] {
            world.placed(ALICE, with(text)).await;
        }
        world.placed(ALICE, state(InstanceState::Stopped, wanted("web"))).await;
        let versions = store.versions(ALICE, root.key).await.unwrap();
        let domains: Vec<_> = versions.iter().map(|one| one.parameters["domain"].as_str()).collect();
        assert_eq!(domains, ["two", "one"], "neither what it is nor what changed nothing");
        assert_eq!(versions[0].changed_by, "alice");
        assert_eq!(versions[0].release, root.release);
        for text in 0..60 {
            world.placed(ALICE, with(&text.to_string())).await;
        }
        let versions = store.versions(ALICE, root.key).await.unwrap();
        assert_eq!(versions.len(), 50);
        assert_eq!(versions[0].parameters["domain"], "58");
        for stranger in [BOB, Caller::Node(NodeKey(99))] {
            error_of(store.versions(stranger, root.key).await);
        }
    }

    async fn a_whole_tree_and_lists_tell_where_things_are_and_why_they_wait(database: TestDatabase) {
        let world = World::new(database).await;
        let store = &world.store;
        let node = world.node("n", 2).await;
        let root = world.placed(ALICE, wanted("web_1")).await;
        world.placed(ALICE, below(root.key, "db")).await;
        let Requested::Waiting { .. } = world.request(ALICE, below(root.key, "more")).await else {
            panic!("there are two partitions only");
        };
        let whole = store.whole_tree(ALICE, root.tree).await.unwrap();
        let titles: Vec<&str> = whole.members.iter().map(|(record, _)| record.title.as_str()).collect();
        assert_eq!(titles, ["web_1", "db", "more"]);
        assert_eq!((whole.owner.as_str(), whole.complete), ("alice", true));
        let reasons: Vec<bool> = whole.members.iter().map(|(_, why)| why.is_some()).collect();
        assert_eq!(reasons, [false, false, true]);
        assert_eq!(whole.members[1].0.requester, Some(root.key));
        for stranger in [BOB, person(77), Caller::Node(node.key)] {
            let refused = error_of(store.whole_tree(stranger, root.tree).await);
            assert!(matches!(refused, Refusal::NotFound(_)), "{refused:?}");
        }
        assert!(store.whole_tree(MANAGER, root.tree).await.is_ok());

        world.request(BOB, wanted("waits")).await;
        let list = async |caller, part: &str| {
            let page = Page::first(100);
            store.tree_states(caller, TreesOf::Caller, part.to_owned(), TreeFilter::All, page).await.unwrap()
        };
        let trees = list(ALICE, "").await;
        assert_eq!(trees.len(), 1);
        assert_eq!(trees[0].members.len(), 3);
        assert_eq!(trees[0].members[0].node, Some(node));
        assert!(trees[0].waiting.is_some());
        assert_eq!(list(ALICE, "WEB_").await.len(), 1);
        assert_eq!(list(ALICE, "web%").await.len(), 0, "not a pattern");
        assert_eq!(list(BOB, "").await[0].state, InstanceState::Started);
        assert_eq!(list(as_instance(&root), "").await.len(), 1);
        assert!(store.tree_states(Caller::Anonymous, TreesOf::Caller, String::new(), TreeFilter::All, Page::first(1)).await.is_err());
    }

    async fn a_node_shows_what_one_may_see_of_it(database: TestDatabase) {
        let world = World::new(database).await;
        let store = &world.store;
        let node = world.node("n", 3).await;
        world.placed(ALICE, wanted("a")).await;
        world.placed(BOB, wanted("b")).await;
        let seen = async |caller| {
            let whole = store.whole_node(caller, node).await.unwrap();
            let partitions = whole.partitions.into_iter();
            let told: Vec<(bool, Option<String>)> = partitions
                .map(|partition| (partition.busy, partition.instance.map(|record| record.title)))
                .collect();
            (whole.installations.len(), told)
        };
        let title = |title: &str| Some(title.to_owned());
        assert_eq!(seen(ALICE).await, (1, vec![(true, title("a")), (true, None), (false, None)]));
        assert_eq!(seen(MANAGER).await, (1, vec![(true, title("a")), (true, title("b")), (false, None)]));
        assert!(matches!(error_of(store.whole_node(person(77), node).await), Refusal::NotFound(_)));
        let places = store.installed_on(ALICE, RELEASE.to_owned()).await.unwrap();
        assert_eq!(places.len(), 1);
        assert_eq!((places[0].title.as_str(), places[0].installation.node), ("n", node));
        assert_eq!(store.installed_on(Caller::Node(node.key), RELEASE.to_owned()).await.unwrap().len(), 1);
        assert!(store.installed_on(person(77), RELEASE.to_owned()).await.unwrap().is_empty());
    }

    async fn what_happened_is_told_the_latest_first_and_bounded(database: TestDatabase) {
        let world = World::new(database).await;
        let store = &world.store;
        let Requested::Waiting { instance, .. } = world.request(ALICE, wanted("t")).await else {
            panic!("there is no node yet");
        };
        let key = instance.unwrap();
        let node = world.node("n", 1).await;
        let me = Caller::Node(node.key);
        let subject = || Subject::Instance(key);
        let log = |number: usize| format!("{}\nline {number:04}", "é".repeat(9_000));
        store.instance_error(me, subject(), None, log(0)).await.unwrap();
        store.report_instance(me, subject(), Reported::Started).await.unwrap();
        store.report_instance(me, subject(), Reported::Started).await.unwrap();
        let published = Texts::from([("password".to_owned(), "secret".to_owned())]);
        store.publish(me, subject(), None, published).await.unwrap();
        let root = store.instance(ALICE, subject()).await.unwrap();
        let events = store.tree_events(ALICE, root.tree, ALL).await.unwrap();
        assert_eq!(actions(&events), ["publish", "report", "report", "placed", "request"]);
        assert_eq!(events[0].note.detail["keys"][0], "password");
        assert_eq!(events[0].title.as_deref(), Some("t"));
        assert!(!format!("{events:?}").contains("secret"));
        let kept = events[2].note.detail["log"].as_str().unwrap();
        assert!(kept.ends_with("line 0000") && kept.chars().count() == 8_000);
        assert_eq!(events[3].note.detail["at"], node.to_string());
        assert_eq!(events[4].note.actor, "alice");
        let page = EventQuery { before: Some(events[1].note.id), limit: 2, ..ALL };
        let older = store.tree_events(ALICE, root.tree, page).await.unwrap();
        assert_eq!(actions(&older), ["report", "placed"]);
        let page = EventQuery { after: Some(events[1].note.id), ..ALL };
        assert_eq!(actions(&store.tree_events(ALICE, root.tree, page).await.unwrap()), ["publish"]);
        for stranger in [BOB, Caller::Anonymous, me] {
            assert!(store.tree_events(stranger, root.tree, ALL).await.is_err(), "{stranger:?}");
        }
        // What fails again and again does not fill the database.
        for number in 1..=60 {
            store.instance_error(me, subject(), None, log(number)).await.unwrap();
        }
        let events = store.tree_events(ALICE, root.tree, ALL).await.unwrap();
        let reports = events.iter().filter(|event| event.note.action == "report");
        assert_eq!(reports.count(), 50);
        assert!(events[0].note.detail["log"].as_str().unwrap().ends_with("line 0060"));
        // A node's own.
        let failed = InstallationReport::Error("no such file".to_owned());
        store.report_installation(me, node, url(RELEASE), failed).await.unwrap();
        let events = store.node_events(BOB, node, ALL).await.unwrap();
        assert_eq!(
            actions(&events),
            ["report_release", "report_release", "supply", "format", "create_node"]
        );
        assert_eq!(events[0].note.detail["log"], "no such file");
        assert!(store.node_events(person(77), node, ALL).await.is_err());
    }

    async fn a_report_counts_for_what_was_asked_for_before_it(database: TestDatabase) {
        let world = World::new(database).await;
        let store = &world.store;
        let node = world.node("n", 1).await;
        let me = Caller::Node(node.key);
        let root = world.placed(ALICE, wanted("t")).await;
        let subject = || Subject::Instance(root.key);
        world.pass(1);
        store.report_instance(me, subject(), Reported::Started).await.unwrap();
        world.pass(1);
        let mut changed = wanted("t");
        changed.parameters = Some(Texts::from([("a".to_owned(), "b".to_owned())]));
        let record = world.placed(ALICE, changed).await;
        assert!(record.status.at.unwrap() < record.timestamp);
        world.pass(1);
        store.report_instance(me, subject(), Reported::Started).await.unwrap();
        let record = store.instance(ALICE, subject()).await.unwrap();
        assert!(record.status.at.unwrap() > record.timestamp, "the node did what was asked for");
        let events = store.tree_events(ALICE, root.tree, ALL).await.unwrap();
        store.report_instance(me, subject(), Reported::Started).await.unwrap();
        assert_eq!(store.tree_events(ALICE, root.tree, ALL).await.unwrap(), events);
    }

    async fn an_upgrade_is_shown_until_it_is_done(database: TestDatabase) {
        let world = World::new(database).await;
        let store = &world.store;
        let node = world.node("n", 1).await;
        let root = world.placed(ALICE, wanted("t")).await;
        store.create_product(MANAGER, PROJECT, "app".into(), "App".into()).await.unwrap();
        for (release, at) in [(RELEASE, 100), (BETTER, 200)] {
            let at = Some(Timestamp(at * 1_000_000));
            store.add_release(MANAGER, PROJECT, "app".into(), url(release), at).await.unwrap();
        }
        store.review_upgrades().await.unwrap();
        let shown = async || store.whole_tree(ALICE, root.tree).await.unwrap().upgrade;
        assert_eq!(shown().await, Some((DecisionState::Planned, BETTER.to_owned())));
        let listed = store.tree_states(ALICE, TreesOf::Caller, String::new(), TreeFilter::Upgradable, Page::first(9)).await.unwrap();
        assert_eq!(listed[0].upgrade.as_deref(), Some(BETTER));
        let open = store.decisions(ALICE, false).await.unwrap().remove(0);
        store.answer_decision(ALICE, open.key, Answer::Accept).await.unwrap();
        assert_eq!(shown().await, Some((DecisionState::Accepted, BETTER.to_owned())));
        world.supply(node, BETTER).await;
        assert_eq!(shown().await, None);
    }
}
