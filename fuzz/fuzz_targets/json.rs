//! JSON from strangers: parameters of calls and of releases' metadata (P 2.1, 3).

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use slap::serialisation::{self, Serialisation};
use slap::{SoftwareType, Value, marshal, python};

fuzz_target!(|bytes: &[u8]| {
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(bytes) else {
        return;
    };
    let value = Value::from(&json);
    let _ = python::repr(&value);
    let _ = Serialisation::of_release(&json, &SoftwareType::default());
    if let Ok(written) = marshal::encode(&value) {
        let again = marshal::decode(written.as_bytes()).expect("our own document is accepted");
        assert_eq!(again, value);
    }
    let wrapped = serialisation::wrap(&json);
    assert_eq!(serialisation::wrap(&serde_json::json!(wrapped)), wrapped);
    let texts: Option<BTreeMap<String, String>> = wrapped
        .into_iter()
        .map(|(key, value)| Some((key, value.as_str()?.to_owned())))
        .collect();
    if let Some(texts) = texts
        && json.get(serialisation::JSON_KEY).is_none()
    {
        assert_eq!(serialisation::unwrap(&texts), Some(json));
    }
});
