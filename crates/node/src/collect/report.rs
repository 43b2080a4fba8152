//! What others read of the figures: CSV files, the journal for the Master, each partition's own
//! figures, and a file for Prometheus (N 6.6).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use quick_xml::escape::escape;
use serde_json::{Value as Json, json};
use slap::python;

use super::sample::{self, Machine, Row, Snapshot};
use super::store::{Store, Sums};
use super::{Moment, User};
use crate::pyjson;
use crate::safe_fs::{self, Dir, Durable};
use crate::time;

const MIB: f64 = 1024.0 * 1024.0;

/// A file written beside its place and put there when it is whole.
fn written(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = BufWriter::new(File::create(&temporary)?);
    write(&mut file)?;
    file.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()?;
    fs::rename(temporary, path)
}

/// One line as Python's `csv` writes it.
fn csv_line(out: &mut dyn Write, values: &[String]) -> io::Result<()> {
    for (index, value) in values.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        if value.contains([',', '"', '\r', '\n']) {
            write!(out, "{comma}\"{}\"", value.replace('"', "\"\""))?;
        } else {
            write!(out, "{comma}{value}")?;
        }
    }
    out.write_all(b"\r\n")
}

/// The columns of today's figures, and how each is shown.
const COLUMNS: &[(&str, Shown)] = &[
    ("loadavg", Shown::AsIs),
    ("cpu_percent", Shown::AsIs),
    ("memory_used", Shown::Kib),
    ("memory_free", Shown::Kib),
    ("net_in_bytes", Shown::KibSinceLast),
    ("net_in_errors", Shown::AsIs),
    ("net_in_dropped", Shown::AsIs),
    ("net_out_bytes", Shown::KibSinceLast),
    ("net_out_errors", Shown::AsIs),
    ("net_out_dropped", Shown::AsIs),
];

#[derive(Debug, Clone, Copy)]
enum Shown {
    AsIs,
    Kib,
    KibSinceLast,
}

/// Writes today's figures, a file for each.
pub(super) fn today(store: &Store, directory: &Path, moment: &Moment) -> io::Result<()> {
    for (column, shown) in COLUMNS {
        written(&directory.join(format!("system_{column}.csv")), |out| {
            csv_line(out, &["time".to_owned(), "entry".to_owned()])?;
            let sql = format!("select {column}, date, time from system where date = ?");
            let mut last: Option<f64> = None;
            store.rows(&sql, &moment.date, &mut |row| {
                let value: f64 = row[0].parse().unwrap_or(0.0);
                // Of the first sample nobody knows what came before.
                let before = last.replace(value);
                let Some(before) = before else { return Ok(()) };
                let entry = match shown {
                    Shown::AsIs => value,
                    Shown::Kib => value / 1024.0,
                    Shown::KibSinceLast => (value - before) / 1024.0,
                };
                csv_line(
                    out,
                    &[format!("{} {}", row[1], row[2]), python::float(entry)],
                )
            })
        })?;
    }
    let mut disks: BTreeMap<String, Vec<[String; 3]>> = BTreeMap::new();
    store.rows(
        "select partition, used, free, date, time from disk where date = ?",
        &moment.date,
        &mut |row| {
            let kib =
                |value: &str| python::float(value.parse::<f64>().unwrap_or_default() / 1024.0);
            disks.entry(row[0].clone()).or_default().push([
                format!("{} {}", row[3], row[4]),
                kib(&row[1]),
                kib(&row[2]),
            ]);
            Ok(())
        },
    )?;
    for (device, entries) in disks {
        let device = device.replace(['-', '/'], "_");
        for (index, kind) in [(1, "used"), (2, "free")] {
            let name = format!("system_disk_memory_{kind}_{device}.csv");
            written(&directory.join(name), |out| {
                csv_line(out, &["time".to_owned(), "entry".to_owned()])?;
                entries
                    .iter()
                    .try_for_each(|entry| csv_line(out, &[entry[0].clone(), entry[index].clone()]))
            })?;
        }
    }
    Ok(())
}

