//! Configuration files (N 1.1, C 2.2): a value is small even when values refer to values, and an
//! option reads the same alone and with all others.

#![no_main]

use libfuzzer_sys::fuzz_target;
use slap::config::{Config, VALUE_BYTES_MAX, lines};

fuzz_target!(|text: &str| {
    let Ok(config) = Config::parse(text) else {
        return;
    };
    for section in config.sections() {
        assert!(config.has_section(section));
        let Ok(options) = config.options(section) else {
            continue;
        };
        for (option, value) in &options {
            assert!(value.len() <= VALUE_BYTES_MAX.max(text.len()));
            assert_eq!(
                config.get(section, option).as_ref(),
                Ok(&Some(value.clone()))
            );
            assert!(config.get_raw(section, option).is_some());
            assert!(lines(value).all(|line| !line.is_empty()));
        }
        for (option, _) in config.raw_options(section) {
            assert!(options.contains_key(option));
        }
    }
});
