//! How things stand: the numbers and lists of the dashboard, and what belongs to a person's account.

use slap_server::json_rpc::detail::Actual;

use super::*;
use crate::store::{NodeFilter, Reported, Subject};

for_each_database!(
    services_stand_as_their_worst_instances,
    nodes_are_counted_and_found_by_who_may_see_them,
);

async fn services_stand_as_their_worst_instances(database: TestDatabase) {
    let world = World::new(database).await;
    let store = &world.store;
    let node = world.node("n", 4).await;
    let by_node = Caller::Node(node.key);
    let standing = async |caller| store.services_standing(caller).await.unwrap();
    assert_eq!(standing(ALICE).await.total(), 0);

    let root = world.placed(ALICE, wanted("web")).await;
    let child = world.placed(ALICE, below(root.key, "child")).await;
    world.placed(ALICE, wanted("other")).await;
    assert_eq!(standing(ALICE).await.counts, [(Actual::Starting, 2)]);
    for record in [&root, &child] {
        let subject = Subject::Instance(record.key);
        store
            .report_instance(by_node, subject, Reported::Started)
            .await
            .unwrap();
    }
    let counts = standing(ALICE).await.counts;
    assert_eq!(counts, [(Actual::Started, 1), (Actual::Starting, 1)]);
    let subject = Subject::Instance(child.key);
    store
        .instance_error(by_node, subject, None, "no disk".to_owned())
        .await
        .unwrap();
    let now = standing(ALICE).await;
    assert_eq!((now.total(), now.of(Actual::Error)), (2, 1));
    assert_eq!(
        now.attention,
        [(root.tree, "web".to_owned(), Actual::Error)]
    );
    // One that has no place, and one that is to go.
    world.placed(ALICE, wanted("a")).await;
    world.request(ALICE, wanted("b")).await;
    assert_eq!(standing(ALICE).await.of(Actual::Waiting), 1);
    world
        .request(
            ALICE,
            state(slap::InstanceState::Destroyed, wanted("other")),
        )
        .await;
    assert_eq!(
        standing(ALICE).await.total(),
        3,
        "what is to go is in no list"
    );
    // Each sees their own, and nobody none.
    assert_eq!(standing(BOB).await.total(), 0);
    assert_eq!(standing(by_node).await.total(), 0);
    assert!(store.services_standing(Caller::Anonymous).await.is_err());

    // Administrators see the whole Master.
    let all = store.master_standing(Caller::Master).await.unwrap();
    assert_eq!((all.nodes, all.alive, all.closed), (1, 1, 0));
    assert_eq!((all.building, all.failed), (0, 0));
    assert_eq!((all.of(Actual::Error), all.of(Actual::Waiting)), (1, 1));
    assert!(all.database_bytes > 0, "{all:?}");
    assert!(store.master_standing(MANAGER).await.is_err());

    // The same as from the instances themselves.
    let whole = store.whole_tree(ALICE, root.tree).await.unwrap();
    let worst = whole.members.iter().map(|(record, _)| {
        let report = record.status.text.clone().zip(record.status.at);
        let report = report.map(|(text, at)| slap_server::status::Record {
            text,
            state: record.status.reported.clone(),
            at: at.system(),
            since: at.system(),
        });
        Actual::of(
            record.state,
            record.placement.is_some(),
            record.shared,
            report.as_ref(),
            record.timestamp.system(),
        )
    });
    assert_eq!(worst.max(), Some(Actual::Error));
}

async fn nodes_are_counted_and_found_by_who_may_see_them(database: TestDatabase) {
    let world = World::new(database).await;
    let store = &world.store;
    let node = world.node("Rack_1", 3).await;
    let other = world.bare_node("rack%2", 2).await;
    world.placed(ALICE, wanted("web")).await;
    let standing = store.nodes_standing(ALICE).await.unwrap();
    assert_eq!((standing.nodes, standing.partitions), (2, 5));
    assert_eq!((standing.alive, standing.busy), (2, 1));
    assert_eq!(
        store
            .nodes_standing(Caller::Node(node.key))
            .await
            .unwrap()
            .nodes,
        1
    );
    assert!(store.nodes_standing(Caller::Anonymous).await.is_err());

    let found = async |caller, text: &str, filter| -> Vec<NodeReference> {
        let page = Page::first(10);
        let states = store
            .node_states(caller, text.to_owned(), filter, page)
            .await;
        states
            .unwrap()
            .iter()
            .map(|state| state.node.node)
            .collect()
    };
    for (text, filter, expected) in [
        ("", NodeFilter::All, vec![node, other]),
        ("RACK", NodeFilter::All, vec![node, other]),
        ("k_1", NodeFilter::All, vec![node]),
        ("%2", NodeFilter::Online, vec![other]),
        ("_", NodeFilter::All, vec![node]),
        ("comp-2", NodeFilter::All, vec![other]),
        ("proj-1", NodeFilter::All, vec![node, other]),
        ("proj-2", NodeFilter::All, vec![]),
        ("'", NodeFilter::All, vec![]),
        ("", NodeFilter::Silent, vec![]),
        ("", NodeFilter::Closed, vec![]),
    ] {
        assert_eq!(
            found(ALICE, text, filter).await,
            expected,
            "{text} {filter:?}"
        );
    }
    store
        .set_scope(MANAGER, other, AllocationScope::Maintenance)
        .await
        .unwrap();
    assert_eq!(found(ALICE, "", NodeFilter::Closed).await, [other]);
    world.pass(3_600);
    store.close_silent_nodes().await.unwrap();
    assert_eq!(found(ALICE, "", NodeFilter::Silent).await, [node, other]);
    assert_eq!(found(ALICE, "", NodeFilter::Online).await, []);
    assert_eq!(
        found(Caller::Node(node.key), "", NodeFilter::All).await,
        [node]
    );
    let second = Page { skip: 1, limit: 1 };
    let states = store
        .node_states(ALICE, String::new(), NodeFilter::All, second)
        .await
        .unwrap();
    assert_eq!(states.len(), 1);
    let first = store
        .node_states(ALICE, String::new(), NodeFilter::All, Page::first(1))
        .await
        .unwrap();
    assert_eq!(
        (first[0].releases, first[0].installed, first[0].failed),
        (1, 1, 0)
    );
    assert!(
        store
            .node_states(Caller::Anonymous, String::new(), NodeFilter::All, second)
            .await
            .is_err()
    );
}
