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
    /// The dashboard: pages for people.
    Web,
    /// Streams of events.
    Events,
    /// The network cache.
    Cache,
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
            Api::Cache => "cache",
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
    /// Writing what the path names.
    Put,
}

impl Verb {
    /// The word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Post => "post",
            Verb::Put => "put",
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
    /// Whoever signed in with a browser; others are led to the door.
    SignedIn,
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
    /// Its path without the slash at the beginning. A segment in braces, `servers/{node}/events`,
    /// stands for any text without a slash, which is the call's parameter of that name. The first
    /// segment is always a word.
    pub name: &'static str,
    /// What is done with it.
    pub verb: Verb,
    /// Who may call it.
    pub audience: Audience,
    /// The largest body it takes, in bytes.
    pub(crate) body_bytes_max: usize,
    /// Whether the handler reads the body itself, in pieces, and bounds it.
    pub(crate) streamed: bool,
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
            streamed: false,
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

    /// Something known callers put where the path says.
    pub(crate) const fn put(api: Api, name: &'static str, handler: Handler) -> Self {
        Endpoint {
            verb: Verb::Put,
            ..Endpoint::post(api, name, handler)
        }
    }

    /// Whose body the handler reads itself.
    pub(crate) const fn streamed(self) -> Self {
        Endpoint {
            streamed: true,
            body_bytes_max: 0,
            ..self
        }
    }

    /// With bodies of so many bytes at most.
    pub(crate) const fn up_to(self, body_bytes_max: usize) -> Self {
        Endpoint {
            body_bytes_max,
            ..self
        }
    }

    /// For anybody.
    pub(crate) const fn public(self) -> Self {
        Endpoint {
            audience: Audience::Anybody,
            body_bytes_max: match self.verb {
                Verb::Get => 0,
                Verb::Post | Verb::Put => PUBLIC_BODY_BYTES_MAX,
            },
            ..self
        }
    }

    /// For who signed in with a browser.
    pub(crate) const fn signed_in(self) -> Self {
        Endpoint {
            audience: Audience::SignedIn,
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

/// The rooms, each with its part of the table; the pages are a table of their own.
const ROOMS: &[&[Endpoint]] = &[
    super::system::ENDPOINTS,
    super::slap::ENDPOINTS,
    super::register::ENDPOINTS,
    super::json_rpc::ENDPOINTS,
    super::hateoas::ENDPOINTS,
    super::events::ENDPOINTS,
    super::network_cache::ENDPOINTS,
];

/// Everything that can be called.
pub fn endpoints() -> impl Iterator<Item = &'static Endpoint> {
    let rooms = ROOMS.iter().chain(crate::web::PAGES);
    rooms.flat_map(|room| room.iter())
}

/// The endpoints of one path, by verb.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Verbs {
    get: Option<Entry>,
    post: Option<Entry>,
    put: Option<Entry>,
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
            Verb::Put => self.put,
        }
    }

    /// The room they belong to.
    pub(crate) fn room(&self) -> Option<Api> {
        let any = self.get.or(self.post).or(self.put);
        any.map(|entry| entry.endpoint.api)
    }

    /// As the `Allow` header lists them.
    pub(crate) fn allow(&self) -> &'static str {
        match (self.get.is_some(), self.post.is_some(), self.put.is_some()) {
            (true, true, _) => "OPTIONS, GET, HEAD, POST",
            (true, false, true) => "OPTIONS, GET, HEAD, PUT",
            (true, false, false) => "OPTIONS, GET, HEAD",
            _ => "OPTIONS, POST",
        }
    }

    fn add(&mut self, entry: Entry) {
        match entry.endpoint.verb {
            Verb::Get => self.get = Some(entry),
            Verb::Post => self.post = Some(entry),
            Verb::Put => self.put = Some(entry),
        }
    }
}

/// What the path has in the place of a name's braces, as it came: each with its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parameters(Vec<(&'static str, String)>);

impl Parameters {
    /// The one of that name, empty where the endpoint has none.
    pub(crate) fn get(&self, name: &str) -> &str {
        let mut found = self.0.iter().filter(|(known, _)| *known == name);
        found.next().map_or("", |(_, text)| text.as_str())
    }
}

