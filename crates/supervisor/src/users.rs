//! Who a program runs as: `/etc/passwd` and `/etc/group`, read each time, so that a user made
//! after the daemon was started is known.

use std::fs;

use crate::config::User;

/// What a process becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// All its groups, the primary one first.
    pub(crate) groups: Vec<u32>,
}

/// Looks a user up. A number needs no entry; its primary group is then `gid`, or the same number.
pub(crate) fn identity(user: &User, gid: Option<u32>) -> Result<Identity, String> {
    let read =
        |path: &str| fs::read_to_string(path).map_err(|e| format!("cannot read {path}: {e}"));
    resolve(user, gid, &read("/etc/passwd")?, &read("/etc/group")?)
}

fn resolve(user: &User, gid: Option<u32>, passwd: &str, group: &str) -> Result<Identity, String> {
    let mut found = None;
    for line in passwd.lines() {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or("");
        let uid = fields.nth(1).and_then(|f| f.parse::<u32>().ok());
        let primary = fields.next().and_then(|f| f.parse::<u32>().ok());
        let (Some(uid), Some(primary)) = (uid, primary) else {
            continue;
        };
        let is_it = match user {
            User::Id(wanted) => *wanted == uid,
            User::Name(wanted) => wanted == name,
        };
        if is_it {
            found = Some((name, uid, primary));
            break;
        }
    }
    let (name, uid, primary) = match (found, user) {
        (Some(found), _) => found,
        (None, User::Id(uid)) => ("", *uid, *uid),
        (None, User::Name(name)) => {
            return Err(format!(
                "Invalid user name {name}: it is not in /etc/passwd"
            ));
        }
    };
    let gid = gid.unwrap_or(primary);
    let mut groups = vec![gid];
    if !name.is_empty() {
        for line in group.lines() {
            let mut fields = line.split(':');
            let Some(id) = fields.nth(2).and_then(|f| f.parse::<u32>().ok()) else {
                continue;
            };
            let member = fields.next().unwrap_or("").split(',').any(|m| m == name);
            if member && !groups.contains(&id) {
                groups.push(id);
            }
        }
    }
    Ok(Identity { uid, gid, groups })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const PASSWD: &str =
        "root:x:0:0::/root:/bin/sh\nbroken\nslapuser0:x:1000:1001::/srv:/bin/false\n";
    const GROUP: &str =
        "root:x:0:\nkvm:x:7:a,slapuser0\ndisk:x:8:slapuser01\nslapuser0:x:1001:slapuser0\n";

    #[test]
    fn groups_are_those_that_list_the_user() {
        let by_name = resolve(&User::Name("slapuser0".into()), None, PASSWD, GROUP).unwrap();
        assert_eq!(
            by_name,
            Identity {
                uid: 1000,
                gid: 1001,
                groups: vec![1001, 7]
            }
        );
        assert_eq!(
            resolve(&User::Id(1000), None, PASSWD, GROUP).unwrap(),
            by_name
        );
        assert_eq!(
            resolve(&User::Id(1000), Some(5), PASSWD, GROUP)
                .unwrap()
                .groups,
            [5, 7, 1001]
        );
        assert_eq!(
            resolve(&User::Id(77), None, PASSWD, GROUP).unwrap().groups,
            [77]
        );
        assert!(resolve(&User::Name("nobody?".into()), None, PASSWD, GROUP).is_err());
    }
}
