//! Usage documents of nodes (P 6.12): read or refused, nothing more.

#![no_main]

use libfuzzer_sys::fuzz_target;
use slap::usage::Usage;

fuzz_target!(|text: &str| {
    if let Ok(usage) = Usage::parse(text) {
        assert!(
            usage
                .references
                .iter()
                .all(|reference| !reference.is_empty())
        );
        assert!(usage.movements <= text.len());
    }
});
