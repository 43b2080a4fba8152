//! Who may call what: every endpoint of every API, called over HTTP by everybody, compared with the
//! table in `snapshots/`. Each call is well-formed, so that its answer tells about access; a refused
//! one changes nothing at all.
//!
//! Two numbers such as `200:3` are a status and how many things the caller was shown.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use master::api::{Api, Verb, endpoints};
use serde_json::{Value as Json, json};
use slap::document::NodeDocument;
use slap::{Value, marshal};

use crate::cast::{BOSS, CHIEF, PEOPLE, RELEASES, ROOT};
use crate::http::{Form, Masters, USAGE, common_name, description};
use crate::operation::{Actor, Ask, Described, Op, Place, ReleaseWord, Reply, Told, What};
use crate::system::System;

const ALICE: usize = 2;
const BOB: usize = 3;
const PASSWORD: &str = "correct horse battery staple";
/// A release whose removal is asked for.
const GOING: &str = "https://example.org/going.cfg";

/// Whose certificate is shown; the subject of the calls is an instance of alice's on COMP-1, or
/// COMP-1 itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Known(Actor),
    /// A certificate of this name that is worth nothing any more.
    Stale(&'static str),
}

struct Yard {
    masters: Masters,
    callers: Vec<(&'static str, Who)>,
    /// The subject: an instance on COMP-1, requested by the root of its tree, which serves a shared
    /// instance.
    subject: Told,
    shared: i64,
    /// Cookie and form token of those who are signed in.
    sessions: RefCell<BTreeMap<usize, (String, String)>>,
}

struct Reached {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Reached {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A call about to be made.
#[derive(Default)]
struct Request {
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// Makes the call that somebody is about to make.
type Make = Box<dyn Fn(&Yard, Who) -> Request>;

/// What is called, and what counts as shown in its answer.
struct Case {
    api: Api,
    verb: Verb,
    name: &'static str,
    /// What is special about it.
    note: &'static str,
    make: Make,
    count: Option<fn(&Reached) -> usize>,
    /// Whether all are refused, rightly.
    nobody: bool,
}

// ---------------------------------------------------------------------------------------------
// The yard

impl Yard {
    fn new() -> Yard {
        let masters = Masters::with_sqlite(1);
        let call = |by: Actor, what: What| {
            let reply = masters.call(&Op { by, what });
            assert!(
                matches!(reply, Reply::Done | Reply::Placed(_) | Reply::Node(_)),
                "{reply:?}"
            );
            reply
        };
        let partitions = |node: i64, count: usize| {
            (0..count)
                .map(|index| Described {
                    name: format!("slappart{index}"),
                    addresses: vec![(format!("tap{index}"), format!("10.{node}.{index}.1"))],
                    capabilities: Vec::new(),
                })
                .collect()
        };
        for (node, project, manager, count) in [(1, 1, BOSS, 40), (2, 1, BOSS, 2), (3, 2, CHIEF, 2)]
        {
            let title = format!("node{node}");
            let reply = call(Actor::Person(manager), What::NewNode { project, title });
            assert_eq!(reply, Reply::Node(node));
            masters.introduce(&[node], &[]);
            let partitions = partitions(node, count);
            call(Actor::Node(node), What::Format { node, partitions });
            let release = RELEASES[0].to_owned();
            call(
                Actor::Person(manager),
                What::Supply {
                    node,
                    release: release.clone(),
                    wanted: true,
                },
            );
            call(
                Actor::Node(node),
                What::ReportRelease {
                    node,
                    release,
                    word: ReleaseWord::Available,
                },
            );
        }
        let request = |by: Actor, title: &str, sla: &str, shared: bool| -> Told {
            let (key, value) = sla.split_once('=').expect("a pair");
            let ask = Ask {
                title: title.to_owned(),
                release: RELEASES[0].to_owned(),
                kind: None,
                parameters: None,
                sla: Some([(key.to_owned(), value.to_owned())].into()),
                state: None,
                shared: Some(shared),
                project: None,
            };
            let reply = call(
                by,
                What::Request {
                    requester: None,
                    ask,
                },
            );
            let Reply::Placed(told) = reply else {
                panic!("{title} is not placed")
            };
            if !shared {
                masters.introduce(&[], &[told.key]);
            }
            *told
        };
        let here = "computer_guid=COMP-1";
        let root = request(Actor::Person(ALICE), "t", here, false);
        let subject = request(Actor::Instance(root.key), "s", here, false);
        let sibling = request(Actor::Instance(root.key), "x", here, false);
        let foreign = request(Actor::Person(BOB), "f", here, false);
        let host = format!("instance_guid=SOFTINST-{}", subject.key);
        let shared = request(Actor::Person(BOB), "h", &host, true);
        let mut door = masters.backdoor();
        door.execute(
            "INSERT INTO certificate (common_name, serial, fingerprint, owner_kind, owner_id, \
             issued_at, expires_at, revoked_at) VALUES \
             ('revoked', 'revoked', '', 'person', 3, 0, 4000000000000000, 1), \
             ('expired', 'expired', '', 'person', 3, 0, 1, NULL)",
        );
        for command in [
            json!({"command": "product_add", "product": "p", "title": null, "project": "PROJ-1"}),
            json!({"command": "release_add", "product": "p", "project": "PROJ-1",
                   "url": RELEASES[0], "effective_at": null}),
        ] {
            assert_eq!(masters.administrate(&command), Reply::Done);
        }
        for (login, _, _) in PEOPLE {
            let reply = masters.administrate(&json!({
                "command": "user_password", "login": login, "password": PASSWORD,
            }));
            assert_eq!(reply, Reply::Done, "{login}");
        }
        let known = |actor| Who::Known(actor);
        Yard {
            masters,
            callers: vec![
                ("nobody", known(Actor::Nobody)),
                ("revoked", Who::Stale("revoked")),
                ("expired", Who::Stale("expired")),
                ("other person", known(Actor::Person(CHIEF))),
                ("member", known(Actor::Person(BOB))),
                ("owner", known(Actor::Person(ALICE))),
                ("manager", known(Actor::Person(BOSS))),
                ("administrator", known(Actor::Person(ROOT))),
                ("own node", known(Actor::Node(1))),
                ("other node", known(Actor::Node(2))),
                ("own instance", known(Actor::Instance(subject.key))),
                ("sibling", known(Actor::Instance(sibling.key))),
                ("foreign instance", known(Actor::Instance(foreign.key))),
            ],
            subject,
            shared: shared.key,
            sessions: RefCell::default(),
        }
    }

