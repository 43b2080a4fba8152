//! Who may call what: every endpoint of the table with every kind of caller, compared with
//! `docs/access.md`. `UPDATE=1` writes that page anew; read what changed before you commit it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fmt::Write as _;

use axum::http::Method;
use form_urlencoded::Serializer;
use serde_json::{Value as Json, json};
use slap::{InstallationState, InstanceTitle, ReleaseUrl, Value};

use super::Api;
use super::endpoint::{Audience, Verb, endpoints};
use super::testing::{Rig, document, texts};
use crate::domain::{
    Caller, CertificateOwner, InstallationKey, InstanceKey, NodeReference, PersonKey, Role,
    TokenPurpose, TreeKey,
};
use crate::store::{
    AuditQuery, InstallationReport, InstanceRecord, NewToken, NodeDescription,
    PartitionDescription, Requested, TOKEN_LIFE, Wanted,
};

const RELEASE: &str = "https://example.com/software.cfg";
const LEAVING: &str = "https://example.com/old.cfg";
/// The SHA-512 of `hello`, which is in the network cache.
const HELLO: &str = super::testing::HELLO;
const TOKEN: &str = "hateoas/computer_module/Base_getComputerToken";
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/access.md");

/// Who calls. All calls are about Alice's instance `web`, its node, its tree and its project.
const CALLERS: [&str; 12] = [
    "nobody",
    "revoked",
    "foreign project",
    "member",
    "owner",
    "manager",
    "administrator",
    "its node",
    "other node",
    "itself",
    "sibling",
    "foreign instance",
];

struct World {
    rig: Rig,
    names: Vec<Option<String>>,
    /// The cookies of those who are persons: pages know people by them.
    cookies: Vec<Option<String>>,
    node: NodeReference,
    web: InstanceKey,
    tree: TreeKey,
    /// A certificate of the owner's.
    serial: String,
    /// A token of the owner's that waits.
    token: i64,
    /// The node's certificate.
    node_serial: String,
    /// A release on it.
    installation: InstallationKey,
}

impl World {
    async fn new() -> Self {
        let rig = Rig::new().await;
        let store = &rig.store;
        let (alice, owner) = in_project(&rig, "alice", Role::Member).await;
        let (bob, member) = in_project(&rig, "bob", Role::Member).await;
        let (boss, manager) = in_project(&rig, "boss", Role::Manager).await;
        let (root, administrator) = rig.person("root", true).await;
        let (carol, foreign) = rig.person("carol", false).await;
        let elsewhere = store
            .create_project(Caller::Master, "Elsewhere".to_owned())
            .await
            .unwrap();
        let login = "carol".parse().unwrap();
        store
            .set_member(Caller::Master, elsewhere, login, Some(Role::Manager))
            .await
            .unwrap();
        let revoked = rig.certificate(CertificateOwner::Person(alice)).await;
        let certificates = store
            .certificates(Caller::Master, CertificateOwner::Person(alice))
            .await
            .unwrap();
        let serial = certificates
            .into_iter()
            .find(|certificate| certificate.common_name == revoked)
            .unwrap()
            .serial;
        store
            .revoke_certificate(Caller::Master, serial)
            .await
            .unwrap();
        let owner_key = CertificateOwner::Person(alice);
        let of_alice = store
            .certificates(Caller::Master, owner_key)
            .await
            .unwrap()
            .swap_remove(0)
            .serial;
        let new = NewToken {
            purpose: TokenPurpose::Client,
            person: alice,
            project: None,
            life: TOKEN_LIFE,
        };
        store.create_token(Caller::Master, new).await.unwrap();
        let token = store.tokens(Caller::Master, alice).await.unwrap()[0].id;
        let (node, its_node) = rig.node("one").await;
        let (other, other_node) = rig.node("two").await;
        for node in [node, other] {
            prepare(&rig, node).await;
        }
        store
            .create_product(Caller::Master, rig.project, "app".into(), "App".into())
            .await
            .unwrap();
        let path = ReleaseUrl::new(OFFERED).unwrap();
        store
            .add_release(Caller::Master, rig.project, "app".into(), path, None)
            .await
            .unwrap();
        // The first node fills up before the other one is used: their capacities see to it.
        store
            .set_capacity(Caller::Master, other, Some(0))
            .await
            .unwrap();
        let web = placed(&rig, person(alice), wanted("web")).await;
        let me = Caller::Instance {
            instance: web.key,
            tree: web.tree,
        };
        let db = placed(&rig, me, wanted("db")).await;
        store
            .set_capacity(Caller::Master, node, Some(0))
            .await
            .unwrap();
        store
            .set_capacity(Caller::Master, other, None)
            .await
            .unwrap();
        let strange = placed(&rig, person(bob), wanted("bobs")).await;
        store
            .set_capacity(Caller::Master, node, None)
            .await
            .unwrap();
        let node_serial = store
            .certificates(Caller::Master, CertificateOwner::Node(node))
            .await
            .unwrap()
            .swap_remove(0)
            .serial;
        let installation = store.installations(Caller::Master, node).await.unwrap()[0].key;
        let certified = async |record: &InstanceRecord| {
            rig.certificate(CertificateOwner::Instance(record.key))
                .await
        };
        let names = vec![
            None,
            Some(revoked),
            Some(foreign),
            Some(member),
            Some(owner),
            Some(manager),
            Some(administrator),
            Some(its_node),
            Some(other_node),
            Some(certified(&web).await),
            Some(certified(&db).await),
            Some(certified(&strange).await),
        ];
        let mut cookies = vec![None; names.len()];
        let persons = [(2, carol), (3, bob), (4, alice), (5, boss), (6, root)];
        for (number, person) in persons {
            cookies[number] = Some(rig.browser(person).await);
        }
        World {
            names,
            cookies,
            node,
            web: web.key,
            tree: web.tree,
            serial: of_alice,
            token,
            node_serial,
            installation,
            rig,
        }
    }

