//! Requests that another Master answers (P 6.15): two Masters, one forwarding to the other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::net::TcpListener;

use common::{Ask, NODE, Rig, ask, masked};
use proxy::OtherMaster;
use serde_json::json;
use slap::Value;

const THERE: &str = "http://x/there.cfg";

fn master(url: &str, releases: &[&str]) -> OtherMaster {
    OtherMaster {
        url: url.to_owned(),
        releases: releases.iter().map(|&release| release.to_owned()).collect(),
        ..OtherMaster::default()
    }
}

fn pair() -> (Rig, Rig, String) {
    let there = Rig::new();
    there.format(NODE, 3);
    let url = there.server.as_ref().unwrap().url();
    let here = Rig::with(|settings| {
        settings.masters = vec![
            master(&url, &[THERE]),
            master("https://tls.example/", &["http://x/tls.cfg"]),
        ];
    });
    here.format(NODE, 1);
    (here, there, url)
}

#[test]
fn a_listed_release_is_answered_there_and_relayed_as_captured() {
    let (here, there, url) = pair();
    let reply = here.request(&Ask {
        release: THERE,
        parameters: vec![("p", Value::Int(1))],
        ..ask("a")
    });
    assert_eq!(
        masked(&reply.ok()),
        format!(
            "<marshal><object id=\"i2\" module=\"slapos.slap.slap\" class=\"ComputerPartition\"><tuple>\
             <string>local_computer</string><string>slappart0</string><none/></tuple>\
             <dictionary id=\"i3\"><string>_computer_id</string><string>local_computer</string>\
             <string>_connection_dict</string><dictionary id=\"i4\"/>\
             <string>_connection_helper</string><none/><string>_hateoas_navigator</string><none/>\
             <string>_instance_guid</string><string>local_computer-slappart0</string>\
             <string>_master_url</string><string>{url}</string><string>_parameter_dict</string>\
             <dictionary id=\"i5\"><string>p</string><string>1</string><string>timestamp</string>\
             <string>TIMESTAMP</string></dictionary><string>_partition_id</string>\
             <string>slappart0</string><string>_request_dict</string><none/>\
             <string>_requested_state</string><string>started</string>\
             <string>_software_release_document</string><string>{THERE}</string>\
             <string>connection_xml</string><none/><string>ip_list</string><list id=\"i6\"><tuple>\
             <string>slaptap0</string><string>10.0.0.1</string></tuple><tuple>\
             <string>slaptap0</string><string>fd00::1</string></tuple></list>\
             <string>slap_computer_id</string><string>local_computer</string>\
             <string>slap_computer_partition_id</string><string>slappart0</string>\
             <string>slap_server_url</string><string>slap_server_url</string>\
             <string>slap_software_release_url</string><string>{THERE}</string>\
             <string>slap_software_type</string><string>default</string></dictionary></object></marshal>"
        )
    );
    let titles = there
        .rpc("slapos.allDocs.v0.instance_tree_list", json!({}))
        .json();
    assert_eq!(titles["result_list"], json!([{"title": "user_a"}]));
    // Nothing was allocated here.
    assert!(!here.full().ok().contains("<int>1</int>"));
    // A partition's request has the partition in its title there.
    here.request(&ask("root")).ok();
    here.request(&Ask {
        release: THERE,
        requester: Some("slappart0"),
        ..ask("sub")
    })
    .ok();
    assert_eq!(
        there
            .rpc(
                "slapos.get.v0.instance_tree",
                json!({"title": "slappart0_sub"})
            )
            .status,
        200
    );
    // What is here already stays here.
    let local = here.request(&Ask {
        release: THERE,
        ..ask("root")
    });
    assert!(local.ok().contains("class=\"SoftwareInstance\""));
    // 408 is relayed.
    assert_eq!(
        here.request(&Ask {
            release: THERE,
            state: Some("destroyed"),
            ..ask("never")
        })
        .status,
        408
    );
    // The JSON form of the call.
    let json = here
        .rpc(
            "slapos.post.v0.software_instance",
            json!({"title": "j", "software_release_uri": THERE, "software_type": "default"}),
        )
        .json();
    assert_eq!(
        (&json["title"], &json["compute_partition_id"]),
        (&json!("j"), &json!("slappart2"))
    );
}

#[test]
fn a_master_can_be_named_if_it_is_listed() {
    let (here, there, url) = pair();
    let named = |title: &str, master: &str| {
        here.request(&Ask {
            sla: vec![("master_url", master)],
            ..ask(title)
        })
    };
    assert!(
        named("a", url.trim_end_matches('/'))
            .ok()
            .contains("_master_url")
    );
    assert_eq!(
        there
            .rpc("slapos.get.v0.instance_tree", json!({"title": "user_a"}))
            .status,
        200
    );
    let unlisted = named("b", "http://nowhere/");
    assert_eq!(unlisted.status, 404);
    assert!(
        unlisted.body.contains(
            "External SlapOS Master URL http://nowhere/ is not listed in multimaster list."
        )
    );
    // This very Master is no other one.
    let own = here.server.as_ref().unwrap().url();
    assert!(named("c", &own).ok().contains("class=\"SoftwareInstance\""));
}

#[test]
fn what_cannot_be_reached_is_told() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = format!("http://{}/", closed.local_addr().unwrap());
    drop(closed);
    let here = Rig::with(|settings| {
        settings.masters = vec![
            master(&dead, &["http://x/dead.cfg"]),
            master("https://tls.example/", &["http://x/tls.cfg"]),
        ];
    });
    assert_eq!(
        here.request(&Ask {
            release: "http://x/dead.cfg",
            ..ask("a")
        })
        .status,
        523
    );
    let json = here.rpc(
        "slapos.post.v0.software_instance",
        json!({"title": "j", "software_release_uri": "http://x/dead.cfg", "software_type": "d"}),
    );
    assert_eq!((json.status, &json.json()["status"]), (523, &json!(523)));
    let tls = here.request(&Ask {
        release: "http://x/tls.cfg",
        ..ask("a")
    });
    assert_eq!(tls.status, 404);
    assert!(
        tls.body
            .contains("configuration did not specify key or certificate."),
        "{}",
        tls.body
    );
}
