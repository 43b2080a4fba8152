//! What there is: projects with how much is in them, products with where their releases are.

use super::*;
use crate::domain::ProductKey;
use crate::store::{Deployed, LooseRelease, TreeFilter, TreesOf};

for_each_database!(
    projects_are_listed_with_what_is_in_them,
    products_are_listed_with_where_they_are,
    services_of_a_project_and_a_product_are_for_who_may_see_them,
    a_product_is_made_with_its_release_or_not_at_all,
);

const ROOT: Caller = Caller::Person {
    person: PersonKey(4),
    administrator: true,
};
const NEXT: &str = "https://example.com/2/software.cfg";

/// An administrator, who belongs to nothing.
async fn with_root(database: TestDatabase) -> World {
    let world = World::new(database).await;
    let new = NewPerson {
        login: "root".parse().unwrap(),
        name: "The 100% Root_".to_owned(),
        administrator: true,
    };
    world
        .store
        .create_person(Caller::Master, new)
        .await
        .unwrap();
    world
}

async fn projects_are_listed_with_what_is_in_them(database: TestDatabase) {
    let world = with_root(database).await;
    let store = &world.store;
    world.node("n", 4).await;
    world.placed(ALICE, wanted("web")).await;
    world.placed(BOB, wanted("shop")).await;
    let second = store
        .create_project(Caller::Master, "Second_ Half".to_owned())
        .await
        .unwrap();
    let all = Page::first(9);
    let list = async |caller, text: &str, page| {
        let found = store.project_states(caller, text.to_owned(), page).await;
        let lines = found.unwrap().into_iter();
        let line = |state: ProjectState| {
            (
                state.project.key.0,
                state.is_managed,
                state.members,
                state.nodes,
                state.trees,
            )
        };
        lines.map(line).collect::<Vec<_>>()
    };
    assert_eq!(
        list(ALICE, "", all).await,
        [(1, false, 3, 1, 1)],
        "her own tree"
    );
    assert_eq!(
        list(MANAGER, "", all).await,
        [(1, true, 3, 1, 2)],
        "all of them"
    );
    let both = [(1, true, 3, 1, 2), (second.0, true, 0, 0, 0)];
    assert_eq!(list(ROOT, "", all).await, both);
    assert_eq!(list(ROOT, "", Page { skip: 1, limit: 1 }).await, both[1..]);
    assert_eq!(list(ROOT, "proj-1", all).await, both[..1]);
    assert_eq!(list(ROOT, "d_ h", all).await, both[1..]);
    assert_eq!(list(ROOT, "%", all).await, []);
    assert_eq!(list(Caller::Node(NodeKey(1)), "", all).await, []);
    assert!(
        store
            .project_states(Caller::Anonymous, String::new(), all)
            .await
            .is_err()
    );

    assert_eq!(
        store.project_state(ROOT, second).await.unwrap().project.key,
        second
    );
    for hidden in [second, ProjectKey(77)] {
        let refused = store.project_state(ALICE, hidden).await;
        assert!(matches!(
            refused,
            Err(StoreError::Refused(Refusal::NotFound(_)))
        ));
    }
    let of_alice = store.memberships(ALICE, PersonKey(1)).await.unwrap();
    assert_eq!(of_alice.len(), 1);
    assert!(store.memberships(BOB, PersonKey(1)).await.is_err());
    let named = async |text: &str| {
        let found = store
            .persons_like(ROOT, text.to_owned(), Page::first(9))
            .await;
        found
            .unwrap()
            .iter()
            .map(|person| person.login.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(named("").await, ["alice", "bob", "boss", "root"]);
    assert_eq!(named("BO").await, ["bob", "boss"]);
    assert_eq!(named("0% root_").await, ["root"]);
    assert_eq!(named("_").await, ["root"], "no pattern");
    assert!(
        store
            .persons_like(MANAGER, String::new(), all)
            .await
            .is_err()
    );
}

async fn products_are_listed_with_where_they_are(database: TestDatabase) {
    let world = with_root(database).await;
    let store = &world.store;
    let all = Page::first(9);
    let node = world.node("n", 2).await;
    world.node("m", 2).await;
    world.placed(ALICE, wanted("web")).await;
    let loose = store.loose_releases(ALICE).await.unwrap();
    let expected = LooseRelease {
        project: PROJECT,
        url: RELEASE.to_owned(),
        nodes: 2,
    };
    assert_eq!(loose, [expected]);
    assert_eq!(store.loose_releases(ROOT).await.unwrap().len(), 1);
    assert!(store.loose_releases(Caller::Anonymous).await.is_err());

    let shop = store
        .create_product(MANAGER, PROJECT, "shop".into(), "A Shop".into())
        .await
        .unwrap();
    for (url, from) in [(RELEASE, None), (NEXT, Some(Timestamp(i64::MAX)))] {
        let url = ReleaseUrl::new(url).unwrap();
        store
            .add_release(MANAGER, PROJECT, "shop".into(), url, from)
            .await
            .unwrap();
    }
    assert_eq!(store.loose_releases(ALICE).await.unwrap(), []);
    let next = ReleaseUrl::new(NEXT).unwrap();
    store
        .supply(MANAGER, node, next.clone(), InstallationState::Available)
        .await
        .unwrap();
    let me = Caller::Node(node.key);
    let report = InstallationReport::Error("no compiler".to_owned());
    store
        .report_installation(me, node, next, report)
        .await
        .unwrap();

    let present = Deployed {
        nodes: 2,
        installed: 2,
        failed: 0,
        instances: 1,
    };
    let coming = Deployed {
        nodes: 1,
        installed: 0,
        failed: 1,
        instances: 0,
    };
    let detail = store.product_detail(ALICE, shop).await.unwrap();
    assert_eq!(detail.deployed, [present, coming]);
    assert!(
        !detail.is_managed
            && store
                .product_detail(MANAGER, shop)
                .await
                .unwrap()
                .is_managed
    );
    let listed = store
        .product_states(ALICE, "A SHO".to_owned(), all)
        .await
        .unwrap();
    assert_eq!((listed.len(), listed[0].releases), (1, 2));
    assert_eq!(listed[0].best.as_deref(), Some(RELEASE));
    let together = Deployed {
        nodes: 3,
        installed: 2,
        failed: 1,
        instances: 1,
    };
    assert_eq!(listed[0].deployed, together);
    assert_eq!(
        store
            .product_states(ALICE, "_".to_owned(), all)
            .await
            .unwrap(),
        []
    );
    let lines = async |page| {
        let found = store
            .product_installations(ALICE, shop, page)
            .await
            .unwrap();
        found
            .into_iter()
            .map(|(title, installation)| (title, installation.release))
            .collect::<Vec<_>>()
    };
    let line = |title: &str, url: &str| (title.to_owned(), url.to_owned());
    assert_eq!(
        lines(all).await,
        [line("n", RELEASE), line("n", NEXT), line("m", RELEASE)]
    );
    assert_eq!(lines(Page { skip: 1, limit: 1 }).await, [line("n", NEXT)]);

    // Who is in another project sees nothing of it.
    let stranger = NewPerson {
        login: "eve".parse().unwrap(),
        name: String::new(),
        administrator: false,
    };
    let stranger = store.create_person(Caller::Master, stranger).await.unwrap();
    let stranger = person(stranger.0);
    assert_eq!(
        store
            .product_states(stranger, String::new(), all)
            .await
            .unwrap(),
        []
    );
    assert_eq!(store.loose_releases(stranger).await.unwrap(), []);
    for refused in [
        store.product_detail(stranger, shop).await.map(|_| ()),
        store
            .product_installations(stranger, shop, all)
            .await
            .map(|_| ()),
        store.product_detail(ROOT, ProductKey(99)).await.map(|_| ()),
    ] {
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, StoreError::Refused(Refusal::NotFound(_))),
            "{refused}"
        );
    }
}

