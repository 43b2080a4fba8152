//! `node boot`: after the machine started, its network is waited for, it is formatted again, the
//! Master is told, and every partition will be processed (N 6.1).
//!
//! Every wait is told, grows to a minute at most, and ends with the deadline. Then, too, partitions
//! are marked to be processed: the node's next runs go on from there.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::config::Overrides;
use crate::format::{self, FormatConfig};
use crate::observer::{Event, Observer};
use crate::outcome::{Error, Outcome};
use crate::partition::MARK;
use crate::safe_fs::{Dir, Kind};

/// The message upstream's boot bangs with.
const MESSAGE: &str = "Reboot";

/// Longest wait for an IPv6 address. A machine without one is not rare, and format says what it
/// lacks.
const IPV6_WAIT: Duration = Duration::from_secs(120);

/// The first pause, which grows …
const PAUSE: Duration = Duration::from_secs(1);
/// … up to this one.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How often a wait for the network is told again.
const TELL: Duration = Duration::from_secs(15);

/// Limit for one connection to the Master.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two looks whether the wait is cancelled.
const LOOK: Duration = Duration::from_millis(50);

/// Where the kernel lists IPv6 addresses.
const IF_INET6: &str = "/proc/net/if_inet6";

/// What `node boot` is asked on its command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// When to give up.
    pub timeout: Duration,
    /// Raised to interrupt the waits.
    pub cancel: Cancel,
}

/// Brings a node that was just started back to work.
///
/// # Errors
/// When the configuration cannot be used or may not be used by the caller. A Master that was not
/// there in time is [`Outcome::Failure`].
pub fn run(file: &Path, options: &Options, observer: &dyn Observer) -> Result<Outcome, Error> {
    let mut overrides = Overrides::new();
    overrides.set("now", "true");
    let config = FormatConfig::load(file, &overrides)?;
    if config.root_check && !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot { file: config.file });
    }
    let boot = Boot {
        config: &config,
        cancel: &options.cancel,
        observer,
        end: Instant::now() + options.timeout,
    };
    boot.wait_for_ipv6()?;
    let good = boot.format()? && boot.bang()?;
    boot.forget_marks()?;
    if good {
        return Ok(Outcome::Success);
    }
    observer.event(&Event::Failure(&format!(
        "gave up after {} s; partitions will be processed once the Master is there",
        options.timeout.as_secs()
    )));
    Ok(Outcome::Failure)
}

struct Boot<'a> {
    config: &'a FormatConfig,
    cancel: &'a Cancel,
    observer: &'a dyn Observer,
    end: Instant,
}

/// Pauses that grow.
struct Pauses(Duration);

