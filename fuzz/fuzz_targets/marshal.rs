//! The marshalling format (P 1.1): what is read can be written, and then reads as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use slap::{marshal, python};

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = marshal::decode(bytes) else {
        return;
    };
    let written = marshal::encode(&value).expect("what was accepted can be sent on");
    assert!(written.is_ascii());
    let again = marshal::decode(written.as_bytes()).expect("our own document is accepted");
    // The bytes are compared, not the values: not-a-number differs from itself.
    assert_eq!(marshal::encode(&again).as_ref(), Ok(&written));
    let _ = python::str(&value);
    let _ = value.to_json().to_string();
});
