//! The table.

use std::fmt::Write as _;
use std::fs;

use crate::cli::{self, CliFigures};
use crate::masters::{Figures, MasterFigures, Work};
use crate::node::NodeFigures;
use crate::process::{Measured, Memory};
use crate::services::ServicesFigures;
use crate::stats::median;

/// All that was measured; the first of each list is ours, the second upstream's.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) peers: Vec<String>,
    pub(crate) master: Vec<MasterFigures>,
    pub(crate) node: Vec<NodeFigures>,
    pub(crate) services: Vec<ServicesFigures>,
    pub(crate) cli: Vec<CliFigures>,
    /// What the generator does against a server that does nothing: requests per second with one
    /// and with many connections.
    pub(crate) generator: Option<[f64; 2]>,
    pub(crate) machine: Machine,
}

/// Where and when it was measured, and how.
#[derive(Default)]
pub(crate) struct Machine {
    pub(crate) description: String,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
    pub(crate) connections: usize,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) node_partitions: usize,
    pub(crate) partitions: usize,
    pub(crate) node_runs: usize,
    pub(crate) services: usize,
    pub(crate) idle_seconds: f64,
    pub(crate) runs: usize,
}

/// One line of a table.
struct Row {
    what: String,
    ours: f64,
    upstream: Option<f64>,
    unit: Unit,
    /// How many times better we want to be; nothing where it is told for information.
    aim: Option<f64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Unit {
    PerSecond,
    Seconds,
    Kib,
    Percent,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::PerSecond if value < 100.0 => format!("{value:.1}/s"),
            Unit::PerSecond => format!("{}/s", thousands(value)),
            Unit::Seconds if value < 0.001 => format!("{:.0} µs", value * 1e6),
            Unit::Seconds if value < 0.1 => format!("{:.2} ms", value * 1e3),
            Unit::Seconds if value < 1.0 => format!("{:.0} ms", value * 1e3),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Kib => format!("{:.1} MB", value / 1024.0),
            Unit::Percent => format!("{value:.3} %"),
        }
    }
}

/// A number in groups of three digits.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Row {
    /// How many times better ours is.
    fn ratio(&self) -> Option<f64> {
        let upstream = self.upstream?;
        let (better, worse) = match self.unit {
            Unit::PerSecond => (self.ours, upstream),
            Unit::Seconds | Unit::Kib | Unit::Percent => (upstream, self.ours),
        };
        (worse > 0.0).then_some(better / worse)
    }

    fn markdown(&self) -> String {
        let ours = self.unit.show(self.ours);
        let aim = self.aim.map_or("–".to_owned(), |aim| format!("{aim:.0}×"));
        let Some((upstream, ratio)) = self.upstream.zip(self.ratio()) else {
            let upstream = self.upstream.map_or("–".to_owned(), |n| self.unit.show(n));
            return format!("| {} | {ours} | {upstream} | – | {aim} | – |", self.what);
        };
        let times = if ratio < 10.0 {
            format!("{ratio:.1}×")
        } else {
            format!("{}×", thousands(ratio))
        };
        let reached = match self.aim {
            Some(aim) if ratio >= aim => "yes",
            Some(_) => "**no**",
            None => "–",
        };
        format!(
            "| {} | {ours} | {} | {times} | {aim} | {reached} |",
            self.what,
            self.unit.show(upstream)
        )
    }
}

/// Times better than upstream, as the project wants it.
const AIM_THROUGHPUT: Option<f64> = Some(100.0);
const AIM_LATENCY: Option<f64> = Some(50.0);
/// The prompt in a third of the time.
const AIM_CONSOLE: Option<f64> = Some(3.0);
/// Of what is measured of a program: wall time, CPU time, memory.
const AIMS: [Option<f64>; 3] = [AIM_LATENCY, AIM_LATENCY, AIM_MEMORY];
const NO_AIMS: [Option<f64>; 3] = [None; 3];
const AIM_MEMORY: Option<f64> = Some(10.0);

