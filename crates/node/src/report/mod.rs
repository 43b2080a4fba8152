//! `node report`: usage is collected and reported, instances the Master gave up are removed
//! (N 3.4).
//!
//! An instance is removed on the Master's explicit word for this very partition only: `destroyed`,
//! with a release. Its removal is reported when its files are really gone.

mod destroy;
mod leftovers;
pub(crate) mod usage;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use slap::document::{NodeDocument, PartitionDocument};
use slap::{InstanceState, PartitionId};
use slap_client::Client;

use crate::cancel::Cancel;
use crate::child::{self, Spawn};
use crate::config::NodeConfig;
use crate::instance::{fetch, firewall};
use crate::manager::{Managers, Place};
use crate::observer::{Event, Observer};
use crate::outcome::{Error, Outcome};
use crate::parallel;
use crate::partition::{self, Partition, PartitionLock};
use crate::safe_fs::Dir;
use crate::services::Services;
use crate::start;

use usage::Movement;

/// Limit for one usage script.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(600);

/// Names processes whose end must be awaited before the partition is removed.
pub(crate) const WAIT_LIST: &str = ".slapos-report-wait-service-list";

/// What `node report` is asked on its command line.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Raised to interrupt the run.
    pub cancel: Cancel,
}

/// Reports usage and removes instances.
///
/// # Errors
/// When the run could not be made at all; failures of single partitions are an [`Outcome`].
pub fn run(
    config: &NodeConfig,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Outcome, Error> {
    let _lock = start::begin(config, &config.pidfile_report, &options.cancel, observer)?;
    config.prepare_structure()?;
    let services = Services::connect(config)?;
    let client = config.master.client()?;
    let document = fetch(config, &client)?;
    let run = Run {
        config,
        observer,
        client: &client,
        services: &services,
        cancel: &options.cancel,
    };
    let (mut good, unsent) = run.usage(&document)?;
    let busy = document.partitions.iter().filter(|p| !p.is_free());
    let doomed: Vec<&PartitionDocument> = busy
        .filter(|partition| partition.state == Some(InstanceState::Destroyed))
        .filter(|partition| !unsent.contains(&partition.partition))
        .collect();
    let removals = parallel::map(&doomed, config.workers, |document| run.remove(document));
    if options.cancel.is_cancelled() {
        return Err(Error::Cancelled);
    }
    let mut waiting = Vec::new();
    for (document, removal) in doomed.iter().zip(removals) {
        match removal {
            Removal::Done | Removal::Postponed => {}
            Removal::NotFreed(reply) => waiting.push((document.partition.clone(), reply)),
            Removal::Failed(_) => good = false,
        }
    }
    run.report_again(waiting);
    Ok(if good {
        Outcome::Success
    } else {
        Outcome::Failure
    })
}

/// What became of an instance to remove.
pub(crate) enum Removal {
    Done,
    /// It must be kept for now.
    Postponed,
    /// Its files are gone, but the Master waits for something else; its words.
    NotFreed(String),
    /// Why; the Master was told.
    Failed(String),
}

/// Reporting, with what it needs. Holds no lock: whoever makes one has the command's.
pub(crate) struct Run<'a> {
    pub(crate) config: &'a NodeConfig,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) client: &'a Client,
    pub(crate) services: &'a Services<'a>,
    pub(crate) cancel: &'a Cancel,
}

