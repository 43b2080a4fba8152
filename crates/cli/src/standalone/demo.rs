//! The demo: a real application's whole life, each step proven from outside.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use slap::document::InstanceDocument;
use slap::serialisation::{unwrap, wrap};
use slap::{
    InstallationState, InstanceState, InstanceTitle, NodeId, ReleaseUrl, SoftwareType, Value,
};
use slap_client::{Client, Error, Hateoas, Request, RequestReply};

use super::layout::{Layout, NODE};
use crate::failure::Failure;
use crate::output;
use node::Cancel;

/// Longest time for the first deployment, the building of the release included.
const BUILD_MAX: Duration = Duration::from_secs(1200);
/// Longest time for each later change.
const CHANGE_MAX: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(200);

/// The title of the instance that stays when the demo goes on running.
pub(super) const TITLE: &str = "hello";

pub(super) struct Demo<'a> {
    client: Client,
    release: ReleaseUrl,
    layout: &'a Layout,
    cancel: Cancel,
    began: Instant,
}

impl<'a> Demo<'a> {
    pub(super) fn new(client: Client, layout: &'a Layout, cancel: Cancel) -> Result<Self, Failure> {
        let profile = layout.helloworld()?;
        let release =
            ReleaseUrl::new(profile.display().to_string()).map_err(|error| Failure::of(&error))?;
        Ok(Demo {
            client,
            release,
            layout,
            cancel,
            began: Instant::now(),
        })
    }

    /// Plays the whole life and returns the URL of the instance that stays.
    pub(super) fn play(&self) -> Result<String, Failure> {
        let node = NodeId::new(NODE).map_err(|error| Failure::of(&error))?;
        self.step(&format!("supply: node {NODE} shall have {}", self.release));
        self.client
            .supply(&self.release, &node, InstallationState::Available)?;

        self.step("request: two instances with different parameters");
        let world = json!({"greeting": "Hello", "name": "World"});
        let moon = json!({"greeting": "Good night", "name": "Moon", "color": "navy"});
        self.request(TITLE, &world, InstanceState::Started)?;
        self.request("moon", &moon, InstanceState::Started)?;

        let hello = self.published(TITLE, &world, BUILD_MAX)?;
        let other = self.published("moon", &moon, BUILD_MAX)?;
        self.step(&format!(
            "`{TITLE}` is on {} of {} and published:",
            hello.partition, hello.node
        ));
        let (url, connection) = connection(&hello)?;
        for (key, value) in &connection {
            self.detail(&format!("{key} = {value}"));
        }
        self.answers(&url, &["Hello", "World"], CHANGE_MAX)?;
        self.step(&format!("GET {url} answers: Hello World"));

        let (other_url, _) = self::connection(&other)?;
        self.answers(&other_url, &["Good night", "Moon"], CHANGE_MAX)?;
        self.step(&format!("GET {other_url} answers: Good night Moon"));

        let changed = json!({"greeting": "Good morning", "name": "Moon", "color": "navy"});
        self.request("moon", &changed, InstanceState::Started)?;
        self.answers(&other_url, &["Good morning", "Moon"], CHANGE_MAX)?;
        self.step("changed a parameter of `moon`: it answers Good morning Moon");

        self.request("moon", &changed, InstanceState::Stopped)?;
        self.silent(&other_url)?;
        self.step("stopped `moon`: nobody answers there any more");

        self.request("moon", &changed, InstanceState::Destroyed)?;
        self.gone("moon", &other)?;
        self.step(&format!(
            "destroyed `moon`: {} is free and empty again",
            other.partition
        ));
        self.step("all of it worked");
        Ok(url)
    }

    fn step(&self, text: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        // The demo's story is its result. Nobody listening is no failure.
        let _ = output::print(&format!("[{seconds:6.1} s] {text}"));
    }

    fn detail(&self, text: &str) {
        let _ = output::print(&format!("             {text}"));
    }

