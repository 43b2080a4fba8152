//! Query strings of the hypermedia API (P 4.3): any are read or refused, answers are bounded, and
//! what our client quotes is found again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use slap_server::Fields;
use slap_server::hateoas::{
    Ask, COLUMNS_MAX, LIMIT_DEFAULT, QUERY_BYTES_MAX, Query, Quoted, ROWS_MAX, VALUES_MAX,
};

fuzz_target!(|bytes: &[u8]| {
    let fields = Fields::parse(bytes);
    match Ask::read(&fields, LIMIT_DEFAULT) {
        Ok(Ask::Search(search)) => {
            assert!(search.columns.len() <= COLUMNS_MAX);
            assert!(search.limit <= ROWS_MAX);
        }
        Ok(_) => {}
        Err(problem) => assert!(problem.status.is_client_error()),
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some(query) = Query::parse(text) {
        assert!(text.len() <= QUERY_BYTES_MAX);
        let quoted = match query {
            Query::Trees(quoted) | Query::Nodes(quoted) => quoted,
            Query::Instances(quoted) | Query::Installations(quoted) => Some(quoted),
        };
        if let Some(quoted) = quoted {
            let values = quoted.values();
            assert!((1..=VALUES_MAX).contains(&values.len()));
            assert!(values.iter().all(|value| quoted.means(value)));
        }
    }
    // The text as a title.
    let query = format!(
        "portal_type:\"Instance Tree\" AND validation_state:validated AND title:={}",
        Quoted::escape(text)
    );
    if query.len() <= QUERY_BYTES_MAX {
        let Some(Query::Trees(Some(title))) = Query::parse(&query) else {
            panic!("our own query is not understood: {query:?}");
        };
        assert!(title.means(text));
    }
});