    fn send(&self, who: Who, verb: Verb, request: &Request) -> Reached {
        let mut headers: Vec<(&str, String)> = request.headers.clone();
        match who {
            Who::Known(actor) => {
                headers.extend(common_name(actor).map(|name| ("remote-user", name)));
            }
            Who::Stale(name) => headers.push(("remote-user", name.to_owned())),
        }
        // Nobody's attempts count as another's.
        let index = self.callers.iter().position(|(_, one)| *one == who);
        headers.push((
            "x-forwarded-for",
            format!("192.0.2.{}", index.unwrap_or(99)),
        ));
        let (method, body) = match verb {
            Verb::Get => ("GET", ""),
            Verb::Post => ("POST", request.body.as_str()),
        };
        let (status, headers, body) =
            self.masters
                .exchange(method, &request.path, &headers, body.as_bytes());
        Reached {
            status,
            headers,
            body,
        }
    }

    /// Puts back what this call takes away.
    fn restore(&self, name: &str) {
        if matches!(name, "login" | "logout" | "password") {
            self.sessions.borrow_mut().clear();
        }
        let takes = ["ertificate", "SoftwareRelease", "software_installation"];
        if !takes.iter().any(|word| name.contains(word)) {
            return;
        }
        let mut door = self.masters.backdoor();
        door.execute(
            "UPDATE certificate SET revoked_at = NULL \
             WHERE common_name LIKE '%-%' AND fingerprint = ''",
        );
        door.execute(
            "DELETE FROM certificate WHERE fingerprint <> '' AND owner_kind <> 'instance'",
        );
        let wanted = [true, false].map(|wanted| What::Supply {
            node: 1,
            release: GOING.to_owned(),
            wanted,
        });
        for what in wanted {
            let by = Actor::Person(BOSS);
            assert_eq!(self.masters.call(&Op { by, what }), Reply::Done);
        }
    }

