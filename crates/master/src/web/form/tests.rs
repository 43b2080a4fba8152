//! Schemas in, forms out, parameters back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::model::Documents;
use super::*;
use crate::web::tests::approve;

fn model(schema: &Json) -> Model {
    let resolve = |_: &str, reference: &str| {
        let found = schema.pointer(reference.strip_prefix('#')?)?;
        Some((String::new(), found))
    };
    Model::of(&Documents {
        place: "",
        document: schema,
        resolve: &resolve,
    })
}

fn html(model: &Model, values: &Values, reading: &Reading) -> String {
    let look = Look {
        values,
        errors: &reading.errors,
        action: "new",
    };
    show(model, &look).into_string()
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    Some(unescaped(rest.split_once('"')?.0))
}

/// What a browser sends of a form nobody touched.
fn submitted(page: &str) -> Values {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut rest = page;
    while let Some((_, found)) = rest.split_once('<') {
        let (tag, after) = found.split_once('>').unwrap();
        rest = after;
        let name = attribute(tag, "name");
        if tag.starts_with("input") {
            let is_box = tag.contains("type=\"checkbox\"");
            if !is_box || tag.contains(" checked") {
                let text = attribute(tag, "value").unwrap_or_default();
                pairs.push((name.unwrap(), text));
            }
        } else if tag.starts_with("textarea") {
            let (text, after) = after.split_once("</textarea>").unwrap();
            let text = unescaped(text.strip_prefix('\n').unwrap_or(text));
            pairs.push((name.unwrap(), text.replace('\n', "\r\n")));
            rest = after;
        } else if tag.starts_with("select") {
            let (options, after) = after.split_once("</select>").unwrap();
            let options: Vec<&str> = options.split("<option").skip(1).collect();
            let chosen = options.iter().find(|option| {
                let tag = option.split_once('>').unwrap().0;
                tag.contains(" selected")
            });
            let chosen = chosen.or(options.first()).unwrap();
            pairs.push((name.unwrap(), attribute(chosen, "value").unwrap()));
            rest = after;
        }
    }
    let pairs = pairs
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    Values::of(pairs)
}

/// Every name an element points to is there once.
fn keeps_the_rules(page: &str) {
    let mut ids: Vec<&str> = page
        .split(" id=\"")
        .skip(1)
        .map(|rest| rest.split_once('"').unwrap().0)
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "{page}");
    for pointer in [" for=\"", " aria-describedby=\""] {
        for rest in page.split(pointer).skip(1) {
            for id in rest.split_once('"').unwrap().0.split(' ') {
                assert!(
                    ids.binary_search(&id).is_ok(),
                    "{id} of {pointer} in {page}"
                );
            }
        }
    }
}

/// What comes back of parameters that are shown and sent as they are.
fn back(model: &Model, parameters: &Json) -> Reading {
    let values = model.fill(parameters);
    let page = html(model, &values, &Reading::default());
    keeps_the_rules(&page);
    model.read(&submitted(&page))
}

fn kvm() -> Json {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Parameters of a machine",
        "description": "What the machine is made of.",
        "type": "object",
        "required": ["name", "network"],
        "additionalProperties": false,
        "definitions": {
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "disk": {
                "title": "Disk", "type": "object", "required": ["size"],
                "properties": {
                    "size": {"title": "Size in GiB", "type": "integer", "minimum": 1},
                    "cache": {"type": "string", "enum": ["none", "writeback"], "default": "none"}
                }
            }
        },
        "properties": {
            "name": {"title": "Name", "type": "string", "minLength": 1, "maxLength": 63},
            "ram": {"title": "Memory", "description": "In MiB.", "type": "integer",
                    "default": 1024, "multipleOf": 512},
            "boot": {"type": "boolean", "default": true, "title": "Boots by itself"},
            "password": {"type": "string", "format": "password"},
            "keys": {"title": "SSH keys", "type": "string", "textarea": true},
            "port": {"allOf": [{"$ref": "#/definitions/port"}], "title": "Port", "default": 22},
            "disks": {"title": "Disks", "type": "array", "items": {"$ref": "#/definitions/disk"},
                      "maxItems": 4},
            "network": {
                "title": "Network",
                "oneOf": [
                    {"title": "Of the node", "type": "object", "required": ["kind"],
                     "properties": {"kind": {"const": "tap"}}},
                    {"title": "Behind the node", "type": "object", "required": ["kind", "forward"],
                     "properties": {
                         "kind": {"const": "nat"},
                         "forward": {"title": "Ports", "type": "array",
                                     "items": {"$ref": "#/definitions/port"}}}}
                ]
            },
            "labels": {"title": "Labels", "type": "object",
                       "additionalProperties": {"type": "string"}},
            "hints": {"title": "Hints", "deprecated": true},
            "limit": {"title": "Limit", "type": ["integer", "null"]}
        }
    })
}

