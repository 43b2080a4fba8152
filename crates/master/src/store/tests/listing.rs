//! Lists and changes: everybody sees what the rules of access let it see.

use super::*;
use crate::domain::access::{self, Action, Facts, Verdict};
use crate::domain::{Role, TreeKey};

for_each_database!(
    lists_show_what_is_ones_own,
    pages_are_cut_by_the_database,
    changes_are_shown_to_those_who_may_see_them,
);

const NOBODY: Caller = Caller::Anonymous;

fn titles(lines: Vec<TreeLine>) -> Vec<String> {
    lines.into_iter().map(|line| line.title).collect()
}

async fn lists_show_what_is_ones_own(database: TestDatabase) {
    let world = World::new(database).await;
    let store = &world.store;
    let node = world.node("n", 4).await;
    let other = world.bare_node("m", 1).await;
    let root = world.placed(ALICE, wanted("b")).await;
    world.placed(ALICE, wanted("a")).await;
    world.placed(ALICE, below(root.key, "child")).await;
    world.placed(BOB, wanted("c")).await;
    let own = as_instance(&root);
    let all = Page::first(100);
    for (caller, expected) in [
        (ALICE, vec!["a", "b"]),
        (BOB, vec!["c"]),
        (MANAGER, vec![]),
        (own, vec!["b"]),
        (Caller::Node(node.key), vec![]),
    ] {
        let listed = store.list_trees(caller, all).await.unwrap();
        assert_eq!(titles(listed), expected, "{caller:?}");
        // The list and the rules of access say the same.
        for tree in 1..=3 {
            let tree = TreeKey(tree);
            let seen = store.tree(caller, tree, 10).await.is_ok();
            let owner = if tree.0 == 3 { 2 } else { 1 };
            let role = match caller {
                MANAGER => Some(Role::Manager),
                Caller::Person { .. } => Some(Role::Member),
                _ => None,
            };
            let facts = Facts {
                project: Some(PROJECT),
                role,
                owner: Some(PersonKey(owner)),
                tree: Some(tree),
                ..Facts::default()
            };
            let verdict = access::verdict(caller, Action::SeeInstance, &facts);
            assert_eq!(seen, verdict == Verdict::Allowed, "{caller:?} {tree}");
        }
    }
    assert!(store.list_trees(NOBODY, all).await.is_err());
    assert!(store.list_nodes(NOBODY, None, all).await.is_err());
    for (caller, expected) in [
        (ALICE, vec![node, other]),
        (MANAGER, vec![node, other]),
        (Caller::Node(node.key), vec![node]),
        (own, vec![]),
    ] {
        let listed = store.list_nodes(caller, None, all).await.unwrap();
        let listed: Vec<_> = listed.into_iter().map(|line| line.node).collect();
        assert_eq!(listed, expected, "{caller:?}");
        let only = store.list_nodes(caller, Some(other), all).await.unwrap();
        assert_eq!(only.len(), usize::from(expected.contains(&other)));
    }
    // Who leaves the project sees nothing of it any more.
    store
        .write(|tx| {
            tx.execute("DELETE FROM member WHERE person_id = 1", &[])?;
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(store.list_trees(ALICE, all).await.unwrap(), []);
    assert_eq!(store.list_nodes(ALICE, None, all).await.unwrap(), []);
    assert_eq!(
        store.tree_titled(ALICE, "a".to_owned()).await.unwrap(),
        None
    );
    assert!(store.tree(ALICE, root.tree, 10).await.is_err());
    // A tree that is being destroyed is listed no more, and its title is free.
    let destroyed = state(InstanceState::Destroyed, wanted("c"));
    world.request(BOB, destroyed).await;
    assert_eq!(store.list_trees(BOB, all).await.unwrap(), []);
    assert_eq!(store.tree_titled(BOB, "c".to_owned()).await.unwrap(), None);
}

async fn pages_are_cut_by_the_database(database: TestDatabase) {
    let world = World::new(database).await;
    let store = &world.store;
    for number in 0..25 {
        world.bare_node(&format!("n{number}"), 0).await;
        world.request(ALICE, wanted(&format!("t{number:02}"))).await;
    }
    let page = |skip, limit| Page { skip, limit };
    let listed = store.list_trees(ALICE, page(20, 10)).await.unwrap();
    assert_eq!(titles(listed), ["t20", "t21", "t22", "t23", "t24"]);
    let listed = store.list_trees(ALICE, page(3, 2)).await.unwrap();
    assert_eq!(titles(listed), ["t03", "t04"]);
    let listed = store.list_nodes(ALICE, None, page(23, 9)).await.unwrap();
    let listed: Vec<_> = listed.into_iter().map(|line| line.title).collect();
    assert_eq!(listed, ["n23", "n24"]);
    let tree = store.tree_titled(ALICE, "t07".to_owned()).await.unwrap();
    let members = store.list_members(ALICE, tree.unwrap(), page(0, 5)).await;
    assert_eq!(members.unwrap().len(), 1);
}

async fn changes_are_shown_to_those_who_may_see_them(database: TestDatabase) {
    let world = World::new(database).await;
    let store = &world.store;
    let mut everything = store.hub().follow();
    let node = world.node("n", 2).await;
    let record = world.placed(ALICE, wanted("t")).await;
    let mut told = Changes::default();
    while let Ok(changes) = everything.try_recv() {
        told.nodes.extend(&changes.nodes);
        told.trees.extend(&changes.trees);
    }
    assert!(told.nodes.contains(&node.key) && told.trees.contains(&record.tree));
    let nodes = vec![node.key, NodeKey(99)];
    let trees = vec![record.tree, TreeKey(99)];
    let revision = world.revision(node).await;
    let the_node = vec![(node, revision)];
    let the_tree = vec![(record.tree, "t".to_owned())];
    for (caller, nodes_seen, trees_seen) in [
        (ALICE, &the_node, &the_tree),
        (BOB, &the_node, &Vec::new()),
        (MANAGER, &the_node, &the_tree),
        (person(9), &Vec::new(), &Vec::new()),
        (Caller::Node(node.key), &the_node, &Vec::new()),
    ] {
        let seen = store
            .seen_changes(caller, nodes.clone(), trees.clone())
            .await
            .unwrap();
        assert_eq!((&seen.nodes, &seen.trees), (nodes_seen, trees_seen));
    }
    // A stream that is open is no sign of life of the node.
    world.pass(100_000);
    store.close_silent_nodes().await.unwrap();
    let watcher = Caller::Node(node.key);
    assert_eq!(
        store.watched_revision(watcher, node).await.unwrap(),
        revision
    );
    assert!(!store.node(MANAGER, node).await.unwrap().alive);
    assert!(store.watched_revision(person(9), node).await.is_err());
    let news = store.partition_news(ALICE, node).await.unwrap();
    assert_eq!((news.len(), news[0].partition.as_str()), (1, "slappart0"));
    assert!(store.partition_news(BOB, node).await.unwrap().is_empty());
    let installations = store.installations(MANAGER, node).await.unwrap();
    let key = installations[0].key;
    let found = store.installation_by_key(BOB, key).await.unwrap();
    assert_eq!(found, installations[0]);
    assert!(store.installation_by_key(person(9), key).await.is_err());
}
