//! Making one partition what its instance shall be (N 3.2).

use std::fs;
use std::time::Instant;

use slap::{PartitionId, python};
use slap_client::Client;

use super::buildout_cfg::{self, Tail};
use super::firewall;
use super::log::InstanceLog;
use super::plan::Goal;
use super::reported::Reported;
use crate::cancel::Cancel;
use crate::config::NodeConfig;
use crate::layout::check_free_space;
use crate::observer::{Event, Observer};
use crate::outcome::Error;
use crate::partition::{MARK, Partition, UpdateError};
use crate::promise::{self, Checks, Mode, PromiseError, Runners};
use crate::safe_fs::Durable;
use crate::services::Services;
use crate::software::{BuildError, Builder, PartitionJob};

/// Last lines of a failed buildout shown at once; the partition's log has them all.
const SHOWN_LINES: usize = 20;

/// What processing a partition needs besides the partition.
pub(crate) struct Means<'a> {
    pub(crate) config: &'a NodeConfig,
    pub(crate) client: &'a Client,
    pub(crate) builder: &'a dyn Builder,
    pub(crate) services: &'a Services<'a>,
    pub(crate) runners: &'a Runners,
    pub(crate) reported: &'a Reported,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) cancel: &'a Cancel,
}

impl Means<'_> {
    /// Tells the Master that an instance works.
    fn tell_started(&self, id: &PartitionId) -> Result<(), slap_client::Error> {
        self.client.instance_started(&self.config.node, id)?;
        self.reported.note(id, false);
        Ok(())
    }

    /// Tells the Master that an instance does not work, and why.
    pub(super) fn tell_error(
        &self,
        id: &PartitionId,
        text: &str,
    ) -> Result<(), slap_client::Error> {
        let node = &self.config.node;
        self.client.instance_error(node, id, text, None)?;
        self.reported.note(id, true);
        Ok(())
    }

    fn checks(&self) -> Checks<'_> {
        Checks {
            config: self.config,
            client: Some(self.client),
            runners: self.runners,
            cancel: self.cancel,
        }
    }
}

/// Why a partition is not what it shall be.
#[derive(Debug)]
pub(crate) enum ProcessError {
    /// All is deployed, but a promise fails.
    Promise(String),
    /// The Master cannot be reached any more.
    Unreachable(String),
    /// The command was interrupted.
    Cancelled(String),
    /// Anything else: the text for the Master, and the shorter one for people.
    Failed { text: String, shown: String },
}

impl ProcessError {
    fn failed(text: impl Into<String>) -> Self {
        let text = text.into();
        ProcessError::Failed {
            shown: text.clone(),
            text,
        }
    }

    /// The whole text.
    pub(crate) fn text(&self) -> &str {
        match self {
            ProcessError::Promise(text)
            | ProcessError::Unreachable(text)
            | ProcessError::Cancelled(text)
            | ProcessError::Failed { text, .. } => text,
        }
    }

    /// The text for people at once.
    pub(crate) fn shown(&self) -> &str {
        match self {
            ProcessError::Failed { shown, .. } => shown,
            other => other.text(),
        }
    }
}

impl From<Error> for ProcessError {
    fn from(error: Error) -> Self {
        match error {
            Error::Cancelled => ProcessError::Cancelled(error.to_string()),
            Error::Master(error) => error.into(),
            other => ProcessError::failed(other.to_string()),
        }
    }
}

impl From<slap_client::Error> for ProcessError {
    fn from(error: slap_client::Error) -> Self {
        let text = error.to_string();
        if error.is_master_unreachable() {
            ProcessError::Unreachable(text)
        } else {
            ProcessError::failed(text)
        }
    }
}

impl From<UpdateError> for ProcessError {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::Master(error) => error.into(),
            UpdateError::Local(error) => error.into(),
        }
    }
}

