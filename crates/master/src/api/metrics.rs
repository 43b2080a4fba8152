//! Counts what is called, and writes it down in the text form Prometheus reads.

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;

use super::endpoint::endpoints;
use super::traffic::Traffic;
use crate::domain::NodeReference;

/// Upper ends of the classes of durations, in microseconds.
const BOUNDS_MICROSECONDS: [u64; 10] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000,
];
/// First digits of statuses: 2 to 5.
const CLASSES: usize = 4;

#[derive(Default)]
struct Counter {
    by_class: [AtomicU64; CLASSES],
    by_duration: [AtomicU64; BOUNDS_MICROSECONDS.len() + 1],
    microseconds: AtomicU64,
}

/// What is counted since the start.
pub(crate) struct Metrics {
    /// One for each endpoint, in the table's order.
    endpoints: Vec<Counter>,
    /// Requests for what is not in the table, by the class of the answer.
    elsewhere: Counter,
    under_way: AtomicI64,
    /// The last minutes.
    pub(crate) traffic: Traffic,
    /// Documents of nodes: answered "not modified", from memory, built.
    pub(crate) documents_unchanged: AtomicU64,
    pub(crate) documents_kept: AtomicU64,
    pub(crate) documents_built: AtomicU64,
}

/// A request that is under way; it is not any more when this is dropped.
pub(crate) struct UnderWay<'a>(&'a AtomicI64);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Metrics {
            endpoints: endpoints().map(|_| Counter::default()).collect(),
            elsewhere: Counter::default(),
            under_way: AtomicI64::new(0),
            traffic: Traffic::new(),
            documents_unchanged: AtomicU64::new(0),
            documents_kept: AtomicU64::new(0),
            documents_built: AtomicU64::new(0),
        }
    }

    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(&self.under_way)
    }

    /// Counts an answer; `index` is the endpoint's place in the table.
    pub(crate) fn answered(&self, index: Option<usize>, status: StatusCode, took: Duration) {
        let counter = index
            .and_then(|index| self.endpoints.get(index))
            .unwrap_or(&self.elsewhere);
        let class = usize::from(status.as_u16() / 100).clamp(2, 5) - 2;
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.traffic
            .answered(status.is_server_error(), microseconds);
        let duration = BOUNDS_MICROSECONDS.partition_point(|bound| *bound < microseconds);
        let counted = [
            counter.by_class.get(class),
            counter.by_duration.get(duration),
        ];
        for cell in counted.into_iter().flatten() {
            cell.fetch_add(1, Ordering::Relaxed);
        }
        counter
            .microseconds
            .fetch_add(microseconds, Ordering::Relaxed);
    }

    /// Requests being answered now.
    pub(crate) fn under_way(&self) -> i64 {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Everything counted; `gauges` are further values: name, help, value.
    pub(crate) fn text(&self, gauges: &[(&str, &str, i64)]) -> String {
        let mut out = String::with_capacity(16 << 10);
        self.write_requests(&mut out);
        self.write_durations(&mut out);
        let count = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        head(
            &mut out,
            "slapos_master_node_documents_total",
            "counter",
            "Documents of nodes, by how they were answered.",
        );
        for (how, cell) in [
            ("unchanged", &self.documents_unchanged),
            ("kept", &self.documents_kept),
            ("built", &self.documents_built),
        ] {
            line(
                &mut out,
                format_args!(
                    "slapos_master_node_documents_total{{how=\"{how}\"}} {}",
                    count(cell)
                ),
            );
        }
        head(
            &mut out,
            "slapos_master_requests_under_way",
            "gauge",
            "Requests being answered now.",
        );
        line(
            &mut out,
            format_args!("slapos_master_requests_under_way {}", self.under_way()),
        );
        for (name, help, value) in gauges {
            head(&mut out, name, "gauge", help);
            line(&mut out, format_args!("{name} {value}"));
        }
        out
    }

    /// Each endpoint that was called, as labels.
    fn called(&self) -> impl Iterator<Item = (String, &Counter)> {
        endpoints()
            .zip(&self.endpoints)
            .map(|(endpoint, counter)| {
                let (api, verb) = (endpoint.api.as_str(), endpoint.verb.as_str());
                let name = endpoint.name;
                let labels = format!("api=\"{api}\",name=\"{name}\",verb=\"{verb}\"");
                (labels, counter)
            })
            .chain([("api=\"none\"".to_owned(), &self.elsewhere)])
            .filter(|(_, counter)| {
                counter
                    .by_class
                    .iter()
                    .any(|cell| cell.load(Ordering::Relaxed) > 0)
            })
    }

    fn write_requests(&self, out: &mut String) {
        const NAME: &str = "slapos_master_requests_total";
        head(
            out,
            NAME,
            "counter",
            "Requests answered, by the first digit of the status.",
        );
        for (labels, counter) in self.called() {
            for (digit, cell) in (2..).zip(&counter.by_class) {
                let count = cell.load(Ordering::Relaxed);
                if count > 0 {
                    line(
                        out,
                        format_args!("{NAME}{{{labels},status=\"{digit}xx\"}} {count}"),
                    );
                }
            }
        }
    }

    fn write_durations(&self, out: &mut String) {
        const NAME: &str = "slapos_master_request_seconds";
        head(out, NAME, "histogram", "Time to the answer.");
        for (labels, counter) in self.called() {
            let mut sum = 0;
            let mut bounds = BOUNDS_MICROSECONDS.iter();
            for cell in &counter.by_duration {
                sum += cell.load(Ordering::Relaxed);
                let bound = bounds
                    .next()
                    .map_or("+Inf".to_owned(), |bound| seconds(*bound));
                line(
                    out,
                    format_args!("{NAME}_bucket{{{labels},le=\"{bound}\"}} {sum}"),
                );
            }
            let total = seconds(counter.microseconds.load(Ordering::Relaxed));
            line(out, format_args!("{NAME}_sum{{{labels}}} {total}"));
            line(out, format_args!("{NAME}_count{{{labels}}} {sum}"));
        }
    }
}

