//! devperm: disks of the machine that are given to instances (N 7).

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid, major, minor};

use super::{Manager, ManagerConfig, Place, wishes};

pub(super) const NAME: &str = "devperm";
const FILE: &str = ".slapos-disk-permission";
/// The group upstream gives disks to.
const GROUP: &str = "disk";

pub(super) struct DevPerm {
    allowed: Option<Vec<PathBuf>>,
    /// Where the kernel describes devices.
    sys: PathBuf,
}

impl DevPerm {
    pub(super) fn new(config: &ManagerConfig) -> Self {
        DevPerm {
            allowed: config.allowed_disks.clone(),
            sys: "/sys".into(),
        }
    }

    fn give(&self, place: &Place<'_>) {
        for entry in wishes(place, FILE).unwrap_or_default() {
            let Some(disk) = entry.get("disk").and_then(|disk| disk.as_str()) else {
                (place.warn)(&format!("{FILE}: no `disk` in {entry}"));
                continue;
            };
            match self.give_one(place, Path::new(disk)) {
                Ok(false) => {}
                Ok(true) => (place.warn)(&format!(
                    "{disk} was given to {}",
                    place.partition.user.name
                )),
                Err(reason) => (place.warn)(&format!("{FILE}: {disk}: {reason}")),
            }
        }
    }

    /// Gives a disk to the partition's user; tells whether it was not theirs.
    fn give_one(&self, place: &Place<'_>, disk: &Path) -> Result<bool, String> {
        let path = std::fs::canonicalize(disk).map_err(|error| error.to_string())?;
        if let Some(allowed) = &self.allowed
            && !allowed.contains(&path)
        {
            return Err("is not in allowed-disk-for-vm of [manager:devperm]".to_owned());
        }
        // Held, so that what is checked is what is given.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(|error| std::io::Error::from(error).to_string())?;
        let stat =
            rustix::fs::fstat(&handle).map_err(|error| std::io::Error::from(error).to_string())?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::BlockDevice {
            return Err("is no disk".to_owned());
        }
        let number = format!("{}:{}", major(stat.st_rdev), minor(stat.st_rdev));
        self.check(&number)?;
        let user = &place.partition.user;
        if stat.st_uid == user.uid {
            return Ok(false);
        }
        let group = group(GROUP).unwrap_or(user.gid);
        rustix::fs::chown(
            format!("/proc/self/fd/{}", handle.as_raw_fd()),
            Some(Uid::from_raw(user.uid)),
            Some(Gid::from_raw(group)),
        )
        .map_err(|error| std::io::Error::from(error).to_string())?;
        Ok(true)
    }

    /// Whether a device is a whole disk or a partition of one, and nothing the machine lives on.
    fn check(&self, number: &str) -> Result<(), String> {
        let device = std::fs::canonicalize(self.sys.join("dev/block").join(number))
            .map_err(|_| "the kernel knows no such disk".to_owned())?;
        let is_part = device.join("partition").exists();
        let whole = match device.parent() {
            Some(parent) if is_part => parent,
            _ => &device,
        };
        let name = whole.file_name().unwrap_or_default().to_string_lossy();
        let other = ["loop", "dm-", "md", "sr", "fd"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if other {
            return Err("is neither a disk nor a part of one".to_owned());
        }
        if self.allowed.is_some() {
            // Somebody decided.
            return Ok(());
        }
        let mut numbers = vec![number.to_owned()];
        if !is_part {
            for part in std::fs::read_dir(&device).into_iter().flatten().flatten() {
                if let Ok(number) = std::fs::read_to_string(part.path().join("dev")) {
                    numbers.push(number.trim().to_owned());
                }
            }
        }
        let held = std::fs::read_dir(device.join("holders"))
            .is_ok_and(|mut holders| holders.next().is_some());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounted = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(2))
            .any(|used| numbers.iter().any(|number| number == used));
        if held || mounted {
            return Err(
                "is used by the machine itself; name it in allowed-disk-for-vm of \
                 [manager:devperm] to give it away all the same"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

impl Manager for DevPerm {
    fn instance(&self, place: &Place<'_>) -> Result<(), String> {
        self.give(place);
        Ok(())
    }

    fn instance_tear_down(&self, place: &Place<'_>) -> Result<(), String> {
        self.give(place);
        Ok(())
    }
}

/// The number of a group.
fn group(name: &str) -> Option<u32> {
    let text = std::fs::read_to_string("/etc/group").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn n_7_only_disks_and_their_parts_are_given_away() {
        let sys = tempfile::tempdir().unwrap();
        let make = |path: &str| std::fs::create_dir_all(sys.path().join(path)).unwrap();
        make("dev/block");
        for (number, device) in [
            ("998:0", "vdz"),
            ("998:1", "vdz/vdz1"),
            ("997:0", "loop0"),
            ("996:0", "vdy"),
        ] {
            make(&format!("devices/{device}"));
            std::os::unix::fs::symlink(
                format!("../../devices/{device}"),
                sys.path().join("dev/block").join(number),
            )
            .unwrap();
        }
        std::fs::write(sys.path().join("devices/vdz/vdz1/partition"), "1").unwrap();
        make("devices/vdy/holders/dm-0");
        let manager = |allowed: Option<Vec<PathBuf>>| DevPerm {
            allowed,
            sys: sys.path().to_owned(),
        };
        for (number, good) in [
            ("998:0", true),
            ("998:1", true),
            ("997:0", false),
            ("996:0", false),
            ("995:0", false),
        ] {
            assert_eq!(manager(None).check(number).is_ok(), good, "{number}");
        }
        assert!(manager(Some(Vec::new())).check("996:0").is_ok());
    }
}
