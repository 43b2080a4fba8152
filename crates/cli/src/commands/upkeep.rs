//! What an administrator runs on a node besides its daily work (N 6).

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use node::boot;
use node::prune::{self, Unused};
use node::{Cancel, NodeConfig, Observer};

use super::node::{done, unusable};
use crate::args::upkeep::{Boot, Prune};
use crate::failure::Failure;
use crate::{CommandResult, interrupt, output};

/// What upstream's `node prune` ends with when it refuses.
const PRUNE_REFUSED: u8 = 255;

/// How long an interrupted boot may take to end by itself. Whatever it does may be killed: only an
/// answer of the Master's or of a name server takes longer.
const INTERRUPTED: Duration = Duration::from_secs(1);

pub(super) fn boot(
    arguments: &Boot,
    file: &Path,
    cancel: Cancel,
    observer: &dyn Observer,
) -> CommandResult {
    let stop = cancel.clone();
    interrupt::on_interrupt(move || {
        stop.cancel();
        std::thread::spawn(|| {
            std::thread::sleep(INTERRUPTED);
            std::process::exit(130);
        });
    })?;
    let options = boot::Options {
        timeout: Duration::from_secs(arguments.timeout),
        cancel,
    };
    match boot::run(file, &options, observer) {
        Err(node::Error::Config(error)) => Err(unusable(error)),
        Err(node::Error::Cancelled) => Err(Failure::interrupted()),
        other => done(other),
    }
}

pub(super) fn prune(
    arguments: Prune,
    config: &NodeConfig,
    cancel: Cancel,
    observer: &dyn Observer,
) -> CommandResult {
    let options = prune::Options {
        dry_run: arguments.dry_run,
        additional_software_directories: arguments.additional_software_directory,
        cancel,
    };
    let done = if options.dry_run { "" } else { " ... removed" };
    let (mut count, mut bytes) = (0_u64, 0_u64);
    let mut printed = Ok(());
    let outcome = prune::run(config, &options, observer, &mut |part: &Unused| {
        count += 1;
        bytes += part.bytes;
        let line = format!(
            "Unused shared parts at {} ({}){done}",
            part.path.display(),
            size(part.bytes)
        );
        if printed.is_ok() {
            printed = output::print(&line);
        }
    })
    .map_err(|error| {
        let refused = matches!(error, node::Error::Refused(_) | node::Error::Locked { .. });
        let failure = Failure::from(error);
        if refused {
            failure.exit_code(PRUNE_REFUSED)
        } else {
            failure
        }
    })?;
    printed?;
    let parts = if count == 1 { "part" } else { "parts" };
    output::print(&match (count, options.dry_run) {
        (0, _) => "no unused shared parts".to_owned(),
        (_, true) => format!("{count} {parts}, {} would be removed", size(bytes)),
        (_, false) => format!("{count} {parts}, {} removed", size(bytes)),
    })?;
    Ok(ExitCode::from(outcome.exit_code()))
}

/// A size for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_for_people() {
        for (bytes, expected) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (3 << 30, "3.0 GiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
