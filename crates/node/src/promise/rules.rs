//! A promise's log is its state: what its last executions said decides (N 4.4). No I/O.

use std::time::SystemTime;

use crate::time;

/// Longest message of a result, in characters; the end is what counts.
pub(crate) const MESSAGE_CHARS_MAX: usize = 5000;

/// When executions with errors are a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    /// How many of the latest executions are looked at.
    pub(crate) results: usize,
    /// How many of them, from the latest on, must have failed.
    pub(crate) failures: usize,
}

impl Rule {
    /// After a deployment one failure is enough.
    pub(crate) const TEST: Rule = Rule {
        results: 1,
        failures: 1,
    };
    /// Between deployments an executable must fail three times in a row.
    pub(crate) const ANOMALY: Rule = Rule {
        results: 3,
        failures: 3,
    };
}

/// A verdict: whether there is a problem, and what the latest execution said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) failed: bool,
    pub(crate) message: String,
}

/// One execution in the log.
#[derive(Debug, Default)]
struct Execution<'a> {
    id: &'a str,
    error: bool,
    messages: Vec<String>,
}

/// Judges a log by its latest executions.
pub(crate) fn judge(log: &str, rule: Rule) -> Verdict {
    let executions = latest(log, rule.results);
    let Some(last) = executions.first() else {
        return Verdict {
            failed: false,
            message: "No result found!".to_owned(),
        };
    };
    let failures = executions
        .iter()
        .filter(|execution| execution.error)
        .take(rule.failures)
        .count();
    let messages: Vec<&str> = last.messages.iter().map(|text| text.trim()).collect();
    Verdict {
        failed: last.error && failures == rule.failures,
        message: clip(messages.join("\n").trim()),
    }
}

/// The latest executions, the latest first.
fn latest(log: &str, count: usize) -> Vec<Execution<'_>> {
    let mut executions: Vec<Execution<'_>> = Vec::new();
    for line in log.lines() {
        match parse(line) {
            Some((level, id, message)) => {
                if executions.last().is_none_or(|last| last.id != id) {
                    executions.push(Execution {
                        id,
                        ..Execution::default()
                    });
                }
                if let Some(last) = executions.last_mut() {
                    last.error |= matches!(level, "ERROR" | "CRITICAL");
                    last.messages.push(message.to_owned());
                }
            }
            // Goes on from the line before; at the beginning of a cut log it belongs to nothing.
            None => {
                if let Some(text) = executions.last_mut().and_then(|e| e.messages.last_mut())
                    && !line.is_empty()
                {
                    text.push('\n');
                    text.push_str(line);
                }
            }
        }
    }
    executions.reverse();
    executions.truncate(count);
    executions
}

/// `2026-11-22 08:18:01 - LEVEL - <seconds>-<number> - message`
fn parse(line: &str) -> Option<(&str, &str, &str)> {
    let (date, rest) = line.split_at_checked(19)?;
    let shape: String = date
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    if shape != "0000-00-00 00:00:00" {
        return None;
    }
    let mut parts = rest.strip_prefix(" - ")?.splitn(3, " - ");
    let (level, id) = (parts.next()?, parts.next()?);
    let (seconds, number) = id.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (digits(seconds) && digits(number)).then_some((level, id, parts.next().unwrap_or_default()))
}

/// The line an execution of ours leaves in the log.
pub(crate) fn line(moment: SystemTime, failed: bool, message: &str) -> String {
    let level = if failed { "ERROR" } else { "INFO" };
    let unix = time::unix(moment);
    // Two executions within one second differ in the number.
    let number = 100 + (unix.fract() * 900.0) as u32;
    format!(
        "{} - {level} - {}-{number} - {message}\n",
        time::local(moment),
        unix as u64
    )
}

/// The end of a message that is too long.
pub(crate) fn clip(message: &str) -> String {
    let chars = message.chars().count();
    if chars <= MESSAGE_CHARS_MAX {
        return message.to_owned();
    }
    let end: String = message.chars().skip(chars - MESSAGE_CHARS_MAX).collect();
    format!("...{end}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// A log of executions, the oldest first; `E` failed.
    fn log(executions: &str) -> String {
        let mut log = String::new();
        for (index, kind) in executions.chars().enumerate() {
            let level = if kind == 'E' { "ERROR" } else { "INFO" };
            let stamp = format!("2026-11-22 08:18:{index:02}");
            log.push_str(&format!(
                "{stamp} - {level} - {}-{} - said {index}\n",
                1000 + index,
                100 + index
            ));
        }
        log
    }

    #[test]
    fn what_the_last_executions_say_decides() {
        for (executions, test, anomaly) in [
            ("", false, false),
            ("I", false, false),
            ("E", true, false),
            ("EE", true, false),
            ("EEE", true, true),
            ("EEEI", false, false),
            ("IEEE", true, true),
            ("EIEE", true, false),
        ] {
            assert_eq!(
                judge(&log(executions), Rule::TEST).failed,
                test,
                "{executions}"
            );
            assert_eq!(
                judge(&log(executions), Rule::ANOMALY).failed,
                anomaly,
                "{executions}"
            );
        }
        assert_eq!(judge(&log("IE"), Rule::TEST).message, "said 1");
        assert_eq!(judge("", Rule::TEST).message, "No result found!");
    }

    #[test]
    fn lines_of_one_execution_belong_together() {
        let log = "tail of a cut line\n\
            2026-11-22 08:18:01 - INFO - 1795335481-100 - one\nmore\n\
            2026-11-22 08:18:02 - ERROR - 1795335482-200 - a - b\nsecond line\n\
            2026-11-22 08:18:03 - INFO - 1795335482-200 - last\n";
        let verdict = judge(log, Rule::TEST);
        assert!(verdict.failed);
        assert_eq!(verdict.message, "a - b\nsecond line\nlast");
    }

    /// N 4.4: as upstream reads a log, white space around a message and empty lines do not count.
    #[test]
    fn n_4_4_white_space_around_messages_does_not_count() {
        let log = "2026-11-22 08:18:01 - INFO - 1795335481-100 -   a  \n\n  b  \n\n\
            2026-11-22 08:18:01 - INFO - 1795335481-100 - c\n\n";
        assert_eq!(judge(log, Rule::TEST).message, "a  \n  b\nc");
    }

    #[test]
    fn our_lines_read_back() {
        let moment = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_795_335_481_500);
        let text = line(moment, true, "a\nb");
        let verdict = judge(&text, Rule::TEST);
        assert_eq!((verdict.failed, verdict.message.as_str()), (true, "a\nb"));
        let (_, id, _) = parse(text.lines().next().unwrap()).unwrap();
        assert_eq!(id, "1795335481-550");
    }

    #[test]
    fn long_messages_keep_their_end() {
        let text = line(std::time::UNIX_EPOCH, false, &"é".repeat(5001));
        let message = judge(&text, Rule::TEST).message;
        assert_eq!(message, format!("...{}", "é".repeat(5000)));
    }

    proptest! {
        #[test]
        fn any_text_can_be_judged(log in ".{0,300}", prefix in "2026-11-22 08:18:0[0-9](.{0,40})") {
            judge(&log, Rule::ANOMALY);
            judge(&format!("{prefix}\n{log}"), Rule::TEST);
        }
    }
}
