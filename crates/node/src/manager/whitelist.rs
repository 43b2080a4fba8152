//! whitelistfirewall: an instance says whom alone its processes may talk to (N 7).

use std::net::Ipv4Addr;

use md5::{Digest, Md5};

use super::{Manager, Place, wishes};
use crate::firewalld::FirewallConfig;
use crate::safe_fs::Durable;

pub(super) const NAME: &str = "whitelistfirewall";
const FILE: &str = ".slapos-whitelist-firewall";
/// What was last made of the file; empty while rules are being changed.
const SUM: &str = ".slapos-whitelist-firewall.md5sum";

pub(super) struct Whitelist {
    firewall: Option<FirewallConfig>,
}

impl Whitelist {
    pub(super) fn new(firewall: Option<FirewallConfig>) -> Self {
        Whitelist { firewall }
    }
}

fn direct<'a>(firewall: &FirewallConfig, order: &'a str, words: &[&'a str]) -> Result<(), String> {
    let all = [&["--direct", "--permanent", order], words].concat();
    // firewalld says `success` even where there was nothing to do.
    firewall.call(&all).map(drop)
}

fn asks<'a>(firewall: &FirewallConfig, query: &'a str, words: &[&'a str]) -> Result<bool, String> {
    firewall.asks(&[&["--direct", "--permanent", query], words].concat())
}

/// The names firewalld knows a partition's rules by.
struct Chain {
    name: String,
    uid: String,
}

impl Chain {
    fn of(place: &Place<'_>) -> Chain {
        Chain {
            name: format!("{}-whitelist", place.partition.id()),
            uid: place.partition.user.uid.to_string(),
        }
    }

    fn words(&self) -> [&str; 3] {
        ["ipv4", "filter", &self.name]
    }

    fn rule(&self) -> [&str; 10] {
        [
            "ipv4",
            "filter",
            "OUTPUT",
            "0",
            "-m",
            "owner",
            "--uid-owner",
            &self.uid,
            "-j",
            &self.name,
        ]
    }

    /// Removes all of it; tells whether there was anything.
    fn remove(&self, firewall: &FirewallConfig) -> Result<bool, String> {
        let mut changed = false;
        if asks(firewall, "--query-chain", &self.words())? {
            direct(firewall, "--remove-rules", &self.words())?;
            direct(firewall, "--remove-chain", &self.words())?;
            changed = true;
        }
        if asks(firewall, "--query-rule", &self.rule())? {
            direct(firewall, "--remove-rule", &self.rule())?;
            changed = true;
        }
        if changed {
            reload(firewall)?;
        }
        Ok(changed)
    }

    /// Makes it lead to these addresses only.
    fn fill(&self, firewall: &FirewallConfig, to: &[Ipv4Addr]) -> Result<(), String> {
        direct(firewall, "--remove-rules", &self.words())?;
        for address in to {
            let address = address.to_string();
            let rule = [&self.words()[..], &["0", "-d", &address, "-j", "ACCEPT"]].concat();
            direct(firewall, "--add-rule", &rule)?;
        }
        let rest = [&self.words()[..], &["0", "-j", "REJECT"]].concat();
        direct(firewall, "--add-rule", &rest)?;
        if !asks(firewall, "--query-rule", &self.rule())? {
            direct(firewall, "--add-rule", &self.rule())?;
        }
        reload(firewall)
    }
}

fn reload(firewall: &FirewallConfig) -> Result<(), String> {
    match firewall.call(&["--reload"])? {
        (true, _) => Ok(()),
        (false, said) => Err(format!("firewalld cannot be reloaded: {said}")),
    }
}

impl Manager for Whitelist {
    fn instance_tear_down(&self, place: &Place<'_>) -> Result<(), String> {
        let Some(firewall) = &self.firewall else {
            (place.warn)("manager whitelistfirewall does nothing without a section [firewall]");
            return Ok(());
        };
        let partition = place.partition;
        let chain = Chain::of(place);
        let said = |error: std::io::Error| format!("cannot use {SUM}: {error}");
        let there = partition
            .dir
            .stat(FILE)
            .map_err(|error| format!("cannot read {FILE}: {error}"))?;
        if there.is_none() {
            chain.remove(firewall)?;
            partition.dir.remove(SUM).map_err(said)?;
            return Ok(());
        }
        // One that makes no sense leaves the rules as they are.
        let Some(list) = wishes(place, FILE) else {
            return Ok(());
        };
        let mut to = Vec::new();
        for entry in &list {
            match entry.as_str().and_then(|text| text.parse().ok()) {
                Some(address) => to.push(address),
                None => (place.warn)(&format!("{FILE}: {entry} is no IPv4 address")),
            }
        }
        let bytes = partition.dir.read(FILE).unwrap_or_default();
        let sum: String = Md5::digest(bytes.unwrap_or_default())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let done = partition.dir.read_text(SUM).unwrap_or_default();
        let mut fresh = false;
        if !asks(firewall, "--query-chain", &chain.words())? {
            direct(firewall, "--add-chain", &chain.words())?;
            fresh = true;
        }
        if !fresh && done.is_some_and(|done| done.trim() == sum) {
            return Ok(());
        }
        let note = |text: &str| {
            partition
                .dir
                .write(SUM, text.as_bytes(), 0o644, None, Durable::No)
                .map_err(said)
        };
        note("")?;
        chain.fill(firewall, &to)?;
        note(&sum)
    }

    fn report(&self, place: &Place<'_>) -> Result<(), String> {
        if let Some(firewall) = &self.firewall {
            Chain::of(place).remove(firewall)?;
        }
        place
            .partition
            .dir
            .remove(SUM)
            .map(drop)
            .map_err(|error| format!("cannot remove {SUM}: {error}"))
    }
}
