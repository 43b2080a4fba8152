//! Waiting until an instance is what it was asked to be.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use slap::document::InstanceDocument;
use slap::{InstallationState, InstanceState, InstanceTitle, NodeId, PartitionId, ReleaseUrl};

use super::watching::is_unknown;
use super::{Cloud, Order};
use crate::error::Error;
use crate::events::Watch;
use crate::slap_api::RequestReply;

/// Between two questions to a Master that tells of no changes by itself.
const POLL: Duration = Duration::from_millis(500);
/// Between two questions to one that does: what it does not tell of is seen all the same.
const POLL_WOKEN: Duration = Duration::from_secs(5);

/// How long a stream is read before a new one is opened.
const STREAM_LIFE: Duration = Duration::from_secs(600);
/// After a stream ended.
const RECONNECT: Duration = Duration::from_secs(2);

/// Why an instance is not what it was asked to be.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// A call failed.
    #[error(transparent)]
    Client(#[from] Error),
    /// It takes longer than one wanted to wait. It goes on all the same.
    #[error("{title} is not ready after {} s: {said}", after.as_secs())]
    Timeout {
        /// The instance's title.
        title: String,
        /// How long was waited.
        after: Duration,
        /// What it was at last.
        said: String,
    },
}

/// What was there under a title: the title may be another's before it is gone.
#[derive(Debug, Clone)]
pub struct Rest {
    title: InstanceTitle,
    /// Where the Master tells.
    reference: Option<String>,
}

/// How far an instance is.
enum Seen {
    Ready,
    /// Not there yet, and why in words.
    NotYet(String),
}

