//! Long work shown as it goes: a moving line on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use node::{Event, Observer};

/// Redraws per second are enough for a person.
const TICK: Duration = Duration::from_millis(120);

/// One line that says what is waited for. Gone when it is dropped.
pub(crate) struct Spinner {
    bar: ProgressBar,
    said: Mutex<String>,
}

impl Spinner {
    pub(crate) fn start(text: &str) -> Spinner {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        bar.set_style(style());
        bar.enable_steady_tick(TICK);
        let spinner = Spinner {
            bar,
            said: Mutex::new(String::new()),
        };
        spinner.say(text);
        spinner
    }

    /// Changes the line. Without a terminal each new text is printed once.
    pub(crate) fn say(&self, text: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if *said != text {
            text.clone_into(&mut said);
            self.bar.set_message(text.to_owned());
            if self.bar.is_hidden() {
                tracing::info!("{text}");
            }
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style() -> ProgressStyle {
    let template = if crate::output::stderr_is_coloured() {
        "{spinner:.cyan} {wide_msg} {elapsed:.dim}"
    } else {
        "{spinner} {wide_msg} {elapsed}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// Shows what a node's command does: one moving line per release and partition on a terminal, the
/// log's lines elsewhere.
pub(crate) struct NodeProgress {
    /// `None` without a terminal: then every event is logged.
    bars: Option<MultiProgress>,
    open: Mutex<BTreeMap<String, ProgressBar>>,
}

impl NodeProgress {
    pub(crate) fn new(quiet: bool, verbose: u8) -> NodeProgress {
        let moving = std::io::stderr().is_terminal() && !quiet && verbose == 0;
        NodeProgress {
            bars: moving.then(MultiProgress::new),
            open: Mutex::new(BTreeMap::new()),
        }
    }

    fn show(&self, bars: &MultiProgress, key: &str, text: String) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = open.entry(key.to_owned()).or_insert_with(|| {
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_style(style());
            bar.enable_steady_tick(TICK);
            bar
        });
        bar.set_message(text);
    }

    fn close(&self, key: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = open.remove(key) {
            bar.finish_and_clear();
        }
    }

    fn above(bars: &MultiProgress, text: &str) {
        // Nowhere to print to is no reason to stop.
        let _ = bars.println(text);
    }
}

impl Observer for NodeProgress {
    fn event(&self, event: &Event<'_>) {
        let Some(bars) = &self.bars else {
            return node::LogObserver.event(event);
        };
        match event {
            Event::BuilderSetup { step: "ready" } => self.close("builder"),
            Event::BuilderSetup { step } => {
                self.show(bars, "builder", format!("preparing the builder: {step}"));
            }
            Event::BuilderOutput { line } => {
                self.show(bars, "builder", format!("preparing the builder: {line}"));
            }
            Event::ReleaseStarted { release, .. } => {
                self.show(bars, release.as_str(), format!("building {release}"));
            }
            Event::ReleaseOutput { release, line } => {
                self.show(
                    bars,
                    release.as_str(),
                    format!("building {release}: {line}"),
                );
            }
            Event::ReleaseFinished {
                release,
                elapsed,
                error,
            } => {
                // Also where the builder itself could not be made ready.
                self.close("builder");
                self.close(release.as_str());
                Self::above(
                    bars,
                    &match error {
                        None => format!("built {release} in {:.1} s", elapsed.as_secs_f64()),
                        Some(error) => format!("FAILED {release}: {error}"),
                    },
                );
            }
            Event::PartitionStarted {
                partition, goal, ..
            } => self.show(
                bars,
                partition.as_str(),
                format!("{partition}: processing, shall be {goal}"),
            ),
            Event::PartitionOutput { partition, line } => {
                self.show(bars, partition.as_str(), format!("{partition}: {line}"));
            }
            Event::PartitionFinished {
                partition,
                elapsed,
                error,
            } => {
                self.close(partition.as_str());
                Self::above(
                    bars,
                    &match error {
                        None => format!("{partition}: done in {:.1} s", elapsed.as_secs_f64()),
                        Some(error) => format!("{partition}: FAILED: {error}"),
                    },
                );
            }
            Event::PromisesChecked {
                partition,
                promises,
                failing,
            } => {
                self.close(partition.as_str());
                Self::above(
                    bars,
                    &match failing {
                        0 => format!("{partition}: {promises} promises, all well"),
                        _ => format!("{partition}: {failing} of {promises} promises fail"),
                    },
                );
            }
            // The bars above said it already.
            Event::PartitionUpToDate { .. } => {}
            Event::Summary(lines) if lines.len() <= 1 => {}
            other => bars.suspend(|| node::LogObserver.event(other)),
        }
    }
}
