//! Who waits is placed by whatever makes that possible, the oldest first: cases that random
//! operations against a model have found.

use super::*;
use crate::domain::NetworkKey;

const OTHER: &str = "https://example.com/other/software.cfg";

fn shared(title: &str) -> Wanted {
    Wanted {
        shared: Some(true),
        ..wanted(title)
    }
}

fn of_type(software_type: &str, wanted: Wanted) -> Wanted {
    Wanted {
        software_type: Some(slap::SoftwareType::new(software_type).unwrap()),
        ..wanted
    }
}

fn of_release(release: &str, wanted: Wanted) -> Wanted {
    Wanted {
        release: ReleaseUrl::new(release).unwrap(),
        ..wanted
    }
}

fn alone_in_network(wanted: Wanted) -> Wanted {
    Wanted {
        sla: Some(texts(&[("mode", "unique_by_network")])),
        ..wanted
    }
}

impl World {
    async fn waiting(&self, caller: Caller, wanted: Wanted) -> InstanceKey {
        match self.request(caller, wanted).await {
            Requested::Waiting { instance, .. } => instance.unwrap(),
            Requested::Placed(record) => panic!("placed: {record:?}"),
        }
    }

    /// What there is now, without asking for it again.
    async fn now(&self, key: InstanceKey) -> InstanceRecord {
        let subject = Subject::Instance(key);
        self.store.instance(Caller::Master, subject).await.unwrap()
    }

    async fn poll(&self, node: NodeReference) {
        self.store
            .node_revision(Caller::Node(node.key), node)
            .await
            .unwrap();
    }

    /// A new network, with this node in it.
    async fn network(&self, node: NodeReference) -> NetworkKey {
        let network = self.store.create_network(MANAGER, PROJECT, "net".into());
        let network = network.await.unwrap();
        let set = self.store.set_network(MANAGER, node, Some(network));
        set.await.unwrap();
        network
    }

    /// The timestamp a node is shown for its first partition.
    async fn shown(&self, node: NodeReference) -> Timestamp {
        let document = self.store.node_document(Caller::Master, node).await;
        let partition = document.unwrap().partitions.swap_remove(0);
        partition.instance.unwrap().timestamp
    }
}

