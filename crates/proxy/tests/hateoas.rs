//! The documents that `service` and `computer` commands read (P 4), through real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Ask, NODE, RELEASE, Rig, ask};
use serde_json::{Value as Json, json};
use slap::Value;

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn search(rig: &Rig, query: &str) -> Json {
    let reply = rig.get(&format!(
        "/hateoas/?mode=search&query={}&select_list=title,url_string",
        encoded(query)
    ));
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()["_embedded"]["contents"].clone()
}

const TREES: &str = "portal_type:\"Instance Tree\" AND validation_state:validated";

#[test]
fn the_root_document_as_captured_wherever_it_is_reached() {
    let rig = Rig::new();
    let root = |base: &str| {
        format!(
            "{{\"_links\":{{\"raw_search\":{{\"href\":\"{base}/hateoas/?mode=search&query={{query}}\
             &select_list={{select_list}}\"}},\"traverse\":{{\"href\":\"{base}/hateoas/\
             ?mode=traverse&relative_url={{relative_url}}&view={{view}}\"}}}}}}\n"
        )
    };
    let base = format!("http://{}", rig.address());
    assert_eq!(rig.get("/getHateoasUrl").ok(), format!("{base}/hateoas/"));
    for path in ["/hateoas", "/hateoas/"] {
        let reply = rig.get(path);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.ok(), root(&base));
    }
    let behind = rig.send(
        "GET",
        "/hateoas/",
        &[
            ("Host", "master.example"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Prefix", "/pre/"),
        ],
        "",
    );
    assert_eq!(behind.ok(), root("https://master.example/pre"));
}

#[test]
fn documents_as_captured() {
    let rig = Rig::new();
    rig.format(NODE, 1);
    rig.request(&Ask {
        parameters: vec![("a", Value::Int(1))],
        ..ask("root4")
    })
    .ok();
    assert_eq!(
        rig.get("/hateoas/partitions/root4").ok(),
        r#"{"_embedded":{"_view":{"form_id":{"default":"InstanceTree_viewAsHateoas","key":"form_id","type":"StringField"},"my_connection_parameter_list":{"default":null,"key":"field_my_connection_parameter_list","type":"StringField"},"my_reference":{"default":"root4","key":"field_my_reference","type":"StringField"},"my_root_slave":{"default":0,"key":"field_my_root_slave","type":"IntegerField"},"my_slap_state":{"default":"started","key":"field_my_slap_state","type":"StringField"},"my_source_reference":{"default":"default","key":"field_my_source_reference","type":"StringField"},"my_text_content":{"default":"<?xml version='1.0' encoding='utf-8'?>\n<instance>\n  <parameter id=\"a\">1</parameter>\n</instance>\n","key":"field_my_text_content","type":"StringField"},"my_url_string":{"default":"http://example.com/dummy/software.cfg","key":"field_my_url_string","type":"StringField"}}},"_links":{"type":{"name":"Instance Tree"}}}"#.to_owned() + "\n"
    );
    assert_eq!(
        rig.get("/hateoas/computers/local_computer").ok(),
        r#"{"_embedded":{"_view":{"form_id":{"default":"local_computer","key":"computer","type":"StringField"},"my_reference":{"default":"local_computer","key":"reference","type":"StringField"},"my_title":{"default":"local_computer","key":"reference","type":"StringField"}}},"_links":{"type":{"name":"Computer"}}}"#.to_owned() + "\n"
    );
    let nodes = search(
        &rig,
        "portal_type:\"Compute Node\" AND validation_state:validated",
    );
    assert_eq!(
        nodes,
        json!([{
            "address": "127.0.0.1",
            "netmask": "255.255.255.0",
            "reference": "local_computer",
            "relative_url": "/hateoas/computers/local_computer",
            "title": "local_computer",
        }])
    );
}

#[test]
fn any_title_is_found_and_its_link_leads_to_its_document() {
    let rig = Rig::new();
    let titles = [
        "plain",
        "a\"b",
        "a/b",
        "a b é",
        "a%2Fb?c#d&e",
        "..",
        "x AND title:=\"y",
    ];
    rig.format(NODE, titles.len());
    for title in titles {
        rig.request(&ask(title)).ok();
    }
    assert_eq!(search(&rig, TREES).as_array().unwrap().len(), titles.len());
    for title in titles {
        let found = search(&rig, &format!("{TREES} AND title:=\"{title}\""));
        let [row] = found.as_array().unwrap().as_slice() else {
            panic!("{title}: {found}");
        };
        assert_eq!(row["title"], title);
        assert_eq!(row["url_string"], RELEASE);
        let link = row["relative_url"].as_str().unwrap();
        let by_traverse = rig
            .get(&format!(
                "/hateoas/?mode=traverse&relative_url={}&view=slaposjs_view",
                encoded(link)
            ))
            .json();
        assert_eq!(
            by_traverse["_embedded"]["_view"]["my_reference"]["default"],
            title
        );
        assert_eq!(rig.get(link).json(), by_traverse);
    }
}

#[test]
fn shared_trees_members_and_installations() {
    let rig = Rig::new();
    rig.format(NODE, 2);
    rig.request(&ask("root")).ok();
    rig.request(&Ask {
        shared: true,
        ..ask("sh")
    })
    .ok();
    rig.request(&Ask {
        requester: Some("slappart0"),
        ..ask("child")
    })
    .ok();
    rig.post(
        "/supplySupply",
        &[
            ("url", RELEASE),
            ("computer_id", NODE),
            ("state", "available"),
        ],
    )
    .ok();
    assert_eq!(
        search(&rig, &format!("{TREES} AND title:=\"sh\"")),
        json!([{"relative_url": "/hateoas/shared/sh", "title": "sh", "url_string": RELEASE}])
    );
    let shared = rig.get("/hateoas/shared/sh").json();
    assert_eq!(shared["_embedded"]["_view"]["my_root_slave"]["default"], 1);
    let members = search(
        &rig,
        "portal_type:(\"Software Instance\", \"Slave Instance\") AND validation_state:validated AND default_specialise_title:=\"root\"",
    );
    let titles: Vec<_> = members
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["title"].clone())
        .collect();
    assert_eq!(titles, ["root", "child"]);
    let installations = search(
        &rig,
        "portal_type:\"Software Installation\" AND validation_state:validated AND default_aggregate_reference:=\"local_computer\"",
    );
    assert_eq!(installations[0]["url_string"], RELEASE);
}

#[test]
fn what_is_not_there_or_not_understood() {
    let rig = Rig::new();
    for path in [
        "/hateoas/partitions/zz",
        "/hateoas/shared/zz",
        "/hateoas/computers/zz",
        "/hateoas/nope",
        "/hateoas/partitions",
        "/hateoas/partitions/%ff",
    ] {
        assert_eq!(rig.get(path).status, 404, "{path}");
    }
    for path in [
        "/hateoas/?mode=zz",
        "/hateoas/?mode=search",
        "/hateoas/?mode=search&query=zz",
        "/hateoas/?mode=traverse",
    ] {
        assert_eq!(rig.get(path).status, 400, "{path}");
    }
    assert_eq!(rig.post("/hateoas/", &[]).status, 405);
    assert_eq!(rig.get("/healthz").ok(), "ok\n");
    assert!(rig.get("/").ok().contains("SlapOS Master"));
}
