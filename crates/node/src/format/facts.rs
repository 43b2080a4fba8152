//! What the machine is now: users, groups, interfaces, routes, directories (N 5.3). The only
//! programs it asks are those of iproute2, in their JSON form.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::tool;
use crate::outcome::Error;

/// Where the kernel says whether addresses may be bound that no interface has.
pub(crate) const NONLOCAL_BIND: &str = "/proc/sys/net/ipv6/ip_nonlocal_bind";

/// What a plan is made against.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Facts {
    pub(crate) users: BTreeMap<String, UserFact>,
    pub(crate) groups: BTreeMap<String, GroupFact>,
    /// Users nobody can log in as with a password.
    pub(crate) locked: BTreeSet<String>,
    pub(crate) links: Vec<Link>,
    pub(crate) routes: Vec<Route>,
    /// What the kernel holds as its own addresses, ranges included.
    pub(crate) local_routes: Vec<Route>,
    /// Whether addresses may be bound that no interface has; `None` without IPv6.
    pub(crate) nonlocal_bind: Option<bool>,
    /// The directories that were asked for and exist.
    pub(crate) directories: BTreeMap<PathBuf, DirectoryFact>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserFact {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
    pub(crate) shell: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupFact {
    pub(crate) gid: u32,
    pub(crate) members: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirectoryFact {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Link {
    #[serde(rename = "ifname")]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) flags: Vec<String>,
    #[serde(default, rename = "addr_info")]
    pub(crate) addresses: Vec<Address>,
    #[serde(default)]
    pub(crate) linkinfo: LinkInfo,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct LinkInfo {
    #[serde(default)]
    info_data: InfoData,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
struct InfoData {
    #[serde(default, rename = "type")]
    kind: serde_json::Value,
    #[serde(default)]
    user: serde_json::Value,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Address {
    #[serde(rename = "local")]
    pub(crate) address: IpAddr,
    #[serde(rename = "prefixlen")]
    pub(crate) length: u32,
    /// The kernel still asks whether somebody else has it.
    #[serde(default)]
    pub(crate) tentative: bool,
    /// Somebody else has it.
    #[serde(default)]
    pub(crate) dadfailed: bool,
}

/// A route, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Route {
    /// `<address>` or `<address>/<length>`.
    #[serde(rename = "dst")]
    pub(crate) destination: String,
    #[serde(default, rename = "dev")]
    pub(crate) device: String,
    #[serde(default, rename = "gateway")]
    pub(crate) via: Option<String>,
}

impl Link {
    pub(crate) fn is_up(&self) -> bool {
        self.flags.iter().any(|flag| flag == "UP")
    }

    /// Whether it lets frames through: only then the kernel finds out about doubled addresses.
    pub(crate) fn has_carrier(&self) -> bool {
        !self.flags.iter().any(|flag| flag == "NO-CARRIER")
    }

    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|found| found.address == address)
    }

    /// `tap` or `tun`.
    pub(crate) fn tunnel_kind(&self) -> Option<&str> {
        self.linkinfo.info_data.kind.as_str()
    }

    /// Name, or number, of the user who may attach to the tap or tun.
    pub(crate) fn tunnel_user(&self) -> Option<String> {
        match &self.linkinfo.info_data.user {
            serde_json::Value::String(name) => Some(name.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

impl Facts {
    pub(crate) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// Reads users, groups and the state of these directories.
    pub(crate) fn read<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<Facts, Error> {
        let text = |path: &str| fs::read_to_string(path).map_err(Error::io("read", path));
        let mut facts = Facts {
            users: users(&text("/etc/passwd")?),
            groups: groups(&text("/etc/group")?),
            // Only root may; the others cannot lock anybody either.
            locked: locked(&fs::read_to_string("/etc/shadow").unwrap_or_default()),
            ..Facts::default()
        };
        for path in paths {
            match fs::metadata(path) {
                Ok(metadata) if metadata.is_dir() => {
                    facts.directories.insert(
                        path.to_owned(),
                        DirectoryFact {
                            uid: metadata.uid(),
                            gid: metadata.gid(),
                            mode: metadata.permissions().mode() & 0o7777,
                        },
                    );
                }
                Ok(_) => {
                    return Err(Error::Refused(format!(
                        "{} is in the way: it is no directory",
                        path.display()
                    )));
                }
                Err(_) => {}
            }
        }
        Ok(facts)
    }

    /// Reads interfaces, addresses and routes.
    pub(crate) fn read_network(&mut self) -> Result<(), Error> {
        self.links = json(&["-details", "address", "show"])?;
        self.routes = json(&["-4", "route", "show"])?;
        self.routes.extend(json::<Route>(&["-6", "route", "show"])?);
        self.local_routes = json(&["-6", "route", "show", "table", "local"])?;
        let text = fs::read_to_string(NONLOCAL_BIND).ok();
        self.nonlocal_bind = text.map(|text| text.trim() == "1");
        Ok(())
    }
}

/// The interfaces with their addresses.
pub(crate) fn links() -> Result<Vec<Link>, Error> {
    json(&["-details", "address", "show"])
}

fn json<T: for<'de> Deserialize<'de>>(arguments: &[&str]) -> Result<Vec<T>, Error> {
    let mut all = vec!["-json"];
    all.extend(arguments);
    let text = tool::run("ip", &all)?;
    parse(&text).map_err(|error| {
        Error::Refused(format!(
            "`ip {}` did not answer in JSON as iproute2 does: {error}",
            all.join(" ")
        ))
    })
}

/// Entries of a list; older versions leave empty ones in it.
fn parse<T: for<'de> Deserialize<'de>>(text: &str) -> Result<Vec<T>, serde_json::Error> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let list: Vec<serde_json::Value> = serde_json::from_str(text)?;
    list.into_iter()
        .filter(|entry| {
            entry
                .as_object()
                .is_some_and(|entry| entry.contains_key("ifname") || entry.contains_key("dst"))
        })
        .map(|mut entry| {
            // What has no address of its own, such as a peer's, does not count.
            if let Some(list) = entry
                .get_mut("addr_info")
                .and_then(|list| list.as_array_mut())
            {
                list.retain(|address| address.get("local").is_some());
            }
            serde_json::from_value(entry)
        })
        .collect()
}

fn users(passwd: &str) -> BTreeMap<String, UserFact> {
    let user = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = fields[..] else {
            return None;
        };
        let fact = UserFact {
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home: home.to_owned(),
            shell: shell.to_owned(),
        };
        Some((name.to_owned(), fact))
    };
    passwd.lines().filter_map(user).collect()
}

fn groups(group: &str) -> BTreeMap<String, GroupFact> {
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members] = fields[..] else {
            return None;
        };
        let fact = GroupFact {
            gid: gid.parse().ok()?,
            members: members
                .split(',')
                .filter(|member| !member.is_empty())
                .map(str::to_owned)
                .collect(),
        };
        Some((name.to_owned(), fact))
    };
    group.lines().filter_map(entry).collect()
}

fn locked(shadow: &str) -> BTreeSet<String> {
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let password = fields.next()?;
        password.starts_with('!').then(|| name.to_owned())
    };
    shadow.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_iproute2_says_is_understood() {
        let text = r#"[{},{"ifindex":2,"ifname":"tapx","flags":["NO-CARRIER","BROADCAST","UP"],
            "linkinfo":{"info_kind":"tun","info_data":{"type":"tap","pi":false,"user":"daemon"}},
            "addr_info":[{"family":"inet6","local":"fd00::1","prefixlen":48,"scope":"global","tentative":true},
                         {"family":"inet","local":"10.0.0.1","prefixlen":32}, {}]},
            {"ifname":"br0","flags":[],"linkinfo":{"info_kind":"bridge","info_data":{"forward_delay":1500}}}]"#;
        let links: Vec<Link> = parse(text).unwrap();
        assert_eq!(links.len(), 2);
        assert_eq!(links[0].tunnel_kind(), Some("tap"));
        assert_eq!(links[0].tunnel_user().as_deref(), Some("daemon"));
        assert!(links[0].is_up() && !links[0].has_carrier());
        assert!(links[0].addresses[0].tentative && links[0].has("10.0.0.1".parse().unwrap()));
        assert!(!links[1].is_up() && links[1].tunnel_kind().is_none());
        let text = r#"[{"dst":"default","gateway":"10.0.0.1","dev":"eth0"},
            {"type":"local","dst":"fd00:1::/64","dev":"lo","metric":1024}]"#;
        let routes: Vec<Route> = parse(text).unwrap();
        assert_eq!(routes[1].destination, "fd00:1::/64");
        assert_eq!(routes[0].via.as_deref(), Some("10.0.0.1"));
        assert!(parse::<Route>("").unwrap().is_empty());
        assert!(parse::<Route>("Error").is_err());
    }

    #[test]
    fn accounts_are_read_and_broken_lines_left_out() {
        let users = users("root:x:0:0:root:/root:/bin/bash\nbroken\nslap:x:9:8::/srv:/bin/sh\n");
        assert_eq!(users["slap"].gid, 8);
        assert_eq!(users.len(), 2);
        let groups = groups("disk:x:6:a,b\nempty:x:7:\nbroken:x\n");
        assert_eq!(groups["disk"].members, ["a", "b"]);
        assert!(groups["empty"].members.is_empty());
        let locked = locked("a:!:1:\nb:*:1:\nc:$y$x:1:\nd:!$y$x:1:\n");
        assert_eq!(locked.into_iter().collect::<Vec<_>>(), ["a", "d"]);
    }
}
