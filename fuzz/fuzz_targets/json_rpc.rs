//! The JSON calls (P 3): any body is read or refused by every method, with words of bounded length;
//! what is read can be written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use slap_server::json::{self, Spacing};
use slap_server::json_rpc::Method;
use slap_server::{NodeDescription, parameters};

/// The longest refusal, in characters: some values are quoted, each cut.
const MESSAGE_CHARS_MAX: usize = 50_000;

fuzz_target!(|bytes: &[u8]| {
    for method in Method::ALL {
        match method.read(bytes) {
            Ok(input) => {
                let written = json::write(input.as_json(), Spacing::Wide);
                assert!(written.is_ascii());
                let again: serde_json::Value =
                    serde_json::from_slice(&written).expect("our own JSON is read");
                assert_eq!(&again, input.as_json());
                if let Some(entries) = input.entries("parameters")
                    && parameters::check(&entries).is_ok()
                {
                    slap::marshal::encode(&slap::Value::Dict(entries))
                        .expect("checked parameters can be sent");
                }
                if let Err(problem) = NodeDescription::from_json(&input) {
                    assert!(problem.status.is_client_error());
                }
            }
            Err(mistake) => {
                let text = mistake.to_string();
                assert!(text.chars().count() <= MESSAGE_CHARS_MAX, "{}", text.len());
            }
        }
    }
});
