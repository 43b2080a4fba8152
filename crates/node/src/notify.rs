//! Telling the service manager how a daemon is: systemd's `sd_notify`, one datagram per word.
//!
//! Without a service manager (no `NOTIFY_SOCKET`) nothing is sent, and nothing that goes wrong here
//! is worth failing for: the service manager decides what it makes of silence.

use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Longest status line, in bytes; more would be cut by the service manager's displays anyway.
const STATUS_MAX: usize = 500;

/// Whoever started this process, as far as it wants to be told.
#[derive(Debug, Default)]
pub struct Notify {
    manager: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// The service manager that the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`,
    /// `WATCHDOG_PID`). What this process starts must not inherit these: see that its environment
    /// is cleared.
    pub fn from_environment() -> Notify {
        let get = |name: &str| std::env::var_os(name);
        Self::with(get, std::process::id())
    }

    fn with(get: impl Fn(&str) -> Option<OsString>, own_pid: u32) -> Notify {
        let Some(address) = get("NOTIFY_SOCKET").as_deref().and_then(address) else {
            return Notify::default();
        };
        let Ok(socket) = UnixDatagram::unbound() else {
            return Notify::default();
        };
        // A service manager that does not read must not stop the work.
        if socket.set_nonblocking(true).is_err() {
            return Notify::default();
        }
        let number = |name: &str| get(name)?.to_str()?.parse::<u64>().ok();
        let meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(own_pid));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| meant && *usec > 0);
        Notify {
            manager: Some((socket, address)),
            watchdog: watchdog.map(Duration::from_micros),
        }
    }

    /// How often [`Notify::alive`] shall be called at least: half of what the service manager waits
    /// before it kills and starts anew. `None` when it does not watch.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// The start is complete, or reading the configuration anew is.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// What is being done, in one line for people.
    pub fn status(&self, text: &str) {
        let line: String = text.chars().filter(|c| !c.is_control()).collect();
        let end = line.floor_char_boundary(STATUS_MAX);
        self.send(&format!("STATUS={}", &line[..end]));
    }

    /// The process is not stuck.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// The configuration is being read anew; [`Notify::ready`] follows.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, words: &str) {
        if let Some((socket, address)) = &self.manager
            && let Err(error) = socket.send_to_addr(words.as_bytes(), address)
        {
            tracing::debug!("cannot tell the service manager {words:?}: {error}");
        }
    }
}

/// A path, or with `@` first a name in the abstract namespace.
fn address(text: &OsStr) -> Option<SocketAddr> {
    match text.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
        [b'/', ..] => SocketAddr::from_pathname(text).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn notify(variables: &[(&str, &OsStr)]) -> Notify {
        let get = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Notify::with(get, 7)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn what_is_told_arrives_at_both_kinds_of_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("slapos-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        for (manager, word) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&abstract_address).unwrap(),
                format!("@{name}").into(),
            ),
        ] {
            let notify = notify(&[("NOTIFY_SOCKET", &word)]);
            notify.ready();
            assert_eq!(heard(&manager), "READY=1");
            notify.status("busy\nREADY=1");
            assert_eq!(heard(&manager), "STATUS=busyREADY=1");
            notify.status(&"é".repeat(STATUS_MAX));
            assert!(heard(&manager).len() <= "STATUS=".len() + STATUS_MAX);
            notify.alive();
            assert_eq!(heard(&manager), "WATCHDOG=1");
            notify.reloading();
            assert!(heard(&manager).starts_with("RELOADING=1\nMONOTONIC_USEC="));
            notify.stopping();
            assert_eq!(heard(&manager), "STOPPING=1");
            // Nobody reads any more: that is no reason to wait or fail.
            for _ in 0..10_000 {
                notify.alive();
            }
            drop(manager);
            notify.alive();
        }
    }

    #[test]
    fn the_watchdog_is_only_heeded_by_whom_it_watches() {
        let socket = OsStr::new("@nobody-listens");
        let with = |more: &[(&str, &str)]| {
            let mut all = vec![("NOTIFY_SOCKET", socket)];
            all.extend(more.iter().map(|(key, value)| (*key, OsStr::new(*value))));
            notify(&all).watchdog()
        };
        let ten = Some(Duration::from_secs(5));
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[("WATCHDOG_USEC", "10000000")]), ten);
        assert_eq!(
            with(&[("WATCHDOG_USEC", "10000000"), ("WATCHDOG_PID", "7")]),
            ten
        );
        assert_eq!(
            with(&[("WATCHDOG_USEC", "10000000"), ("WATCHDOG_PID", "8")]),
            None
        );
        assert_eq!(with(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(with(&[("WATCHDOG_USEC", "soon")]), None);
    }

    #[test]
    fn without_a_service_manager_nothing_happens() {
        for variables in [&[][..], &[("NOTIFY_SOCKET", OsStr::new("relative"))]] {
            let notify = notify(variables);
            notify.ready();
            assert_eq!(notify.watchdog(), None);
        }
    }
}