for_each_database! {
    async fn a_new_host_serves_who_has_waited_longer_than_it(database: TestDatabase) {
        let world = World::new(database).await;
        let node = world.bare_node("n", 1).await;
        let served = world.waiting(BOB, shared("s")).await;
        let host = world.waiting(ALICE, wanted("h")).await;
        world.supply(node, RELEASE).await;
        assert!(world.now(host).await.placement.is_some());
        assert_eq!(world.now(served).await.host, Some(host));
    }

    async fn an_instance_that_changes_its_type_or_release_serves_who_waited(database: TestDatabase) {
        let world = World::new(database).await;
        world.node("n", 2).await;
        let by_type = world.waiting(BOB, of_type("db", shared("s"))).await;
        let by_release = world.waiting(BOB, of_release(OTHER, shared("r"))).await;
        let root = world.placed(ALICE, wanted("h")).await;
        world.placed(ALICE, of_type("db", wanted("h"))).await;
        assert_eq!(world.now(by_type).await.host, Some(root.key));
        let child = world.placed(as_instance(&root), wanted("child")).await;
        world.placed(as_instance(&root), of_release(OTHER, wanted("child"))).await;
        assert_eq!(world.now(by_release).await.host, Some(child.key));
    }

    async fn a_node_that_opens_brings_its_hosts_with_it(database: TestDatabase) {
        let world = World::new(database).await;
        let node = world.node("n", 2).await;
        let root = world.placed(ALICE, wanted("h")).await;
        let child = world.placed(as_instance(&root), wanted("child")).await;
        // Of a release that nobody has asked for on the node.
        world.placed(as_instance(&root), of_release(OTHER, wanted("child"))).await;
        let set = |scope| world.store.set_scope(MANAGER, node, scope);
        set(AllocationScope::Maintenance).await.unwrap();
        let served = world.waiting(BOB, of_release(OTHER, shared("s"))).await;
        set(AllocationScope::Open).await.unwrap();
        assert_eq!(world.now(served).await.host, Some(child.key));
    }

    async fn the_oldest_is_first_whatever_release_it_waits_for(database: TestDatabase) {
        let world = World::new(database).await;
        let node = world.node("n", 1).await;
        world.supply(node, OTHER).await;
        let holder = world.placed(ALICE, wanted("h")).await;
        let older = world.waiting(ALICE, of_release(OTHER, wanted("older"))).await;
        let younger = world.waiting(BOB, wanted("younger")).await;
        world.request(ALICE, state(InstanceState::Destroyed, wanted("h"))).await;
        world.destroyed(&holder).await.unwrap();
        assert!(world.now(older).await.placement.is_some());
        assert!(world.now(younger).await.placement.is_none());
    }

    async fn a_network_a_node_has_left_is_open_to_trees_on_it(database: TestDatabase) {
        let world = World::new(database).await;
        let one = world.node("one", 1).await;
        let two = world.bare_node("two", 1).await;
        world.supply(two, OTHER).await;
        let here = world.network(two).await;
        world.store.set_network(MANAGER, one, Some(here)).await.unwrap();
        let root = world.placed(ALICE, wanted("t")).await;
        let alone = alone_in_network(of_release(OTHER, wanted("alone")));
        let alone = world.waiting(as_instance(&root), alone).await;
        world.store.set_network(MANAGER, one, None).await.unwrap();
        assert_eq!(world.now(alone).await.placement.unwrap().node, two);
    }

    async fn a_network_a_member_has_left_is_open_to_others_on_any_node(database: TestDatabase) {
        let world = World::new(database).await;
        world.node("one", 1).await;
        let two = world.bare_node("two", 1).await;
        world.supply(two, OTHER).await;
        let here = world.network(two).await;
        let three = world.bare_node("three", 1).await;
        let third = "https://example.com/third.cfg";
        world.supply(three, third).await;
        world.store.set_network(MANAGER, three, Some(here)).await.unwrap();
        let me = as_instance(&world.placed(ALICE, wanted("t")).await);
        let first = of_release(OTHER, wanted("first"));
        let there = world.placed(me, first.clone()).await;
        let alone = alone_in_network(of_release(third, wanted("alone")));
        let alone = world.waiting(me, alone).await;
        world.request(me, state(InstanceState::Destroyed, first)).await;
        world.destroyed(&there).await.unwrap();
        assert_eq!(world.now(alone).await.placement.unwrap().node, three);
    }

    async fn a_silence_nobody_has_noted_ends_with_the_next_call(database: TestDatabase) {
        let world = World::new(database).await;
        let node = world.node("n", 1).await;
        world.pass(700);
        let waits = world.waiting(ALICE, wanted("t")).await;
        world.poll(node).await;
        assert!(world.now(waits).await.placement.is_some());
    }

    async fn a_node_that_calls_right_after_a_bang_is_well_again(database: TestDatabase) {
        let world = World::new(database).await;
        let node = world.node("n", 1).await;
        for _ in 0..2 {
            world
                .store
                .bang_node(Caller::Node(node.key), node, "m".into())
                .await
                .unwrap();
            world.poll(node).await;
            assert!(world.store.node(MANAGER, node).await.unwrap().alive);
        }
    }

    async fn a_host_shows_every_change_though_the_clock_goes_back(database: TestDatabase) {
        let world = World::new(database).await;
        let node = world.node("n", 1).await;
        world.pass(10);
        let early = world.waiting(BOB, of_type("db", shared("early"))).await;
        world.pass(-10);
        world.placed(ALICE, of_type("db", wanted("h"))).await;
        assert!(world.now(early).await.host.is_some());
        let mut last = world.shown(node).await;
        world.placed(BOB, of_type("db", shared("late"))).await;
        for title in ["early", "late"] {
            let shown = world.shown(node).await;
            assert!(shown > last, "{title}: {shown:?} after {last:?}");
            last = shown;
            let gone = state(InstanceState::Destroyed, of_type("db", shared(title)));
            world.request(BOB, gone).await;
        }
        assert!(world.shown(node).await > last);
    }
}
