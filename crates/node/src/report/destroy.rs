//! The end of an instance: its processes, its files, its certificates (N 3.4, *destroy*).

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use slap::python;

use crate::cancel::Cancel;
use crate::child::{self, ChildError, Spawn};
use crate::outcome::Error;
use crate::partition::Partition;
use crate::safe_fs::{Dir, Durable, Kind};
use crate::time;

const DELAY: &str = ".slapos-retention-lock-delay";
const DATE: &str = ".slapos-retention-lock-date";

/// Limit for an instance's own `sbin/destroy`.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(3600);

/// Until when the instance must be kept. The date is fixed at the first order to destroy it.
pub(super) fn retained_until(
    partition: &Partition<'_>,
    now: SystemTime,
) -> Result<Option<SystemTime>, Error> {
    let read = |name: &str| -> Result<Option<f64>, Error> {
        let text = partition
            .dir
            .read_text(name)
            .map_err(Error::io("read", partition.path.join(name)))?;
        Ok(text.and_then(|text| text.trim().parse::<f64>().ok()))
    };
    let date = match (read(DATE)?, read(DELAY)?) {
        (Some(date), _) => date,
        (None, Some(days)) if days > 0.0 => {
            let date = time::unix(now) + days * 86_400.0;
            partition.write(DATE, python::float(date).as_bytes(), 0o644, Durable::Yes)?;
            date
        }
        _ => return Ok(None),
    };
    let until = Duration::try_from_secs_f64(date)
        .ok()
        .and_then(|since| UNIX_EPOCH.checked_add(since));
    // A date beyond what can be told is one that never comes: keep.
    Ok(match until {
        Some(until) if until <= now => None,
        Some(until) => Some(until),
        None => Some(now + Duration::from_secs(86_400)),
    })
}

/// Runs the instance's own `sbin/destroy`, as its user.
pub(super) fn run_script(
    partition: &Partition<'_>,
    cancel: &Cancel,
    output: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let io = |error: std::io::Error| format!("cannot look for sbin/destroy: {error}");
    let Some(sbin) = partition.dir.dir("sbin").map_err(io)? else {
        return Ok(());
    };
    if sbin.kind("destroy").map_err(io)?.is_none() {
        return Ok(());
    }
    let script = partition.path.join("sbin/destroy");
    let mut spawn = Spawn::new(&script, &partition.path, &partition.user);
    spawn.timeout = Some(SCRIPT_TIMEOUT);
    match child::run(spawn, cancel, output) {
        Ok(ended) if ended.status.success() => Ok(()),
        Ok(ended) => Err(format!(
            "Failed to destroy Computer Partition in '{}': {} ended with {}\n{}",
            partition.path.display(),
            script.display(),
            ended.describe(),
            ended.output
        )),
        Err(ChildError::Cancelled { .. }) => Err("interrupted".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Ends whatever the instance left running, and takes its control group away.
pub(super) fn end_processes(partition: &Partition<'_>) -> Result<(), String> {
    let (Some(hierarchy), Some(group)) = (&partition.config.cgroups, &partition.user.cgroup) else {
        return Ok(());
    };
    hierarchy
        .end(group)
        .map_err(|error| format!("cannot end the processes of {}: {error}", partition.id()))
}

/// Removes everything the instance has, inside its partition and on data disks, and its
/// certificates. The partition's directory itself stays. No link is ever followed.
pub(super) fn remove_files(partition: &Partition<'_>) -> Result<(), Error> {
    if let Some((certificate, key)) = partition.config.partition_certificate(partition.id()) {
        for path in [certificate, key] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", path)(error));
                }
                _ => {}
            }
        }
    }
    crate::promise::forget(partition.config, partition.id())
        .map_err(Error::io("forget the promises of", &partition.path))?;
    let storage = partition.config.instance_storage_home.trim();
    if !storage.is_empty() {
        empty_storage(Path::new(storage), partition.id().as_str())?;
    }
    partition
        .dir
        .remove_contents()
        .map_err(Error::io("empty", &partition.path))
}

/// Empties `<home>/<disk>/<partition>` on every disk.
fn empty_storage(home: &Path, partition: &str) -> Result<(), Error> {
    let Some(home) = Dir::open_if_present(home).map_err(Error::io("open", home))? else {
        return Ok(());
    };
    let path = home.path().to_owned();
    let names = home.names().map_err(Error::io("list", &path))?;
    for name in names {
        let disk = path.join(&name);
        let is_directory =
            home.kind(&name).map_err(Error::io("read", &disk))? == Some(Kind::Directory);
        if !is_directory {
            continue;
        }
        let Some(disk_dir) = home.dir(&name).map_err(Error::io("open", &disk))? else {
            continue;
        };
        if let Some(data) = disk_dir
            .dir(partition)
            .map_err(Error::io("open", disk.join(partition)))?
        {
            data.remove_contents()
                .map_err(Error::io("empty", disk.join(partition)))?;
        }
    }
    Ok(())
}
