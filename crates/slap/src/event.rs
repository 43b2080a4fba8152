//! What happened to an instance tree or a node, in words: the same for whoever shows it.

use serde_json::Value as Json;

/// What happened, in words.
pub fn said(action: &str, detail: &Json) -> String {
    let text = |name: &str| detail[name].as_str().unwrap_or_default();
    let list = |name: &str| {
        let items = detail[name].as_array().into_iter().flatten();
        let items: Vec<&str> = items.filter_map(Json::as_str).collect();
        items.join(", ")
    };
    match action {
        "request" => {
            let at = text("at");
            let place = if at.is_empty() {
                "it waits for a place".to_owned()
            } else {
                format!("placed on {at}")
            };
            format!(
                "requested {} to be {}, {place}",
                text("release"),
                text("state")
            )
        }
        "update" => format!("asked to be {}: new {}", text("state"), list("changed")),
        "placed" => format!("placed on {}", text("at")),
        "publish" => format!("published {}", list("keys")),
        "report" => reported(text("status")),
        "promise" if detail["failed"] == true => {
            let message = text("message").replace('\n', " ");
            format!("promise {} fails: {message}", text("promise"))
        }
        "promise" => format!("promise {} is well again", text("promise")),
        "bang" => format!("bang: {}", text("message")),
        "rename" => format!("renamed from {:?} to {:?}", text("from"), text("to")),
        "destroyed" => "destroyed".to_owned(),
        "propose_upgrade" => "an upgrade is offered".to_owned(),
        "withdraw_upgrade" => "an upgrade is no longer offered".to_owned(),
        "accept_upgrade" => "the upgrade is accepted".to_owned(),
        "reject_upgrade" => "the upgrade is turned down".to_owned(),
        "upgrade" if text("to").is_empty() => "upgraded".to_owned(),
        "upgrade" => format!("upgraded to {}", text("to")),
        "set_upgrade_policy" => format!("better releases: {}", text("policy")),
        "create_node" => "registered".to_owned(),
        "format" => format!("told of {} partitions", detail["partitions"]),
        "bang_node" => format!("bang: {}", text("message")),
        "supply" if text("state") == "destroyed" => format!("{} is to be removed", text("release")),
        "supply" => format!("{} is to be installed", text("release")),
        "removed_release" => format!("{} is removed", text("release")),
        "report_release" => match text("reported") {
            "building" => format!("builds {}", text("release")),
            "available" => format!("has built {}", text("release")),
            "error" => format!("cannot build {}", text("release")),
            other => format!("{}: {other}", text("release")),
        },
        "set_scope" => format!("new instances: {}", text("scope")),
        "set_capacity" if detail["capacity"].is_null() => "no limit of units".to_owned(),
        "set_capacity" => format!("at most {} units", detail["capacity"]),
        "set_network" if detail["network"].is_null() => "belongs to no network".to_owned(),
        "set_network" => format!("belongs to network {}", text("network")),
        "set_categories" => "categories changed".to_owned(),
        "remove_node" => "removed".to_owned(),
        "create_network" => format!("network {:?} made", text("title")),
        "set_remote" => format!("gate to {}", text("master_url")),
        "cache_object" => format!("{} bytes given to the network cache", detail["bytes"]),
        "cache_entry" => "an entry given to the network cache".to_owned(),
        _ => of_people(action, detail),
    }
}

/// What was done with people, projects and products, in words.
fn of_people(action: &str, detail: &Json) -> String {
    let text = |name: &str| detail[name].as_str().unwrap_or_default();
    match action {
        "sign_in" => "signed in".to_owned(),
        "sign_out" => format!("signed out of {} browsers", detail["browsers"]),
        "set_password" => "set a new password".to_owned(),
        "create_person" if detail["administrator"] == true => {
            "made known as an administrator".to_owned()
        }
        "create_person" => "made known".to_owned(),
        "disable_person" => "locked out".to_owned(),
        "enable_person" => "let in again".to_owned(),
        "set_administrator" if detail["administrator"] == true => {
            "administrates the Master from now on".to_owned()
        }
        "set_administrator" => "administrates the Master no more".to_owned(),
        "create_project" => format!("project {:?} made", text("title")),
        "close_project" => "project closed".to_owned(),
        "set_member" if text("role").is_empty() => {
            format!("belongs to {} no more", text("project"))
        }
        "set_member" => format!("{} of {}", text("role"), text("project")),
        "create_token" => format!("a token for {} made for {}", text("for"), text("person")),
        "use_token" if detail["granted"] == true => format!("used for {}", text("for")),
        "use_token" => format!("used up by an attempt for {}", text("for")),
        "revoke_token" => "revoked".to_owned(),
        "issue_certificate" => format!("certificate {} issued", text("common_name")),
        "revoke_certificate" if text("serial").is_empty() => {
            format!("{} certificates revoked", detail["certificates"])
        }
        "revoke_certificate" => format!("certificate {} revoked", text("serial")),
        "create_product" => format!("product {:?} made", text("title")),
        "add_release" => format!("release {} set", text("release")),
        "remove_release" => format!("release {} taken out", text("release")),
        "set_units" => format!("{} takes {} units", text("software_type"), detail["units"]),
        other => other.replace('_', " "),
    }
}

/// What a node reported of an instance or a release, as a line.
pub fn reported(text: &str) -> String {
    let line = text.replace('\n', " ");
    match line.split_once(' ') {
        Some(("#error", what)) => format!("error: {what}"),
        Some(("#access", what)) => what.to_owned(),
        _ => line.trim_start_matches('#').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_told_in_words() {
        let url = "https://example.com/software.cfg";
        let lines: Vec<String> = [
            (
                "request",
                json!({"release": url, "state": "started", "at": "COMP-1"}),
            ),
            (
                "request",
                json!({"release": url, "state": "started", "at": null}),
            ),
            ("placed", json!({"at": "COMP-2"})),
            (
                "update",
                json!({"state": "stopped", "changed": ["state", "parameters"]}),
            ),
            ("publish", json!({"keys": ["password", "url"]})),
            (
                "report",
                json!({"status": "#error while instanciating: a\nb", "log": "l"}),
            ),
            ("rename", json!({"from": "a", "to": "b"})),
            ("upgrade", json!({"to": url})),
            ("supply", json!({"release": url, "state": "available"})),
            (
                "report_release",
                json!({"release": url, "reported": "error"}),
            ),
            ("set_capacity", json!({"capacity": 4})),
            (
                "set_member",
                json!({"role": "manager", "project": "PROJ-1"}),
            ),
            ("set_member", json!({"role": null, "project": "PROJ-1"})),
            ("use_token", json!({"for": "node", "granted": false})),
            ("revoke_certificate", json!({"certificates": 2})),
            ("something_new", Json::Null),
        ]
        .iter()
        .map(|(action, detail)| said(action, detail))
        .collect();
        let expected = [
            "requested https://example.com/software.cfg to be started, placed on COMP-1",
            "requested https://example.com/software.cfg to be started, it waits for a place",
            "placed on COMP-2",
            "asked to be stopped: new state, parameters",
            "published password, url",
            "error: while instanciating: a b",
            r#"renamed from "a" to "b""#,
            "upgraded to https://example.com/software.cfg",
            "https://example.com/software.cfg is to be installed",
            "cannot build https://example.com/software.cfg",
            "at most 4 units",
            "manager of PROJ-1",
            "belongs to PROJ-1 no more",
            "used up by an attempt for node",
            "2 certificates revoked",
            "something new",
        ];
        assert_eq!(lines, expected);
    }
}