/// The table as requests are looked up in it.
#[derive(Default)]
pub(crate) struct Table {
    exact: HashMap<&'static str, Verbs>,
    /// Those with parameters, by their first segment.
    patterns: HashMap<&'static str, Vec<Pattern>>,
}

/// A name with parameters.
struct Pattern {
    name: &'static str,
    verbs: Verbs,
}

impl Pattern {
    /// What a path has in the place of the braces, if it is of this pattern.
    fn parameters(&self, path: &str) -> Option<Parameters> {
        let mut found = Vec::new();
        let mut segments = path.split('/');
        for expected in self.name.split('/') {
            let segment = segments.next()?;
            match parameter(expected) {
                Some(name) if !segment.is_empty() => found.push((name, segment.to_owned())),
                None if expected == segment => {}
                _ => return None,
            }
        }
        segments.next().is_none().then_some(Parameters(found))
    }
}

/// The name in the braces of a segment.
fn parameter(segment: &'static str) -> Option<&'static str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// The first segment of a path.
fn first_segment(path: &str) -> &str {
    path.split_once('/').map_or(path, |(first, _)| first)
}

impl Table {
    pub(crate) fn new() -> Self {
        let mut table = Table::default();
        for (index, endpoint) in endpoints().enumerate() {
            let (name, entry) = (endpoint.name, Entry { index, endpoint });
            if !name.contains('{') {
                table.exact.entry(name).or_default().add(entry);
                continue;
            }
            let patterns = table.patterns.entry(first_segment(name)).or_default();
            match patterns.iter_mut().find(|pattern| pattern.name == name) {
                Some(pattern) => pattern.verbs.add(entry),
                None => {
                    let mut verbs = Verbs::default();
                    verbs.add(entry);
                    patterns.push(Pattern { name, verbs });
                }
            }
        }
        table
    }

    /// What there is at a path, without its first slash, and the path's parameters. What is there by
    /// its own name comes first.
    pub(crate) fn find(&self, path: &str) -> Option<(Verbs, Parameters)> {
        if let Some(verbs) = self.exact.get(path) {
            return Some((*verbs, Parameters::default()));
        }
        let mut patterns = self.patterns.get(first_segment(path))?.iter();
        patterns.find_map(|pattern| Some((pattern.verbs, pattern.parameters(path)?)))
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
            let (found, _) = table.find(endpoint.name).unwrap();
            let found = found.of(endpoint.verb).unwrap();
            assert_eq!(found.endpoint.name, endpoint.name);
            assert_eq!(found.index, index, "counted under its own name");
        }
        assert!(table.find("nothing-of-the-kind").is_none());
        let (_, parameters) = table.find("shadir/some%3Akey").unwrap();
        assert_eq!(parameters.get("key"), "some%3Akey");
        assert_eq!(parameters.get("sum"), "");
        for nothing in ["shadir", "shadir/", "shadir/a/b", "elsewhere/a"] {
            assert!(table.find(nothing).is_none(), "{nothing}");
        }
    }

    #[test]
    fn parameters_stand_for_whole_segments() {
        let pattern = |name| Pattern {
            name,
            verbs: Verbs::default(),
        };
        let middle = pattern("servers/{node}/releases/{release}/remove");
        let found = middle
            .parameters("servers/COMP-1/releases/7/remove")
            .unwrap();
        assert_eq!((found.get("node"), found.get("release")), ("COMP-1", "7"));
        for other in [
            "servers/COMP-1/releases/7",
            "servers/COMP-1/releases/7/remove/now",
            "servers/COMP-1/releases//remove",
            "servers/COMP-1/releases/7/remove/",
            "servers//releases/7/remove",
            "services/COMP-1/releases/7/remove",
        ] {
            assert_eq!(middle.parameters(other), None, "{other}");
        }
    }

    #[test]
    fn no_path_is_of_two_patterns() {
        let table = Table::new();
        for pattern in table.patterns.values().flatten() {
            // Each segment in braces as what no word of another pattern is.
            let (found, _) = table.find(pattern.name).unwrap();
            assert_eq!(
                found.room().map(Api::as_str),
                pattern.verbs.room().map(Api::as_str),
                "{}",
                pattern.name
            );
            let fitting = table
                .patterns
                .values()
                .flatten()
                .filter(|other| other.parameters(pattern.name).is_some());
            assert_eq!(fitting.count(), 1, "{}", pattern.name);
        }
    }
}