fn hello() -> Json {
    let text = include_str!("../../../../../software/helloworld/instance-input-schema.json");
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_small_form() {
    let model = model(&hello());
    let values = model.fill(&json!({"name": "Ada", "port": 8080, "title": ""}));
    let mut reading = model.read(&values);
    assert_eq!(
        reading.value,
        json!({"name": "Ada", "port": 8080, "title": ""})
    );
    reading.blame("/port", "8080 is taken.");
    let page = html(&model, &values, &reading);
    keeps_the_rules(&page);
    approve!("form-hello", page);
}

#[test]
fn a_form_with_everything() {
    let model = model(&kvm());
    let parameters = json!({
        "name": "m", "ram": 2048, "boot": false, "keys": "a\nb",
        "disks": [{"size": 10, "cache": "writeback"}, {"size": 20}],
        "network": {"kind": "nat", "forward": [80, 443]},
        "labels": {"a.b": "c", "d e": ""}, "hints": [1, {"x": null}], "limit": null
    });
    let values = model.fill(&parameters);
    let page = html(&model, &values, &Reading::default());
    keeps_the_rules(&page);
    for name in ["p.disks.1.size", "p.network.forward.1", "p:json"] {
        assert_eq!(
            page.contains(&format!(" name=\"{name}\"")),
            name != "p:json",
            "{name}"
        );
    }
    assert_eq!(model.read(&submitted(&page)).value, parameters);
    approve!("form-kvm", page);
}

#[test]
fn what_is_left_empty_stays_out() {
    let model = model(&kvm());
    let page = html(&model, &Values::default(), &Reading::default());
    keeps_the_rules(&page);
    let reading = model.read(&submitted(&page));
    // What there is no choice about comes by itself.
    assert_eq!(reading.value, json!({"network": {"kind": "tap"}}));
    assert!(reading.errors.is_empty());
}

#[test]
fn an_empty_list_that_is_required_is_sent_with_what_it_is_in() {
    let list = json!({"type": "array", "items": {"type": "string"}});
    let model = model(&json!({"type": "object", "properties":
        {"it": {"type": "object", "properties": {"a": list}, "required": ["a"]}}}));
    let parameters = json!({"it": {"a": []}});
    assert_eq!(back(&model, &parameters).value, parameters);
}

#[test]
fn rows_come_and_go() {
    let model = model(&kvm());
    let parameters = json!({"network": {"kind": "tap"},
        "disks": [{"size": 1}, {"size": 2}, {"size": 3}], "labels": {"a": "1", "b": "2"}});
    let mut values = model.fill(&parameters);
    values.press("remove p.disks.1 3");
    values.press("add p.disks 2");
    values.set("p.disks.2.size", "9");
    values.press("remove p.labels:more.0 2");
    assert_eq!(
        model.read(&values).value,
        json!({"network": {"kind": "tap"},
            "disks": [{"size": 1}, {"size": 3}, {"size": 9}], "labels": {"b": "2"}})
    );
    for nonsense in [
        "",
        "add",
        "remove p.disks.9 3",
        "remove x",
        "add p.disks x",
        "remove p. 1",
    ] {
        let mut same = values.clone();
        same.press(nonsense);
        assert_eq!(same, values, "{nonsense}");
    }
    values.set("p.network:which", "1");
    assert_eq!(
        model.read(&values).value["network"],
        json!({"kind": "nat", "forward": []})
    );
}

#[test]
fn mistakes_stand_at_their_fields() {
    let model = model(&kvm());
    let mut values = model.fill(&json!({"disks": [{"size": 1}], "labels": {"x/y": "1"},
        "network": {"kind": "tap"}}));
    values.set("p.ram", "much");
    values.set("p.hints", "{1");
    let mut reading = model.read(&values);
    assert_eq!(
        reading.errors["p.ram"],
        "This is not a whole number, such as 8080."
    );
    assert!(reading.errors["p.hints"].starts_with("This is not JSON"));
    for (pointer, name) in [
        ("/disks/0/size", "p.disks.0.size"),
        ("/disks/0/size/more", "p.disks.0.size"),
        ("/disks/7", "p.disks"),
        ("/labels/x~1y", "p.labels:more.0"),
        ("/name", "p.name"),
        ("/nobody", "p"),
        ("", "p"),
    ] {
        reading.errors.clear();
        reading.blame(pointer, "wrong");
        assert_eq!(
            reading.errors.keys().collect::<Vec<_>>(),
            [name],
            "{pointer}"
        );
    }
}

#[test]
fn what_no_field_can_hold_is_json_there_and_nowhere_else() {
    let model = model(&kvm());
    for odd in [
        json!({"name": 7, "network": {"kind": "tap"}, "ram": 512}),
        json!({"name": "a\u{7}b", "network": {"kind": "tap"}}),
        json!({"name": "m", "network": "none", "disks": [{"size": 1}, "sda"]}),
        json!({"name": "m", "network": {"kind": "other"}, "labels": {"a": 1}}),
        json!({"unknown": 1}),
        json!([1]),
    ] {
        assert_eq!(back(&model, &odd).value, odd);
    }
    let values = model.fill(&json!({"name": 7, "network": {"kind": "tap"}}));
    assert_eq!(values.get("p.name:json"), Some("7"));
}

#[test]
fn a_schema_within_itself_ends() {
    let tree = json!({
        "$ref": "#/definitions/node",
        "definitions": {"node": {"type": "object", "properties": {
            "name": {"type": "string"},
            "children": {"type": "array", "items": {"$ref": "#/definitions/node"}}}}}
    });
    let parameters = json!({"name": "a", "children": [{"children": [{"name": "c"}]}]});
    assert_eq!(back(&model(&tree), &parameters).value, parameters);
    let circle = json!({"$ref": "#/a", "a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}});
    assert_eq!(back(&model(&circle), &parameters).value, parameters);
    let mut wide = json!({"type": "string"});
    for _ in 0..4 {
        let properties: serde_json::Map<String, Json> =
            (0..12).map(|n| (format!("p{n}"), wide.clone())).collect();
        wide = json!({"type": "object", "properties": properties});
    }
    let page = html(&model(&wide), &Values::default(), &Reading::default());
    assert!(page.len() < 4 << 20, "{}", page.len());
}

#[test]
fn parameters_are_explained() {
    approve!("explained-kvm", explain(&model(&kvm())).into_string());
    let nothing = explain(&model(
        &json!({"type": "object", "additionalProperties": false}),
    ));
    assert!(nothing.into_string().contains("It takes no parameters."));
    // Nothing of a schema is markup.
    let evil = json!({"properties": {"<b>": {"title": "<i>", "default": "<u>", "enum": ["<s>"]}}});
    let page = explain(&model(&evil)).into_string();
    assert!(
        ["<b>", "<i>", "<u>", "<s>"]
            .iter()
            .all(|tag| !page.contains(tag)),
        "{page}"
    );
}

#[test]
fn two_sets_of_parameters_are_told_apart() {
    let before = json!({"a": 1, "b": {"c": [1, 2], "d": 0}, "x y": true});
    let after = json!({"a": 1, "b": {"c": [1, 3, 4]}, "x y": null, "n": {}});
    let found: Vec<(String, Option<Json>, Option<Json>)> = differences(&before, &after)
        .into_iter()
        .map(|change| (change.path, change.before, change.after))
        .collect();
    let is = |path: &str, before, after| (path.to_owned(), before, after);
    assert_eq!(
        found,
        [
            is("b.c[1]", Some(json!(2)), Some(json!(3))),
            is("b.c[2]", None, Some(json!(4))),
            is("b.d", Some(json!(0)), None),
            is("n", None, Some(json!({}))),
            is("[\"x y\"]", Some(json!(true)), Some(Json::Null)),
        ]
    );
    assert_eq!(differences(&before, &before), []);
    // What is new or gone as a whole is told part by part.
    let found: Vec<String> = differences(&json!({"l": [{"a": 1}]}), &json!({"o": {"p": {"q": 1}}}))
        .into_iter()
        .map(|change| change.path)
        .collect();
    assert_eq!(found, ["l[0].a", "o.p.q"]);
    let part = |path: &str, value: Json| (path.to_owned(), value);
    assert_eq!(
        parts(&json!({"b": {"password": "x"}, "a": [], "c": [1]})),
        [
            part("a", json!([])),
            part("b.password", json!("x")),
            part("c[0]", json!(1))
        ]
    );
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]{1,2}", "[a-b.:~%\" /é]{0,3}"]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9 ]{0,6}",
        any::<String>(),
        "[\n\r\t\"{\\[0-9<&]{0,5}",
        Just("true".to_owned())
    ]
}