    /// So many notes are in the audit trail: what a refused call leaves as it is.
    async fn notes(&self) -> usize {
        let query = AuditQuery {
            limit: 100,
            ..AuditQuery::default()
        };
        let trail = self.rig.store.audit_trail(Caller::Master, query).await;
        trail.unwrap().len()
    }
}

const fn person(person: PersonKey) -> Caller {
    Caller::Person {
        person,
        administrator: false,
    }
}

async fn in_project(rig: &Rig, login: &str, role: Role) -> (PersonKey, String) {
    let (key, name) = rig.person(login, false).await;
    let login = login.parse().unwrap();
    rig.store
        .set_member(Caller::Master, rig.project, login, Some(role))
        .await
        .unwrap();
    (key, name)
}

async fn prepare(rig: &Rig, node: NodeReference) {
    let store = &rig.store;
    let me = Caller::Node(node.key);
    store.format(me, node, description()).await.unwrap();
    for release in [RELEASE, LEAVING] {
        let release = ReleaseUrl::new(release).unwrap();
        let state = InstallationState::Available;
        store
            .supply(Caller::Master, node, release.clone(), state)
            .await
            .unwrap();
        store
            .report_installation(me, node, release, InstallationReport::Available)
            .await
            .unwrap();
    }
    let leaving = ReleaseUrl::new(LEAVING).unwrap();
    store
        .supply(Caller::Master, node, leaving, InstallationState::Destroyed)
        .await
        .unwrap();
}

fn description() -> NodeDescription {
    NodeDescription {
        partitions: (0..4)
            .map(|number| PartitionDescription {
                name: format!("slappart{number}"),
                addresses: Vec::new(),
                capabilities: Vec::new(),
            })
            .collect(),
        further: "{}".to_owned(),
    }
}

fn wanted(title: &str) -> Wanted {
    Wanted {
        requester: None,
        project: None,
        title: InstanceTitle::new(title).unwrap(),
        release: ReleaseUrl::new(RELEASE).unwrap(),
        software_type: None,
        parameters: None,
        sla: None,
        state: None,
        shared: None,
    }
}

async fn placed(rig: &Rig, caller: Caller, wanted: Wanted) -> InstanceRecord {
    match rig.store.request(caller, wanted).await.unwrap() {
        Requested::Placed(record) => *record,
        Requested::Waiting { why, .. } => panic!("{why}"),
    }
}

