//! The description of the JSON calls as an OpenAPI 3.0 document, from the same data that checks them.

use serde_json::{Map, Value, json};

use super::schema::{CERTIFICATE, INSTANCE, Kind, Literal, Member, NOT_READY, Output, SUCCESS};
use super::{ErrorType, Method, TITLE_CHARS_MAX};

/// The version of upstream's description that this one mirrors.
const DESCRIPTION_VERSION: &str = "0.0.3";

/// The document. `server_url` is where the calls are, without a slash at its end.
pub fn document(server_url: &str) -> Value {
    let paths: Map<String, Value> = Method::ALL
        .iter()
        .filter(|method| !method.is_experimental())
        .map(|method| {
            (
                format!("/{}", method.name()),
                json!({"post": call(*method)}),
            )
        })
        .collect();
    json!({
        "openapi": "3.0.0",
        "info": {
            "title": "SlapOS Master",
            "description": "One URL for each call, POST only: a JSON object in, a JSON object out.",
            "version": DESCRIPTION_VERSION,
        },
        "servers": [{"url": server_url}],
        "paths": paths,
        "components": {"schemas": {
            "Certificate": closed(CERTIFICATE),
            "Error": error(),
            "Instance": closed(INSTANCE),
            "NotReady": closed(NOT_READY),
            "Success": closed(SUCCESS),
        }},
    })
}

fn call(method: Method) -> Value {
    let subject = method.name().rsplit('.').next().unwrap_or_default();
    let failure = |description: &str| {
        json!({
            "description": description,
            "content": {"application/json": {"schema": reference("Error")}},
        })
    };
    json!({
        "operationId": method.name(),
        "summary": method.summary(),
        "tags": [subject],
        "requestBody": {
            "required": true,
            "content": {"application/json": {"schema": closed(method.input())}},
        },
        "responses": {
            "200": {
                "description": "It is done, or this is what was asked for",
                "content": {"application/json": {"schema": output(method.output())}},
            },
            "400": failure("The body is not what this call accepts"),
            "401": {"description": "Nobody, or somebody unknown, calls"},
            "403": failure("There is no such thing, or the caller may not do this"),
            "415": failure("The body is not said to be JSON"),
            "500": failure("The Master failed, and nothing was changed"),
        },
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn output(output: Output) -> Value {
    match output {
        Output::Success => reference("Success"),
        Output::Instance => reference("Instance"),
        Output::InstanceOrNotReady => {
            json!({"oneOf": [reference("Instance"), reference("NotReady")]})
        }
        Output::Certificate => reference("Certificate"),
        Output::List(members) => json!({
            "type": "object",
            "properties": {"result_list": {"type": "array", "items": closed(members)}},
            "required": ["result_list"],
            "additionalProperties": false,
        }),
        Output::Document(members) => closed(members),
        Output::Open(members) => object(members, true),
    }
}

/// An object with these members and no others.
fn closed(members: &[Member]) -> Value {
    object(members, false)
}

fn object(members: &[Member], open: bool) -> Value {
    let properties: Map<String, Value> = members
        .iter()
        .map(|member| (member.name.to_owned(), property(member)))
        .collect();
    let required: Vec<&str> = members
        .iter()
        .filter(|member| member.required)
        .map(|member| member.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": open,
    });
    // OpenAPI 3.0 takes no empty list here.
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn property(member: &Member) -> Value {
    let mut schema = kind(member.kind);
    match member.default {
        Some(Literal::Text(text)) => schema["default"] = json!(text),
        Some(Literal::Bool(truth)) => schema["default"] = json!(truth),
        None => {}
    }
    schema
}

fn kind(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Title => json!({"type": "string", "maxLength": TITLE_CHARS_MAX}),
        Kind::Word(words) => json!({"type": "string", "enum": words}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Integer => json!({"type": "integer"}),
        Kind::Object => json!({"type": "object", "additionalProperties": true}),
        Kind::Sla => json!({
            "type": "object",
            "properties": {
                "project_guid": {"type": "string"},
                "computer_guid": {"type": "string"},
                "instance_guid": {"type": "string"},
                "network_guid": {"type": "string"},
                "retention_delay": {"type": "number"},
            },
            "additionalProperties": {"type": "string"},
        }),
        Kind::List(members) => json!({"type": "array", "items": closed(members)}),
        Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Kind::Rows => json!({
            "type": "array",
            "items": {"type": "array", "items": {"type": "string"}},
        }),
    }
}

/// An unknown call's error has no status, so none is required.
fn error() -> Value {
    let kinds: Vec<&str> = ErrorType::ALL.iter().map(|kind| kind.as_str()).collect();
    json!({
        "type": "object",
        "properties": {
            "status": {"type": "integer"},
            "type": {
                "type": "string",
                "description": format!(
                    "With a Master of many users, one of {}; with a proxy, the status' reason \
                     phrase",
                    kinds.join(", ")
                ),
            },
            "title": {"type": "string"},
        },
        "required": ["type", "title"],
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_call_is_described_and_every_reference_leads_somewhere() {
        let document = document("https://slap.example.com");
        assert_eq!(
            document["paths"].as_object().unwrap().len(),
            Method::ALL.len() - 1
        );
        assert_eq!(document["servers"][0]["url"], "https://slap.example.com");
        let text = document.to_string();
        let references: Vec<&str> = text
            .split("\"$ref\":\"#")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        assert!(references.len() > 24);
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }

    #[test]
    fn a_call_as_described() {
        let document = document("");
        let call = &document["paths"]["/slapos.post.v0.software_instance"]["post"];
        let input = &call["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(input["additionalProperties"], false);
        assert_eq!(
            input["required"],
            json!(["title", "software_release_uri", "software_type"])
        );
        assert_eq!(
            input["properties"]["state"],
            json!({"type": "string", "enum": ["started", "stopped", "destroyed"],
                   "default": "started"})
        );
        assert_eq!(input["properties"]["shared"]["default"], false);
        assert_eq!(input["properties"]["title"]["maxLength"], 200);
        let instance = &document["components"]["schemas"]["Instance"];
        assert_eq!(instance["required"].as_array().unwrap().len(), 16);
        assert_eq!(instance["additionalProperties"], false);
        let list = &document["paths"]["/slapos.allDocs.v0.instance_tree_list"]["post"];
        assert!(
            list["requestBody"]["content"]["application/json"]["schema"]
                .get("required")
                .is_none()
        );
    }
}