impl Boot<'_> {
    fn wait_for_ipv6(&self) -> Result<(), Error> {
        let network = &self.config.network;
        let Some(interface) = network
            .ipv6_interface
            .as_ref()
            .or(network.interface_name.as_ref())
            .filter(|_| self.config.alter_network)
        else {
            return Ok(());
        };
        let end = self.end.min(Instant::now() + IPV6_WAIT);
        let mut tell = Instant::now();
        loop {
            let Ok(listed) = std::fs::read_to_string(IF_INET6) else {
                self.warn("this machine has no IPv6; going on without");
                return Ok(());
            };
            if has_global(&listed, interface) {
                return Ok(());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.warn(&format!(
                    "no global IPv6 address on {interface}; going on without"
                ));
                return Ok(());
            }
            if Instant::now() >= tell {
                tell += TELL;
                self.warn(&format!(
                    "no global IPv6 address on {interface} yet; waiting {} s more at most",
                    left.as_secs()
                ));
            }
            self.pause(PAUSE.min(left))?;
        }
    }

    /// Formats until the Master knows; `false` when time is up.
    fn format(&self) -> Result<bool, Error> {
        let mut pauses = Pauses(PAUSE);
        loop {
            self.info("formatting this machine");
            let options = format::Options {
                undo: false,
                cancel: self.cancel.clone(),
            };
            let result = format::run(self.config, &options, self.observer);
            let problem = match result {
                Ok(Outcome::Success) => return Ok(true),
                Ok(Outcome::FormatOffline) => {
                    if !self.wait_for_master()? {
                        return Ok(false);
                    }
                    "the Master was not told".to_owned()
                }
                Ok(_) => "it failed".to_owned(),
                Err(error @ (Error::Config(_) | Error::NotRoot { .. } | Error::Cancelled)) => {
                    return Err(error);
                }
                Err(error) => error.to_string(),
            };
            if !self.pause_before_next(&mut pauses, "format", &problem)? {
                return Ok(false);
            }
        }
    }

    /// Waits until somebody answers at the Master's port; `false` when time is up.
    fn wait_for_master(&self) -> Result<bool, Error> {
        let url = &self.config.master.url;
        let Some((host, port)) = endpoint(url) else {
            return Ok(true);
        };
        let mut pauses = Pauses(PAUSE);
        loop {
            match connect(&host, port) {
                Ok(()) => return Ok(true),
                Err(error) => {
                    let problem = format!("{host} port {port}: {error}");
                    if !self.pause_before_next(&mut pauses, "reach the Master", &problem)? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Tells the Master until it listens; `false` when time is up.
    fn bang(&self) -> Result<bool, Error> {
        let mut pauses = Pauses(PAUSE);
        loop {
            self.info("telling the Master that this machine was restarted");
            let master = &self.config.master;
            let told = master
                .client()
                .and_then(|client| client.node_bang(&self.config.node, MESSAGE));
            match told {
                Ok(()) => return Ok(true),
                Err(error) => {
                    let problem = error.to_string();
                    if !self.pause_before_next(&mut pauses, "tell the Master", &problem)? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Removes what says that a partition is as the Master wants it.
    fn forget_marks(&self) -> Result<(), Error> {
        let root = &self.config.instance_root;
        let dir = Dir::open_trusted(root).map_err(Error::io("open", root))?;
        let entries = dir.entries().map_err(Error::io("list", root))?;
        for (name, kind) in entries {
            let ours = name
                .to_str()
                .is_some_and(|name| name.starts_with(&self.config.partition_base_name));
            if !ours || !matches!(kind, Kind::Directory | Kind::Link) {
                continue;
            }
            let path = root.join(&name);
            let Ok(partition) = Dir::open_trusted(&path) else {
                continue;
            };
            match partition.remove(MARK) {
                Ok(true) => self.info(&format!("removed {}", path.join(MARK).display())),
                Ok(false) => {}
                Err(error) => self.warn(&format!(
                    "cannot remove {}: {error}",
                    path.join(MARK).display()
                )),
            }
        }
        Ok(())
    }

    /// Says what went wrong and when it is tried again, and waits; `false` when time is up.
    fn pause_before_next(
        &self,
        pauses: &mut Pauses,
        what: &str,
        problem: &str,
    ) -> Result<bool, Error> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.warn(&format!("cannot {what}: {problem}"));
            return Ok(false);
        }
        let pause = pauses.0.min(left);
        pauses.0 = (pauses.0 * 2).min(PAUSE_MAX);
        self.warn(&format!(
            "cannot {what}: {problem}; trying again in {} s, for {} s at most",
            pause.as_secs().max(1),
            left.as_secs()
        ));
        self.pause(pause)?;
        Ok(true)
    }

    fn pause(&self, time: Duration) -> Result<(), Error> {
        let end = Instant::now() + time;
        loop {
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    fn info(&self, text: &str) {
        self.observer.event(&Event::Info(text));
    }

    fn warn(&self, text: &str) {
        self.observer.event(&Event::Warning(text));
    }
}

/// Whether an interface has an IPv6 address of global scope that can be used.
pub fn has_global_ipv6(interface: &str) -> bool {
    std::fs::read_to_string(IF_INET6).is_ok_and(|listed| has_global(&listed, interface))
}

/// Whether the kernel's list has a usable address of global scope on this interface.
fn has_global(listed: &str, interface: &str) -> bool {
    const TENTATIVE_OR_FAILED: u32 = 0x40 | 0x08;
    listed.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, scope, flags, name] = fields[..] else {
            return false;
        };
        name == interface
            && scope == "00"
            && u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & TENTATIVE_OR_FAILED == 0)
    })
}

/// Host and port of a URL.
fn endpoint(url: &str) -> Option<(String, u16)> {
    let url = slap_client::normalise_master_url(url);
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    let default = match scheme.to_ascii_lowercase().as_str() {
        "https" => 443,
        _ => 80,
    };
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok()?,
        None => default,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// Whether somebody accepts connections there.
fn connect(host: &str, port: u16) -> std::io::Result<()> {
    let mut last = std::io::Error::other("the name has no address");
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_counts_once_it_is_usable() {
        let line = |scope: &str, flags: &str, name: &str| {
            format!("fd000001000200000000000000000001 02 30 {scope} {flags}     {name}\n")
        };
        for (listed, expected) in [
            (line("00", "80", "up0"), true),
            (line("00", "c0", "up0"), false),
            (line("00", "88", "up0"), false),
            (line("20", "80", "up0"), false),
            (line("00", "80", "up01"), false),
            (line("20", "80", "up0") + &line("00", "80", "up0"), true),
            ("rubbish\n".to_owned(), false),
        ] {
            assert_eq!(has_global(&listed, "up0"), expected, "{listed}");
        }
    }

    #[test]
    fn a_masters_port_is_found() {
        for (url, expected) in [
            ("https://slap.example.com/", Some(("slap.example.com", 443))),
            ("http://10.0.0.7:8080", Some(("10.0.0.7", 8080))),
            ("HTTP://u:p@host/a:9/", Some(("host", 80))),
            ("https://[fd00::1]:8443/x", Some(("fd00::1", 8443))),
            ("https://[fd00::1]/", Some(("fd00::1", 443))),
            ("http://host:port/", None),
            ("nothing", None),
        ] {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(endpoint(url), expected, "{url}");
        }
    }
}