/// A call as it is sent.
struct Sent {
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
}

fn query(name: &str, fields: &[(&str, &str)]) -> Sent {
    let fields = Serializer::new(String::new()).extend_pairs(fields).finish();
    Sent {
        path: format!("{name}?{fields}"),
        headers: Vec::new(),
        body: String::new(),
    }
}

fn form(name: &str, fields: &[(&str, &str)]) -> Sent {
    Sent {
        path: name.to_owned(),
        headers: vec![("content-type", "application/x-www-form-urlencoded")],
        body: Serializer::new(String::new()).extend_pairs(fields).finish(),
    }
}

/// A page without arguments, or a form without fields.
fn page_or_form(path: &str, verb: Verb) -> Sent {
    match verb {
        Verb::Get => query(path, &[]),
        _ => form(path, &[]),
    }
}

fn call(name: &str, input: &Json) -> Sent {
    Sent {
        path: name.to_owned(),
        headers: vec![("content-type", "application/json")],
        body: input.to_string(),
    }
}

const USAGE: &str = "<journal><transaction type=\"t\"><start_date/><stop_date/><reference>r</reference>\
     <currency/><payment_mode/><arrow type=\"a\"/><movement><resource>r</resource>\
     <quantity>1</quantity><price>0</price><VAT/></movement></transaction></journal>";

