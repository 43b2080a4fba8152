//! The results as a table in Markdown.

use std::fmt::Write;
use std::time::Duration;

use super::{Phase, Results};
use crate::process::Memory;
use crate::stats::percentile;

pub(super) fn markdown(results: &Results) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |what: &str, value: String| rows.push((what.to_owned(), value));
    let requests = &results.requests;
    row(
        "share of the challenge",
        format!("{} %", results.share * 100.0),
    );
    row("database", results.database.to_owned());
    row(
        "nodes, instances",
        format!("{}, {}", results.nodes, requests.outcome.replies),
    );
    row(
        "nodes made (registered, described, release available)",
        seconds(results.registered),
    );
    row(
        &format!(
            "**instances requested**, {} connections",
            results.connections
        ),
        format!("**{}**", seconds(requests.outcome.elapsed)),
    );
    speed(&mut row, requests);
    row(
        "the same requests again",
        format!("{:.0}/s", results.again.outcome.per_second()),
    );
    row("– latency p50, p99", latencies(&results.again));
    row(
        "documents of nodes, nothing ready",
        format!(
            "{:.0}/s of {:.0} kB",
            results.documents.outcome.per_second(),
            results.documents.outcome.mean_body() / 1000.0
        ),
    );
    row(
        "memory of the Master after the requests: resident, of that private",
        memory(requests.memory),
    );
    row(
        "– after all documents were read",
        memory(results.documents.memory),
    );
    row(
        "database on disk",
        format!("{} MB", results.database_bytes / 1_000_000),
    );
    let rest = &results.rest;
    row(
        "idle: polls answered 304, one a minute for each node",
        format!("{:.0}/s", rest.paced.outcome.per_second()),
    );
    row("– latency p50, p99", latencies(&rest.paced));
    row(
        "– processor of the Master",
        format!(
            "{:.2} %",
            100.0 * rest.paced.master_cpu_s / rest.paced.outcome.elapsed.as_secs_f64().max(1e-9)
        ),
    );
    row(
        "– memory, all nodes connected for events",
        memory(rest.memory),
    );
    row(
        "idle: such polls at most",
        format!("{:.0}/s", rest.fastest.outcome.per_second()),
    );
    row(
        "a change: reply p50; event at its node p50, p99",
        format!(
            "{:.2?}; {:.2?}, {:.2?}",
            percentile(&rest.replies, 50),
            percentile(&rest.events, 50),
            percentile(&rest.events, 99)
        ),
    );
    for page in &results.pages {
        row(
            &format!("page `/{}`: p50, p99; size", page.path),
            format!(
                "{:.2?}, {:.2?}; {:.0} kB",
                page.percentile(50),
                page.percentile(99),
                page.outcome.mean_body() / 1000.0
            ),
        );
    }
    let mut text = String::from("| what | |\n|---|--:|\n");
    for (what, value) in rows {
        // Writing to a String does not fail.
        let _ = writeln!(text, "| {what} | {value} |");
    }
    text
}

fn speed(row: &mut dyn FnMut(&str, String), phase: &Phase) {
    row(
        "– per second",
        format!("{:.0}/s", phase.outcome.per_second()),
    );
    row("– latency p50, p99", latencies(phase));
    row(
        "– processor time for each: Master, client",
        format!(
            "{:.0} µs, {:.0} µs",
            1e6 * phase.master_cpu_s / phase.outcome.replies.max(1) as f64,
            1e6 * phase.client_cpu_s / phase.outcome.replies.max(1) as f64
        ),
    );
}

fn latencies(phase: &Phase) -> String {
    format!("{:.2?}, {:.2?}", phase.percentile(50), phase.percentile(99))
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// What is resident and not private is mapped from the database's file, which the system can drop;
/// a page that several connections map counts several times.
fn memory(memory: Memory) -> String {
    let megabytes = |kib: u64| kib * 1024 / 1_000_000;
    format!(
        "{} MB, {} MB",
        megabytes(memory.resident_kib),
        megabytes(memory.private_kib)
    )
}
