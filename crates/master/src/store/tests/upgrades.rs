//! Products and upgrades.

use super::*;
use crate::domain::upgrade::{Answer, DecisionState, UpgradePolicy};

const BETTER: &str = "https://example.com/2/software.cfg";
const BEST: &str = "https://example.com/3/software.cfg";

fn url(text: &str) -> ReleaseUrl {
    ReleaseUrl::new(text).unwrap()
}

impl World {
    async fn product(&self, releases: &[(&str, Option<i64>)]) {
        self.store
            .create_product(MANAGER, PROJECT, "app".into(), "App".into())
            .await
            .unwrap();
        for (release, effective) in releases {
            self.release(release, *effective).await;
        }
    }

    async fn release(&self, release: &str, effective: Option<i64>) {
        let effective = effective.map(|seconds| Timestamp(seconds * 1_000_000));
        self.store
            .add_release(MANAGER, PROJECT, "app".into(), url(release), effective)
            .await
            .unwrap();
    }

    async fn root(&self, caller: Caller) -> InstanceRecord {
        let root = self.store.tree_by_title(caller, "t".into()).await;
        root.unwrap().unwrap()
    }

    async fn only_decision(&self, caller: Caller) -> DecisionRecord {
        let mut decisions = self.store.decisions(caller, true).await.unwrap();
        assert_eq!(decisions.len(), 1, "{decisions:?}");
        decisions.pop().unwrap()
    }
}