impl Cloud {
    /// Asks, and asks again until the instance is what it shall be: started or stopped as its node
    /// reports, published where the Master does not tell what nodes report, or gone. `progress`
    /// hears in words how far it is. `None` for an instance that is gone.
    ///
    /// # Errors
    /// [`WaitError`]
    pub fn wait(
        &self,
        order: &Order,
        timeout: Duration,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Option<InstanceDocument>, WaitError> {
        if order.state == Some(InstanceState::Destroyed) {
            let rest = self.rest(&order.title)?;
            self.request(order)?;
            self.wait_gone(&rest, timeout, progress)?;
            return Ok(None);
        }
        let deadline = Instant::now() + timeout;
        let mut changes = self.changes(Watch::Tree(order.title.to_string()), POLL);
        let mut reply = self.request(order)?;
        loop {
            let goal = match (&reply, order.state) {
                (_, Some(goal)) => goal,
                (RequestReply::Allocated(document), None) => document
                    .state
                    .as_deref()
                    .and_then(|state| state.parse().ok())
                    .unwrap_or(InstanceState::Started),
                _ => InstanceState::Started,
            };
            let said = match (goal, reply) {
                // Somebody else destroyed it.
                (InstanceState::Destroyed, _) => return Ok(None),
                (_, RequestReply::NotReady { why }) if why.is_empty() => {
                    "waiting for a partition".to_owned()
                }
                (_, RequestReply::NotReady { why }) => why,
                (_, RequestReply::Allocated(document)) => {
                    match self.look(order.title.as_str(), &document, goal)? {
                        Seen::Ready => return Ok(Some(*document)),
                        Seen::NotYet(said) => said,
                    }
                }
            };
            progress(&said);
            let now = Instant::now();
            if now >= deadline {
                return Err(WaitError::Timeout {
                    title: order.title.to_string(),
                    after: timeout,
                    said,
                });
            }
            changes.wait(deadline - now);
            reply = match self.request(order) {
                Ok(reply) => reply,
                // A Master that is restarted meanwhile is no reason to give up.
                Err(error) if error.is_master_unreachable() => RequestReply::NotReady {
                    why: "the Master is away".to_owned(),
                },
                Err(error) => return Err(error.into()),
            };
        }
    }

    /// What there is under a title now, to see later what is left of it.
    ///
    /// # Errors
    /// As any call.
    pub fn rest(&self, title: &InstanceTitle) -> Result<Rest, Error> {
        let reference = match self.client().whole_service(title.as_str()) {
            Ok(service) => service.map(|service| service.reference),
            Err(error) if is_unknown(&error) => None,
            Err(error) => return Err(error),
        };
        Ok(Rest {
            title: title.clone(),
            reference,
        })
    }

    /// Waits until nothing is left of what was there: its nodes have removed it.
    ///
    /// # Errors
    /// [`WaitError`]
    pub fn wait_gone(
        &self,
        rest: &Rest,
        timeout: Duration,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), WaitError> {
        let deadline = Instant::now() + timeout;
        let watched = rest.reference.clone();
        let watched = watched.unwrap_or_else(|| rest.title.to_string());
        let mut changes = self.changes(Watch::Tree(watched), POLL);
        while let Some(said) = self.left(rest)? {
            progress(&said);
            let now = Instant::now();
            if now >= deadline {
                return Err(WaitError::Timeout {
                    title: rest.title.to_string(),
                    after: timeout,
                    said,
                });
            }
            changes.wait(deadline - now);
        }
        Ok(())
    }

    /// What is left, in words; `None`: nothing.
    fn left(&self, rest: &Rest) -> Result<Option<String>, Error> {
        let found = match &rest.reference {
            Some(reference) => self.client().whole_tree(reference).map(|service| {
                let count = service.map_or(0, |service| service.instances.len());
                let instances = if count == 1 { "instance" } else { "instances" };
                Some(format!("being destroyed, {count} {instances} left"))
            }),
            None => self
                .known(&rest.title)
                .map(|known| known.map(|_| "being destroyed".to_owned())),
        };
        match found {
            Err(error) if is_unknown(&error) => Ok(None),
            Err(Error::NotReady { .. }) => Ok(Some("being destroyed".to_owned())),
            // A Master that is restarted meanwhile is no reason to give up.
            Err(error) if error.is_master_unreachable() => {
                Ok(Some("the Master is away".to_owned()))
            }
            found => found,
        }
    }

    /// The promises of an instance that fail, in words, where the Master tells.
    fn failing(&self, title: &str, guid: Option<&str>) -> Option<String> {
        let service = self.client().whole_service(title).ok()??;
        let instance = service
            .instances
            .into_iter()
            .find(|instance| Some(instance.reference.as_str()) == guid)?;
        let (first, message) = instance.failing.first()?;
        let more = match instance.failing.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let message = message.lines().last().unwrap_or_default();
        Some(format!("promise {first} fails{more}: {message}"))
    }

    fn look(
        &self,
        title: &str,
        document: &InstanceDocument,
        goal: InstanceState,
    ) -> Result<Seen, Error> {
        let place = format!("on {} of {}", document.partition, document.node);
        let published = goal == InstanceState::Stopped || !document.connection.is_empty();
        let published_or = || {
            if published {
                Seen::Ready
            } else {
                Seen::NotYet(format!("{place}, waiting for its connection parameters"))
            }
        };
        let status = match (
            NodeId::new(document.node.clone()),
            PartitionId::new(document.partition.clone()),
        ) {
            // A shared instance has no reports of its own.
            (Ok(node), Ok(partition)) if document.guid.is_some() => {
                self.client().partition_status(&node, &partition)
            }
            _ => return Ok(published_or()),
        };
        match status {
            Ok(status) if status.no_data || status.current == Some(false) => Ok(Seen::NotYet(
                format!("{place}, waiting for the node to process it"),
            )),
            Ok(status) if status.text.starts_with("#error") => {
                let promise = self.failing(title, document.guid.as_deref());
                let said = promise.unwrap_or_else(|| {
                    let text = status.text.trim_start_matches("#error");
                    format!("failed and tried again: {}", text.trim())
                });
                Ok(Seen::NotYet(format!("{place}, {said}")))
            }
            Ok(status) if status.state == goal.as_str() => Ok(Seen::Ready),
            Ok(_) => Ok(Seen::NotYet(format!("{place}, not yet {goal}"))),
            Err(error) if error.is_master_unreachable() => Ok(Seen::NotYet(error.to_string())),
            // Upstream's proxy tells nothing, which is no status.
            Err(Error::Reply { .. } | Error::NotFound { .. } | Error::Refused { .. }) => {
                Ok(published_or())
            }
            Err(error) => Err(error),
        }
    }
}

impl Cloud {
    /// Waits until a node has built a release it was asked to have, or has removed one.
    ///
    /// # Errors
    /// [`WaitError`]; [`Error::Reply`] where the Master does not tell.
    pub fn wait_installed(
        &self,
        release: &ReleaseUrl,
        node: &NodeId,
        goal: InstallationState,
        timeout: Duration,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), WaitError> {
        let deadline = Instant::now() + timeout;
        let mut changes = self.changes(Watch::Mine, POLL);
        loop {
            let installation = self
                .client()
                .release_nodes(release.as_str())?
                .ok_or_else(|| Error::Reply {
                    what: "the state of an installation".to_owned(),
                    reason: "this Master does not tell it".to_owned(),
                })?
                .into_iter()
                .find(|found| [&found.node, &found.node_title].contains(&&node.to_string()));
            let said = match (goal, installation) {
                (InstallationState::Destroyed, None) => return Ok(()),
                (InstallationState::Destroyed, Some(_)) => "being removed".to_owned(),
                (InstallationState::Available, None) => "not asked for any more".to_owned(),
                (InstallationState::Available, Some(found)) => match found.report.state.as_str() {
                    "available" => return Ok(()),
                    "" => "waiting for the node".to_owned(),
                    "error" => format!("failed and tried again: {}", found.report.text),
                    other => other.to_owned(),
                },
            };
            progress(&said);
            let now = Instant::now();
            if now >= deadline {
                return Err(WaitError::Timeout {
                    title: format!("{release} on {node}"),
                    after: timeout,
                    said,
                });
            }
            changes.wait(deadline - now);
        }
    }