impl From<PromiseError> for ProcessError {
    fn from(error: PromiseError) -> Self {
        match error {
            PromiseError::Failed(text) => ProcessError::Promise(text),
            PromiseError::Cancelled => ProcessError::Cancelled("interrupted".to_owned()),
            PromiseError::Broken(text) => ProcessError::failed(text),
        }
    }
}

impl From<BuildError> for ProcessError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Cancelled(what) => {
                ProcessError::Cancelled(format!("interrupted while {what} was running"))
            }
            other => ProcessError::Failed {
                text: other.to_string(),
                shown: other.summary(SHOWN_LINES),
            },
        }
    }
}

/// Makes the partition what `goal` says and tells the Master; leaves the mark on success.
pub(crate) fn process(
    means: &Means<'_>,
    partition: &Partition<'_>,
    goal: Goal,
    mark: Option<&str>,
) -> Result<(), ProcessError> {
    let begin = Instant::now();
    let id = partition.id();
    means.observer.event(&Event::PartitionStarted {
        partition: id,
        goal: goal.as_str(),
        release: partition.release(),
    });
    let result = run_logged(means, partition, goal, mark);
    means.observer.event(&Event::PartitionFinished {
        partition: id,
        elapsed: begin.elapsed(),
        error: result.as_ref().err().map(ProcessError::shown),
    });
    result
}

fn run_logged(
    means: &Means<'_>,
    partition: &Partition<'_>,
    goal: Goal,
    mark: Option<&str>,
) -> Result<(), ProcessError> {
    // Without a mark the partition counts as not deployed, whatever happens from here on.
    partition.remove(MARK)?;
    partition.remove(&partition.transaction_file())?;
    let log = InstanceLog::open(partition)?;
    log.line(
        "INFO",
        &format!(
            "Processing, shall be {}, release {}",
            goal.as_str(),
            partition
                .release()
                .map_or("none", |release| release.as_str())
        ),
    );
    let work = Work {
        means,
        partition,
        log: &log,
    };
    let result = work.run(goal);
    match &result {
        Ok(()) => {
            if let Some(mark) = mark {
                partition.write(MARK, mark.as_bytes(), 0o644, Durable::Yes)?;
            }
            log.line("INFO", "Processed");
        }
        Err(error) => {
            log.line("ERROR", error.text());
            if let ProcessError::Failed { text, .. } = error {
                let name = partition.error_file();
                partition.write(&name, text.as_bytes(), 0o644, Durable::No)?;
                if goal == Goal::Started {
                    // Only to refresh the results: what failed is said already.
                    let _ = work.promises(Mode::Test);
                }
            }
        }
    }
    result
}

/// Looks whether an up-to-date instance still works, and tells the Master when that changed
/// (N 3.2.1). Never changes how the run ends.
pub(crate) fn check(means: &Means<'_>, partition: &Partition<'_>) -> Result<(), ProcessError> {
    let status = partition.document.access_status.as_deref();
    let was_error = status.is_some_and(|status| status.starts_with("#error"));
    let (client, id) = (means.client, partition.id());
    match promise::check(&means.checks(), partition, Mode::Anomaly, &mut |_| {}) {
        Ok(()) => {
            if status.is_none() || was_error {
                partition.update_certificate(client)?;
                means.tell_started(id)?;
            }
            Ok(())
        }
        Err(PromiseError::Cancelled) => Err(ProcessError::Cancelled("interrupted".to_owned())),
        Err(PromiseError::Failed(text)) => {
            means.observer.event(&Event::PromiseFailed {
                partition: id,
                message: &text,
            });
            if !was_error {
                partition.update_certificate(client)?;
                means.tell_error(id, &text)?;
            }
            Ok(())
        }
        Err(PromiseError::Broken(text)) => Err(ProcessError::failed(text)),
    }
}

struct Work<'a> {
    means: &'a Means<'a>,
    partition: &'a Partition<'a>,
    log: &'a InstanceLog,
}

