//! Who owns a directory, and what it takes to act as them (N 2.7).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};

use crate::outcome::Error;

/// A unix user, as needed to act as them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Name, or the number where the user has none.
    pub(crate) name: String,
    /// Home directory as `/etc/passwd` has it.
    pub(crate) home: PathBuf,
    /// Supplementary groups, the main one included.
    pub(crate) groups: Vec<u32>,
    /// The control group that whatever acts as them joins.
    pub(crate) cgroup: Option<PathBuf>,
}

impl User {
    /// The owner of a directory of the administrator's (links to one are followed). The directory's
    /// own group wins over the one in `/etc/passwd`, as upstream uses both numbers of the directory.
    pub(crate) fn owner_of(path: &Path) -> Result<User, Error> {
        let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
        Ok(User::find(metadata.uid(), metadata.gid()))
    }

    /// The user with these numbers. Unknown numbers are fine: containers have such users.
    pub(crate) fn find(uid: u32, gid: u32) -> User {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let group = fs::read_to_string("/etc/group").unwrap_or_default();
        let mut user = parse(&passwd, &group, uid, gid);
        if uid == rustix::process::geteuid().as_raw() && user.name == uid.to_string() {
            // A user from a directory service is in no file, but its session says who it is.
            if let Ok(name) = std::env::var("USER") {
                user.name = name;
            }
            if let Some(home) = std::env::var_os("HOME") {
                user.home = home.into();
            }
        }
        user
    }

    /// Whether acting as this user needs no change of identity: it is us, or we may not change.
    pub(crate) fn is_us(&self) -> bool {
        let us = rustix::process::geteuid();
        !us.is_root() || us.as_raw() == self.uid
    }

    pub(crate) fn ids(&self) -> (Uid, Gid) {
        (Uid::from_raw(self.uid), Gid::from_raw(self.gid))
    }
}

/// The home directory of the user with this name.
pub(crate) fn home(passwd: &str, name: &str) -> Option<PathBuf> {
    entries(passwd)
        .find(|fields| fields[0] == name)
        .map(|fields| PathBuf::from(fields[5]))
}

/// The fields of each user, seven at least.
fn entries(passwd: &str) -> impl Iterator<Item = Vec<&str>> {
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|fields| fields.len() >= 7)
}

fn parse(passwd: &str, group: &str, uid: u32, gid: u32) -> User {
    let entry = entries(passwd).find(|fields| fields[2].parse() == Ok(uid));
    let (name, home) = entry.map_or_else(
        || (uid.to_string(), PathBuf::from("/")),
        |fields| (fields[0].to_owned(), PathBuf::from(fields[5])),
    );
    let mut groups: Vec<u32> = group
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let member = fields.get(3)?.split(',').any(|member| member == name);
            if member { fields[2].parse().ok() } else { None }
        })
        .chain([gid])
        .collect();
    groups.sort_unstable();
    groups.dedup();
    User {
        uid,
        gid,
        name,
        home,
        groups,
        cgroup: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_with_all_its_groups() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nslapuser0:x:990:991::/srv/slappart0:/bin/sh\nbroken\n";
        let group =
            "root:x:0:\nslapsoft:x:800:slapuser0,slapuser1\nslapuser0:x:991:\ndisk:x:6:other\n";
        let user = parse(passwd, group, 990, 991);
        assert_eq!(user.name, "slapuser0");
        assert_eq!(user.home, Path::new("/srv/slappart0"));
        assert_eq!(user.groups, [800, 991]);
        assert_eq!(parse(passwd, group, 4242, 7).name, "4242");
    }
}