/// A value for each node.
pub(crate) fn by_node(
    out: &mut String,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (NodeReference, f64)>,
) {
    let mut values = values.peekable();
    if values.peek().is_some() {
        head(out, name, "gauge", help);
    }
    for (node, value) in values {
        line(out, format_args!("{name}{{node=\"{node}\"}} {value}"));
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    line(
        out,
        format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"),
    );
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

fn seconds(microseconds: u64) -> String {
    let text = format!(
        "{}.{:06}",
        microseconds / 1_000_000,
        microseconds % 1_000_000
    );
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_written_in_prometheus_form() {
        let metrics = Metrics::new();
        let _one = metrics.begin();
        for (status, microseconds) in [(200, 90), (304, 100), (404, 101), (500, 9_000_000)] {
            metrics.answered(
                Some(0),
                StatusCode::from_u16(status).unwrap_or_default(),
                Duration::from_micros(microseconds),
            );
        }
        let text = metrics.text(&[("slapos_master_nodes", "Nodes.", 7)]);
        let first = endpoints().next().map_or("", |endpoint| endpoint.name);
        for expected in [
            &format!("name=\"{first}\",verb=\"get\",status=\"2xx\"}} 1"),
            &format!("name=\"{first}\",verb=\"get\",status=\"5xx\"}} 1"),
            "le=\"0.0001\"} 2",
            "le=\"0.00025\"} 3",
            "le=\"+Inf\"} 4",
            "slapos_master_requests_under_way 1",
            "slapos_master_nodes 7",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert_eq!(seconds(1_500_000), "1.5");
        assert_eq!(seconds(2_000_000), "2");
        assert_eq!(seconds(0), "0");
    }
}