fn anything() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(|number| json!(number)),
        text().prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(name(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// A schema with a value that it takes.
fn pair() -> impl Strategy<Value = (Json, Json)> {
    let leaf = prop_oneof![
        text().prop_map(|text| (json!({"type": "string", "default": "d"}), json!(text))),
        text().prop_map(|text| (json!({"type": "string", "textarea": true}), json!(text))),
        any::<i64>().prop_map(|number| (json!({"type": "integer", "title": "N"}), json!(number))),
        any::<f64>().prop_map(|number| (json!({"type": "number"}), json!(number))),
        any::<bool>().prop_map(|value| (json!({"type": "boolean"}), json!(value))),
        anything().prop_map(|value| (json!({"enum": [1, value]}), value)),
        anything().prop_map(|value| (json!({"const": value}), value)),
        anything().prop_map(|value| (json!({}), value)),
        anything().prop_map(|value| (
            json!({"type": ["string", "null", "integer", "object",
            "array", "boolean", "number"]}),
            value
        )),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let property = (name(), inner.clone(), any::<bool>(), any::<bool>());
        prop_oneof![
            prop::collection::vec(property, 0..4).prop_map(|properties| {
                let (mut schemas, mut values, mut required) = (json!({}), json!({}), json!([]));
                for (name, (schema, value), is_required, is_there) in properties {
                    if schemas.get(&name).is_some() {
                        continue;
                    }
                    schemas[&name] = schema;
                    if is_required {
                        required.as_array_mut().unwrap().push(json!(name));
                    }
                    if is_required || is_there {
                        values[&name] = value;
                    }
                }
                let schema = json!({"type": "object", "properties": schemas, "required": required});
                (schema, values)
            }),
            (inner.clone(), 0..4usize).prop_map(|((schema, value), count)| {
                (
                    json!({"type": "array", "items": schema}),
                    json!(vec![value; count]),
                )
            }),
            (inner.clone(), name(), any::<bool>()).prop_map(|((schema, value), name, closed)| {
                let key = if closed {
                    "additionalProperties"
                } else {
                    "patternProperties"
                };
                let schema = if closed {
                    schema
                } else {
                    json!({".*": schema})
                };
                (json!({"type": "object", key: schema}), json!({name: value}))
            }),
            (inner.clone(), inner.clone(), any::<bool>()).prop_map(
                |((one, value), (other, _), first)| {
                    let both = if first {
                        json!([one, other])
                    } else {
                        json!([other, one])
                    };
                    (json!({"anyOf": both, "description": "D"}), value)
                }
            ),
            inner.prop_map(|(schema, value)| (json!({"allOf": [schema, {"title": "T"}]}), value)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn parameters_survive_the_form((schema, value) in pair(), required in any::<bool>()) {
        let schema = json!({"type": "object", "properties": {"it": schema},
            "required": if required { json!(["it"]) } else { json!([]) }});
        let parameters = json!({"it": value});
        let model = model(&schema);
        let reading = back(&model, &parameters);
        prop_assert_eq!(&reading.value, &parameters, "{}", schema);
        prop_assert!(reading.errors.is_empty());
    }

    #[test]
    fn what_the_schema_does_not_know_survives_too((schema, _) in pair(), value in anything()) {
        let schema = json!({"type": "object", "properties": {"it": schema}});
        let parameters = json!({"it": value});
        prop_assert_eq!(back(&model(&schema), &parameters).value, parameters);
    }

    #[test]
    fn no_schema_and_no_form_is_too_odd(
        schema in odd_schema(),
        fields in prop::collection::vec(("p([.:~](a|b|0|1|rows|which|more|json|key)){0,4}", "[0-9]{0,3}|.{0,5}"), 0..12),
        button in "(add|remove) p([.:](a|0|more)){0,3} [0-9]{0,3}"
    ) {
        let model = model(&schema);
        let fields = fields.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        let mut values = Values::of(fields);
        values.press(&button);
        let reading = model.read(&values);
        html(&model, &values, &reading);
    }
}

/// Anything that looks a little like a schema.
fn odd_schema() -> impl Strategy<Value = Json> {
    let word = prop_oneof![
        Just(json!("object")),
        Just(json!("string")),
        Just(json!("#")),
        Just(json!("#/a")),
        Just(json!(-1)),
        Just(json!(1e300)),
        Just(Json::Null),
        Just(json!(["string", "array", 3])),
        Just(json!(true)),
        Just(json!(false)),
    ];
    let key = prop::sample::select(vec![
        "type",
        "properties",
        "items",
        "oneOf",
        "anyOf",
        "allOf",
        "$ref",
        "required",
        "a",
        "enum",
        "const",
        "additionalProperties",
        "patternProperties",
        "minItems",
        "maxItems",
        "default",
        "title",
        "minimum",
        "minLength",
        "textarea",
        "examples",
    ]);
    word.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(key.clone(), inner, 0..6).prop_map(|map| json!(map)),
        ]
    })
}
