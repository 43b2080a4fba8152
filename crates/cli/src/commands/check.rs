//! `slapos check`: what is between a person and their Master, step by step.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use slap_client::{Cloud, Profile, Trust};

use super::context;
use crate::args::contexts::Check;
use crate::failure::Failure;
use crate::{CommandResult, contexts, output, settings};

/// So long before its end a certificate should be renewed.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// So far apart clocks may be; the Master tells whole seconds.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(30);

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    /// It works, and somebody should know.
    Doubtful,
    Bad,
}

impl Health {
    fn word(self) -> &'static str {
        match self {
            Health::Good => "ok",
            Health::Doubtful => "careful",
            Health::Bad => "WRONG",
        }
    }
}

/// What was looked at, and how it is.
struct Found {
    what: &'static str,
    health: Health,
    said: String,
}

/// Everything that was looked at.
#[derive(Default)]
struct Findings(Vec<Found>);

impl Findings {
    fn add(&mut self, what: &'static str, health: Health, said: impl Into<String>) {
        let said = said.into();
        self.0.push(Found { what, health, said });
    }

    fn good(&mut self, what: &'static str, said: impl Into<String>) {
        self.add(what, Health::Good, said);
    }

    fn wrong(&mut self, what: &'static str, failure: &Failure) {
        self.add(what, Health::Bad, failure.with_hint());
    }
}

pub(crate) fn run(arguments: &Check) -> CommandResult {
    let mut findings = Findings::default();
    findings.good("program", format!("slapos {}", env!("CARGO_PKG_VERSION")));
    look(arguments, &mut findings);
    let found = findings.0;
    let value = found
        .iter()
        .map(|one| json!({"what": one.what, "state": one.health.word(), "said": one.said}))
        .collect();
    let bad = |one: &&Found| one.health == Health::Bad;
    let names = found.iter().filter(bad).map(|one| one.what);
    output::answer(arguments.output, &value, names, || {
        let off = output::stdout_style("\x1b[0m");
        let lines: Vec<String> = found
            .iter()
            .map(|one| {
                let color = match one.health {
                    Health::Good => output::stdout_style("\x1b[32m"),
                    Health::Doubtful => output::stdout_style("\x1b[33m"),
                    Health::Bad => output::stdout_style("\x1b[31m"),
                };
                let word = one.health.word();
                format!("{color}{word:<8}{off} {:<14} {}", one.what, one.said)
            })
            .collect();
        lines.join("\n")
    })?;
    Ok(if found.iter().any(|one| one.health == Health::Bad) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Looks at one thing after the other; the first that is wrong makes the rest pointless.
fn look(arguments: &Check, findings: &mut Findings) {
    let profile = match contexts::client_file(&arguments.config)
        .and_then(|_| settings::profile(&arguments.config))
    {
        Ok(profile) => profile,
        Err(failure) => return findings.wrong("configuration", &failure),
    };
    findings.good("configuration", profile.file.display().to_string());
    if !identity(&profile, findings) {
        return;
    }
    match &profile.settings.trust {
        _ if profile.settings.master_url.starts_with("http://") => findings.add(
            "encryption",
            Health::Doubtful,
            "none: everybody on the way can read and change what is said",
        ),
        Trust::Insecure => findings.add(
            "encryption",
            Health::Doubtful,
            "whoever answers is believed to be the Master (master_tls_verify = false)",
        ),
        Trust::CaFile(file) => findings.good(
            "encryption",
            format!("the Master is recognised by {}", file.display()),
        ),
        _ => findings.good(
            "encryption",
            "the Master is recognised by public authorities",
        ),
    }
    let cloud = match Cloud::open(&profile) {
        Ok(cloud) => cloud,
        Err(error) => return findings.wrong("connection", &error.into()),
    };
    let before = Instant::now();
    if let Err(error) = cloud.client().is_known() {
        return findings.wrong("Master", &error.into());
    }
    findings.good(
        "Master",
        format!(
            "{} answers after {} ms",
            cloud.client().master_url(),
            before.elapsed().as_millis()
        ),
    );
    clock(&cloud, findings);
    match cloud.services() {
        Ok(services) => findings.good("services", services.len().to_string()),
        Err(error) => return findings.wrong("services", &error.into()),
    }
    match cloud.nodes() {
        Ok(nodes) if nodes.is_empty() => findings.add(
            "nodes",
            Health::Doubtful,
            "none that you may see: `slapos computer token` makes a token for one",
        ),
        Ok(nodes) => findings.good("nodes", nodes.len().to_string()),
        Err(error) => findings.wrong("nodes", &error.into()),
    }
}

/// Whether this clock and the Master's agree: certificates and tokens are good for a time only.
fn clock(cloud: &Cloud, findings: &mut Findings) {
    let Ok(Some(theirs)) = cloud.client().master_clock() else {
        return;
    };
    let ours = SystemTime::now();
    let (apart, word) = match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if apart < CLOCKS_APART_MAX {
        findings.good("clock", "agrees with the Master's");
    } else {
        findings.add(
            "clock",
            Health::Doubtful,
            format!("{} s {word} the Master's: set it right", apart.as_secs()),
        );
    }
}

/// Whether there is a key nobody else can read, and a certificate that is good for a while.
fn identity(profile: &Profile, findings: &mut Findings) -> bool {
    let Some((certificate, key)) = &profile.settings.certificate else {
        findings.good("certificate", "none: the Master asks nobody who they are");
        return true;
    };
    match mode(key) {
        Ok(mode) if mode & 0o077 != 0 => findings.add(
            "key",
            Health::Doubtful,
            format!("others can read {0}: chmod 600 {0}", key.display()),
        ),
        Ok(_) => findings.good("key", key.display().to_string()),
        Err(error) => {
            let failure = Failure::new(format!("cannot read {}: {error}", key.display()))
                .hint("`slapos login` gets a new key and certificate");
            findings.wrong("key", &failure);
            return false;
        }
    }
    let read = fs::read(certificate).map_err(|error| error.to_string());
    let end = read.and_then(|text| {
        context::certificate(&text)
            .and_then(|(_, end)| end)
            .ok_or_else(|| "it is no certificate in PEM form".to_owned())
    });
    let now = Timestamp::now();
    match end {
        Ok(end) => {
            let day = end.strftime("%Y-%m-%d");
            if end < now {
                let failure = Failure::new(format!("it expired on {day}, or this clock is wrong"))
                    .hint("`slapos login` gets a new one");
                findings.wrong("certificate", &failure);
                return false;
            }
            let (health, more) = if end.duration_since(now) < SOON {
                (Health::Doubtful, ": `slapos login` gets a new one")
            } else {
                (Health::Good, "")
            };
            findings.add("certificate", health, format!("good until {day}{more}"));
            true
        }
        Err(reason) => {
            let failure = Failure::new(format!("{}: {reason}", certificate.display()))
                .hint("`slapos login` gets a new key and certificate");
            findings.wrong("certificate", &failure);
            false
        }
    }
}

fn mode(path: &Path) -> std::io::Result<u32> {
    fs::File::open(path)?;
    Ok(fs::metadata(path)?.permissions().mode())
}