async fn services_of_a_project_and_a_product_are_for_who_may_see_them(database: TestDatabase) {
    let world = with_root(database).await;
    let store = &world.store;
    world.node("n", 2).await;
    world.placed(ALICE, wanted("web")).await;
    world.placed(BOB, wanted("shop")).await;
    let other = Wanted {
        release: ReleaseUrl::new(NEXT).unwrap(),
        ..wanted("waits")
    };
    world.request(BOB, other).await;
    let product = async |reference: &str, url: &str| {
        let url = ReleaseUrl::new(url).unwrap();
        let made = store.catalogue(MANAGER, PROJECT, reference.to_owned(), None, Some(url));
        TreesOf::Product(made.await.unwrap(), PROJECT)
    };
    let (first, next) = (product("first", RELEASE).await, product("next", NEXT).await);
    let nothing = TreesOf::Product(ProductKey(99), PROJECT);
    let project = TreesOf::Project(PROJECT);
    let list = async |caller, of, page| {
        let found = store.tree_states(caller, of, String::new(), TreeFilter::All, page);
        let found = found.await.unwrap().into_iter();
        found
            .map(|tree| format!("{} of {}", tree.title, tree.owner))
            .collect::<Vec<_>>()
    };
    let all = Page::first(9);
    let (web, shop, waits) = ("web of alice", "shop of bob", "waits of bob");
    for (caller, of, expected) in [
        (ALICE, project, vec![web]),
        (BOB, project, vec![shop, waits]),
        (MANAGER, project, vec![shop, waits, web]),
        (ROOT, project, vec![shop, waits, web]),
        (Caller::Master, project, vec![shop, waits, web]),
        (ALICE, first, vec![web]),
        (MANAGER, first, vec![shop, web]),
        (MANAGER, next, vec![waits]),
        (ALICE, next, vec![]),
        (ROOT, nothing, vec![]),
        (MANAGER, TreesOf::Caller, vec![]),
        (ROOT, TreesOf::Caller, vec![]),
        (BOB, TreesOf::Caller, vec![shop, waits]),
    ] {
        assert_eq!(list(caller, of, all).await, expected, "{caller:?} {of:?}");
    }
    let second = Page { skip: 1, limit: 1 };
    assert_eq!(list(MANAGER, project, second).await, [waits]);
    let upgradable = store
        .tree_states(MANAGER, project, "S".to_owned(), TreeFilter::Waiting, all)
        .await
        .unwrap();
    assert_eq!(upgradable.len(), 1);
    assert!(upgradable[0].waiting.is_some());
    for (caller, of) in [
        (person(77), project),
        (person(77), first),
        (Caller::Anonymous, project),
        (ROOT, TreesOf::Project(ProjectKey(77))),
    ] {
        let refused = store.tree_states(caller, of, String::new(), TreeFilter::All, all);
        assert!(refused.await.is_err(), "{caller:?} {of:?}");
    }
}

