//! Forms and query strings of the legacy calls (P 1.3, 1.4.1, 6.11): any bytes are read or refused with
//! a problem of the caller's, and what is accepted can be sent back later.

#![no_main]

use libfuzzer_sys::fuzz_target;
use slap::{instance_xml, marshal};
use slap_server::forms::{ProductForm, PublishForm, RenameForm, RequestForm, SupplyForm};
use slap_server::{FIELDS_MAX, Fields, NodeDescription, Problem, parameters};

fuzz_target!(|bytes: &[u8]| {
    let fields = Fields::parse(bytes);
    for name in ["computer_id", "filter_xml", "shared_xml", "title"] {
        assert!(fields.all(name).count() <= FIELDS_MAX);
        assert_eq!(fields.get(name), fields.all(name).next());
        checked(fields.value(name));
    }
    if let Some(request) = checked(RequestForm::read(&fields, None)) {
        if let Some(entries) = request.parameters
            && parameters::check(&entries).is_ok()
        {
            let written = marshal::encode(&slap::Value::Dict(entries.clone()))
                .expect("checked parameters can be sent");
            marshal::decode(written.as_bytes()).expect("our own document is accepted");
            let texts = parameters::flattened(entries);
            if parameters::check_texts(&texts).is_ok() {
                instance_xml::encode(&texts).expect("checked texts can be stored");
            }
        }
        if let Some(sla) = request.sla
            && parameters::check_texts(&sla).is_ok()
        {
            instance_xml::encode(&sla).expect("checked texts can be stored");
        }
    }
    if let Some(published) = checked(PublishForm::read(&fields)) {
        let written = instance_xml::encode(&published.connection).expect("it was checked");
        instance_xml::decode(&written).expect("our own document is accepted");
    }
    checked(SupplyForm::read(&fields));
    checked(RenameForm::read(&fields));
    checked(ProductForm::read(&fields));
    checked(NodeDescription::read(&fields));
});

/// Whatever is wrong is the caller's mistake, told in bounded words.
fn checked<T>(outcome: Result<T, Problem>) -> Option<T> {
    match outcome {
        Ok(read) => Some(read),
        Err(problem) => {
            assert!(problem.status.is_client_error(), "{problem:?}");
            let _ = problem.page();
            None
        }
    }
}
