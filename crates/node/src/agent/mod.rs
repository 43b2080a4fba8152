//! `node agent`: one daemon that does what cron jobs did, woken by what happens.
//!
//! One loop owns an [`agenda`]; it sleeps until the Master tells of a change, a file of a partition
//! changes, a task ends or the clock says so. Tasks run in threads of their own and end in the very
//! code the one-shot commands run ([`work`]); what has to be done they find out themselves. So the
//! loop may be killed at any time: the next one starts with an agenda on which everything is due.
//!
//! The locks of the one-shot commands are held while tasks of their kind run, and only then: a
//! person's `slapos node instance` waits for nothing, and an agent that finds one at work comes back
//! later.

mod agenda;
mod exits;
mod files;
mod link;
mod patience;
mod status;
mod work;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use slap::document::NodeDocument;

pub use status::{AgentStatus, MasterStatus, TaskStatus, agent_status};

use crate::cancel::{Cancel, Reload};
use crate::config::{ConfigError, NodeConfig, Overrides};
use crate::format::{self, FormatConfig};
use crate::instance::Reported;
use crate::lock::Lock;
use crate::notify::Notify;
use crate::observer::{Event, Observer};
use crate::outcome::{Error, Outcome};
use crate::promise::{self, Runners};
use crate::software::{self, ZcBuildout};

use agenda::{Agenda, Finish, Kind, Task, Why, Width};
use exits::{End as ProcessEnd, Exits};
use files::Files;
use link::{Clock, Hearing, Link, News};
use status::Answering;
use work::{Done, Wanted, Work};

/// Until work is tried again that a one-shot command does at the moment.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// Until the first usage report: whatever there is to do comes first.
const FIRST_REPORT: Duration = Duration::from_secs(300);
/// The same until what is used is measured: the first report tells it already.
const FIRST_COLLECT: Duration = Duration::from_secs(60);
/// Longest sleep: nothing relies on it.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// What `node agent` is asked on its command line.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Raised to end the agent.
    pub cancel: Cancel,
    /// Raised to have it read its configuration anew.
    pub reload: Reload,
}

/// What wakes the loop.
enum Message {
    /// From the Master's stream of events.
    News(News),
    /// The Master's document, or why there is none.
    Fetched(Box<Result<Wanted, slap_client::Error>>),
    /// A task ended.
    Ended(Task, Done),
    /// Files of a partition changed.
    Files(slap::PartitionId),
    /// From the supervisor: a process ended, or it is to be asked how all are.
    Process(ProcessEnd),
    /// Somebody wants to know what we do.
    Status(Sender<AgentStatus>),
    /// Look at the flags.
    Look,
}