for_each_database! {
    async fn releases_of_a_product_are_ranked_for_those_who_see_the_project(database: TestDatabase) {
        let world = World::new(database).await;
        world
            .product(&[
                (RELEASE, Some(100)),
                (BETTER, Some(200)),
                (BEST, Some(5_000_000_000)),
            ])
            .await;
        let list = |caller, project| world.store.product_releases(caller, "app".into(), project);
        assert_eq!(list(ALICE, None).await.unwrap(), [BETTER, RELEASE, BEST]);
        assert_eq!(
            list(ALICE, Some(PROJECT)).await.unwrap(),
            [BETTER, RELEASE, BEST]
        );
        let like = world
            .store
            .releases_like(ALICE, RELEASE.into(), None)
            .await
            .unwrap();
        assert_eq!(like, [BETTER, RELEASE, BEST]);
        assert!(list(person(77), None).await.unwrap().is_empty());
        assert!(matches!(
            list(person(77), Some(PROJECT)).await,
            Err(StoreError::Refused(Refusal::NotFound(_)))
        ));
        assert!(matches!(
            list(Caller::Anonymous, None).await,
            Err(StoreError::Refused(Refusal::Unauthenticated(_)))
        ));
        // Members do not change products.
        let refused = world
            .store
            .add_release(
                ALICE,
                PROJECT,
                "app".into(),
                url("https://example.com/4"),
                None,
            )
            .await;
        assert!(matches!(
            refused,
            Err(StoreError::Refused(Refusal::Forbidden(_)))
        ));
        // A release belongs to one product.
        world
            .store
            .create_product(MANAGER, PROJECT, "other".into(), "Other".into())
            .await
            .unwrap();
        let refused = world
            .store
            .add_release(MANAGER, PROJECT, "other".into(), url(RELEASE), None)
            .await;
        assert!(matches!(
            refused,
            Err(StoreError::Refused(Refusal::Conflict(_)))
        ));
        world
            .store
            .remove_release(MANAGER, PROJECT, "app".into(), url(BETTER))
            .await
            .unwrap();
        assert_eq!(list(ALICE, None).await.unwrap(), [RELEASE, BEST]);
    }

    async fn instances_take_the_units_their_product_says(database: TestDatabase) {
        let world = World::new(database).await;
        let node = world.node("n", 3).await;
        world.product(&[(RELEASE, None)]).await;
        let kind = slap::SoftwareType::new("default").unwrap();
        world
            .store
            .set_units(MANAGER, PROJECT, "app".into(), kind, 4)
            .await
            .unwrap();
        world
            .store
            .set_capacity(MANAGER, node, Some(5))
            .await
            .unwrap();
        world.placed(ALICE, wanted("t")).await;
        let node = world.store.node(MANAGER, node).await.unwrap();
        assert_eq!(node.used, 4);
        let second = world.request(ALICE, wanted("u")).await;
        assert!(matches!(second, Requested::Waiting { .. }));
    }

    async fn an_upgrade_is_offered_taken_supplied_and_carried_out(database: TestDatabase) {
        let world = World::new(database).await;
        let node = world.node("n", 1).await;
        world.product(&[(RELEASE, Some(100))]).await;
        let before = world.placed(ALICE, wanted("t")).await;
        assert!(world.store.decisions(ALICE, true).await.unwrap().is_empty());
        world.release(BETTER, None).await;
        let offered = world.only_decision(ALICE).await;
        assert_eq!(
            (offered.state, offered.to.as_str()),
            (DecisionState::Planned, BETTER)
        );
        // Nothing has changed, and reviewing again changes nothing.
        world.store.review_upgrades().await.unwrap();
        assert_eq!(world.only_decision(ALICE).await, offered);
        assert_eq!(world.root(ALICE).await, before);
        // It is Alice's to take.
        assert!(world.store.decisions(BOB, true).await.unwrap().is_empty());
        let refused = world
            .store
            .answer_decision(BOB, offered.key, Answer::Accept)
            .await;
        assert!(matches!(
            refused,
            Err(StoreError::Refused(Refusal::NotFound(_)))
        ));
        let taken = world
            .store
            .answer_decision(ALICE, offered.key, Answer::Accept)
            .await
            .unwrap();
        assert_eq!(taken.state, DecisionState::Accepted);
        // The release is asked for on the node; the tree keeps what runs.
        assert_eq!(world.root(ALICE).await.release, RELEASE);
        let installation = world
            .store
            .installation(MANAGER, node, url(BETTER))
            .await
            .unwrap();
        assert_eq!(installation.state, InstallationState::Available);
        world.pass(60);
        world
            .store
            .report_installation(
                Caller::Node(node.key),
                node,
                url(BETTER),
                InstallationReport::Available,
            )
            .await
            .unwrap();
        let after = world.root(ALICE).await;
        assert_eq!((after.key, after.release.as_str()), (before.key, BETTER));
        assert_eq!(after.placement, before.placement);
        assert!(after.timestamp > before.timestamp);
        assert_eq!(world.only_decision(ALICE).await.state, DecisionState::Done);
        // Who asks again for the release it knew gets the tree as it is now.
        assert_eq!(world.placed(ALICE, wanted("t")).await.release, BETTER);
        assert!(matches!(
            world
                .store
                .answer_decision(ALICE, offered.key, Answer::Reject)
                .await,
            Err(StoreError::Refused(Refusal::Conflict(_)))
        ));
    }

    async fn a_rejected_release_is_not_offered_again(database: TestDatabase) {
        let world = World::new(database).await;
        world.node("n", 1).await;
        world
            .product(&[(RELEASE, Some(100)), (BETTER, Some(200))])
            .await;
        world.placed(ALICE, wanted("t")).await;
        // A tree made after the release is found by a look.
        let mut watch = UpgradeWatch::default();
        watch.look(&world.store).await.unwrap();
        let offered = world.only_decision(ALICE).await;
        world
            .store
            .answer_decision(ALICE, offered.key, Answer::Reject)
            .await
            .unwrap();
        world.store.review_upgrades().await.unwrap();
        assert_eq!(
            world.only_decision(ALICE).await.state,
            DecisionState::Rejected
        );
        assert!(
            world
                .store
                .decisions(ALICE, false)
                .await
                .unwrap()
                .is_empty()
        );
        world.release(BEST, None).await;
        let open = world.store.decisions(ALICE, false).await.unwrap();
        assert_eq!(open.len(), 1);
        assert_eq!(open[0].to, BEST);
    }

    async fn a_tree_can_be_upgraded_without_asking_when_the_day_comes(database: TestDatabase) {
        let world = World::new(database).await;
        let node = world.node("n", 1).await;
        world.supply(node, BETTER).await;
        let day = world.clock.now().seconds() + 3600;
        world
            .product(&[(RELEASE, Some(100)), (BETTER, Some(day))])
            .await;
        let root = world.placed(ALICE, wanted("t")).await;
        assert!(matches!(
            world
                .store
                .set_upgrade_policy(BOB, root.tree, UpgradePolicy::Automatic)
                .await,
            Err(StoreError::Refused(Refusal::NotFound(_)))
        ));
        world
            .store
            .set_upgrade_policy(ALICE, root.tree, UpgradePolicy::Automatic)
            .await
            .unwrap();
        let mut watch = UpgradeWatch::default();
        watch.look(&world.store).await.unwrap();
        assert_eq!(world.root(ALICE).await.release, RELEASE);
        world.pass(3600);
        let revision = world.revision(node).await;
        watch.look(&world.store).await.unwrap();
        assert_eq!(world.root(ALICE).await.release, BETTER);
        assert!(world.revision(node).await > revision);
        assert_eq!(world.only_decision(ALICE).await.state, DecisionState::Done);
    }
}