/// Writes all rows of a day, a file for each table.
pub(super) fn dump(store: &Store, directory: &Path, date: &str) -> io::Result<()> {
    let day = directory.join(date);
    fs::create_dir_all(&day)?;
    for table in Store::tables() {
        written(&day.join(format!("dump_{table}.csv")), |out| {
            let sql = format!("select * from {table} where date = ?");
            store.rows(&sql, date, &mut |row| csv_line(out, row))
        })?;
    }
    Ok(())
}

/// Packs the days that were dumped. What cannot be packed stays, and is tried again.
pub(super) fn archive(directory: &Path, warn: &dyn Fn(&str)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_day = name.len() == 10
            && name
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-');
        if !is_day || !entry.path().is_dir() {
            continue;
        }
        let new = directory.join(format!("{name}.tar.gz.new"));
        let packed = Command::new("tar")
            .arg("-czf")
            .arg(&new)
            .arg("-C")
            .arg(directory)
            .arg(&name)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let done = match packed {
            Ok(status) if status.success() => {
                fs::rename(&new, directory.join(format!("{name}.tar.gz")))
                    .and_then(|()| fs::remove_dir_all(entry.path()))
            }
            Ok(status) => Err(io::Error::other(format!("tar: {status}"))),
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            warn(&format!(
                "cannot pack {}: {error}; it stays as it is",
                entry.path().display()
            ));
        }
    }
}

/// What the machine and its partitions used on one day, as a journal for the Master.
pub(super) fn journal(store: &Store, node: &str, users: &[&str], date: &str) -> io::Result<String> {
    let mut text = format!(
        "<?xml version='1.0' encoding='utf-8'?><journal><transaction type=\"Sale Packing List\">\
         <title>Eco Information for {} </title><start_date>{date} 00:00:00</start_date>\
         <stop_date>{date} 23:59:59</stop_date><reference>{date}-global</reference>\
         <currency></currency><payment_mode></payment_mode><category></category>\
         <arrow type=\"Destination\"/>",
        escape(node)
    );
    let mut put = |resource: &str, title: &str, quantity: f64, reference: &str| {
        // Writing to a text cannot fail.
        let _ = write!(
            text,
            "<movement><resource>service_module/{resource}</resource><title>{}</title>\
             <reference>{}</reference><quantity>{}</quantity><price>0.0</price><VAT></VAT>\
             <category></category></movement>",
            escape(title),
            escape(reference),
            python::float(quantity)
        );
    };
    let average = |column: &str| {
        let sql = format!("select sum({column}) / count({column}) from system where date = ?");
        store.number(&sql, &[date])
    };
    if let Some(cpu) = average("cpu_percent")? {
        put("cpu_load_percent", "CPU Load Percent Average", cpu, node);
    }
    if let Some(memory) = average("memory_used")? {
        put("memory_used", "Used Memory", memory, node);
    }
    let ratio = store.number(
        "select zero_emission_ratio from heating order by date desc, time desc limit 1",
        &[],
    )?;
    put(
        "zero_emission_ratio",
        "Zero Emission Ratio",
        ratio.unwrap_or(-1.0),
        node,
    );
    for (resource, title, table, column, divisor) in [
        (
            "cpu_load_percent",
            "CPU Load Percent Average",
            "user",
            "cpu_percent",
            1.0,
        ),
        (
            "memory_used",
            "Memory Used Average",
            "user",
            "memory_rss",
            MIB,
        ),
        (
            "disk_used",
            "Partition Disk Used Average",
            "folder",
            "disk_used",
            1024.0,
        ),
    ] {
        let sql = format!(
            "select sum({column}) / count(distinct time) from {table} where date = ? and partition \
             = ?"
        );
        for user in users {
            if let Some(average) = store.number(&sql, &[date, user])? {
                let title = format!("{title} for {user}");
                put(resource, &title, average / divisor, user);
            }
        }
    }
    text.push_str("</transaction></journal>");
    Ok(text)
}

