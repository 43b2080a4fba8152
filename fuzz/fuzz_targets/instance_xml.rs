//! The instance XML (P 2): what is read can be stored, and then reads as the same.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use slap::instance_xml;

fuzz_target!(|text: &str| {
    let Ok(parameters) = instance_xml::decode(text) else {
        return;
    };
    // Nothing and an empty text are written alike.
    let texts: BTreeMap<String, String> = parameters
        .into_iter()
        .map(|(id, value)| (id, value.unwrap_or_default()))
        .collect();
    let written = instance_xml::encode(&texts).expect("what was accepted can be stored");
    let again: BTreeMap<String, String> = instance_xml::decode(&written)
        .expect("our own document is accepted")
        .into_iter()
        .map(|(id, value)| (id, value.unwrap_or_default()))
        .collect();
    assert_eq!(again, texts);
});