    fn request(
        &self,
        title: &str,
        parameters: &Json,
        state: InstanceState,
    ) -> Result<RequestReply, Failure> {
        let parameters = wrap(parameters)
            .into_iter()
            .map(|(key, value)| (key, Value::from(&value)))
            .collect();
        Ok(self.client.request(&Request {
            requester: None,
            release: self.release.clone(),
            software_type: SoftwareType::default(),
            title: InstanceTitle::new(title).map_err(|error| Failure::of(&error))?,
            parameters,
            sla: BTreeMap::new(),
            state: Some(state),
            shared: false,
        })?)
    }

    /// Tries until it succeeds, the time is over or the person has enough.
    fn until<T>(
        &self,
        what: &str,
        longest: Duration,
        mut attempt: impl FnMut() -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + longest;
        loop {
            if self.cancel.is_cancelled() {
                return Err(Failure::new("interrupted").exit_code(130));
            }
            if let Some(found) = attempt()? {
                return Ok(found);
            }
            if Instant::now() > deadline {
                return Err(
                    Failure::new(format!("{what}: not within {} s", longest.as_secs())).hint(
                        format!(
                            "see the logs in {} and {}",
                            self.layout.software_root().display(),
                            self.layout.instance_root().display()
                        ),
                    ),
                );
            }
            std::thread::sleep(POLL);
        }
    }

    fn published(
        &self,
        title: &str,
        parameters: &Json,
        longest: Duration,
    ) -> Result<InstanceDocument, Failure> {
        let what = format!("waiting for the connection parameters of `{title}`");
        self.until(&what, longest, || {
            match self.request(title, parameters, InstanceState::Started) {
                Ok(RequestReply::Allocated(document)) if !document.connection.is_empty() => {
                    Ok(Some(*document))
                }
                Ok(_) => Ok(None),
                Err(failure) => Err(failure),
            }
        })
    }

    fn answers(&self, url: &str, words: &[&str], longest: Duration) -> Result<(), Failure> {
        let what = format!("waiting for {url} to say {}", words.join(" "));
        self.until(&what, longest, || {
            let page = fetch(url).unwrap_or_default();
            Ok(words.iter().all(|word| page.contains(word)).then_some(()))
        })
    }

    fn silent(&self, url: &str) -> Result<(), Failure> {
        let what = format!("waiting for {url} to fall silent");
        self.until(&what, CHANGE_MAX, || {
            Ok(match fetch(url) {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Some(()),
                _ => None,
            })
        })
    }

    /// The Master no longer knows the instance, and its partition holds none of its files.
    fn gone(&self, title: &str, document: &InstanceDocument) -> Result<(), Failure> {
        let title = InstanceTitle::new(title).map_err(|error| Failure::of(&error))?;
        let directory = self.layout.instance_root().join(&document.partition);
        let what = format!("waiting for `{title}` to be destroyed");
        self.until(&what, CHANGE_MAX, || {
            let known = Hateoas::open(&self.client, None)?.instance_tree(&title);
            let freed = match known {
                Err(Error::NotFound { .. }) => true,
                Err(error) => return Err(error.into()),
                Ok(_) => false,
            };
            let left = std::fs::read_dir(&directory)?
                .filter_map(Result::ok)
                .any(|entry| entry.file_name() != ".slapos-resource");
            Ok((freed && !left).then_some(()))
        })
    }
}

/// What an instance published, and its `url`.
fn connection(document: &InstanceDocument) -> Result<(String, BTreeMap<String, String>), Failure> {
    let parameters: BTreeMap<String, String> = match unwrap(&document.connection) {
        Some(Json::Object(entries)) => entries
            .into_iter()
            .map(|(key, value)| {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                (key, text)
            })
            .collect(),
        _ => document.connection.clone(),
    };
    let url = parameters
        .get("url")
        .cloned()
        .ok_or_else(|| Failure::new("the instance published no `url`"))?;
    Ok((url, parameters))
}

/// Fetches a page of an application on this machine.
fn fetch(url: &str) -> std::io::Result<String> {
    let invalid = || std::io::Error::new(std::io::ErrorKind::InvalidInput, url.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(invalid)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address: std::net::SocketAddr = authority.parse().map_err(|_| invalid())?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET /{path} HTTP/1.0\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
    )?;
    let mut page = Vec::new();
    stream.take(1 << 20).read_to_end(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
