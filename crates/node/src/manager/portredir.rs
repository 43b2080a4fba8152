//! portredir: ports of the machine that lead to an instance, by socat (N 7).

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use supervisor::config::{AutoRestart, ProgramConfig, User, quote};

use super::{Manager, ManagerConfig, Place, addresses, wishes};
use crate::services::owner;

pub(super) const NAME: &str = "portredir";
/// Of the supervisor's group.
pub(super) const SUFFIX: &str = "socat";
const FILE: &str = ".slapos-port-redirect";
/// Ports below are root's.
const PRIVILEGED_BELOW: u16 = 1024;

pub(super) struct PortRedir {
    socat: Option<PathBuf>,
}

/// One redirection, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Redirection {
    udp: bool,
    from: (Option<IpAddr>, u16),
    to: (IpAddr, u16),
}

impl PortRedir {
    pub(super) fn new(config: &ManagerConfig) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        PortRedir {
            socat: match &config.socat {
                Some(socat) => Some(socat.clone()),
                None => std::env::split_paths(&path)
                    .chain(["/usr/bin".into(), "/usr/local/bin".into()])
                    .map(|directory| directory.join("socat"))
                    .find(|file| file.is_file()),
            }
            .filter(|file| file.is_file()),
        }
    }
}

impl Manager for PortRedir {
    fn instance_tear_down(&self, place: &Place<'_>) -> Result<(), String> {
        let partition = place.partition;
        let list = if place.is_started {
            wishes(place, FILE).unwrap_or_default()
        } else {
            Vec::new()
        };
        let own = addresses(partition)
            .into_iter()
            .filter_map(|(_, address)| address.parse::<IpAddr>().ok())
            .find(IpAddr::is_ipv6);
        let mut programs: Vec<ProgramConfig> = Vec::new();
        let group = format!("{}-{SUFFIX}", partition.id());
        let owner = owner(&partition.path, &partition.user);
        for entry in &list {
            let redirection = match parse(entry, own) {
                Ok(redirection) => redirection,
                Err(reason) => {
                    (place.warn)(&format!("{FILE}: {reason}: {entry}"));
                    continue;
                }
            };
            let Some(socat) = &self.socat else {
                return Err(format!(
                    "{FILE} asks for a redirected port, but `socat` is not installed on this node; \
                     install it, or say where it is with `socat` in [manager:portredir]"
                ));
            };
            let name = redirection.name();
            if programs.iter().any(|program| program.name == name) {
                (place.warn)(&format!("{FILE}: {name} is there twice"));
                continue;
            }
            let mut program = ProgramConfig::for_partition(&group, &name, &name, socat, &owner);
            program.command = redirection.command(socat);
            program.autorestart = AutoRestart::Always;
            if redirection.from.1 < PRIVILEGED_BELOW && rustix::process::geteuid().is_root() {
                program.user = Some(User::Id(0));
                program.gid = Some(0);
            }
            programs.push(program);
        }
        place
            .services
            .keep_extra(partition.id(), SUFFIX, programs)
            .map(drop)
            .map_err(|error| error.to_string())
    }
}

impl Redirection {
    fn name(&self) -> String {
        let kind = if self.udp { "udp" } else { "tcp" };
        format!("socat-{kind}-{}", self.from.1)
    }

    fn command(&self, socat: &Path) -> String {
        let kind = if self.udp { "UDP" } else { "TCP" };
        let version = |address: Option<IpAddr>| match address {
            Some(IpAddr::V6(_)) => 6,
            _ => 4,
        };
        let (from, port) = self.from;
        let bind = from.map_or_else(String::new, |from| format!(",bind={}", bracketed(from)));
        let listen = format!("{kind}{}-LISTEN:{port}{bind},fork", version(from));
        let (to, port) = self.to;
        let connect = format!("{kind}{}:{}:{port}", version(Some(to)), bracketed(to));
        format!("{} {listen} {connect}", quote(&socat.to_string_lossy()))
    }
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

fn parse(entry: &Json, own: Option<IpAddr>) -> Result<Redirection, &'static str> {
    let udp = match entry.get("type").map(Json::as_str) {
        None => false,
        Some(Some(kind)) if kind.eq_ignore_ascii_case("tcp") => false,
        Some(Some(kind)) if kind.eq_ignore_ascii_case("udp") => true,
        Some(_) => return Err("`type` is neither tcp nor udp"),
    };
    let port = |name: &str| {
        let value = entry.get(name)?;
        let number = match value.as_str() {
            Some(text) => text.trim().parse().ok()?,
            None => value.as_u64()?,
        };
        u16::try_from(number).ok().filter(|port| *port > 0)
    };
    let address = |name: &str| match entry.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => value
            .as_str()
            .and_then(|text| text.parse::<IpAddr>().ok())
            .map(Some)
            .ok_or(()),
    };
    let from = address("srcAddress").map_err(|()| "`srcAddress` is no address")?;
    let to = address("destAddress").map_err(|()| "`destAddress` is no address")?;
    Ok(Redirection {
        udp,
        from: (from, port("srcPort").ok_or("`srcPort` is no port")?),
        to: (
            to.or(own)
                .ok_or("there is no `destAddress`, and the partition has no IPv6 address")?,
            port("destPort").ok_or("`destPort` is no port")?,
        ),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn n_7_wishes_become_socats_words() {
        let own = Some("fd00::7".parse().unwrap());
        for (entry, expected) in [
            (
                json!({"srcPort": 80, "destPort": "8080"}),
                "/bin/socat TCP4-LISTEN:80,fork TCP6:[fd00::7]:8080",
            ),
            (
                json!({"type": "UDP", "srcPort": 53, "destPort": 53, "destAddress": "10.0.0.2"}),
                "/bin/socat UDP4-LISTEN:53,fork UDP4:10.0.0.2:53",
            ),
            (
                json!({"srcPort": 1, "srcAddress": "10.1.2.3", "destPort": 2}),
                "/bin/socat TCP4-LISTEN:1,bind=10.1.2.3,fork TCP6:[fd00::7]:2",
            ),
            (
                json!({"srcPort": 1, "srcAddress": "fd00::1", "destPort": 2}),
                "/bin/socat TCP6-LISTEN:1,bind=[fd00::1],fork TCP6:[fd00::7]:2",
            ),
        ] {
            let command = parse(&entry, own).unwrap().command(Path::new("/bin/socat"));
            assert_eq!(command, expected);
        }
        for entry in [
            json!({"srcPort": 0, "destPort": 2}),
            json!({"srcPort": 65536, "destPort": 2}),
            json!({"srcPort": 1}),
            json!({"srcPort": 1, "destPort": 2, "type": "sctp"}),
            json!({"srcPort": 1, "destPort": 2, "srcAddress": "1.2.3.4,su=root"}),
            json!({"srcPort": "1 ,fork", "destPort": 2}),
            json!("x"),
        ] {
            assert!(parse(&entry, own).is_err(), "{entry}");
        }
        assert!(parse(&json!({"srcPort": 1, "destPort": 2}), None).is_err());
    }
}
