//! The table of everything that can be called. What is not in it does not exist: requests are
//! dispatched by it, and the test of who may call what walks it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use axum::response::Response;
use slap_server::Problem;

use super::{App, Call};

/// The room a call belongs to: it decides how refusals look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// The legacy calls (P 1.3): answers marshalled, refusals as small pages.
    Slap,
    /// JSON in, JSON out (P 3).
    JsonRpc,
    /// Hypermedia documents (P 4).
    Hateoas,
    /// Pages for people.
    Web,
    /// Streams of events.
    Events,
    /// Health, metrics, what anybody may know.
    Public,
}

impl Api {
    /// The word for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Api::Slap => "slap",
            Api::JsonRpc => "json_rpc",
            Api::Hateoas => "hateoas",
            Api::Web => "web",
            Api::Events => "events",
            Api::Public => "public",
        }
    }
}

/// What is done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Reading; `HEAD` comes with it.
    Get,
    /// Writing.
    Post,
}

impl Verb {
    /// The word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Post => "post",
        }
    }
}

/// Who may call at all. What a caller may do with the subject of a call is decided by
/// [`crate::domain::access`], in the transaction that does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Audience {
    /// Anybody, unknown callers included.
    Anybody,
    /// Whoever showed a certificate, session or token that is valid.
    Known,
    /// Programs of this machine, and administrators.
    Operators,
}

/// The answer of a handler, under way.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;

/// What does the work of a call.
pub(crate) type Handler = fn(Arc<App>, Call) -> Answer;

/// One thing that can be called.
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// Its room.
    pub api: Api,
    /// Its path without the slash at the beginning.
    pub name: &'static str,
    /// What is done with it.
    pub verb: Verb,
    /// Who may call it.
    pub audience: Audience,
    /// The largest body it takes, in bytes.
    pub(crate) body_bytes_max: usize,
    pub(crate) handler: Handler,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} /{}", self.api, self.verb, self.name)
    }
}

/// Largest body of a known caller's call, in bytes.
const BODY_BYTES_MAX: usize = 16 << 20;
/// Largest body of a call that anybody may make, in bytes.
const PUBLIC_BODY_BYTES_MAX: usize = 64 << 10;

impl Endpoint {
    /// Something known callers read.
    pub(crate) const fn get(api: Api, name: &'static str, handler: Handler) -> Self {
        Endpoint {
            api,
            name,
            verb: Verb::Get,
            audience: Audience::Known,
            body_bytes_max: 0,
            handler,
        }
    }

    /// Something known callers do.
    pub(crate) const fn post(api: Api, name: &'static str, handler: Handler) -> Self {
        Endpoint {
            verb: Verb::Post,
            body_bytes_max: BODY_BYTES_MAX,
            ..Endpoint::get(api, name, handler)
        }
    }

    /// For anybody.
    pub(crate) const fn public(self) -> Self {
        Endpoint {
            audience: Audience::Anybody,
            body_bytes_max: match self.verb {
                Verb::Get => 0,
                Verb::Post => PUBLIC_BODY_BYTES_MAX,
            },
            ..self
        }
    }

    /// For this machine's programs and administrators only.
    pub(crate) const fn operators(self) -> Self {
        Endpoint {
            audience: Audience::Operators,
            ..self
        }
    }
}

/// Turns an `async fn(Arc<App>, Call) -> Result<Response, Problem>` into a [`Handler`].
macro_rules! handler {
    ($function:path) => {
        |app, call| Box::pin($function(app, call))
    };
}
pub(crate) use handler;

/// The rooms, each with its part of the table.
const ROOMS: &[&[Endpoint]] = &[
    super::system::ENDPOINTS,
    super::slap::ENDPOINTS,
    super::web::ENDPOINTS,
    super::json_rpc::ENDPOINTS,
    super::hateoas::ENDPOINTS,
    super::events::ENDPOINTS,
];

/// Everything that can be called.
pub fn endpoints() -> impl Iterator<Item = &'static Endpoint> {
    ROOMS.iter().flat_map(|room| room.iter())
}

/// The endpoints of one path, by verb.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Verbs {
    get: Option<Entry>,
    post: Option<Entry>,
}

/// An endpoint, and its place in [`endpoints`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) index: usize,
    pub(crate) endpoint: &'static Endpoint,
}

impl Verbs {
    pub(crate) fn of(&self, verb: Verb) -> Option<Entry> {
        match verb {
            Verb::Get => self.get,
            Verb::Post => self.post,
        }
    }

    /// The room they belong to.
    pub(crate) fn room(&self) -> Option<Api> {
        self.get.or(self.post).map(|entry| entry.endpoint.api)
    }

    /// As the `Allow` header lists them.
    pub(crate) fn allow(&self) -> &'static str {
        match (self.get.is_some(), self.post.is_some()) {
            (true, true) => "OPTIONS, GET, HEAD, POST",
            (true, false) => "OPTIONS, GET, HEAD",
            _ => "OPTIONS, POST",
        }
    }

    fn add(&mut self, entry: Entry) {
        match entry.endpoint.verb {
            Verb::Get => self.get = Some(entry),
            Verb::Post => self.post = Some(entry),
        }
    }
}

/// The table as requests are looked up in it.
pub(crate) struct Table(HashMap<&'static str, Verbs>);

impl Table {
    pub(crate) fn new() -> Self {
        let mut table: HashMap<&'static str, Verbs> = HashMap::new();
        for (index, endpoint) in endpoints().enumerate() {
            let entry = Entry { index, endpoint };
            table.entry(endpoint.name).or_default().add(entry);
        }
        Table(table)
    }

    /// What there is at a path, without its first slash.
    pub(crate) fn find(&self, path: &str) -> Option<Verbs> {
        self.0.get(path).copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nothing_is_in_the_table_twice() {
        let mut seen = HashSet::new();
        for endpoint in endpoints() {
            assert!(seen.insert((endpoint.name, endpoint.verb)), "{endpoint:?}");
        }
    }

    #[test]
    fn every_endpoint_is_found_by_its_own_path() {
        let table = Table::new();
        for (index, endpoint) in endpoints().enumerate() {
            let found = table.find(endpoint.name).unwrap();
            let found = found.of(endpoint.verb).unwrap();
            assert_eq!(found.endpoint.name, endpoint.name);
            assert_eq!(found.index, index, "counted under its own name");
        }
        assert!(table.find("nothing-of-the-kind").is_none());
    }
}
