//! The wire, byte for byte, as captured from the released upstream (P 1.1–1.5), and the bounds on
//! what strangers may send.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use slap::document::{InstallationDocument, NodeDocument, PartitionDocument, ReleaseForm};
use slap::marshal::{decode, encode};
use slap::{
    Class, InstallationState, InstanceState, NodeId, Object, PartitionId, ReleaseUrl, Value,
    instance_xml,
};

fn marshalled(inner: &str) -> String {
    format!("<marshal>{inner}</marshal>")
}

fn table() -> Vec<(Value, &'static str)> {
    vec![
        (Value::text("a"), "<string>a</string>"),
        (Value::text(""), "<string></string>"),
        (Value::text("é"), "<string>&#233;</string>"),
        (Value::text("😀"), "<string>&#128512;</string>"),
        (
            Value::text("<&>\""),
            "<string>&amp;lt;&amp;amp;&amp;gt;\"</string>",
        ),
        (Value::text("&lt;"), "<string>&amp;amp;lt;</string>"),
        (Value::text("a\r\n\tb"), "<string>a&#13;\n\tb</string>"),
        (Value::Int(1), "<int>1</int>"),
        (Value::Int(-5), "<int>-5</int>"),
        (
            Value::Int(999_999_999_999_999_983_222_783),
            "<int>999999999999999983222783</int>",
        ),
        (
            Value::Int(1_000_000_000_000_000_000_000_000),
            "<long>1000000000000000000000000</long>",
        ),
        (Value::Float(1.5), "<float>1.5</float>"),
        (Value::Float(1e22), "<float>1e+22</float>"),
        (Value::Float(f64::INFINITY), "<float>inf</float>"),
        (Value::Bool(true), "<bool>1</bool>"),
        (Value::Bool(false), "<bool>0</bool>"),
        (Value::None, "<none/>"),
        (Value::List(vec![]), "<list id=\"i2\"/>"),
        (
            Value::List(vec![Value::Int(1), Value::text("a")]),
            "<list id=\"i2\"><int>1</int><string>a</string></list>",
        ),
        (Value::Tuple(vec![]), "<tuple/>"),
        (
            Value::Tuple(vec![Value::Int(1), Value::text("a")]),
            "<tuple><int>1</int><string>a</string></tuple>",
        ),
        (Value::dict::<String>([]), "<dictionary id=\"i2\"/>"),
        (
            Value::dict([
                ("b", Value::Int(1)),
                ("a", Value::List(vec![Value::Int(2)])),
            ]),
            "<dictionary id=\"i2\"><string>a</string><list id=\"i3\"><int>2</int></list>\
             <string>b</string><int>1</int></dictionary>",
        ),
        (
            Value::Object(Box::new(Object {
                class: Class::SoftwareInstance,
                arguments: vec![],
                attributes: BTreeMap::from([
                    ("a".to_owned(), Value::Int(1)),
                    ("_b".to_owned(), Value::text("c")),
                ]),
            })),
            "<object id=\"i2\" module=\"slapos.slap.slap\" class=\"SoftwareInstance\"><tuple/>\
             <dictionary id=\"i3\"><string>_b</string><string>c</string><string>a</string>\
             <int>1</int></dictionary></object>",
        ),
    ]
}

#[test]
fn every_value_of_p1_1_is_written_as_upstream_writes_it() {
    for (value, inner) in table() {
        assert_eq!(encode(&value).unwrap(), marshalled(inner));
        assert_eq!(
            decode(marshalled(inner).as_bytes()).unwrap(),
            value,
            "{inner}"
        );
    }
}

fn node() -> NodeId {
    NodeId::new("local_computer").unwrap()
}

fn release(state: Option<InstallationState>) -> InstallationDocument {
    InstallationDocument {
        node: NodeId::new("COMP-1").unwrap(),
        release: ReleaseUrl::new("http://x/sw.cfg").unwrap(),
        state,
    }
}

#[test]
fn the_release_object_of_p1_1_2() {
    let document = release(None);
    let bytes = marshalled(
        "<object id=\"i2\" module=\"slapos.slap.slap\" class=\"SoftwareRelease\"><tuple>\
         <string>http://x/sw.cfg</string><string>COMP-1</string></tuple><dictionary id=\"i3\">\
         <string>_computer_guid</string><string>COMP-1</string>\
         <string>_software_instance_list</string><list id=\"i4\"/>\
         <string>_software_release</string><string>http://x/sw.cfg</string></dictionary></object>",
    );
    assert_eq!(encode(&document.to_value()).unwrap(), bytes);
    assert_eq!(
        InstallationDocument::from_value(&decode(bytes.as_bytes()).unwrap()).unwrap(),
        document
    );
}