/// Keeps a day's journal and gives a copy to `node report`, unless the day was told before.
pub(super) fn publish(text: &str, kept: &Path, sent: &Path, date: &str) -> io::Result<()> {
    let name = format!("{date}.xml");
    let told = |name: &str| kept.join(name).exists();
    if told(&name) || told(&format!("{name}.uploaded")) {
        return Ok(());
    }
    // The copy first: a run that is killed in between writes it again.
    for directory in [sent, kept] {
        safe_fs::write(&directory.join(&name), text.as_bytes(), 0o644, Durable::Yes)?;
    }
    Ok(())
}

/// Rounds as upstream does before it shows.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Writes the figures of the minute before into a partition, where there is an instance.
pub(super) fn monitor(
    store: &Store,
    user: &User,
    moment: &Moment,
    now: &Snapshot,
) -> io::Result<()> {
    let Some(partition) = Dir::open_trusted(&user.path).ok() else {
        return Ok(());
    };
    let Some(slapgrid) = partition.dir(crate::partition::NODE_DIRECTORY)? else {
        return Ok(());
    };
    let dir = slapgrid.make_dir("monitor", 0o755, None)?;
    let (date, minute) = moment.minute_before();
    let sums = store.sums(&user.name, &date, &minute)?;
    let when = format!("{date} {minute}:00");
    let (process, memory, input) = figures(&sums, &when);
    let mut status = serde_json::Map::new();
    for (name, head, group, key) in [
        (
            "process",
            "date, total process, CPU percent, CPU time, CPU threads",
            process,
            "total_process",
        ),
        (
            "memory",
            "date, memory used percent, memory used",
            memory,
            "memory_rss",
        ),
        (
            "io",
            "date, io rw counter, io cycles counter, disk used",
            input,
            "io_rw_counter",
        ),
    ] {
        let file = format!("monitor_resource_{name}.data.json");
        let head = format!(
            "{{\"date\": {}, \"data\": [\"{head}\"]}}",
            python::float(time::unix(moment.at))
        );
        let is_news = group
            .iter()
            .any(|(name, value)| *name == key && value.as_f64() != Some(0.0));
        let line = is_news.then(|| {
            let values: Vec<String> = group.iter().map(|(_, value)| shown(value)).collect();
            values.join(", ")
        });
        append(&dir, &file, &head, line.as_deref())?;
        if is_news {
            status.extend(
                group
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value)),
            );
        }
    }
    let write = |name: &str, value: &Json| {
        let text = pyjson::line(value);
        dir.write(name, text.as_bytes(), 0o644, None, Durable::No)
    };
    write("monitor_resource.status.json", &Json::Object(status))?;
    let processes = store.process_sums(&user.name, &date, &minute)?;
    let list: Vec<Json> = processes
        .iter()
        .map(|sums| {
            let mut entry = json!({
                "pid": sums.pid,
                "cpu_percent": round(sums.cpu_percent / sums.count),
                "cpu_time": round(sums.cpu_time / 60.0),
                "cpu_num_threads": round(sums.threads / sums.count),
                "memory_percent": round(sums.memory_percent / sums.count),
                "memory_rss": round(sums.memory_rss / MIB),
                "io_rw_counter": round(sums.io_bytes / sums.count),
                "io_cycles_counter": round(sums.io_calls / sums.count),
            });
            let pid = sums.pid as u32;
            if let (Some(process), Some(entry)) = (now.process(pid), entry.as_object_mut())
                && process.user == user.name
            {
                let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let words: Vec<Json> = command
                    .split(|byte| *byte == 0)
                    .filter(|word| !word.is_empty())
                    .map(|word| String::from_utf8_lossy(word).into())
                    .collect();
                entry.insert("name".into(), process.name.clone().into());
                entry.insert("command".into(), words.into());
                entry.insert("user".into(), process.user.clone().into());
                let started = sample::started_text(now.started(process));
                entry.insert("date".into(), started.into());
            }
            entry
        })
        .collect();
    if list.is_empty() {
        return Ok(());
    }
    write("monitor_process_resource.status.json", &Json::Array(list))
}