/// The whole report, in Markdown.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}\n", results.machine.description);
    for (name, peer) in ["Ours", "Upstream"].iter().zip(&results.peers) {
        let _ = writeln!(text, "- {name}: {peer}");
    }
    let _ = writeln!(
        text,
        "- Load average (1, 5, 15 minutes) before: {}; after: {}",
        results.machine.load_before, results.machine.load_after
    );
    if let Some([one, many]) = results.generator {
        let _ = writeln!(
            text,
            "- The load generator itself, against a server that only answers `ok`: {}/s with one \
             connection, {}/s with {}",
            thousands(one),
            thousands(many),
            results.machine.connections
        );
    }
    if !results.master.is_empty() {
        master(results, &mut text);
    }
    if !results.node.is_empty() {
        node(results, &mut text);
    }
    if !results.services.is_empty() {
        services(results, &mut text);
    }
    if !results.cli.is_empty() {
        command_line(results, &mut text);
    }
    text
}

fn table(text: &mut String, rows: &[Row]) {
    text.push_str("| what | ours | upstream | better by | aim | reached |\n");
    text.push_str("|---|--:|--:|--:|--:|---|\n");
    for row in rows {
        let _ = writeln!(text, "{}", row.markdown());
    }
}

fn master(results: &Results, text: &mut String) {
    let machine = &results.machine;
    let _ = writeln!(
        text,
        "\n### The Master\n\n\
         Over HTTP on loopback. Medians of {} rounds of at most {} s each. New requests go to free \
         nodes of {} partitions.\n",
        machine.rounds, machine.seconds, machine.node_partitions
    );
    let mut rows = Vec::new();
    let pair = |value: &dyn Fn(&MasterFigures) -> f64| {
        (value(&results.master[0]), results.master.get(1).map(value))
    };
    let mut add = |what: String, unit, aim, value: &dyn Fn(&MasterFigures) -> f64| {
        let (ours, upstream) = pair(value);
        rows.push(Row {
            what,
            ours,
            upstream,
            unit,
            aim,
        });
    };
    let columns = [
        (0, "1 connection".to_owned()),
        (1, format!("{} connections", machine.connections)),
    ];
    for (index, work) in Work::ALL.into_iter().enumerate() {
        let title = work.title();
        for (column, name) in &columns {
            let of = |value: fn(&Figures) -> f64| {
                move |master: &MasterFigures| value(&master.work[index][*column])
            };
            add(
                format!("{title}, {name}"),
                Unit::PerSecond,
                AIM_THROUGHPUT,
                &of(|figures| figures.per_second),
            );
            add(
                "– latency p50".to_owned(),
                Unit::Seconds,
                AIM_LATENCY,
                &of(|figures| figures.p50_s),
            );
            add(
                "– latency p99".to_owned(),
                Unit::Seconds,
                AIM_LATENCY,
                &of(|figures| figures.p99_s),
            );
            add(
                "– CPU of the Master for each".to_owned(),
                Unit::Seconds,
                AIM_THROUGHPUT,
                &of(|figures| figures.cpu_s),
            );
        }
    }
    let grown: Vec<String> = results
        .master
        .iter()
        .map(|master| thousands(master.instances as f64))
        .collect();
    let grown = format!(
        "memory, after new requests as well: {} instances",
        grown.join(" and ")
    );
    type Of = fn(&MasterFigures) -> Memory;
    let memories: [(&str, Option<f64>, Of); 3] = [
        ("memory, idle after start", AIM_MEMORY, |master| master.idle),
        (
            "memory, after repeated requests and reading, 200 instances",
            AIM_MEMORY,
            |master| master.loaded,
        ),
        (&grown, None, |master| master.grown),
    ];
    for (title, aim, of) in memories {
        add(title.to_owned(), Unit::Kib, aim, &|master| {
            of(master).resident_kib as f64
        });
        add("– of that private".to_owned(), Unit::Kib, aim, &|master| {
            of(master).private_kib as f64
        });
    }
    table(text, &rows);
    let replies: Vec<String> = results
        .master
        .iter()
        .map(|master| {
            let all = |count: fn(&Figures) -> usize| {
                thousands(master.work.iter().flatten().map(count).sum::<usize>() as f64)
            };
            format!(
                "{} on {} connections",
                all(|f| f.replies),
                all(|f| f.connects)
            )
        })
        .collect();
    let bytes: Vec<String> = results
        .master
        .iter()
        .map(|master| thousands(master.work[2][0].body_bytes))
        .collect();
    let _ = writeln!(
        text,
        "\nReplies measured: {} (who closes after each reply needs one connection for each). Size of the node's document: {} bytes; the documents were \
         compared and say the same.",
        replies.join(" and "),
        bytes.join(" and ")
    );
    if let Some(given_twice) = results
        .master
        .get(1)
        .map(|master| master.given_twice)
        .filter(|n| *n > 0)
    {
        let _ = writeln!(
            text,
            "\nOf upstream's new requests, {given_twice} were answered with a partition that another \
             request got at the same time: the later one overwrote the earlier. They are counted \
             as if they had been served. Of ours, none."
        );
    }
}