impl Work<'_> {
    fn run(&self, goal: Goal) -> Result<(), ProcessError> {
        let id = self.partition.id();
        self.partition.update_certificate(self.means.client)?;
        self.partition.remove(&self.partition.error_file())?;
        match goal {
            Goal::Started => {
                self.install(goal)?;
                self.start()?;
                self.set_up_firewall()?;
                self.promises(Mode::Test)?;
                self.means.tell_started(id)?;
                self.report_requests()
            }
            Goal::ForceStopped => {
                self.install(goal)?;
                self.stop()?;
                self.means.tell_started(id)?;
                self.report_requests()
            }
            Goal::Stopped => {
                let installed = self.install(goal).and_then(|()| self.set_up_firewall());
                // Stopped even when its profile fails: that is what was asked for.
                self.stop()?;
                installed?;
                self.report_stopped();
                self.report_requests()
            }
            Goal::Destroyed => {
                self.stop()?;
                firewall::tear_down(self.partition)?;
                self.report_stopped();
                Ok(())
            }
        }
    }

    fn install(&self, goal: Goal) -> Result<(), ProcessError> {
        let (config, partition) = (self.means.config, self.partition);
        check_free_space(
            &partition.path,
            config.instance_min_free_space,
            "instance_min_free_space",
        )
        .map_err(ProcessError::failed)?;
        let (Some(release), Some(release_directory)) =
            (partition.release(), partition.release_directory())
        else {
            return Err(ProcessError::failed(
                "the Master names no software release for this instance; cannot deploy it",
            ));
        };
        partition
            .dir
            .link("software_release", &release_directory, partition.owner())
            .map_err(Error::io("link", partition.path.join("software_release")))?;
        let mode = partition
            .dir
            .mode()
            .map_err(Error::io("read", &partition.path))?;
        if mode != 0o750 {
            return Err(ProcessError::failed(format!(
                "Wrong permissions in {}: actual permissions are: 0{mode:o}, wanted are 0750",
                partition.path.display()
            )));
        }
        if !release_directory.is_dir() {
            return Err(ProcessError::failed(format!(
                "Software Release {release} is not present on system.\nCannot deploy instance."
            )));
        }
        self.write_profile(goal, &release_directory)?;
        let job = PartitionJob {
            directory: &partition.path,
            release_directory: &release_directory,
            instance_root: &config.instance_root,
            timeout: config.partition_timeout,
            cancel: self.means.cancel,
        };
        self.means
            .builder
            .process_partition(&job, &mut |line| self.output(line))?;
        self.write_retention_delay()?;
        Ok(())
    }

    fn write_profile(
        &self,
        goal: Goal,
        release_directory: &std::path::Path,
    ) -> Result<(), ProcessError> {
        let (config, partition) = (self.means.config, self.partition);
        let candidates = ["instance.cfg", "template.cfg"].map(|name| release_directory.join(name));
        let Some(template) = candidates.iter().find(|path| path.exists()) else {
            return Err(ProcessError::failed(format!(
                "the software release offers no profile for instances: {} does not exist",
                candidates[0].display()
            )));
        };
        let bytes = fs::read(template).map_err(Error::io("read", template))?;
        let certificate = config.partition_certificate(partition.id());
        let tail = Tail {
            node: config.node.as_str(),
            partition: partition.id().as_str(),
            master_url: &config.master.url,
            release: partition.release().map_or("", |release| release.as_str()),
            certificate: certificate
                .as_ref()
                .map(|(certificate, key)| (certificate.as_path(), key.as_path())),
            shared_part_list: &config.shared_part_list,
            build_time_part_list: &config.build_time_part_list,
            requested_state: match goal {
                Goal::Started | Goal::ForceStopped => "started",
                Goal::Stopped => "stopped",
                Goal::Destroyed => "destroyed",
            },
            storage_home: &config.instance_storage_home,
            ipv4_global_network: &config.ipv4_global_network,
        };
        let text = buildout_cfg::render(&bytes, &tail);
        // Root's file, readable through the group: an instance shall not change its own orders.
        let owner = partition
            .owner()
            .map(|(_, group)| (rustix::fs::Uid::ROOT, group));
        partition
            .dir
            .write("buildout.cfg", &text, 0o640, owner, Durable::No)
            .map_err(Error::io("write", partition.path.join("buildout.cfg")))?;
        Ok(())
    }

    /// Records, once, for how many days the instance shall survive the order to destroy it.
    fn write_retention_delay(&self) -> Result<(), ProcessError> {
        const NAME: &str = ".slapos-retention-lock-delay";
        let partition = self.partition;
        let there = partition
            .dir
            .stat(NAME)
            .map_err(Error::io("read", partition.path.join(NAME)))?;
        if there.is_some() {
            return Ok(());
        }
        let days = partition
            .document
            .sla
            .as_ref()
            .and_then(|sla| sla.get("retention_delay"))
            .and_then(|text| text.trim().parse::<f64>().ok())
            .filter(|days| days.is_finite() && *days >= 0.0)
            .unwrap_or(0.0);
        partition.write(NAME, python::float(days).as_bytes(), 0o644, Durable::Yes)?;
        Ok(())
    }

    fn set_up_firewall(&self) -> Result<(), ProcessError> {
        let Some(section) = &self.means.config.firewall else {
            return Ok(());
        };
        let (client, node) = (self.means.client, &self.means.config.node);
        let tree = match client.tree_addresses(node, self.partition.id()) {
            Err(error) if error.is_not_found() => Vec::new(),
            other => other?,
        };
        firewall::set_up(self.partition, section, &tree, &|text| self.warn(text))?;
        Ok(())
    }

    fn start(&self) -> Result<(), ProcessError> {
        let started = self
            .means
            .services
            .start(self.partition.id(), &self.partition.user)?;
        for warning in &started.warnings {
            self.warn(warning);
        }
        if started.count == 0 {
            self.warn("no services in etc/run and etc/service: nothing to start");
        }
        Ok(())
    }

    fn stop(&self) -> Result<(), ProcessError> {
        self.means.runners.end(self.partition.id());
        self.means.services.stop(self.partition.id())?;
        Ok(())
    }

    fn promises(&self, mode: Mode) -> Result<(), ProcessError> {
        promise::check(&self.means.checks(), self.partition, mode, &mut |line| {
            self.output(line)
        })?;
        Ok(())
    }

    /// Nobody depends on this report: the stop itself is what counts (N 3.2).
    fn report_stopped(&self) {
        let (client, node) = (self.means.client, &self.means.config.node);
        if let Err(error) = client.instance_stopped(node, self.partition.id()) {
            self.warn(&format!(
                "cannot tell the Master that it is stopped: {error}"
            ));
        }
    }

    /// Tells the Master what the instance requested in this processing (N 2.5).
    fn report_requests(&self) -> Result<(), ProcessError> {
        let name = self.partition.transaction_file();
        let Some(text) = self
            .partition
            .dir
            .read_text(&name)
            .map_err(Error::io("read", self.partition.path.join(&name)))?
        else {
            return Ok(());
        };
        let titles: Vec<String> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect();
        let (client, node) = (self.means.client, &self.means.config.node);
        match client.related_instances(node, self.partition.id(), &titles) {
            Err(error) if error.is_not_found() => {
                self.log.line("WARNING", &error.to_string());
                Ok(())
            }
            other => Ok(other?),
        }
    }

    fn output(&self, line: &str) {
        self.log.line("INFO", line);
        self.means.observer.event(&Event::PartitionOutput {
            partition: self.partition.id(),
            line,
        });
    }

    fn warn(&self, text: &str) {
        self.log.line("WARNING", text);
        let text = format!("{}: {text}", self.partition.id());
        self.means.observer.event(&Event::Warning(&text));
    }
}
