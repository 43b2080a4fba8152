#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use crate::domain::{Caller, ProjectKey, Role};
use crate::web::tests::{World, approve, keeps_the_rules, leads_to};

/// The browser of a new person.
async fn browser(world: &World, login: &str, administrator: bool) -> String {
    let (person, _) = world.rig.person(login, administrator).await;
    world.rig.browser(person).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_shown_to_those_who_belong_to_it() {
    let world = World::new().await;
    let rig = &world.rig;
    world.node("rack-1", 2).await;
    rig.clock.advance(Duration::from_secs(120));
    approve!("projects", world.page("projects").await);
    approve!("project", world.page("projects/PROJ-1").await);
    let nothing = rig.page(&world.cookie, "projects?q=elsewhere").await.ok();
    assert!(
        nothing.contains("No project is called like that"),
        "{nothing}"
    );
    assert!(
        rig.page(&world.cookie, "projects?q=proj-1")
            .await
            .ok()
            .contains("projects/PROJ-1")
    );

    let stranger = browser(&world, "eve", false).await;
    assert!(
        rig.page(&stranger, "projects")
            .await
            .ok()
            .contains("You are in no project")
    );
    for path in [
        "projects/PROJ-1",
        "projects/PROJ-1/members",
        "projects/PROJ-7",
        "projects/x",
    ] {
        assert_eq!(rig.page(&stranger, path).await.status, 404, "{path}");
    }
    // A member sees it, and not who else is in it.
    rig.store
        .set_member(
            Caller::Master,
            ProjectKey(1),
            "eve".parse().unwrap(),
            Some(Role::Member),
        )
        .await
        .unwrap();
    assert!(
        !rig.page(&stranger, "projects/PROJ-1")
            .await
            .ok()
            .contains("projects/PROJ-1/members")
    );
    assert_eq!(
        rig.page(&stranger, "projects/PROJ-1/members").await.status,
        403
    );
    assert_eq!(rig.page(&stranger, "people").await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_say_who_belongs_to_a_project() {
    let world = World::new().await;
    let rig = &world.rig;
    let path = "projects/PROJ-1/members";
    rig.person("bob", false).await;
    let set = async |login: &str, role: &str| {
        let fields = [("login", login), ("role", role)];
        rig.send_form(&world.cookie, path, &fields).await
    };
    leads_to(
        &set("Bob", "member").await,
        "../../projects/PROJ-1/members?done=member",
    );
    approve!("members", world.page(path).await);
    leads_to(
        &set("bob", "manager").await,
        "../../projects/PROJ-1/members?done=member",
    );
    for (login, status, said) in [
        ("nobody", 404, "nobody"),
        ("not a name", 400, "is not a login name"),
        ("", 400, "is not a login name"),
    ] {
        let refused = set(login, "member").await;
        keeps_the_rules(path, &refused);
        assert_eq!(refused.status, status, "{login}");
        assert!(
            refused.body.contains("aria-invalid") && refused.body.contains(said),
            "{login}"
        );
    }
    assert_eq!(set("bob", "king").await.status, 400);

    let remove = format!("{path}/bob/remove");
    assert!(world.page(&remove).await.contains("Remove this person?"));
    let done = rig.send_form(&world.cookie, &remove, &[]).await;
    leads_to(
        &done,
        "../../../../projects/PROJ-1/members?done=member-removed",
    );
    // Who takes itself out is led to where it still may be.
    let done = rig
        .send_form(&world.cookie, &format!("{path}/ada/remove"), &[])
        .await;
    leads_to(&done, "../../../../projects?done=member-removed");
    assert!(
        world
            .page("projects")
            .await
            .contains("You are in no project")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_make_and_close_projects() {
    let world = World::new().await;
    let rig = &world.rig;
    let root = browser(&world, "root", true).await;
    let refused = rig
        .send_form(&world.cookie, "projects", &[("title", "Mine")])
        .await;
    assert_eq!(refused.status, 403);
    let wrong = rig.send_form(&root, "projects", &[("title", "  ")]).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("aria-invalid"), "{}", wrong.body);
    let made = rig
        .send_form(&root, "projects", &[("title", "Web <shop>")])
        .await;
    leads_to(&made, "projects/PROJ-2?done=project");
    let title = "the <far> hall".to_owned();
    let made = rig
        .store
        .create_network(Caller::Master, ProjectKey(2), title);
    made.await.unwrap();
    assert!(
        rig.page(&root, "projects/PROJ-2")
            .await
            .ok()
            .contains("Web &lt;shop&gt;")
    );
    let page = rig.page(&root, "projects/PROJ-2").await.ok();
    assert!(
        page.contains("the &lt;far&gt; hall") && page.contains("NET-1"),
        "{page}"
    );
    assert!(
        !rig.page(&root, "projects/PROJ-1")
            .await
            .ok()
            .contains("NET-1")
    );
    assert_eq!(
        rig.page(&world.cookie, "projects/PROJ-1/close")
            .await
            .status,
        403
    );

    world.node("rack-1", 1).await;
    let full = rig.send_form(&root, "projects/PROJ-1/close", &[]).await;
    assert_eq!(full.status, 409);
    assert!(full.body.contains("remove them first"), "{}", full.body);
    assert!(
        rig.page(&root, "projects/PROJ-2/close")
            .await
            .ok()
            .contains("Close this project?")
    );
    let done = rig.send_form(&root, "projects/PROJ-2/close", &[]).await;
    leads_to(&done, "../../projects/PROJ-2?done=project-closed");
    let page = rig.page(&root, "projects/PROJ-2/members").await.ok();
    assert!(
        page.contains("Closed") && !page.contains("name=\"role\""),
        "{page}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_make_people_known() {
    let world = World::new().await;
    let rig = &world.rig;
    let root = browser(&world, "root", true).await;
    assert_eq!(
        rig.send_form(&world.cookie, "people", &[("login", "x")])
            .await
            .status,
        403
    );
    let made = rig
        .send_form(
            &root,
            "people",
            &[("login", "Carol@example.com"), ("name", "Carol")],
        )
        .await;
    keeps_the_rules("people", &made);
    let made = made.ok();
    let link = made.split("/password?token=").nth(1).expect("a link");
    let token = link.split('<').next().unwrap();
    assert!(made.contains("carol@example.com"), "{made}");
    let known = rig.store.password_token(token).await.unwrap();
    assert_eq!(known.as_str(), "carol@example.com");
    for (login, status) in [("carol@example.com", 409), ("no name", 400)] {
        let refused = rig.send_form(&root, "people", &[("login", login)]).await;
        assert_eq!(refused.status, status, "{login}");
        assert!(refused.body.contains("aria-invalid"), "{}", refused.body);
    }
    approve!("people", rig.page(&root, "people?q=AR").await.ok());
    approve!(
        "person",
        rig.page(&root, "people/carol@example.com").await.ok()
    );
    // Another link, once more for her alone.
    let again = rig
        .send_form(&root, "people/carol@example.com/link", &[])
        .await
        .ok();
    assert!(again.contains("/password?token=") && !again.contains(token));
    for path in ["people", "people/carol@example.com"] {
        assert_eq!(rig.page(&world.cookie, path).await.status, 403, "{path}");
    }
    assert_eq!(rig.page(&root, "people/nobody").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_locked_out_and_let_in() {
    let world = World::new().await;
    let rig = &world.rig;
    let root = browser(&world, "root", true).await;
    let path = "people/ada/access";
    let asked = rig.page(&root, path).await.ok();
    assert!(
        asked.contains("Lock this person out?") && asked.contains("value=\"0\""),
        "{asked}"
    );
    let send =
        async |path: &str, wanted: &str| rig.send_form(&root, path, &[("wanted", wanted)]).await;
    leads_to(&send(path, "0").await, "../../people/ada?done=person");
    assert_eq!(
        rig.page(&world.cookie, "projects").await.status,
        303,
        "she is signed out"
    );
    assert!(
        rig.page(&root, "people/ada")
            .await
            .ok()
            .contains("Locked out")
    );
    leads_to(&send(path, "1").await, "../../people/ada?done=person");
    assert_eq!(send(path, "").await.status, 400);

    leads_to(
        &send("people/ada/administrator", "1").await,
        "../../people/ada?done=person",
    );
    leads_to(
        &send("people/ada/administrator", "0").await,
        "../../people/ada?done=person",
    );
    // The last administrators stay: `admin` of the rig and `root`.
    leads_to(
        &send("people/admin/access", "0").await,
        "../../people/admin?done=person",
    );
    let last = send("people/root/administrator", "0").await;
    assert_eq!(last.status, 409, "{}", last.body);
    assert!(last.body.contains("only administrator"), "{}", last.body);
}