#[test]
fn an_unformatted_node_of_p1_5() {
    let document = NodeDocument {
        node: node(),
        partitions: vec![],
        installations: vec![],
    };
    assert_eq!(
        encode(&document.to_value()).unwrap(),
        marshalled(
            "<object id=\"i2\" module=\"slapos.slap.slap\" class=\"Computer\"><tuple>\
             <string>local_computer</string></tuple><dictionary id=\"i3\">\
             <string>_computer_id</string><string>local_computer</string>\
             <string>_computer_partition_list</string><list id=\"i4\"/>\
             <string>_software_release_list</string><list id=\"i5\"/></dictionary></object>"
        )
    );
}

#[test]
fn a_free_partition_of_p1_5() {
    let mut partition = PartitionDocument::new(node(), PartitionId::new("slappart0").unwrap());
    partition.guid = Some("local_computer-slappart0".to_owned());
    partition.occupied = Some(false);
    partition.state = Some(InstanceState::Destroyed);
    let bytes = marshalled(
        "<object id=\"i2\" module=\"slapos.slap.slap\" class=\"ComputerPartition\"><tuple>\
         <string>local_computer</string><string>slappart0</string><none/></tuple>\
         <dictionary id=\"i3\"><string>_computer_id</string><string>local_computer</string>\
         <string>_instance_guid</string><string>local_computer-slappart0</string>\
         <string>_need_modification</string><int>0</int><string>_partition_id</string>\
         <string>slappart0</string><string>_request_dict</string><none/>\
         <string>_requested_state</string><string>destroyed</string>\
         <string>_software_release_document</string><none/></dictionary></object>",
    );
    assert_eq!(encode(&partition.to_value()).unwrap(), bytes);
    let back = PartitionDocument::from_value(&decode(bytes.as_bytes()).unwrap()).unwrap();
    assert!(back.is_free());
    assert_eq!(back, partition);
}

#[test]
fn documents_survive_the_wire() {
    let mut partition = PartitionDocument::new(node(), PartitionId::new("p").unwrap());
    partition.state = Some(InstanceState::Destroyed);
    partition.release = Some(ReleaseForm::Object(release(None)));
    partition.occupied = Some(true);
    partition.connection = Some(BTreeMap::from([(
        "url".to_owned(),
        "http://<é>".to_owned(),
    )]));
    partition.parameters = Some(BTreeMap::from([
        ("timestamp".to_owned(), Value::Int(1_795_334_859_670_673)),
        ("a".to_owned(), Value::text("b")),
    ]));
    partition.access_status = Some("#access ok".to_owned());
    let document = NodeDocument {
        node: node(),
        partitions: vec![partition],
        installations: vec![release(Some(InstallationState::Destroyed))],
    };
    let bytes = encode(&document.to_value()).unwrap();
    let back = NodeDocument::from_value(&decode(bytes.as_bytes()).unwrap()).unwrap();
    assert_eq!(back, document);
    // To be destroyed is not to be free (quirk 13).
    assert!(!back.partitions[0].is_free());
    assert_eq!(
        back.partitions[0].timestamp().as_deref(),
        Some("1795334859670673")
    );
}

#[test]
fn the_decoder_is_as_tolerant_as_p1_1_4() {
    let cases: &[(&str, Value)] = &[
        (
            "<?xml version=\"1.0\"?>\n<marshal>\n  <list>\n <int> 1 </int>\n</list>\n</marshal>\n",
            Value::List(vec![Value::Int(1)]),
        ),
        (
            "<m:marshal xmlns:m=\"http://www.erp5.org/namespaces/marshaller\"><m:unicode>a</m:unicode></m:marshal>",
            Value::text("a"),
        ),
        ("<marshal><long>12</long></marshal>", Value::Int(12)),
        ("<marshal><string>&lt;</string></marshal>", Value::text("<")),
        ("<marshal><string/></marshal>", Value::text("")),
        (
            "<marshal><list id=\"i2\"><list id=\"i3\"/><reference id=\"i3\"/></list></marshal>",
            Value::List(vec![Value::List(vec![]), Value::List(vec![])]),
        ),
        (
            "<marshal><dictionary><int>1</int><none/></dictionary></marshal>",
            Value::dict([("1", Value::None)]),
        ),
        (
            "<marshal><string><![CDATA[a<b]]></string></marshal>",
            Value::text("a<b"),
        ),
    ];
    for (document, value) in cases {
        assert_eq!(&decode(document.as_bytes()).unwrap(), value, "{document}");
    }
}