fn node(results: &Results, text: &mut String) {
    let machine = &results.machine;
    let _ = writeln!(
        text,
        "\n### The node\n\n\
         `slapos node instance` on {} partitions, each with two programs and one plugin promise. \
         Medians of {} runs; memory of the largest process.\n",
        machine.partitions, machine.node_runs
    );
    let mut rows = Vec::new();
    type Runs = fn(&NodeFigures) -> &Vec<Measured>;
    let kinds: [(&str, [Option<f64>; 3], Runs); 5] = [
        ("nothing changed, no promise due", AIMS, |node| {
            &node.unchanged
        }),
        ("nothing changed, every promise due", NO_AIMS, |node| {
            &node.due
        }),
        ("one instance changed", NO_AIMS, |node| &node.one_changed),
        ("all instances changed (once)", NO_AIMS, |node| {
            &node.all_changed
        }),
        ("first run, which deploys all (once)", NO_AIMS, |node| {
            &node.first
        }),
    ];
    for (title, aims, runs) in kinds {
        let runs: Vec<&Vec<Measured>> = results.node.iter().map(runs).collect();
        measured_rows(&mut rows, title, aims, &runs);
    }
    type Part = fn(&Memory) -> u64;
    let parts: [(&str, Part); 2] = [
        ("memory of the supervisor, all programs running", |memory| {
            memory.resident_kib
        }),
        ("– of that private", |memory| memory.private_kib),
    ];
    for (what, part) in parts {
        let of = |node: &NodeFigures| part(&node.supervisor) as f64;
        rows.push(Row {
            what: what.to_owned(),
            ours: of(&results.node[0]),
            upstream: results.node.get(1).map(of),
            unit: Unit::Kib,
            aim: None,
        });
    }
    table(text, &rows);
}

fn services(results: &Results, text: &mut String) {
    let machine = &results.machine;
    let _ = writeln!(
        text,
        "\n### The supervisor\n\n\
         {} programs that only sleep, from the start of the supervisor until all of them run. \
         Medians of {} runs, in turn; idle for {:.0} s.\n",
        machine.services, machine.rounds, machine.idle_seconds
    );
    type Part = fn(&ServicesFigures) -> Vec<f64>;
    let parts: [(&str, Unit, Part); 5] = [
        ("all started", Unit::Seconds, |figures| {
            figures.start_s.clone()
        }),
        ("idle, share of a processor", Unit::Percent, |figures| {
            figures.idle_share.clone()
        }),
        ("all stopped", Unit::Seconds, |figures| {
            figures.stop_s.clone()
        }),
        ("memory", Unit::Kib, |figures| {
            let of = |memory: &Memory| memory.resident_kib as f64;
            figures.memory.iter().map(of).collect()
        }),
        ("– of that private", Unit::Kib, |figures| {
            let of = |memory: &Memory| memory.private_kib as f64;
            figures.memory.iter().map(of).collect()
        }),
    ];
    let rows: Vec<Row> = parts
        .into_iter()
        .map(|(what, unit, part)| Row {
            what: what.to_owned(),
            ours: median(&part(&results.services[0])),
            upstream: results
                .services
                .get(1)
                .map(|figures| median(&part(figures))),
            unit,
            aim: None,
        })
        .collect();
    table(text, &rows);
}

