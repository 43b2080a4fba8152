//! The hypermedia documents from query to document, on a Master without sockets.

#![allow(clippy::unwrap_used, clippy::panic)]

use axum::http::Method;
use serde_json::{Value, json};

use super::super::json_rpc::tests::{RELEASE, Yard};
use super::Place;
use crate::domain::{InstallationKey, InstanceKey, NodeKey, NodeKind, PersonKey, Role, TreeKey};

#[test]
fn relative_urls_are_read_back() {
    for place in [
        Place::Tree(TreeKey(7)),
        Place::Node(NodeKey(7).reference(NodeKind::Compute)),
        Place::Node(NodeKey(7).reference(NodeKind::Remote)),
        Place::Instance(InstanceKey(7)),
        Place::Installation(InstallationKey(7)),
        Place::Person(PersonKey(7)),
    ] {
        assert_eq!(Place::read(&place.url()), Some(place));
    }
    for url in [
        "",
        "x",
        "/",
        "person_module/",
        "instance_tree_module/SOFTINST-7",
    ] {
        assert_eq!(Place::read(url), None, "{url}");
    }
}

async fn get(yard: &Yard, who: &str, pairs: &[(&str, &str)]) -> (u16, Value) {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    let reply = yard.rig.get(who, &format!("hateoas/?{query}")).await;
    let document = serde_json::from_str(&reply.body).unwrap_or_default();
    (reply.status, document)
}

async fn search(yard: &Yard, who: &str, query: &str, columns: &[&str]) -> Value {
    let mut pairs = vec![("mode", "search"), ("query", query), ("limit", "40")];
    pairs.extend(columns.iter().map(|column| ("select_list", *column)));
    let (status, document) = get(yard, who, &pairs).await;
    assert_eq!(status, 200, "{query}: {document}");
    document["_embedded"]["contents"].clone()
}

async fn traverse(yard: &Yard, who: &str, url: &str) -> (u16, Value) {
    let pairs = [
        ("mode", "traverse"),
        ("relative_url", url),
        ("view", "slaposjs_view"),
    ];
    get(yard, who, &pairs).await
}

