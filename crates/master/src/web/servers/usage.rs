//! What a server said it used, as pictures: a value a day.

use maud::{Markup, html};

use super::super::Icon;
use super::super::parts::{chart, empty};
use crate::domain::usage::{CPU_PERCENT, MEMORY_BYTES, quantity};
use crate::store::{NodeRecord, UsageRecord};

/// Reports that are looked at.
pub(super) const DAYS: i64 = 30;

/// What is drawn: the resource as reports call it, its name, its unit, and how many of the report's
/// units make one of ours.
const DRAWN: &[(&str, &str, &str, f64)] = &[
    (CPU_PERCENT, "Processor", "%", 1.0),
    (MEMORY_BYTES, "Memory", "GiB", (1_u64 << 30) as f64),
];

/// Pictures of what a server used, from reports that come the latest first.
pub(super) fn charts(node: &NodeRecord, reports: &[UsageRecord]) -> Markup {
    let reference = node.node.to_string();
    let drawn: Vec<Markup> = DRAWN
        .iter()
        .filter_map(|(resource, name, unit, per)| {
            let values: Vec<f64> = reports
                .iter()
                .rev()
                .filter_map(|report| quantity(&report.body, resource, &reference))
                .map(|value| value / per)
                .collect();
            chart(name, unit, &values)
        })
        .collect();
    if drawn.is_empty() {
        return empty(
            Icon::Health,
            "No usage reported yet",
            &html! {
                p {
                    "The server measures once a minute with " code { "slapos node collect" }
                    " and tells once a day with " code { "slapos node report" } "."
                }
            },
        );
    }
    html! {
        div.charts { @for chart in &drawn { (chart) } }
        p.muted { "Averages of each day, over " (reports.len()) " reports." }
    }
}
