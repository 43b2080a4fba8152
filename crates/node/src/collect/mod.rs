//! `node collect`: what the machine and its partitions use, in upstream's database and files
//! (N 6.6).
//!
//! One pass over `/proc` before and one after the measured time (`sample`), one transaction
//! (`store`), then what others read: CSV files, the journal for the Master, the partitions' own
//! figures, and a file for Prometheus (`report`). Promises open the database by its path.

mod disk;
mod report;
mod sample;
mod store;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::cancel::Cancel;
use crate::config::{Overrides, Values, read};
use crate::format::FormatConfig;
use crate::lock::Lock;
use crate::observer::{Event, Observer};
use crate::outcome::{Error, Outcome};
use crate::time;

use sample::Snapshot;
use store::Store;

/// Between two looks whether the measurement is cancelled.
const LOOK: Duration = Duration::from_millis(50);

/// Over which the use of processors is measured unless somebody says otherwise.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// What `node collect` is asked on its command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// Over which the use of processors is measured.
    pub interval: Duration,
    /// Raised to interrupt the run.
    pub cancel: Cancel,
}

/// A partition, by whose processes it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    /// The unix user, which is what the tables call a partition.
    name: String,
    /// The partition's directory.
    path: PathBuf,
    /// Its directories on further disks.
    data: Vec<PathBuf>,
}

/// What the configuration says.
struct Settings {
    node: String,
    instance_root: PathBuf,
    users: Vec<User>,
    days_kept: u32,
    report_disk_usage: bool,
    disk_cycle: Duration,
}

impl Settings {
    fn load(config: &FormatConfig) -> Result<Settings, Error> {
        let file = read(&config.file)?;
        let none = Overrides::new();
        let values = |section| Values::new(&config.file, section, &file, &[section], &none);
        let (slapos, collect) = (values("slapos")?, values("collect")?);
        let users = (0..config.partition_amount)
            .map(|index| {
                let partition = format!("{}{index}", config.partition_base_name);
                User {
                    name: format!("{}{index}", config.user_base_name),
                    path: config.instance_root.join(&partition),
                    data: disk::data_directories(
                        config.instance_storage_home.as_deref(),
                        &partition,
                    ),
                }
            })
            .collect();
        Ok(Settings {
            node: config.node.to_string(),
            instance_root: config.instance_root.clone(),
            users,
            days_kept: slapos.number("collect_cache")?.unwrap_or(15),
            report_disk_usage: collect.bool("report_disk_usage", true)?,
            disk_cycle: Duration::from_secs(
                collect
                    .number("disk_snapshot_time_cycle")?
                    .unwrap_or(86_400),
            ),
        })
    }

    fn var(&self, name: &str) -> PathBuf {
        self.instance_root.join("var").join(name)
    }
}

/// Measures, and writes down what was measured.
///
/// # Errors
/// When the configuration, the database or its directories cannot be used. A partition whose own
/// files cannot be written makes [`Outcome::Failure`].
pub fn run(file: &Path, options: &Options, observer: &dyn Observer) -> Result<Outcome, Error> {
    let config = FormatConfig::load(file, &Overrides::new())?;
    if config.root_check && !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot { file: config.file });
    }
    let settings = Settings::load(&config)?;
    if !settings.instance_root.is_dir() {
        return Err(Error::Refused(format!(
            "{} does not exist; run `slapos node format` first",
            settings.instance_root.display()
        )));
    }
    for name in [".", "run", "data-log", "consumption-report", "xml_report"] {
        let mode = if name == "run" { 0o700 } else { 0o755 };
        crate::layout::make_directory(&settings.var(name), mode)?;
    }
    let sent = settings.var("xml_report").join(&settings.node);
    crate::layout::make_directory(&sent, 0o755)?;
    let _lock = match Lock::take(&settings.var("run/slapos-collect.pid")) {
        Ok(lock) => lock,
        Err(Error::Locked { .. }) => {
            // It runs every minute, and the sizes of large disks take longer.
            observer.event(&Event::Info("another collect still measures"));
            return Ok(Outcome::Success);
        }
        Err(error) => return Err(error),
    };
    let names: Vec<&str> = settings
        .users
        .iter()
        .map(|user| user.name.as_str())
        .collect();
    let before = Snapshot::take(&names);
    wait(options)?;
    let moment = Moment::now();
    let after = Snapshot::take(&names);
    let machine = sample::Machine::read(&before, &after);
    let processes = sample::processes(&before, &after);

    let directory = settings.var("data-log");
    let mut store = Store::open(&directory)?;
    store.save(&moment, &machine, &processes)?;
    if settings.report_disk_usage {
        for user in &settings.users {
            if store.is_folder_due(&user.name, settings.disk_cycle, &moment)? {
                let kib = disk::used_kib(user, &options.cancel)?;
                store.save_folder(&moment, &user.name, kib)?;
            }
        }
    }
    let write = |what: &str, result: std::io::Result<()>| {
        result.map_err(|error| Error::Refused(format!("cannot write {what}: {error}")))
    };
    write(
        "the day's figures",
        report::today(&store, &directory, &moment),
    )?;
    for date in store.unreported_dates(&moment.date)? {
        write(
            &format!("the figures of {date}"),
            report::dump(&store, &directory, &date),
        )?;
        store.mark_reported(&date)?;
    }
    report::archive(&directory, &|text| observer.event(&Event::Warning(text)));
    for date in [moment.days_ago(1), moment.days_ago(2)] {
        let written = report::journal(&store, &settings.node, &names, &date).and_then(|text| {
            let kept = settings.var("consumption-report");
            report::publish(&text, &kept, &sent, &date)
        });
        write("the usage report", written)?;
    }
    let mut outcome = Outcome::Success;
    for user in &settings.users {
        if let Err(error) = report::monitor(&store, user, &moment, &after) {
            observer.event(&Event::Warning(&format!(
                "{}: cannot write its figures: {error}",
                user.path.display()
            )));
            outcome = Outcome::Failure;
        }
    }
    write(
        "the metrics",
        report::metrics(
            &store,
            &settings.users,
            &machine,
            &processes,
            &directory.join("metrics.prom"),
        ),
    )?;
    store.forget(settings.days_kept, &moment)?;
    observer.event(&Event::Info(&format!(
        "collected: {} processes in {} partitions",
        processes.len(),
        settings.users.len()
    )));
    Ok(outcome)
}

fn wait(options: &Options) -> Result<(), Error> {
    let end = Instant::now() + options.interval;
    loop {
        if options.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(LOOK));
    }
}

/// When the figures are from, as the tables have it: UTC.
#[derive(Debug, Clone)]
struct Moment {
    at: SystemTime,
    date: String,
    time: String,
}

impl Moment {
    fn now() -> Moment {
        Moment::of(SystemTime::now())
    }

    fn of(at: SystemTime) -> Moment {
        let text = time::utc(at);
        let (date, time) = text.split_once(' ').unwrap_or((&text, ""));
        Moment {
            date: date.to_owned(),
            time: time.to_owned(),
            at,
        }
    }

    /// The date so many days before.
    fn days_ago(&self, days: u32) -> String {
        let back = Duration::from_secs(86_400) * days;
        Moment::of(self.at.checked_sub(back).unwrap_or(self.at)).date
    }

    /// The minute before, as `HH:MM`, with its date.
    fn minute_before(&self) -> (String, String) {
        let before = Moment::of(
            self.at
                .checked_sub(Duration::from_secs(60))
                .unwrap_or(self.at),
        );
        let minute = before.time.get(..5).unwrap_or_default().to_owned();
        (before.date, minute)
    }
}

#[cfg(test)]
mod tests;