    /// The session of a person: its cookie, and the token of its forms.
    fn session(&self, who: Who) -> Option<(String, String)> {
        let Who::Known(Actor::Person(person)) = who else {
            return None;
        };
        if let Some(known) = self.sessions.borrow().get(&person) {
            return Some(known.clone());
        }
        let login = Request {
            path: "login".into(),
            body: Form::of(&[("login", PEOPLE[person].0), ("password", PASSWORD)]).encoded(),
            headers: form_headers(),
        };
        let reached = self.send(who, Verb::Post, &login);
        assert_eq!(reached.status, 303, "{}", reached.text());
        let cookie = reached.headers.get("set-cookie").expect("a cookie");
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let page = Request {
            path: "servers".into(),
            headers: vec![("cookie", cookie.clone())],
            ..Request::default()
        };
        let page = self.send(who, Verb::Get, &page).text();
        let token = page.split("name=\"form_token\" value=\"").nth(1);
        let token = token.and_then(|rest| rest.split('"').next());
        let session = (cookie, token.expect("a form token").to_owned());
        self.sessions.borrow_mut().insert(person, session.clone());
        Some(session)
    }

    /// A one-time token of alice's.
    fn token(&self, purpose: &str) -> String {
        let login = if purpose == "node" { "boss" } else { "alice" };
        let project = (purpose == "node").then_some("PROJ-1");
        let answer = self.masters.ask_administration(&json!({
            "command": "token_create", "login": login, "purpose": purpose, "project": project,
        }));
        let text = answer.expect("an answer").to_string();
        let token = text.split("\"token\":\"").nth(1);
        let token = token.and_then(|rest| rest.split('"').next());
        token
            .unwrap_or_else(|| panic!("no token in {text}"))
            .to_owned()
    }
}

fn form_headers() -> Vec<(&'static str, String)> {
    vec![(
        "content-type",
        "application/x-www-form-urlencoded".to_owned(),
    )]
}

// ---------------------------------------------------------------------------------------------
// The cases

/// Makes the list of cases.
#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    fn add(
        &mut self,
        api: Api,
        verb: Verb,
        name: &'static str,
        make: impl Fn(&Yard, Who) -> Request + 'static,
    ) -> &mut Case {
        self.0.push(Case {
            api,
            verb,
            name,
            note: "",
            make: Box::new(make),
            count: None,
            nobody: false,
        });
        self.0.last_mut().expect("it was just added")
    }

    fn get(&mut self, name: &'static str, form: impl Fn(&Yard) -> Form + 'static) -> &mut Case {
        self.add(Api::Slap, Verb::Get, name, move |yard, _| Request {
            path: format!("{name}?{}", form(yard).encoded()),
            ..Request::default()
        })
    }

    fn post(&mut self, name: &'static str, form: impl Fn(&Yard) -> Form + 'static) -> &mut Case {
        self.add(Api::Slap, Verb::Post, name, move |yard, _| Request {
            path: name.to_owned(),
            headers: form_headers(),
            body: form(yard).encoded(),
        })
    }

    fn json(&mut self, name: &'static str, input: impl Fn(&Yard) -> Json + 'static) -> &mut Case {
        self.add(Api::JsonRpc, Verb::Post, name, move |yard, _| Request {
            path: name.to_owned(),
            headers: vec![("content-type", "application/json".to_owned())],
            body: input(yard).to_string(),
        })
    }

