//! prerm: what an instance has to do before it is removed (N 7).

use supervisor::config::ProgramConfig;

use super::{Manager, Place};
use crate::report::WAIT_LIST;
use crate::safe_fs::{Durable, Kind};
use crate::services::{is_plain, owner};

pub(super) const NAME: &str = "prerm";
/// Of the supervisor's group.
pub(super) const SUFFIX: &str = "prerm";
/// Most programs.
const PROGRAMS_MAX: usize = 100;

pub(super) struct PreRm;

impl Manager for PreRm {
    /// Starts each program of `etc/prerm` once, and has the removal wait for their ends.
    fn report(&self, place: &Place<'_>) -> Result<(), String> {
        let partition = place.partition;
        let unreadable = |error: std::io::Error| format!("cannot read etc/prerm: {error}");
        let Some(etc) = partition.dir.dir("etc").map_err(unreadable)? else {
            return Ok(());
        };
        let Some(dir) = etc.dir("prerm").map_err(unreadable)? else {
            return Ok(());
        };
        let group = format!("{}-{SUFFIX}", partition.id());
        let owner = owner(&partition.path, &partition.user);
        let mut programs = Vec::new();
        for name in dir.names().map_err(unreadable)? {
            let kind = dir.kind(&name).map_err(unreadable)?;
            if !matches!(kind, Some(Kind::File | Kind::Link)) {
                continue;
            }
            let path = dir.path().join(&name);
            match name.to_str().filter(|name| is_plain(name)) {
                Some(name) if programs.len() < PROGRAMS_MAX => {
                    programs.push(ProgramConfig::for_partition(
                        &group, name, name, &path, &owner,
                    ));
                }
                Some(_) => (place.warn)(&format!(
                    "only the first {PROGRAMS_MAX} programs of etc/prerm are run"
                )),
                None => (place.warn)(&format!(
                    "{} is not run: its name may only hold letters, digits and ._-+@~=",
                    path.display()
                )),
            }
        }
        if programs.is_empty() {
            return Ok(());
        }
        let names = place
            .services
            .keep_extra(partition.id(), SUFFIX, programs)
            .map_err(|error| error.to_string())?;
        partition
            .write(
                WAIT_LIST,
                (names.join("\n") + "\n").as_bytes(),
                0o644,
                Durable::No,
            )
            .map_err(|error| error.to_string())
    }
}
