//! The documents above the marshalling format (P 1.1.2, 1.4, 1.5): one that is understood
//! is written as one that is understood in the same way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use slap::document::{InstallationDocument, InstanceDocument, NodeDocument, PartitionDocument};
use slap::{Value, marshal};

macro_rules! survives {
    ($document:ty, $value:expr) => {
        if let Ok(document) = <$document>::from_value($value) {
            let written = marshal::encode(&document.to_value()).expect("a document can be sent");
            let again = marshal::decode(written.as_bytes()).expect("our own document is accepted");
            let again = <$document>::from_value(&again).expect("our own document is understood");
            // As text, because not-a-number differs from itself.
            assert_eq!(format!("{again:?}"), format!("{document:?}"));
        }
    };
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = marshal::decode(bytes) else {
        return;
    };
    read(&value);
    // A node's document carries the others: look at each of the first level as well.
    if let Value::List(items) | Value::Tuple(items) = &value {
        items.iter().for_each(read);
    }
});

fn read(value: &Value) {
    survives!(NodeDocument, value);
    survives!(PartitionDocument, value);
    survives!(InstallationDocument, value);
    survives!(InstanceDocument, value);
}