async fn a_product_is_made_with_its_release_or_not_at_all(database: TestDatabase) {
    let world = with_root(database).await;
    let store = &world.store;
    let put = async |caller, reference: &str, title: Option<&str>, url: Option<&str>| {
        let url = url.map(|url| ReleaseUrl::new(url).unwrap());
        let title = title.map(str::to_owned);
        store
            .catalogue(caller, PROJECT, reference.to_owned(), title, url)
            .await
    };
    let titles = async || {
        let found = store.products(ROOT, None).await.unwrap().into_iter();
        found
            .map(|product| (product.reference, product.title, product.releases.len()))
            .collect::<Vec<_>>()
    };
    let line =
        |reference: &str, title: &str, releases| (reference.to_owned(), title.to_owned(), releases);
    let shop = put(MANAGER, "shop", Some("A Shop"), Some(RELEASE))
        .await
        .unwrap();
    assert_eq!(put(MANAGER, "shop", None, Some(NEXT)).await.unwrap(), shop);
    assert_eq!(titles().await, [line("shop", "A Shop", 2)]);
    let taken = put(MANAGER, "other", None, Some(NEXT)).await.unwrap_err();
    assert!(
        matches!(taken, StoreError::Refused(Refusal::Conflict(_))),
        "{taken}"
    );
    put(MANAGER, "", None, None).await.unwrap_err();
    put(ALICE, "mine", None, None).await.unwrap_err();
    assert_eq!(
        titles().await,
        [line("shop", "A Shop", 2)],
        "nothing was made"
    );
    put(MANAGER, "plain", None, None).await.unwrap();
    assert_eq!(
        titles().await,
        [line("plain", "plain", 0), line("shop", "A Shop", 2)]
    );
}