    /// What wakes who waits for a change: the Master's events where it has them; where it does not,
    /// the time between two looks.
    pub fn changes(&self, watch: Watch, pause: Duration) -> Changes {
        let (wake, woken) = sync_channel(1);
        let client = self.client().clone();
        // The thread ends when nobody listens, or with the process: it holds nothing anybody needs.
        std::thread::spawn(move || {
            loop {
                match client.events(&watch, None, STREAM_LIFE) {
                    Ok(events) => {
                        for _ in events {
                            if !told(&wake) {
                                return;
                            }
                        }
                    }
                    // It tells nothing, or nothing about this.
                    Err(Error::NotFound { .. } | Error::Refused { .. }) => return,
                    Err(_) => {}
                }
                std::thread::sleep(RECONNECT);
                // Something may have been missed meanwhile.
                if !told(&wake) {
                    return;
                }
            }
        });
        Changes {
            woken,
            told: false,
            pause,
        }
    }
}

/// Wakes who waits, unless it is to wake already; whether somebody listens.
fn told(wake: &SyncSender<()>) -> bool {
    !matches!(wake.try_send(()), Err(TrySendError::Disconnected(())))
}

/// What wakes who waits.
#[derive(Debug)]
pub struct Changes {
    woken: Receiver<()>,
    /// Whether the Master tells of changes.
    told: bool,
    /// Between two looks where it does not.
    pause: Duration,
}

impl Changes {
    /// Returns when something may have changed, and after a while in any case.
    pub fn wait(&mut self, most: Duration) {
        let pause = if self.told {
            POLL_WOKEN.max(self.pause)
        } else {
            self.pause
        };
        match self.woken.recv_timeout(pause.min(most)) {
            Ok(()) => self.told = true,
            Err(RecvTimeoutError::Timeout) => {}
            // Nobody tells (any more).
            Err(RecvTimeoutError::Disconnected) => {
                self.told = false;
                std::thread::sleep(self.pause.min(most));
            }
        }
    }
}