/// The fields of a view, without their forms.
fn fields(document: &Value) -> Value {
    let view = document["_embedded"]["_view"].as_object().unwrap();
    view.iter()
        .map(|(name, field)| (name.clone(), field["default"].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

const TREES: &str = "portal_type:\"Instance Tree\" AND validation_state:validated";
const NODES: &str = "portal_type:\"Compute Node\" AND validation_state:validated";

#[tokio::test(flavor = "multi_thread")]
async fn the_root_document() {
    let yard = Yard::new().await;
    for path in ["hateoas", "hateoas/"] {
        let reply = yard.rig.get(&yard.member, path).await;
        assert_eq!(reply.header("content-type"), Some("application/hal+json"));
        let document: Value = serde_json::from_str(&reply.ok()).unwrap();
        let links = &document["_links"];
        assert_eq!(
            links["raw_search"]["href"],
            "http://inner:8080/hateoas/?mode=search{&query,select_list*,limit*}"
        );
        assert_eq!(
            links["traverse"]["href"],
            "http://inner:8080/hateoas/?mode=traverse{&relative_url,view}"
        );
        assert_eq!(links["self"]["href"], "http://inner:8080/hateoas");
        let me = links["me"]["href"].as_str().unwrap();
        let url = me.strip_prefix("urn:jio:get:").unwrap();
        let (status, me) = traverse(&yard, &yard.member, url).await;
        assert_eq!(
            (status, &me["_links"]["type"]["name"]),
            (200, &json!("Person"))
        );
        assert_eq!(fields(&me)["my_reference"], "ada");
        let (status, _) = traverse(&yard, &yard.manager, url).await;
        assert_eq!(status, 404, "nobody else's business");
    }
    let (status, own) = traverse(&yard, &yard.node_name, "compute_node_module/COMP-1").await;
    assert_eq!(
        (status, &fields(&own)["my_reference"]),
        (200, &json!("COMP-1"))
    );
    let reply = yard.rig.send(None, Method::GET, "hateoas/", &[], "").await;
    assert_eq!(reply.status, 401);
    assert_eq!(
        reply.header("www-authenticate"),
        Some("X-Delegate uri=\"https://slap.example.com/login{?came_from}\"")
    );
    for (pairs, expected) in [
        (&[("mode", "nope")][..], 400),
        (&[("mode", "search"), ("query", "x")], 400),
        (&[("mode", "traverse")], 400),
        (&[("mode", "traverse"), ("relative_url", "x/y")], 404),
    ] {
        assert_eq!(
            get(&yard, &yard.member, pairs).await.0,
            expected,
            "{pairs:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_as_the_command_line_reads_them() {
    let yard = Yard::new().await;
    let titles = ["plain", "with \"quotes\" and \\", "é / ? #"];
    for title in titles {
        yard.request(
            &yard.member,
            title,
            json!({"parameters": {"_": "{\"a\": 1}"}}),
        )
        .await;
    }
    let rows = search(&yard, &yard.member, TREES, &["title", "url_string"]).await;
    let mut expected: Vec<Value> = titles
        .iter()
        .map(|title| json!({"title": title, "url_string": RELEASE}))
        .collect();
    expected.sort_by_key(|row| row["title"].as_str().unwrap().to_owned());
    assert_eq!(rows, json!(expected));
    for title in titles {
        let pasted = format!("{TREES} AND title:=\"{title}\"");
        let escaped = title.replace('\\', "\\\\").replace('"', "\\\"");
        let escaped = format!("{TREES} AND title:=\"{escaped}\"");
        for query in [pasted, escaped] {
            let rows = search(&yard, &yard.member, &query, &["title", "relative_url"]).await;
            assert_eq!(rows.as_array().unwrap().len(), 1, "{query}");
            assert_eq!(rows[0]["title"], title);
            let url = rows[0]["relative_url"].as_str().unwrap();
            let (status, document) = traverse(&yard, &yard.member, url).await;
            assert_eq!(
                (status, &fields(&document)["my_title"]),
                (200, &json!(title))
            );
        }
    }
    let none = search(
        &yard,
        &yard.member,
        &format!("{TREES} AND title:=\"x\""),
        &[],
    )
    .await;
    assert_eq!(none, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_of_a_tree() {
    let yard = Yard::new().await;
    let root = yard
        .request(
            &yard.member,
            "t",
            json!({"parameters": {"_": "{}"}, "state": "stopped"}),
        )
        .await;
    assert_eq!(
        root["name"], "SoftwareInstanceNotReady",
        "placed when it is started"
    );
    let url = "instance_tree_module/HOSTSUBS-1";
    let (_, document) = traverse(&yard, &yard.member, url).await;
    assert_eq!(fields(&document)["my_slap_state"], "stop_requested");
    let why = fields(&document)["my_description"].clone();
    assert!(why.as_str().unwrap().contains("stopped"), "{why}");

    let root = yard
        .request(&yard.member, "t", json!({"state": "started"}))
        .await;
    let own = yard.instance_name(&root).await;
    let publish = json!({"instance_guid": root["instance_guid"],
        "connection_parameter_dict": {"url": "u", "_": "{}"}});
    yard.success(
        &own,
        "put.v0.software_instance_connection_parameter",
        &publish,
        "connection parameter updated",
    )
    .await;
    let started = json!({"instance_guid": root["instance_guid"], "reported_state": "started"});
    yard.success(
        &yard.node_name,
        "put.v0.software_instance_reported_state",
        &started,
        "State reported",
    )
    .await;
    let (status, document) = traverse(&yard, &yard.member, url).await;
    assert_eq!(status, 200);
    assert_eq!(document["_links"]["type"]["name"], "Instance Tree");
    assert_eq!(
        fields(&document),
        json!({
            "form_id": "InstanceTree_viewAsHateoas",
            "my_connection_parameter_list": [
                {"connection_key": "_", "connection_value": "{}"},
                {"connection_key": "url", "connection_value": "u"},
            ],
            "my_description": "",
            "my_news": {"instance": [
                {"state": "started", "text": "#access Instance correctly started"}]},
            "my_reference": "HOSTSUBS-1",
            "my_root_slave": 0,
            "my_short_title": "t",
            "my_slap_state": "start_requested",
            "my_source_reference": "default",
            "my_source_title": "ada",
            "my_text_content": "<?xml version='1.0' encoding='utf-8'?>\n<instance>\n  \
                <parameter id=\"_\">{}</parameter>\n</instance>\n",
            "my_title": "t",
            "my_url_string": RELEASE,
        })
    );
    // Who may see it: its owner, the project's managers, its own instances.
    let (_, stranger) = yard.rig.person("mallory", false).await;
    for (who, expected) in [
        (&yard.manager, 200),
        (&own, 200),
        (&yard.node_name, 404),
        (&stranger, 404),
        (&yard.rig.member("bob", Role::Member).await, 404),
    ] {
        assert_eq!(traverse(&yard, who, url).await.0, expected, "{who}");
    }
    let instance = "software_instance_module/SOFTINST-1";
    let (status, document) = traverse(&yard, &yard.node_name, instance).await;
    assert_eq!(status, 200);
    assert_eq!(document["_links"]["type"]["name"], "Software Instance");
    assert_eq!(
        document["_links"]["parent"]["href"],
        "urn:jio:get:instance_tree_module/HOSTSUBS-1"
    );
    assert_eq!(fields(&document)["my_aggregate_title"], "slappart0");
    assert_eq!(traverse(&yard, &stranger, instance).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_instances_of_a_tree() {
    let yard = Yard::new().await;
    let root = yard.request(&yard.member, "t", json!({})).await;
    let own = yard.instance_name(&root).await;
    yard.request(&own, "child", json!({"parameters": {"a": "1"}}))
        .await;
    yard.request(&own, "site", json!({"shared": true})).await;
    let query = "portal_type:(\"Software Instance\", \"Slave Instance\") AND \
                 validation_state:validated AND default_specialise_title:=\"t\"";
    let columns = [
        "uid",
        "title",
        "relative_url",
        "portal_type",
        "url_string",
        "text_content",
        "getConnectionXmlAsDict",
        "SoftwareInstance_getNewsDict",
    ];
    for who in [&yard.member, &own] {
        let rows = search(&yard, who, query, &columns).await;
        let rows = rows.as_array().unwrap();
        let kinds: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row["title"].as_str().unwrap(),
                    row["portal_type"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            kinds,
            [
                ("t", "Software Instance"),
                ("child", "Software Instance"),
                ("site", "Slave Instance"),
            ]
        );
        assert!(
            rows.iter()
                .all(|row| row.as_object().unwrap().len() == columns.len())
        );
        assert_eq!(
            rows[1]["relative_url"],
            "software_instance_module/SOFTINST-2"
        );
        assert!(
            rows[1]["text_content"]
                .as_str()
                .unwrap()
                .contains("<parameter id=\"a\">1")
        );
        assert_eq!(
            rows[1]["SoftwareInstance_getNewsDict"]["text"],
            "#error no data found for SOFTINST-2"
        );
    }
    for who in [&yard.manager, &yard.node_name] {
        assert_eq!(search(&yard, who, query, &columns).await, json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_their_releases() {
    let yard = Yard::new().await;
    let (second, _) = yard.rig.node("second").await;
    let (_, stranger) = yard.rig.person("mallory", false).await;
    let columns = ["title", "reference"];
    let both = json!([{"title": "one", "reference": "COMP-1"},
        {"title": "second", "reference": "COMP-2"}]);
    for (who, expected) in [
        (&yard.member, both.clone()),
        (&yard.manager, both.clone()),
        (&yard.node_name, json!([both[0]])),
        (&stranger, json!([])),
    ] {
        assert_eq!(search(&yard, who, NODES, &columns).await, expected);
    }
    let query = format!("{NODES} AND reference:=\"{second}\"");
    let rows = search(&yard, &yard.member, &query, &["reference", "relative_url"]).await;
    assert_eq!(
        rows,
        json!([{"reference": "COMP-2", "relative_url": "compute_node_module/COMP-2"}])
    );
    for reference in ["COMP-99", "x", "REMOTE-2"] {
        let query = format!("{NODES} AND reference:=\"{reference}\"");
        assert_eq!(
            search(&yard, &yard.member, &query, &columns).await,
            json!([])
        );
    }
    let query = "portal_type:\"Software Installation\" AND validation_state:validated AND \
                 default_aggregate_reference:=\"COMP-1\"";
    let columns = [
        "uid",
        "relative_url",
        "url_string",
        "SoftwareInstallation_getNewsDict",
    ];
    let rows = search(&yard, &yard.member, query, &columns).await;
    assert_eq!(rows[0]["url_string"], RELEASE);
    assert_eq!(
        rows[0]["SoftwareInstallation_getNewsDict"]["text"],
        format!("#access software release {RELEASE} available")
    );
    assert_eq!(search(&yard, &stranger, query, &columns).await, json!([]));
    let url = rows[0]["relative_url"].as_str().unwrap();
    let (status, document) = traverse(&yard, &yard.member, url).await;
    assert_eq!(
        (status, &fields(&document)["my_url_string"]),
        (200, &json!(RELEASE))
    );
    assert_eq!(traverse(&yard, &stranger, url).await.0, 404);

    // What is reported of instances is for those who may see them.
    yard.request(&yard.member, "t", json!({})).await;
    let bob = yard.rig.member("bob", Role::Member).await;
    let view = "compute_node_module/COMP-1";
    for (who, seen) in [(&yard.member, true), (&yard.manager, true), (&bob, false)] {
        let (status, document) = traverse(&yard, who, view).await;
        assert_eq!(status, 200);
        let fields = fields(&document);
        assert_eq!(fields["my_title"], "one");
        assert_eq!(fields["my_news"]["computer"]["text"], "#access COMP-1");
        let partition = fields["my_news"]["partition"].get("slappart0");
        assert_eq!(partition.is_some(), seen, "{who}");
    }
    assert_eq!(traverse(&yard, &stranger, view).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_limits() {
    let yard = Yard::new().await;
    for number in 0..45 {
        yard.request(&yard.member, &format!("t{number:02}"), json!({}))
            .await;
    }
    let list = async |more: &[(&str, &str)]| {
        let mut pairs = vec![
            ("mode", "search"),
            ("query", TREES),
            ("select_list", "title"),
        ];
        pairs.extend(more);
        let (_, document) = get(&yard, &yard.member, &pairs).await;
        let rows = document["_embedded"]["contents"].as_array().unwrap();
        let titles = rows
            .iter()
            .map(|row| row["title"].as_str().unwrap().to_owned());
        titles.collect::<Vec<_>>()
    };
    assert_eq!(list(&[]).await.len(), 40);
    assert_eq!(list(&[("limit", "1000")]).await.len(), 45);
    assert_eq!(
        list(&[("limit", "43"), ("limit", "5")]).await,
        ["t43", "t44"]
    );
}