/// Does whatever the Master wants until it is cancelled.
///
/// # Errors
/// When it cannot start at all: an unusable configuration, another agent.
pub fn run(
    file: &Path,
    overrides: &Overrides,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Outcome, Error> {
    let mut config = load(file, overrides, &options.cancel, observer)?;
    config.check_root()?;
    config.prepare_structure()?;
    let _only = Lock::take(&config.instance_root.join("var/run/slapos-agent.pid"))?;
    let notify = Notify::from_environment();
    let mut before = None;
    thread::scope(|scope| {
        loop {
            let (to, ended) = channel();
            scope.spawn({
                let (config, notify) = (config.clone(), &notify);
                move || {
                    if let Err(error) = session(&config, options, notify, observer, &to) {
                        // Whoever waits for it is below.
                        let _ = to.send(Err(error));
                    }
                }
            });
            let failure = match ended.recv() {
                Ok(Ok(End::Cancelled)) => return Ok(Outcome::Success),
                Ok(Ok(End::Reload)) => match NodeConfig::load(file, overrides) {
                    Ok(new) => {
                        before = Some(std::mem::replace(&mut config, new));
                        continue;
                    }
                    Err(error) => Error::from(error),
                },
                Ok(Err(error)) => match before.take() {
                    Some(before) => {
                        config = before;
                        error
                    }
                    None => return Err(error),
                },
                Err(_) => {
                    let text = "the agent's loop broke; see the log".to_owned();
                    return Err(Error::Refused(text));
                }
            };
            if options.cancel.is_cancelled() {
                return Err(failure);
            }
            observer.event(&Event::Failure(&format!(
                "{failure}; going on with the configuration from before"
            )));
        }
    })
}

/// Reads the configuration. The directories of a machine that was never formatted are made first.
fn load(
    file: &Path,
    overrides: &Overrides,
    cancel: &Cancel,
    observer: &dyn Observer,
) -> Result<NodeConfig, Error> {
    let error = match NodeConfig::load(file, overrides) {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    let is_missing = matches!(&error, ConfigError::Value { option, .. }
        if ["software_root", "instance_root"].contains(&option.as_str()));
    let format = FormatConfig::load(file, Overrides::new().set("now", "true"));
    let (true, Ok(format)) = (is_missing, format) else {
        return Err(error.into());
    };
    let options = format::Options {
        undo: false,
        cancel: cancel.clone(),
    };
    format::run(&format, &options, observer)?;
    Ok(NodeConfig::load(file, overrides)?)
}

/// Why a session takes on no more work.
enum End {
    Cancelled,
    Reload,
}

/// Works with one configuration until it says in `to` why no longer; then what is being done is
/// waited for, a build of an hour perhaps, while the next session takes over everything else.
fn session(
    config: &NodeConfig,
    options: &Options,
    notify: &Notify,
    observer: &dyn Observer,
    ended: &Sender<Result<End, Error>>,
) -> Result<(), Error> {
    config.warn_unsupported(observer);
    config.prepare_structure()?;
    let client = config.master.client()?;
    let builder = ZcBuildout::new(config, observer);
    let runners = Runners::new();
    let reported = Reported::default();
    promise::forget_all(config);
    let (to, messages) = channel();
    let wake = to.clone();
    options.cancel.on_cancel(move || {
        let _ = wake.send(Message::Look);
    });
    let wake = to.clone();
    options.reload.on_ask(move || {
        let _ = wake.send(Message::Look);
    });
    let link = Link::listen(client.clone(), config.node.clone(), to.clone());
    let files = Files::listen(to.clone());
    let exits = Exits::listen(&config.supervisor_socket(), to.clone());
    let answering = Answering::start(config, to.clone())
        .map_err(|error| {
            observer.event(&Event::Warning(&format!(
                "`slapos node status` will not show what the agent does: {error}"
            )));
        })
        .ok();
    let now = Instant::now();
    let width = Width {
        partitions: config.workers,
        releases: software::width(config),
    };
    let mut agenda = Agenda::new(width, now);
    match FormatConfig::load(&config.file, &Overrides::new()) {
        Ok(_) => {
            agenda.add(Task::Format, now);
            if !config.collect_interval.is_zero() {
                let first = FIRST_COLLECT.min(config.collect_interval);
                agenda.add(Task::Collect, now + first);
            }
        }
        Err(error) => observer.event(&Event::Warning(&format!(
            "the agent will not prepare this machine: {error}"
        ))),
    }
    let work = Work {
        config,
        client: &client,
        builder: &builder,
        runners: &runners,
        reported: &reported,
        needs: Mutex::default(),
        exits: &exits,
        observer,
        cancel: &options.cancel,
    };
    thread::scope(|scope| {
        let mut agent = Agent {
            options,
            notify,
            told: String::new(),
            work: &work,
            scope,
            to,
            files: files.as_ref(),
            agenda,
            link: &link,
            clock: Clock::new(now),
            locks: BTreeMap::new(),
            wanted: None,
            cut_off: false,
            informed: false,
            started: now,
        };
        let end = agent.live(&messages);
        drop(answering);
        // Whoever waits for it waits for the session, too.
        let _ = ended.send(Ok(end));
        agent.drain(&messages);
    });
    Ok(())
}

struct Agent<'scope, 'env> {
    options: &'scope Options,
    notify: &'scope Notify,
    /// What the service manager was told last.
    told: String,
    work: &'scope Work<'scope>,
    scope: &'scope thread::Scope<'scope, 'env>,
    to: Sender<Message>,
    files: Option<&'scope Files>,
    agenda: Agenda,
    link: &'scope Link,
    clock: Clock,
    /// Those of the one-shot commands, by their files.
    locks: BTreeMap<PathBuf, Lock>,
    /// The last document of the Master.
    wanted: Option<Arc<Wanted>>,
    /// Whether the Master could not be reached since it was last heard.
    cut_off: bool,
    /// Whether the Master was reached, or it was found out that it cannot be.
    informed: bool,
    started: Instant,
}

impl Agent<'_, '_> {
    /// The loop: begin what is due, sleep until something happens.
    fn live(&mut self, messages: &Receiver<Message>) -> End {
        self.notify.ready();
        loop {
            if self.options.cancel.is_cancelled() {
                self.notify.stopping();
                return End::Cancelled;
            }
            if self.options.reload.take() {
                self.notify.reloading();
                return End::Reload;
            }
            self.tell_service_manager();
            let now = Instant::now();
            self.begin(now);
            match messages.recv_timeout(self.sleep(now)) {
                Ok(message) => self.hear(message),
                Err(RecvTimeoutError::Timeout) => {}
                // Cannot be: we hold a sender ourselves.
                Err(RecvTimeoutError::Disconnected) => return End::Cancelled,
            }
            // What came meanwhile is one wake-up.
            while let Ok(message) = messages.try_recv() {
                self.hear(message);
            }
        }
    }

    /// Waits for what is being done, and begins nothing.
    fn drain(&mut self, messages: &Receiver<Message>) {
        while !self.is_quiet() {
            match messages.recv() {
                Ok(message) => self.hear(message),
                Err(_) => return,
            }
        }
    }

    fn tell_service_manager(&mut self) {
        self.notify.alive();
        let running = self.agenda.entries().filter(|(_, e)| e.running.is_some());
        let failing = self.agenda.entries().filter(|(_, e)| e.failures > 0);
        let text = format!(
            "{} tasks, {} being done, {} failing; the Master {}",
            self.agenda.entries().count(),
            running.count(),
            failing.count(),
            match self.clock.hearing() {
                Hearing::Away => "is away",
                Hearing::Told => "tells of changes",
                Hearing::Asking => "is asked from time to time",
            }
        );
        if text != self.told {
            self.notify.status(&text);
            self.told = text;
        }
    }

    /// Whether nothing is being done.
    fn is_quiet(&self) -> bool {
        let mut entries = self.agenda.entries();
        entries.all(|(_, entry)| entry.running.is_none())
    }

    fn sleep(&self, now: Instant) -> Duration {
        let ask = (!self.clock.asking).then_some(self.clock.next);
        self.agenda
            .next_wake()
            .into_iter()
            .chain(ask)
            .min()
            .map_or(SLEEP_MAX, |next| next.saturating_duration_since(now))
            .min(self.notify.watchdog().unwrap_or(SLEEP_MAX))
    }

    fn begin(&mut self, now: Instant) {
        if self.clock.ask(now) {
            self.ask(now);
        }
        while let Some(task) = self.agenda.next(now) {
            if let Err(reason) = self.hold(task.kind()) {
                let finish = Finish::Postponed {
                    after: BUSY_PAUSE,
                    reason,
                };
                self.agenda.finish(&task, finish, now);
                continue;
            }
            let (work, to, wanted) = (self.work, self.to.clone(), self.wanted.clone());
            let named = task.clone();
            let carry_out = move || {
                // A mistake of ours in one task must not leave it on the agenda as running for ever.
                let done = catch_unwind(AssertUnwindSafe(|| {
                    work.carry_out(&task, wanted.as_deref())
                }))
                .unwrap_or_else(|_| {
                    Done::from(Finish::Failed {
                        reason: "an internal error; see the log".to_owned(),
                    })
                });
                let _ = to.send(Message::Ended(task, done));
            };
            if let Err(error) = thread::Builder::new().spawn_scoped(self.scope, carry_out) {
                let reason = format!("cannot start a thread: {error}");
                self.agenda.finish(&named, Finish::Failed { reason }, now);
            }
        }
    }

    /// Asks for the Master's document. Nobody waits for the answer when the agent ends: a Master
    /// that hangs may take minutes.
    fn ask(&mut self, now: Instant) {
        let (client, node) = (self.work.client.clone(), self.work.config.node.clone());
        let to = self.to.clone();
        let ask = move || {
            let (fetched, asked) = (SystemTime::now(), Instant::now());
            let result = client.node(&node).map(|document| Wanted {
                document,
                fetched,
                asked,
            });
            let _ = to.send(Message::Fetched(Box::new(result)));
        };
        if let Err(error) = thread::Builder::new().spawn(ask) {
            let reason = format!("cannot start a thread: {error}");
            self.clock.failed(reason, now);
        }
    }

    /// The lock of the one-shot command that does the same. Two may be one file.
    fn lock_file(&self, kind: Kind) -> Option<&Path> {
        let config = self.work.config;
        match kind {
            Kind::Software => Some(&config.pidfile_software),
            Kind::Instance => Some(&config.pidfile_instance),
            Kind::Report => Some(&config.pidfile_report),
            // They take their own.
            Kind::Services | Kind::Format | Kind::Collect => None,
        }
    }

    fn hold(&mut self, kind: Kind) -> Result<(), String> {
        let Some(path) = self.lock_file(kind).map(Path::to_owned) else {
            return Ok(());
        };
        if let Entry::Vacant(place) = self.locks.entry(path) {
            let lock = Lock::take(place.key()).map_err(|error| error.to_string())?;
            place.insert(lock);
        }
        Ok(())
    }

    /// Lets go of the locks nothing needs that is being done.
    fn release_locks(&mut self) {
        let needed: Vec<PathBuf> = [Kind::Software, Kind::Instance, Kind::Report]
            .into_iter()
            .filter(|kind| self.agenda.running_of(*kind) > 0)
            .filter_map(|kind| self.lock_file(kind).map(Path::to_owned))
            .collect();
        self.locks.retain(|path, _| needed.contains(path));
    }

    fn hear(&mut self, message: Message) {
        let now = Instant::now();
        match message {
            Message::Look => {}
            Message::News(news) => self.clock.hear(&news, now),
            Message::Fetched(result) => self.fetched(*result, now),
            Message::Ended(task, done) => self.ended(&task, done, now),
            Message::Files(id) => {
                self.agenda.wake(&Task::Partition(id), Why::Files, now);
            }
            Message::Process(end) => {
                self.work.forget_needs();
                let task = match end {
                    ProcessEnd::Of(id) => Task::Partition(id),
                    ProcessEnd::Unknown => Task::Services,
                };
                self.agenda.wake(&task, Why::Exit, now);
            }
            Message::Status(reply) => {
                let (config, agenda) = (self.work.config, &self.agenda);
                let status = status::status(config, agenda, &self.clock, self.started, now);
                // Whoever asked may have gone.
                let _ = reply.send(status);
            }
        }
    }

    fn fetched(&mut self, result: Result<Wanted, slap_client::Error>, now: Instant) {
        match result {
            Ok(wanted) => {
                if self.clock.failures > 0 {
                    // It may have been another program, or one with less in its memory.
                    promise::forget_all(self.work.config);
                    self.work
                        .observer
                        .event(&Event::Info("the Master can be reached again"));
                }
                if std::mem::take(&mut self.cut_off) {
                    self.agenda.resume(&wanted.document, now);
                }
                if self.clock.failures > 0 {
                    self.link.hurry();
                }
                self.clock.answered(now);
                self.agenda.add(Task::Report, now + FIRST_REPORT);
                let ready = software::ready(self.work.config, &wanted.document);
                self.agenda.are_ready(ready);
                self.agenda.want(&wanted.document, now);
                self.watch_files(&wanted.document);
                self.wanted = Some(Arc::new(wanted));
                self.informed = true;
            }
            Err(error) => {
                self.cut_off = true;
                let reason = error.to_string();
                if self.clock.failures == 0 {
                    self.work
                        .observer
                        .event(&Event::Offline { reason: &reason });
                }
                self.clock.failed(reason.clone(), now);
                // Once: what a person stops later stays stopped.
                if !self.informed {
                    self.informed = true;
                    self.work.start_without_master(&reason);
                }
            }
        }
    }

    fn watch_files(&self, document: &NodeDocument) {
        let Some(files) = self.files else { return };
        for partition in document.partitions.iter().filter(|p| !p.is_free()) {
            files.watch(self.work.config, &partition.partition);
        }
    }

    fn ended(&mut self, task: &Task, done: Done, now: Instant) {
        if done.away {
            self.cut_off = true;
            if self.clock.failures == 0 {
                // Its clock finds out, and says so.
                self.clock.next = now;
            }
        }
        if let (Task::Partition(id), Some(files)) = (task, self.files) {
            files.watch(self.work.config, id);
        }
        if *task == Task::Services {
            // A supervisor that is there now may be another one.
            self.work.exits.hurry();
        }
        self.agenda.finish(task, done.finish, now);
        for id in done.needy {
            self.agenda.wake(&Task::Partition(id), Why::Exit, now);
        }
        self.release_locks();
    }
}