#[test]
fn what_is_not_the_format_is_refused() {
    for inner in [
        "",
        "<int>1</int><int>2</int>",
        "<strange/>",
        "<bool>True</bool>",
        "<long>12L</long>",
        "<int>x</int>",
        "<dictionary><string>a</string></dictionary>",
        "<dictionary><list/><none/></dictionary>",
        "<object module=\"os\" class=\"Computer\"><tuple/><dictionary/></object>",
        "<object module=\"slapos.slap.slap\" class=\"slap\"><tuple/><dictionary/></object>",
        "<object module=\"slapos.slap.slap\" class=\"Computer\"><tuple/></object>",
        "<object module=\"slapos.slap.slap\" class=\"Computer\"><list/><dictionary/></object>",
        "<reference id=\"i9\"/>",
        "<list id=\"i2\"><reference id=\"i2\"/></list>",
        "<string>&unknown;</string>",
    ] {
        assert!(decode(marshalled(inner).as_bytes()).is_err(), "{inner}");
    }
    for document in [
        "",
        "   ",
        "<marshal>",
        "<other/>",
        "<marshal/>junk",
        "\u{0}",
    ] {
        assert!(decode(document.as_bytes()).is_err(), "{document:?}");
    }
    assert!(decode(b"<marshal><string>\xff</string></marshal>").is_err());
    assert!(encode(&Value::text("a\0b")).is_err());
}

#[test]
fn bombs_are_refused() {
    let deep = format!(
        "<marshal>{}{}</marshal>",
        "<list>".repeat(5_000),
        "</list>".repeat(5_000)
    );
    assert!(decode(deep.as_bytes()).is_err());

    let entities = "<!DOCTYPE m [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>\
                    <marshal><string>&b;</string></marshal>";
    assert!(decode(entities.as_bytes()).is_err());

    // Each list holds the one before it ten times: 10^30 values from a few hundred bytes.
    let mut references = String::from("<list id=\"i0\"/>");
    for level in 1..30 {
        references = format!(
            "<list id=\"i{level}\">{references}{}</list>",
            format!("<reference id=\"i{}\"/>", level - 1).repeat(9)
        );
    }
    assert!(decode(marshalled(&references).as_bytes()).is_err());

    // Each attribute is compared with those before it.
    let attributes: String = (0..100).map(|n| format!(" a{n}=\"\"")).collect();
    assert!(decode(marshalled(&format!("<list{attributes}/>")).as_bytes()).is_err());
}

#[test]
fn what_could_not_be_sent_on_is_refused() {
    for text in [
        "\u{1}",
        "&#1;",
        "&#x1f;",
        "\u{ffff}",
        "&#xFFFE;",
        "<![CDATA[\u{8}]]>",
    ] {
        let inner = format!("<string>{text}</string>");
        assert!(decode(marshalled(&inner).as_bytes()).is_err(), "{inner:?}");
        let parameter = format!("<instance><parameter id=\"a\">{text}</parameter></instance>");
        assert!(instance_xml::decode(&parameter).is_err(), "{parameter:?}");
    }
    for id in ["\u{1}", "&#1;", "&#xFFFF;"] {
        let parameter = format!("<instance><parameter id=\"{id}\">a</parameter></instance>");
        assert!(instance_xml::decode(&parameter).is_err(), "{parameter:?}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let text = "[^\\p{Cc}\u{fffe}\u{ffff}]{0,12}|[<>&;a\r\n\t]{0,8}";
    let leaf = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        any::<i128>().prop_map(Value::Int),
        (-1e300..1e300_f64).prop_map(Value::Float),
        text.prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let entries = prop::collection::btree_map(text, inner.clone(), 0..5);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Tuple),
            entries.clone().prop_map(Value::Dict),
            (prop::collection::vec(inner, 0..3), entries).prop_map(|(arguments, attributes)| {
                Value::Object(Box::new(Object {
                    class: Class::ComputerPartition,
                    arguments,
                    attributes,
                }))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(value in value()) {
        let bytes = encode(&value).unwrap();
        prop_assert!(bytes.is_ascii());
        prop_assert_eq!(decode(bytes.as_bytes()).unwrap(), value);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn arbitrary_tags_never_panic(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "<marshal>", "</marshal>", "<list id=\"i2\">", "</list>", "<dictionary>",
                "</dictionary>", "<string>", "</string>", "<int>", "</int>", "1", "&amp;", "&#1;",
                "<reference id=\"i2\"/>", "<none/>", "<tuple>", "</tuple>",
                "<object module=\"slapos.slap.slap\" class=\"Computer\">", "</object>",
            ]),
            0..30,
        )
    ) {
        let _ = decode(parts.concat().as_bytes());
    }
}