/// Well-formed calls of an endpoint, each with what sets it apart; about the world's instance.
/// `None` for an endpoint that is not known here: add it.
fn calls(world: &World, api: Api, name: &str, verb: Verb) -> Option<Vec<(&'static str, Sent)>> {
    let node = world.node.to_string();
    let web = world.web.to_string();
    let tree = world.tree.to_string();
    let at = [
        ("computer_id", node.as_str()),
        ("computer_partition_id", "slappart0"),
    ];
    let with = |more: &[(&'static str, &'static str)]| -> Vec<(String, String)> {
        at.iter()
            .chain(more)
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let post_at = |more: &[(&'static str, &'static str)]| {
        let fields = with(more);
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        form(name, &fields)
    };
    let of_release = |url: &str| form(name, &[("url", url), ("computer_id", &node)]);
    let one = |sent: Sent| Some(vec![("", sent)]);
    if api == Api::JsonRpc {
        if verb == Verb::Get {
            return one(query(name, &[]));
        }
        let (verb, subject) = {
            let mut parts = name.split('.').skip(1);
            (parts.next()?, parts.nth(1)?)
        };
        let input = match (verb, subject) {
            (_, "compute_node_instance_list" | "compute_node_software_installation_list")
            | ("get", "compute_node_status")
            | ("post" | "remove", "compute_node_certificate") => json!({"computer_guid": node}),
            (_, "instance_node_instance_list")
            | ("get", "software_instance" | "software_instance_certificate") => {
                json!({"instance_guid": web})
            }
            (
                _,
                "instance_tree_list"
                | "hateoas_url"
                | "compute_node_list"
                | "compute_node_detail_list"
                | "instance_tree_detail_list"
                | "software_product_list",
            ) => json!({}),
            (
                _,
                "instance_tree_detail" | "instance_tree_event_list" | "instance_tree_promise_list",
            ) => json!({"tree_guid": tree}),
            (_, "instance_tree_upgrade") => json!({"tree_guid": tree, "policy": "ask"}),
            (_, "compute_node_detail" | "compute_node_event_list") => {
                json!({"computer_guid": node})
            }
            (_, "software_release_node_list") => json!({"software_release_uri": RELEASE}),
            ("get", "compute_partition") => {
                json!({"computer_guid": node, "compute_partition_id": "slappart0"})
            }
            ("get", "instance_tree") => json!({"title": "web"}),
            ("post", "compute_node_usage") => json!({"computer_guid": node, "tioxml": USAGE}),
            ("post", "software_installation") => {
                json!({"computer_guid": node, "software_release_uri": RELEASE})
            }
            ("post", "software_instance") => json!({
                "title": "db", "software_release_uri": RELEASE, "software_type": "default"
            }),
            ("put", "compute_node_bang") => json!({"computer_guid": node, "message": "m"}),
            ("put", "compute_node_format") => json!({
                "computer_guid": node,
                "compute_partition_list": [
                    {"partition_id": "slappart0"}, {"partition_id": "slappart1"},
                    {"partition_id": "slappart2"}, {"partition_id": "slappart3"},
                ]
            }),
            ("put", "software_installation_error") => json!({
                "computer_guid": node, "software_release_uri": RELEASE, "message": "m"
            }),
            ("put", "software_installation_reported_state") => json!({
                "computer_guid": node, "software_release_uri": RELEASE,
                "reported_state": "available"
            }),
            ("put", "software_instance_bang" | "software_instance_error") => {
                json!({"instance_guid": web, "message": "m"})
            }
            ("put", "software_instance_connection_parameter") => {
                json!({"instance_guid": web, "connection_parameter_dict": {"a": "b"}})
            }
            ("put", "software_instance_reported_state") => {
                json!({"instance_guid": web, "reported_state": "started"})
            }
            ("put", "software_instance_promise_list") => json!({
                "computer_guid": node, "compute_partition_id": "slappart0", "promise_list": []
            }),
            ("put", "software_instance_title") => json!({"instance_guid": web, "title": "web"}),
            _ => return None,
        };
        return one(call(name, &input));
    }
    match name {
        "getFullComputerInformation" | "getComputerInformation" | "getComputerStatus" => {
            one(query(name, &[("computer_id", &node)]))
        }
        "registerComputerPartition" => one(query(
            name,
            &[
                ("computer_reference", &node),
                ("computer_partition_reference", "slappart0"),
            ],
        )),
        "getComputerPartitionStatus"
        | "getHostingSubscriptionIpList"
        | "getComputerPartitionCertificate" => one(query(name, &at)),
        "getSoftwareInstallationStatus" => {
            one(query(name, &[("url", RELEASE), ("computer_id", &node)]))
        }
        "getSoftwareReleaseListFromSoftwareProduct" => {
            one(query(name, &[("software_product_reference", "app")]))
        }
        "generateComputerCertificate" | "revokeComputerCertificate" => {
            one(form(name, &[("computer_id", &node)]))
        }
        "requestComputerPartition" => {
            let nothing = texts(&[]);
            let state = document(&Value::None);
            let shared = document(&Value::Bool(false));
            let common = [
                ("software_release", RELEASE),
                ("software_type", "default"),
                ("partition_parameter_xml", nothing.as_str()),
                ("filter_xml", nothing.as_str()),
                ("state", state.as_str()),
                ("shared_xml", shared.as_str()),
            ];
            let mut member = vec![("partition_reference", "db")];
            member.extend(at);
            member.extend(common);
            let project = world.rig.project.to_string();
            let mut root = vec![
                ("partition_reference", "root"),
                ("project_reference", project.as_str()),
            ];
            root.extend(common);
            Some(vec![
                ("of a tree", form(name, &root)),
                ("by `web`", form(name, &member)),
            ])
        }
        "requestComputer" => {
            let project = world.rig.project.to_string();
            one(form(
                name,
                &[("computer_title", "new"), ("project_reference", &project)],
            ))
        }
        "loadComputerConfigurationFromXML" => {
            let partitions = (0..4).map(|number| {
                Value::dict([
                    ("reference", Value::text(format!("slappart{number}"))),
                    ("address_list", Value::List(Vec::new())),
                ])
            });
            let xml = document(&Value::dict([
                ("reference", Value::text(node.as_str())),
                ("partition_list", Value::List(partitions.collect())),
            ]));
            one(form(name, &[("xml", &xml)]))
        }
        "computerBang" => one(form(name, &[("computer_id", &node), ("message", "m")])),
        "useComputer" => one(form(name, &[("computer_id", &node), ("use_string", USAGE)])),
        "supplySupply" => one(form(
            name,
            &[
                ("url", RELEASE),
                ("computer_id", &node),
                ("state", "available"),
            ],
        )),
        "buildingSoftwareRelease" | "availableSoftwareRelease" => one(of_release(RELEASE)),
        "softwareReleaseError" => one(form(
            name,
            &[
                ("url", RELEASE),
                ("computer_id", &node),
                ("error_log", "no"),
            ],
        )),
        "destroyedSoftwareRelease" => one(of_release(LEAVING)),
        "startedComputerPartition" | "stoppedComputerPartition" | "destroyedComputerPartition" => {
            one(post_at(&[]))
        }
        "softwareInstanceError" => one(post_at(&[("error_log", "no")])),
        "softwareInstanceBang" => one(post_at(&[("message", "m")])),
        "softwareInstanceRename" => one(post_at(&[("new_name", "web")])),
        "setComputerPartitionConnectionXml" => {
            let xml = texts(&[("a", "b")]);
            one(form(
                name,
                &[
                    ("computer_id", node.as_str()),
                    ("computer_partition_id", "slappart0"),
                    ("connection_xml", &xml),
                    ("slave_reference", "None"),
                ],
            ))
        }
        "updateComputerPartitionRelatedInstanceList" => {
            let xml = document(&Value::List(vec![Value::text("db")]));
            one(form(
                name,
                &[
                    ("computer_id", node.as_str()),
                    ("computer_partition_id", "slappart0"),
                    ("instance_reference_xml", &xml),
                ],
            ))
        }
        "shacache" => one(Sent {
            body: "hello".to_owned(),
            ..query(name, &[])
        }),
        "shacache/{sum}" => one(Sent {
            body: if verb == Verb::Put { "hello" } else { "" }.to_owned(),
            ..query(&format!("shacache/{HELLO}"), &[])
        }),
        "shadir/{key}" => {
            let text = json!({"sha512": HELLO}).to_string();
            let body = match verb {
                Verb::Put => json!([text, "c2ln"]),
                _ => Json::Null,
            };
            one(call("shadir/some:key", &body))
        }
        "Person_getCertificate" | "Person_requestComputer" => one(form(
            name,
            &[("access_token", "no such one"), ("title", "n")],
        )),
        "login" | "password" | "logout" if verb == Verb::Post => one(form(
            name,
            &[("login", "alice"), ("password", "wrong-password")],
        )),
        "servers/token" if verb == Verb::Post => {
            let project = world.rig.project.to_string();
            Some(vec![
                ("client", form(name, &[])),
                ("node", form(name, &[("project", &project)])),
            ])
        }
        "hateoas" | "hateoas/" => Some(vec![
            ("root", query(name, &[])),
            (
                "search",
                query(
                    name,
                    &[
                        ("mode", "search"),
                        (
                            "query",
                            "portal_type:\"Instance Tree\" AND validation_state:validated",
                        ),
                        ("select_list", "title"),
                    ],
                ),
            ),
        ]),
        "services" => one(query(name, &[])),
        "services/new" => {
            let project = world.rig.project.to_string();
            let of_release = [("project", project.as_str()), ("release", OFFERED)];
            let mut send = of_release.to_vec();
            send.extend([("stage", "review"), ("do", "send"), ("title", "wizard")]);
            match verb {
                Verb::Post => one(form(name, &send)),
                _ => Some(vec![
                    ("products", query(name, &[])),
                    ("a release", query(name, &of_release)),
                ]),
            }
        }
        _ if name.starts_with("services/{tree}") => {
            let path = name.replace("{tree}", &world.tree.to_string());
            one(match verb {
                Verb::Post => form(&path, &[("answer", ""), ("policy", "")]),
                _ => query(&path, &[]),
            })
        }
        "account"
        | "account/password"
        | "account/certificates"
        | "account/tokens"
        | "account/sessions"
            if verb == Verb::Get =>
        {
            one(query(name, &[]))
        }
        "servers/{node}"
        | "servers/{node}/partitions"
        | "servers/{node}/events"
        | "servers/{node}/settings"
        | "servers/{node}/settings/remove"
        | "servers/{node}/certificates" => one(page_or_form(&name.replace("{node}", &node), verb)),
        "servers/{node}/releases" => one(match verb {
            Verb::Get => query(&format!("servers/{node}/releases"), &[]),
            _ => form(&format!("servers/{node}/releases"), &[("release", RELEASE)]),
        }),
        "servers/{node}/releases/{release}/remove" => {
            let path = format!("servers/{node}/releases/{}/remove", world.installation);
            one(page_or_form(&path, verb))
        }
        "servers/{node}/certificates/{serial}/revoke" => {
            let path = format!("servers/{node}/certificates/{}/revoke", world.node_serial);
            one(page_or_form(&path, verb))
        }
        "servers/{node}/settings/scope" => one(form(
            &format!("servers/{node}/settings/scope"),
            &[("scope", "open")],
        )),
        "servers/{node}/settings/capacity" => one(form(
            &format!("servers/{node}/settings/capacity"),
            &[("capacity", "")],
        )),
        "projects" | "people" | "software" | "audit" | "health" if verb == Verb::Get => {
            one(query(name, &[]))
        }
        "software" => one(form(
            name,
            &[
                ("project", &world.rig.project.to_string()),
                ("reference", "app"),
            ],
        )),
        _ if name.starts_with("software/{product}") => {
            let path = name.replace("{product}", "1");
            one(match verb {
                Verb::Post => form(&path, &[("release", OFFERED), ("server", &node)]),
                _ => query(&path, &[("release", OFFERED)]),
            })
        }
        "projects" => one(form(name, &[("title", "New")])),
        "people" => one(form(name, &[("login", "dora")])),
        "projects/{project}/members" if verb == Verb::Post => one(form(
            &format!("projects/{}/members", world.rig.project),
            &[("login", "bob"), ("role", "member")],
        )),
        _ if name.starts_with("projects/{project}") || name.starts_with("people/{login}") => {
            let project = world.rig.project.to_string();
            let path = name
                .replace("{project}", &project)
                .replace("{login}", "bob");
            one(match verb {
                Verb::Post => form(&path, &[("wanted", "0")]),
                _ => query(&path, &[]),
            })
        }
        "account/password" => one(form(
            name,
            &[
                ("present", "wrong"),
                ("password", "new password"),
                ("again", "new password"),
            ],
        )),
        "account/certificates" | "account/tokens" | "account/sessions" => one(form(name, &[])),
        "account/certificates/{serial}/revoke" => {
            let path = format!("account/certificates/{}/revoke", world.serial);
            one(page_or_form(&path, verb))
        }
        "account/tokens/{token}/revoke" => {
            let path = format!("account/tokens/{}/revoke", world.token);
            one(page_or_form(&path, verb))
        }
        "account/sessions/{session}/end" => one(form("account/sessions/0123456789abcdef/end", &[])),
        "assets/{file}" => one(query("assets/style-0.css", &[])),
        "" | "login" | "password" | "servers" | "servers/token" | "ca.crt" | "getHateoasUrl"
        | "getRunId" | "healthz" | "readyz" | "metrics" | "events" | TOKEN => one(query(name, &[])),
        _ => None,
    }
}

/// A release of the product. It is nowhere: nothing is read for this table.
const OFFERED: &str = "/nowhere/software.cfg";

/// Calls that leave the world another one when they are allowed.
fn changes_the_world(name: &str) -> bool {
    [
        "revoke",
        "remove",
        "destroyedSoftwareRelease",
        "ReleaseError",
        "installation_error",
        "/destroy",
        "{login}/access",
    ]
    .iter()
    .any(|part| name.contains(part))
}

/// What an answer says about access: done, or which refusal. JSON calls answer 403 to both.
fn verdict(api: Api, status: u16, body: &str) -> &'static str {
    let hidden = || {
        serde_json::from_str::<Json>(body).is_ok_and(|error| {
            error["type"]
                .as_str()
                .is_some_and(|kind| kind.ends_with("NOT-FOUND"))
        })
    };
    match status {
        401 => "–",
        403 if api == Api::JsonRpc && hidden() => "hidden",
        // Too many attempts at a door are refused as wrong ones are.
        403 | 429 => "seen",
        404 => "hidden",
        _ => "**yes**",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_answers_each_caller_as_the_table_says() {
    let mut page = String::from(
        "# Who may call what\n\n\
         Every endpoint of the Master with every kind of caller, as a test finds it \
         (`crates/master/src/api/access_table.rs` writes this page with `UPDATE=1`). The calls are \
         about an instance `web` of a member of a project, its node, its tree and its project; \
         *sibling* is an instance that `web` requested, *foreign* ones belong to others.\n\n\
         **yes**: it is done, or refused for a reason that is not about who asks. seen: `403`, the \
         caller may know of it and no more. hidden: `404`, as if it did not exist. –: `401`, who \
         are you? (pages lead to where one signs in). Persons come to pages by the cookie of a \
         browser they signed in with, to all other calls by their certificates. A call that lists things answers everybody it knows, with what is theirs.\n\n",
    );
    writeln!(page, "| call | {} |", CALLERS.join(" | ")).unwrap();
    writeln!(page, "|---|{}", "---|".repeat(CALLERS.len())).unwrap();
    let mut seen = BTreeSet::new();
    for endpoint in endpoints() {
        let (api, name, verb) = (endpoint.api, endpoint.name, endpoint.verb);
        assert!(seen.insert((name, verb.as_str())), "{name} is there twice");
        let mut world = World::new().await;
        let labels: Vec<&'static str> = calls(&world, api, name, verb)
            .unwrap_or_else(|| panic!("{endpoint:?} is not in the access table"))
            .iter()
            .map(|(label, _)| *label)
            .collect();
        for (which, label) in labels.iter().enumerate() {
            let mut row = Vec::new();
            for (number, who) in CALLERS.iter().enumerate() {
                if changes_the_world(name) {
                    world = World::new().await;
                }
                let (_, mut sent) = calls(&world, api, name, verb).unwrap().swap_remove(which);
                let cookie = world.cookies[number].clone().filter(|_| api == Api::Web);
                if let (Some(cookie), Verb::Post) = (&cookie, verb) {
                    sent.body += &format!("&form_token={}", Rig::form_token(cookie));
                }
                let before = world.notes().await;
                let method = match verb {
                    Verb::Get => Method::GET,
                    Verb::Post => Method::POST,
                    Verb::Put => Method::PUT,
                };
                // A person's browser shows no certificate, only its cookie.
                let caller = match &cookie {
                    Some(_) => None,
                    None => world.names[number].as_deref(),
                };
                let mut headers: Vec<(&'static str, &str)> = sent.headers.clone();
                if let Some(cookie) = &cookie {
                    headers.push(("cookie", cookie));
                }
                let rig = &world.rig;
                let (status, body) = if api == Api::Events {
                    let response = rig.begin(caller, method, &sent.path, &headers, sent.body);
                    (response.await.status().as_u16(), String::new())
                } else {
                    let reply = rig.send(caller, method, &sent.path, &headers, sent.body);
                    let reply = reply.await;
                    let to_the_door = reply.header("location").is_some_and(|place| {
                        place.contains("login?next=") || place.ends_with("login")
                    });
                    match api {
                        // Who has to sign in first is led to the door, which is also where one is
                        // led who signed out.
                        Api::Web if to_the_door && name != "logout" => (401, String::new()),
                        _ => (reply.status, reply.body),
                    }
                };
                // Whoever belongs to no project is told so, as a mistake: that is about who asks.
                let told = ["slapos.post.v0.software_instance", TOKEN].contains(&name);
                assert!(
                    (status != 400 || told) && status < 500,
                    "{name} by {who}: {status} {body}"
                );
                let verdict = verdict(api, status, &body);
                if verdict != "**yes**" {
                    assert_eq!(
                        world.notes().await,
                        before,
                        "{name} by {who} left something"
                    );
                }
                if endpoint.audience != Audience::Anybody && number < 2 {
                    assert_eq!(verdict, "–", "{name} by {who}: {status} {body}");
                }
                row.push(verdict);
            }
            let path = if name.is_empty() { "/" } else { name };
            let label = if label.is_empty() {
                String::new()
            } else {
                format!(" ({label})")
            };
            writeln!(
                page,
                "| {} `{path}`{label} | {} |",
                verb.as_str().to_uppercase(),
                row.join(" | ")
            )
            .unwrap();
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    for (line, (found, expected)) in page.lines().zip(written.lines()).enumerate() {
        assert_eq!(found, expected, "line {} of docs/access.md", line + 1);
    }
    assert_eq!(page.lines().count(), written.lines().count());
}