type Figures = Vec<(&'static str, Json)>;

/// The three groups of a partition's figures, in upstream's order.
fn figures(sums: &Sums, when: &str) -> (Figures, Figures, Figures) {
    (
        vec![
            ("date", when.into()),
            ("total_process", sums.processes.into()),
            ("cpu_percent", round(sums.cpu_percent).into()),
            ("cpu_time", round(sums.cpu_time / 60.0).into()),
            ("cpu_num_threads", round(sums.threads).into()),
        ],
        vec![
            ("date", when.into()),
            ("memory_percent", round(sums.memory_percent).into()),
            ("memory_rss", round(sums.memory_rss / MIB).into()),
        ],
        vec![
            ("date", when.into()),
            ("io_rw_counter", round(sums.io_bytes).into()),
            ("io_cycles_counter", round(sums.io_calls).into()),
            (
                "disk_used",
                sums.disk_kib
                    .map_or(0.into(), |kib| round(kib / 1024.0).into()),
            ),
        ],
    )
}

/// A value as Python's `str` has it.
fn shown(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Number(number) if number.is_f64() => {
            python::float(number.as_f64().unwrap_or_default())
        }
        other => other.to_string(),
    }
}

/// Most bytes of a file of figures; an older one is begun anew where nobody rotates it.
const DATA_BYTES_MAX: u64 = 8 << 20;

/// Adds a line to a list in a file that ends in `]}`. One that does not is begun anew.
fn append(dir: &Dir, name: &str, head: &str, line: Option<&str>) -> io::Result<()> {
    let whole = match dir.stat(name)? {
        Some(stat) if (stat.st_size as u64) < DATA_BYTES_MAX => dir
            .read_tail(name, 2)
            .is_ok_and(|tail| tail.as_deref() == Some(b"]}")),
        _ => false,
    };
    if !whole {
        dir.write(name, head.as_bytes(), 0o644, None, Durable::No)?;
    }
    match line {
        Some(line) => dir.replace_end(name, 2, format!(",\"{line}\"]}}").as_bytes()),
        None => Ok(()),
    }
}

/// What Prometheus' node_exporter takes from its directory of text files.
pub(super) fn metrics(
    store: &Store,
    users: &[User],
    machine: &Machine,
    processes: &[Row],
    path: &Path,
) -> io::Result<()> {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, values: &[(String, f64)]| {
        let _ = writeln!(
            text,
            "# HELP slapos_{name} {help}\n# TYPE slapos_{name} gauge"
        );
        for (labels, value) in values {
            let _ = writeln!(text, "slapos_{name}{labels} {value}");
        }
    };
    gauge(
        "node_cpu_percent",
        "Use of all processors.",
        &[(String::new(), machine.cpu_percent)],
    );
    gauge(
        "node_memory_used_bytes",
        "Memory that is in use.",
        &[(
            String::new(),
            machine
                .memory_total
                .saturating_sub(machine.memory_available) as f64,
        )],
    );
    let label = |user: &User| {
        let name = user.path.file_name().unwrap_or_default().to_string_lossy();
        format!("{{partition=\"{}\"}}", name.replace(['\\', '"', '\n'], "_"))
    };
    let sum = |value: &dyn Fn(&Row) -> f64| -> Vec<(String, f64)> {
        users
            .iter()
            .map(|user| {
                let rows = processes.iter().filter(|row| row.user == user.name);
                (label(user), rows.map(value).sum())
            })
            .collect()
    };
    gauge(
        "partition_processes",
        "Processes of a partition.",
        &sum(&|_| 1.0),
    );
    gauge(
        "partition_cpu_percent",
        "Use of processors by a partition; 100 is one processor.",
        &sum(&|row| row.cpu_percent),
    );
    gauge(
        "partition_memory_bytes",
        "Resident memory of a partition's processes.",
        &sum(&|row| row.memory_rss as f64),
    );
    let mut disks = Vec::new();
    for user in users {
        let last = store.number(
            "select disk_used from folder where partition = ? order by date desc, time desc limit 1",
            &[&user.name],
        )?;
        disks.extend(last.map(|kib| (label(user), kib * 1024.0)));
    }
    gauge(
        "partition_disk_bytes",
        "What a partition took up on its disks when that was last measured.",
        &disks,
    );
    safe_fs::write(path, text.as_bytes(), 0o644, Durable::No)
}