fn command_line(results: &Results, text: &mut String) {
    let _ = writeln!(
        text,
        "\n### The command line\n\n\
         Medians of {} runs, in turn, after one that is not counted; each against its own Master.\n",
        results.machine.runs
    );
    let mut rows = Vec::new();
    for (index, command) in cli::COMMANDS.iter().enumerate() {
        let runs: Vec<&Vec<Measured>> = results.cli.iter().map(|cli| &cli[index]).collect();
        // Both start a Python there, which is most of it.
        let aims = if command.contains("console") {
            [AIM_CONSOLE, None, None]
        } else {
            AIMS
        };
        measured_rows(&mut rows, &format!("`{command}`"), aims, &runs);
    }
    table(text, &rows);
}

/// Wall time, CPU time and memory of some runs of both.
fn measured_rows(
    rows: &mut Vec<Row>,
    title: &str,
    aims: [Option<f64>; 3],
    runs: &[&Vec<Measured>],
) {
    type Value = fn(&Measured) -> f64;
    let values: [(String, Unit, Option<f64>, Value); 3] = [
        (title.to_owned(), Unit::Seconds, aims[0], |run| run.wall_s),
        ("– CPU".to_owned(), Unit::Seconds, aims[1], |run| {
            run.cpu_s
        }),
        ("– memory".to_owned(), Unit::Kib, aims[2], |run| {
            run.max_rss_kib as f64
        }),
    ];
    for (what, unit, aim, value) in values {
        let of = |runs: &&Vec<Measured>| median(&runs.iter().map(value).collect::<Vec<_>>());
        let Some(ours) = runs.first().map(of) else {
            continue;
        };
        rows.push(Row {
            what,
            ours,
            upstream: runs.get(1).map(of),
            unit,
            aim,
        });
    }
}

/// Processor, memory, kernel, file system, without the machine's name.
pub(crate) fn machine(directory: &std::path::Path) -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split(':').nth(1))
            .map(|value| value.trim().to_owned())
            .unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory: f64 = field(&read("/proc/meminfo"), "MemTotal")
        .split(' ')
        .next()
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0.0);
    let kernel = read("/proc/sys/kernel/osrelease");
    let system = read("/etc/os-release");
    let system = system
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .unwrap_or_default();
    format!(
        "{} × {}, {:.0} GiB, {system}, Linux {}; state on {}",
        cores,
        field(&read("/proc/cpuinfo"), "model name"),
        memory / 1024.0 / 1024.0,
        kernel.trim(),
        file_system(directory)
    )
}

/// The kind of file system a directory is on: the longest mount point that holds it.
fn file_system(directory: &std::path::Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let point = fields.next()?;
            directory
                .starts_with(point)
                .then(|| (point.len(), fields.next()))
        })
        .max_by_key(|(length, _)| *length)
        .and_then(|(_, kind)| kind)
        .unwrap_or("an unknown file system")
        .to_owned()
}

/// How busy the machine is.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(", ")
}

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// Replaces what stands between the two marks of a document; without the marks, all of it.
pub(crate) fn insert(document: &str, measured: &str) -> String {
    let parts = document
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    match parts {
        Some((before, after)) => format!("{before}{BEGIN}\n{measured}{END}{after}"),
        None => measured.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn rows_say_how_much_better_and_whether_that_was_the_aim() {
        let row = |ours, upstream, unit, aim| {
            Row {
                what: "x".into(),
                ours,
                upstream,
                unit,
                aim: Some(aim),
            }
            .markdown()
        };
        for (line, expected) in [
            (
                row(15_000.0, Some(100.0), Unit::PerSecond, 100.0),
                "| x | 15,000/s | 100/s | 150× | 100× | yes |",
            ),
            (
                row(0.002, Some(0.0150), Unit::Seconds, 50.0),
                "| x | 2.00 ms | 15.00 ms | 7.5× | 50× | **no** |",
            ),
            (
                row(5120.0, None, Unit::Kib, 10.0),
                "| x | 5.0 MB | – | – | 10× | – |",
            ),
        ] {
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn numbers_are_grouped() {
        for (value, text) in [
            (0.0, "0"),
            (999.0, "999"),
            (1000.0, "1,000"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(thousands(value), text);
        }
    }

    #[test]
    fn only_the_measured_part_is_replaced() {
        let document = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(
            insert(&document, "new\n"),
            format!("a\n{BEGIN}\nnew\n{END}\nb\n")
        );
        assert_eq!(insert("", "new\n"), "new\n");
    }
}