impl Run<'_> {
    /// Collects and sends what all instances used, and tidies free partitions: whether all went
    /// well, and the partitions whose usage could not be sent.
    pub(crate) fn usage(
        &self,
        document: &NodeDocument,
    ) -> Result<(bool, BTreeSet<PartitionId>), Error> {
        for free in document.partitions.iter().filter(|p| p.is_free()) {
            if let Some(warning) = partition::tidy_free(self.config, &free.partition)? {
                self.warn(&warning);
            }
        }
        let busy: Vec<&PartitionDocument> = document
            .partitions
            .iter()
            .filter(|partition| !partition.is_free())
            .collect();
        let mut good = true;
        for result in parallel::map(&busy, self.config.workers, |document| {
            self.usage_scripts(document)
        }) {
            good &= result;
        }
        good &= self.send_own_journals();
        let unsent = self.send_consumption(&busy);
        good &= unsent.is_empty();
        Ok((good, unsent))
    }

    /// Reports what one instance used and removes it.
    pub(crate) fn usage_and_removal(&self, document: &PartitionDocument) -> Removal {
        self.usage_scripts(document);
        if !self.send_consumption(&[document]).is_empty() {
            return Removal::Failed("what it used could not be reported".to_owned());
        }
        self.remove(document)
    }

    /// Runs the instance's usage scripts; tells whether all succeeded.
    fn usage_scripts(&self, document: &PartitionDocument) -> bool {
        let Ok(partition) = Partition::open(self.config, document) else {
            return true;
        };
        let scripts = partition
            .dir
            .dir("etc")
            .ok()
            .flatten()
            .and_then(|etc| etc.dir("report").ok().flatten());
        let Some(scripts) = scripts else { return true };
        let mut failed = Vec::new();
        for name in scripts.names().unwrap_or_default() {
            let shown = name.to_string_lossy().into_owned();
            let random = format!("slapreport.{:08x}", crate::random::number() as u32);
            let target = partition.path.join("var/xml_report").join(random);
            let spawn = Spawn::new(scripts.path().join(&name), scripts.path(), &partition.user)
                .args([target]);
            let spawn = Spawn {
                timeout: Some(SCRIPT_TIMEOUT),
                ..spawn
            };
            match child::run(spawn, self.cancel, &mut |_| {}) {
                Ok(ended) if ended.status.success() => {}
                Ok(_) => failed.push(format!("Script '{shown}' failed.")),
                Err(error) => failed.push(format!("Script '{shown}' failed: {error}.")),
            }
        }
        if failed.is_empty() {
            return true;
        }
        self.fail(&document.partition, &failed.join("\n"));
        false
    }

    /// Sends the journals the node wrote about itself (`node collect`).
    fn send_own_journals(&self) -> bool {
        let root = &self.config.instance_root;
        let directory = root.join("var/xml_report").join(self.config.node.as_str());
        let Some(dir) = open_without_links(root, &directory) else {
            return true;
        };
        let mut good = true;
        for name in dir.names().unwrap_or_default() {
            let Ok(Some(bytes)) = dir.read(&name) else {
                continue;
            };
            let shown = directory.join(&name);
            if let Err(reason) = usage::check_journal(&bytes) {
                self.warn(&format!("{} is no journal: {reason}", shown.display()));
                continue;
            }
            let text = String::from_utf8_lossy(&bytes);
            match self.client.report_usage(&self.config.node, &text) {
                Ok(()) => drop(dir.remove(&name)),
                Err(error) => {
                    self.warn(&format!("cannot send {}: {error}", shown.display()));
                    good = false;
                }
            }
        }
        good
    }

    /// Sends what the instances consumed; gives those whose usage could not be sent. Files are
    /// removed once the Master has them.
    fn send_consumption(&self, busy: &[&PartitionDocument]) -> BTreeSet<PartitionId> {
        let mut movements: Vec<(String, Movement)> = Vec::new();
        let mut sent = Vec::new();
        for document in busy {
            let id = &document.partition;
            let inside = self.config.partition_directory(id).join("var/xml_report");
            let outside = self
                .config
                .instance_root
                .join("var/xml_report")
                .join(id.as_str());
            for directory in [inside, outside] {
                let Some(dir) = open_without_links(&self.config.instance_root, &directory) else {
                    continue;
                };
                for name in dir.names().unwrap_or_default() {
                    let Ok(Some(bytes)) = dir.read(&name) else {
                        continue;
                    };
                    match usage::read_consumption(&bytes) {
                        Ok(found) => {
                            movements.extend(
                                found.into_iter().map(|movement| (id.to_string(), movement)),
                            );
                            sent.push((id.clone(), directory.clone(), name));
                        }
                        Err(reason) => self.warn(&format!(
                            "{} is no consumption report: {reason}",
                            directory.join(&name).display()
                        )),
                    }
                }
            }
        }
        if movements.is_empty() {
            return BTreeSet::new();
        }
        let journal = usage::journal(self.config.node.as_str(), &movements, SystemTime::now());
        if let Err(error) = self.client.report_usage(&self.config.node, &journal) {
            let unsent: BTreeSet<PartitionId> = sent.into_iter().map(|(id, _, _)| id).collect();
            for id in &unsent {
                self.fail(id, &format!("cannot report the usage: {error}"));
            }
            return unsent;
        }
        for (_, directory, name) in sent {
            if let Some(dir) = open_without_links(&self.config.instance_root, &directory) {
                let _ = dir.remove(name);
            }
        }
        BTreeSet::new()
    }

    /// Removes one instance.
    fn remove(&self, document: &PartitionDocument) -> Removal {
        let id = &document.partition;
        if self.cancel.is_cancelled() {
            return Removal::Postponed;
        }
        let lock = match PartitionLock::take(self.config, id) {
            Ok(Some(lock)) => lock,
            Ok(None) => {
                self.info(&format!(
                    "{id}: is being processed now, will be destroyed later"
                ));
                return Removal::Postponed;
            }
            Err(error) => {
                self.fail(id, &error.to_string());
                return Removal::Failed(error.to_string());
            }
        };
        self.try_remove(document, &lock).unwrap_or_else(|text| {
            self.fail(id, &text);
            Removal::Failed(text)
        })
    }

    fn try_remove(
        &self,
        document: &PartitionDocument,
        lock: &PartitionLock,
    ) -> Result<Removal, String> {
        let id = &document.partition;
        let node = &self.config.node;
        let stop = |kept| {
            let stopped = self.services.stop_but(id, kept);
            stopped.map_err(|error| error.to_string())
        };
        if !self.config.partition_directory(id).exists() {
            stop(&[])?;
            return self.report_destroyed(id);
        }
        // What an instance does before its end is not stopped with it.
        stop(self.config.managers.last_suffixes())?;
        let partition =
            Partition::open(self.config, document).map_err(|error| error.to_string())?;
        partition
            .update_certificate(self.client)
            .map_err(|error| error.to_string())?;
        if let Err(error) = self.client.instance_stopped(node, id) {
            self.warn(&format!(
                "{id}: cannot tell the Master that it is stopped: {error}"
            ));
        }
        let retained = destroy::retained_until(&partition, SystemTime::now())
            .map_err(|error| error.to_string())?;
        if let Some(until) = retained {
            self.info(&format!(
                "{id}: is kept until {}, as it was requested with a retention delay",
                crate::time::local(until)
            ));
            return Ok(Removal::Postponed);
        }
        // Whoever comes next has its addresses. An agent has not processed it before.
        firewall::tear_down(&partition).map_err(|error| error.to_string())?;
        Managers::new(self.config).report(&Place {
            partition: &partition,
            services: self.services,
            is_started: false,
            warn: &|text| self.warn(&format!("{id}: {text}")),
        })?;
        let wait = partition
            .dir
            .read_text(WAIT_LIST)
            .unwrap_or_default()
            .unwrap_or_default();
        let names: Vec<&str> = slap::config::lines(&wait).collect();
        if self
            .services
            .any_running(&names)
            .map_err(|error| error.to_string())?
        {
            self.info(&format!(
                "{id}: waits for its last services, will be destroyed later"
            ));
            return Ok(Removal::Postponed);
        }
        destroy::run_script(&partition, self.cancel, &mut |line| {
            self.observer.event(&Event::PartitionOutput {
                partition: id,
                line,
            });
        })?;
        lock.note_destroyed()
            .map_err(|error| format!("cannot note the destruction: {error}"))?;
        destroy::end_processes(&partition)?;
        for trouble in leftovers::remove(&partition) {
            self.warn(&format!("{id}: cannot remove {trouble}"));
        }
        destroy::remove_files(&partition).map_err(|error| error.to_string())?;
        stop(&[])?;
        self.report_destroyed(id)
    }

    /// Tells the Master that nothing is left. Failures are not ours: the next run tells it again.
    fn report_destroyed(&self, id: &PartitionId) -> Result<Removal, String> {
        match self.client.instance_destroyed(&self.config.node, id) {
            Ok(reply) if is_refusal(&reply) => Ok(Removal::NotFreed(reply)),
            Ok(_) => {
                self.observer
                    .event(&Event::PartitionDestroyed { partition: id });
                Ok(Removal::Done)
            }
            Err(error) if error.is_not_found() || error.is_master_unreachable() => {
                self.warn(&format!(
                    "{id}: cannot tell the Master that it is destroyed: {error}"
                ));
                Ok(Removal::Done)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// A partition may only be freed after others are: tell again while that helps.
    fn report_again(&self, mut waiting: Vec<(PartitionId, String)>) {
        loop {
            let before = waiting.len();
            waiting.retain_mut(|(id, reply)| match self.report_destroyed(id) {
                Ok(Removal::NotFreed(again)) => {
                    *reply = again;
                    true
                }
                _ => false,
            });
            if waiting.is_empty() {
                return;
            }
            if waiting.len() == before {
                break;
            }
        }
        for (id, reply) in waiting {
            self.info(&format!(
                "{id}: {}; the next report tries again",
                reply.trim()
            ));
        }
    }

    fn fail(&self, id: &PartitionId, text: &str) {
        self.observer
            .event(&Event::Failure(&format!("{id}: {text}")));
        if let Err(error) = self
            .client
            .instance_error(&self.config.node, id, text, None)
        {
            self.warn(&format!("cannot tell the Master that {id} failed: {error}"));
        }
    }

    fn warn(&self, text: &str) {
        self.observer.event(&Event::Warning(text));
    }

    fn info(&self, text: &str) {
        self.observer.event(&Event::Info(text));
    }
}

/// Whether the Master's answer means that the partition is not free yet (P 1.7).
fn is_refusal(reply: &str) -> bool {
    reply.trim_start().starts_with("Not destroying yet")
}

/// Opens a directory below a root one component at a time, following no link.
fn open_without_links(root: &std::path::Path, path: &std::path::Path) -> Option<Dir> {
    let mut dir = Dir::open_trusted(root).ok()?;
    for component in path.strip_prefix(root).ok()?.components() {
        dir = dir.dir(component.as_os_str()).ok()??;
    }
    Some(dir)
}