    /// A page, with the session of whoever has one.
    fn page(
        &mut self,
        verb: Verb,
        name: &'static str,
        form: impl Fn(&Yard) -> Form + 'static,
    ) -> &mut Case {
        self.add(Api::Web, verb, name, move |yard, who| {
            let session = yard.session(who);
            let mut form = form(yard);
            let mut headers = form_headers();
            if let Some((cookie, token)) = session {
                headers.push(("cookie", cookie));
                form = form.with("form_token", token);
            }
            let query = match verb {
                Verb::Get => format!("?{}", form.encoded()),
                Verb::Post => String::new(),
            };
            Request {
                path: format!("{name}{query}"),
                headers,
                body: form.encoded(),
            }
        })
    }
}

impl Case {
    fn note(&mut self, note: &'static str) -> &mut Case {
        self.note = note;
        self
    }

    fn counts(&mut self, count: fn(&Reached) -> usize) -> &mut Case {
        self.count = Some(count);
        self
    }

    fn for_nobody(&mut self) -> &mut Case {
        self.nobody = true;
        self
    }
}

fn at(yard: &Yard) -> Form {
    Form::at(&Place {
        node: yard.subject.node,
        partition: yard.subject.partition.clone(),
    })
}

fn guid(yard: &Yard) -> String {
    format!("SOFTINST-{}", yard.subject.key)
}

fn request_form(title: &str) -> Form {
    Form::of(&[
        ("software_release", RELEASES[0]),
        ("partition_reference", title),
        ("software_type", "default"),
    ])
    .value(
        "filter_xml",
        &Value::text_dict(&BTreeMap::from([("computer_guid", "COMP-1")])),
    )
}

fn partitions_shown(reached: &Reached) -> usize {
    let value = marshal::decode(&reached.body).expect("marshalled");
    NodeDocument::from_value(&value)
        .expect("a node")
        .partitions
        .len()
}

fn values_shown(reached: &Reached) -> usize {
    let value = marshal::decode(&reached.body).expect("marshalled");
    value.as_sequence().map_or(0, <[Value]>::len)
}

fn results_shown(reached: &Reached) -> usize {
    let value: Json = serde_json::from_slice(&reached.body).expect("JSON");
    value["result_list"].as_array().map_or(0, Vec::len)
}

fn found(reached: &Reached) -> usize {
    let value: Json = serde_json::from_slice(&reached.body).expect("JSON");
    value["_embedded"]["contents"]
        .as_array()
        .map_or(0, Vec::len)
}

fn partition_description() -> Json {
    json!([{"partition_id": "slappart0", "ip_list": [{"ip-address": "10.1.0.1", "network-interface": "tap0"}]}])
}

#[allow(clippy::too_many_lines)] // a table
fn cases() -> Vec<Case> {
    let mut cases = Cases::default();
    let nothing = |_: &Yard| Form::default();
    let node = |_: &Yard| Form::node(1);
    let release = |_: &Yard| Form::node(1).with("url", RELEASES[0]);

    // The legacy calls.
    cases.get("getHateoasUrl", nothing);
    cases.get("getRunId", nothing);
    cases
        .get("getFullComputerInformation", node)
        .counts(partitions_shown);
    cases
        .get("getComputerInformation", node)
        .counts(partitions_shown);
    cases.get("registerComputerPartition", |yard| {
        Form::of(&[
            ("computer_reference", "COMP-1"),
            ("computer_partition_reference", &yard.subject.partition),
        ])
    });
    cases
        .get("registerComputerPartition", |_| {
            Form::of(&[
                ("computer_reference", "COMP-1"),
                ("computer_partition_reference", "slappart39"),
            ])
        })
        .note("free");
    cases.get("getComputerStatus", node);
    cases.get("getComputerPartitionStatus", at);
    cases.get("getSoftwareInstallationStatus", release);
    cases
        .get("getHostingSubscriptionIpList", at)
        .counts(values_shown);
    cases.get("getComputerPartitionCertificate", at);
    cases
        .get("getSoftwareReleaseListFromSoftwareProduct", |_| {
            Form::of(&[("software_product_reference", "p")])
        })
        .counts(values_shown);
    cases.post("generateComputerCertificate", node);
    cases.post("revokeComputerCertificate", node);
    cases
        .post("requestComputerPartition", |_| request_form("mine"))
        .note("root");
    cases
        .post("requestComputerPartition", |yard| {
            let mut form = at(yard);
            form.extend(request_form("child"));
            form
        })
        .note("as the subject");
    cases
        .post("requestComputerPartition", |yard| {
            let mut form = at(yard);
            form.extend(request_form("nothing").value("state", &Value::text("destroyed")));
            form
        })
        .note("destroyed, as the subject");
    cases.post("requestComputer", |_| {
        Form::of(&[("computer_title", "new"), ("project_reference", "PROJ-1")])
    });
    cases.post("loadComputerConfigurationFromXML", |_| {
        let told: Vec<Described> = (0..40)
            .map(|index| Described {
                name: format!("slappart{index}"),
                addresses: vec![(format!("tap{index}"), format!("10.1.{index}.1"))],
                capabilities: Vec::new(),
            })
            .collect();
        Form::default().value("xml", &description(1, &told))
    });
    cases.post("computerBang", |_| Form::node(1).with("message", "m"));
    cases.post("useComputer", |_| Form::node(1).with("use_string", USAGE));
    cases.post("supplySupply", |_| {
        Form::node(1)
            .with("url", RELEASES[0])
            .with("state", "available")
    });
    cases.post("buildingSoftwareRelease", |_| {
        Form::node(1).with("url", GOING)
    });
    cases.post("availableSoftwareRelease", release);
    cases.post("softwareReleaseError", |_| {
        Form::node(1).with("url", GOING).with("error_log", "e")
    });
    cases.post("destroyedSoftwareRelease", |_| {
        Form::node(1).with("url", GOING)
    });
    cases.post("startedComputerPartition", at);
    cases.post("stoppedComputerPartition", at);
    cases
        .post("destroyedComputerPartition", at)
        .note("not ordered");
    cases.post("softwareInstanceError", |yard| {
        at(yard).with("error_log", "e")
    });
    cases
        .post("softwareInstanceError", |yard| {
            at(yard).shared(Some(yard.shared)).with("error_log", "e")
        })
        .note("of the shared one it serves");
    cases.post("softwareInstanceBang", |yard| at(yard).with("message", "m"));
    cases.post("softwareInstanceRename", |yard| {
        at(yard).with("new_name", "renamed")
    });
    let connection = || Value::text_dict(&BTreeMap::from([("url", "x")]));
    cases.post("setComputerPartitionConnectionXml", move |yard| {
        at(yard).value("connection_xml", &connection())
    });
    cases
        .post("setComputerPartitionConnectionXml", move |yard| {
            at(yard)
                .shared(Some(yard.shared))
                .value("connection_xml", &connection())
        })
        .note("for the shared one it serves");
    cases.post("updateComputerPartitionRelatedInstanceList", |yard| {
        at(yard).value("instance_reference_xml", &Value::List(Vec::new()))
    });

    // JSON in, JSON out.
    let node = |_: &Yard| json!({"computer_guid": "COMP-1"});
    let subject = |yard: &Yard| json!({"instance_guid": guid(yard)});
    cases.add(Api::JsonRpc, Verb::Get, "openapi.json", |_, _| Request {
        path: "openapi.json".into(),
        ..Request::default()
    });
    cases
        .json("slapos.allDocs.v0.compute_node_instance_list", node)
        .counts(results_shown);
    cases
        .json(
            "slapos.allDocs.v0.compute_node_software_installation_list",
            node,
        )
        .counts(results_shown);
    cases
        .json("slapos.allDocs.WIP.compute_node_list", |_| json!({}))
        .counts(results_shown);
    cases
        .json("slapos.allDocs.v0.instance_node_instance_list", subject)
        .counts(results_shown);
    cases
        .json("slapos.allDocs.v0.instance_tree_list", |_| json!({}))
        .counts(results_shown);
    cases.json("slapos.get.v0.compute_node_status", node);
    cases.json(
        "slapos.get.v0.compute_partition",
        |yard| json!({"computer_guid": "COMP-1", "compute_partition_id": yard.subject.partition}),
    );
    cases.json("slapos.get.v0.software_instance", subject);
    cases.json("slapos.get.v0.instance_tree", |_| json!({"title": "t"}));
    cases.json("slapos.get.v0.hateoas_url", |_| json!({}));
    cases.json("slapos.get.v0.software_instance_certificate", subject);
    cases.json("slapos.post.v0.compute_node_certificate", node);
    cases.json(
        "slapos.post.v0.compute_node_usage",
        |_| json!({"computer_guid": "COMP-1", "tioxml": USAGE}),
    );
    let release = json!({"computer_guid": "COMP-1", "software_release_uri": RELEASES[0]});
    let going = json!({"computer_guid": "COMP-1", "software_release_uri": GOING});
    let with = |base: &Json, name: &str, value: &str| {
        let mut made = base.clone();
        made[name] = json!(value);
        made
    };
    let supplied = with(&release, "state", "available");
    cases.json("slapos.post.v0.software_installation", move |_| {
        supplied.clone()
    });
    cases.json("slapos.post.v0.software_instance", |_| {
        json!({"title": "mine", "software_release_uri": RELEASES[0], "software_type": "default",
               "sla_parameters": {"computer_guid": "COMP-1"}})
    });
    cases.json(
        "slapos.put.v0.compute_node_bang",
        |_| json!({"computer_guid": "COMP-1", "message": "m"}),
    );
    cases.json(
        "slapos.put.v0.compute_node_format",
        |_| json!({"computer_guid": "COMP-1", "compute_partition_list": partition_description()}),
    );
    let failed = with(&going, "message", "e");
    cases.json("slapos.put.v0.software_installation_error", move |_| {
        failed.clone()
    });
    for (note, base, word) in [
        ("available", &release, "available"),
        ("building", &going, "building"),
        ("destroyed", &going, "destroyed"),
    ] {
        let input = with(base, "reported_state", word);
        let name = "slapos.put.v0.software_installation_reported_state";
        cases.json(name, move |_| input.clone()).note(note);
    }
    let said = |name: &'static str, value: &'static str| {
        move |yard: &Yard| {
            let mut input = json!({"instance_guid": guid(yard)});
            input[name] = json!(value);
            input
        }
    };
    cases.json("slapos.put.v0.software_instance_bang", said("message", "m"));
    cases.json(
        "slapos.put.v0.software_instance_connection_parameter",
        |yard| json!({"instance_guid": guid(yard), "connection_parameter_dict": {"url": "y"}}),
    );
    cases.json(
        "slapos.put.v0.software_instance_error",
        said("message", "e"),
    );
    let name = "slapos.put.v0.software_instance_reported_state";
    cases
        .json(name, said("reported_state", "started"))
        .note("started");
    cases
        .json(name, said("reported_state", "destroyed"))
        .note("destroyed, not ordered")
        .for_nobody();
    cases.json(
        "slapos.put.v0.software_instance_title",
        said("title", "renamed twice"),
    );
    cases.json("slapos.remove.v0.compute_node_certificate", node);

    // Hypermedia.
    for name in ["hateoas", "hateoas/"] {
        cases.add(Api::Hateoas, Verb::Get, name, move |_, _| Request {
            path: name.to_owned(),
            ..Request::default()
        });
    }
    for (note, query) in [
        (
            "search: trees",
            "portal_type:\"Instance Tree\" AND validation_state:validated",
        ),
        (
            "search: nodes",
            "portal_type:\"Compute Node\" AND validation_state:validated",
        ),
        (
            "search: instances of the tree",
            "portal_type:(\"Software Instance\", \"Slave Instance\") AND \
             validation_state:validated AND default_specialise_title:=\"t\"",
        ),
    ] {
        cases
            .add(Api::Hateoas, Verb::Get, "hateoas/", move |_, _| {
                let form = Form::of(&[
                    ("mode", "search"),
                    ("query", query),
                    ("select_list", "title"),
                    ("limit", "100"),
                ]);
                Request {
                    path: format!("hateoas/?{}", form.encoded()),
                    ..Request::default()
                }
            })
            .note(note)
            .counts(found);
    }
    for (note, url) in [
        ("traverse: tree", "instance_tree_module/HOSTSUBS-1"),
        ("traverse: node", "compute_node_module/COMP-1"),
        ("traverse: instance", "software_instance_module/SUBJECT"),
        (
            "traverse: installation",
            "software_installation_module/SOFTINSTALL-1",
        ),
        ("traverse: person", "person_module/3"),
    ] {
        cases
            .add(Api::Hateoas, Verb::Get, "hateoas/", move |yard, _| {
                let url = url.replace("SUBJECT", &guid(yard));
                let form = Form::of(&[
                    ("mode", "traverse"),
                    ("relative_url", &url),
                    ("view", "view"),
                ]);
                Request {
                    path: format!("hateoas/?{}", form.encoded()),
                    ..Request::default()
                }
            })
            .note(note);
    }

    // Pages, and the doors through which tokens lead.
    let nothing = |_: &Yard| Form::default();
    cases.page(Verb::Get, "", nothing);
    cases.page(Verb::Get, "login", nothing);
    cases.page(Verb::Post, "login", |_| {
        Form::of(&[("login", "alice"), ("password", PASSWORD)])
    });
    cases.page(Verb::Post, "logout", nothing);
    cases
        .page(Verb::Get, "password", nothing)
        .note("no token")
        .for_nobody();
    cases
        .page(Verb::Get, "password", |yard| {
            Form::of(&[("token", &yard.token("password"))])
        })
        .note("token");
    let chosen = |token: &str| {
        Form::of(&[
            ("token", token),
            ("password", PASSWORD),
            ("again", PASSWORD),
        ])
    };
    cases
        .page(Verb::Post, "password", move |_| chosen("x"))
        .note("no token")
        .for_nobody();
    cases
        .page(Verb::Post, "password", move |yard| {
            chosen(&yard.token("password"))
        })
        .note("token");
    cases.page(Verb::Get, "servers", nothing);
    cases.page(Verb::Post, "servers", nothing).note("client");
    cases
        .page(Verb::Post, "servers", |_| {
            Form::of(&[("project", "PROJ-1")])
        })
        .note("for a project");
    cases.page(Verb::Get, "style.css", nothing);
    cases.page(Verb::Get, "ca.crt", nothing);
    cases
        .page(Verb::Post, "Person_getCertificate", nothing)
        .note("no token")
        .for_nobody();
    cases
        .page(Verb::Post, "Person_getCertificate", |yard| {
            Form::of(&[("access_token", &yard.token("client"))])
        })
        .note("token");
    let title = |_: &Yard| Form::of(&[("title", "by token")]);
    cases
        .page(Verb::Post, "Person_requestComputer", title)
        .note("no token")
        .for_nobody();
    cases
        .page(Verb::Post, "Person_requestComputer", |yard| {
            Form::of(&[("title", "by token"), ("access_token", &yard.token("node"))])
        })
        .note("token");
    let name = "hateoas/computer_module/Base_getComputerToken";
    cases.page(Verb::Get, name, nothing);
    cases
        .page(Verb::Get, name, |_| {
            Form::of(&[("project_reference", "PROJ-1")])
        })
        .note("for a project");

    // Streams.
    for (note, query) in [
        ("", ""),
        ("of a node", "?node=COMP-1"),
        ("of a tree", "?tree=HOSTSUBS-1"),
    ] {
        cases
            .add(Api::Events, Verb::Get, "events", move |_, _| Request {
                path: format!("events{query}"),
                ..Request::default()
            })
            .note(note);
    }

    // How the Master is.
    for name in ["healthz", "readyz", "metrics"] {
        cases.add(Api::Public, Verb::Get, name, move |_, _| Request {
            path: name.to_owned(),
            ..Request::default()
        });
    }
    cases.0
}

// ---------------------------------------------------------------------------------------------
// The test

#[test]
fn everybody_may_call_what_the_table_says() {
    let yard = Yard::new();
    let cases = cases();
    let mut listed: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
    for endpoint in endpoints() {
        listed.insert((endpoint.api.as_str(), endpoint.verb.as_str(), endpoint.name));
    }
    let called: BTreeSet<(&str, &str, &str)> = cases
        .iter()
        .map(|case| (case.api.as_str(), case.verb.as_str(), case.name))
        .collect();
    assert_eq!(
        listed.difference(&called).collect::<Vec<_>>(),
        Vec::<&(&str, &str, &str)>::new(),
        "endpoints nobody calls here: add a case for each"
    );
    assert_eq!(
        called.difference(&listed).collect::<Vec<_>>(),
        Vec::<&(&str, &str, &str)>::new(),
        "cases for endpoints that do not exist"
    );

    let mut table = heading(&yard);
    let mut wrong = String::new();
    for case in &cases {
        let mut reached = Vec::new();
        for (_, who) in &yard.callers {
            yard.restore(case.name);
            let request = (case.make)(&yard, *who);
            let before = yard.masters.backdoor().everything();
            let answer = yard.send(*who, case.verb, &request);
            let refused = matches!(answer.status, 401 | 403 | 404);
            if refused {
                let after = yard.masters.backdoor().everything();
                assert_eq!(after, before, "{} {who:?} was refused", case.name);
            }
            reached.push(answer);
        }
        let good = |answer: &Reached| answer.status < 400 || matches!(answer.status, 408 | 409);
        if case.nobody == reached.iter().any(good) {
            let texts: Vec<String> = reached.iter().map(Reached::text).collect();
            let _ = writeln!(wrong, "{} {}: {texts:?}", case.name, case.note);
        }
        let line = format!(
            "{:<8} {:<4} {} {}",
            case.api.as_str(),
            case.verb.as_str(),
            if case.name.is_empty() { "/" } else { case.name },
            if case.note.is_empty() {
                String::new()
            } else {
                format!("({})", case.note)
            },
        );
        let mut line = format!("{}\n{:14}", line.trim_end(), "");
        for answer in &reached {
            let shown = case.count.filter(|_| answer.status == 200);
            let cell = match shown {
                Some(count) => format!("{}:{}", answer.status, count(answer)),
                None => answer.status.to_string(),
            };
            let _ = write!(line, "{cell:<9}");
        }
        let _ = writeln!(table, "{}", line.trim_end());
    }
    assert_eq!(wrong, "", "nobody may, or somebody may after all");
    insta::assert_snapshot!("who_may_call_what", table);
}

fn heading(yard: &Yard) -> String {
    let words = |index: usize| {
        yard.callers
            .iter()
            .fold(String::new(), |mut line, (name, _)| {
                let word = name.split(' ').nth(index).unwrap_or_default();
                let word = word.replace("administrator", "admin");
                let _ = write!(line, "{word:<9}");
                line
            })
    };
    format!(
        "{:14}{}\n{:14}{}\n",
        "",
        words(0).trim_end(),
        "",
        words(1).trim_end()
    )
}
