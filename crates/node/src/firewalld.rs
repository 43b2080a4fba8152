//! firewalld's direct rules, through `firewall-cmd` (N 3.3, 7). No shell is involved.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use slap::config::Config;
use supervisor::config::split_command;

use crate::config::ConfigError;
use crate::config::Values;

/// firewalld answers over D-Bus, which may be stuck.
const TIMEOUT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 32 << 10;

/// Section `[firewall]`.
#[derive(Debug, Clone)]
pub struct FirewallConfig {
    /// `firewall-cmd`, perhaps with options.
    pub command: Vec<String>,
    /// What makes firewalld read its permanent rules.
    pub reload: Vec<String>,
    /// Who may reach every instance.
    pub authorized_sources: Vec<String>,
    /// What the supervisor shall keep running for it: name, command line, log file, priority.
    pub programs: Vec<FirewallProgram>,
}

/// A program that the firewall needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallProgram {
    /// Its name, and that of its section.
    pub name: &'static str,
    /// Its command line; `None`: it is not kept.
    pub command: Option<String>,
    /// Where its output goes.
    pub log: PathBuf,
    /// Low numbers start first.
    pub priority: i32,
}

impl FirewallConfig {
    /// Reads the section; `None` when there is none.
    pub(crate) fn read(
        file: &std::path::Path,
        config: &Config,
    ) -> Result<Option<FirewallConfig>, ConfigError> {
        const SECTION: &str = "firewall";
        if !config.has_section(SECTION) {
            return Ok(None);
        }
        let none = crate::config::Overrides::new();
        let values = Values::new(file, SECTION, config, &[SECTION], &none)?;
        let words = |option: &str, default: &str| {
            let line = values
                .optional(option)
                .unwrap_or_else(|| default.to_owned());
            match split_command(&line) {
                Ok(words) if !words.is_empty() => Ok(words),
                Ok(_) => Err(values.error(option, "is empty".to_owned())),
                Err(reason) => Err(values.error(option, reason)),
            }
        };
        let testing = values.optional("testing").is_some();
        let program = |name, option, log_option, log: &str, priority| -> Result<_, ConfigError> {
            Ok(FirewallProgram {
                name,
                command: values.optional(option).filter(|_| !testing),
                log: values.path(log_option)?.unwrap_or_else(|| log.into()),
                priority,
            })
        };
        Ok(Some(FirewallConfig {
            command: words("firewall_cmd", "firewall-cmd")?,
            reload: words("reload_config_cmd", "slapos node restart firewall")?,
            authorized_sources: slap::config::lines(&values.text("authorized_sources"))
                .map(str::to_owned)
                .collect(),
            programs: vec![
                program(
                    "dbus",
                    "dbus_executable",
                    "dbus_log_file",
                    "/var/log/dbus.log",
                    1,
                )?,
                program(
                    "firewall",
                    "firewall_executable",
                    "log_file",
                    "/var/log/firewall.log",
                    5,
                )?,
            ],
        }))
    }

    /// Runs `firewall-cmd` with these words; whether it succeeded, and what it said.
    pub(crate) fn call(&self, words: &[&str]) -> Result<(bool, String), String> {
        run(&self.command, words)
    }

    /// Asks something: whether the answer is `yes`. firewalld says no with an exit code, too.
    pub(crate) fn asks(&self, words: &[&str]) -> Result<bool, String> {
        match self.call(words)? {
            (_, said) if said == "yes" => Ok(true),
            (_, said) if said == "no" => Ok(false),
            (_, said) => Err(format!(
                "{} {}: {said}",
                self.command.join(" "),
                words.join(" ")
            )),
        }
    }

    /// Orders something, which must be a success.
    pub(crate) fn order(&self, words: &[&str]) -> Result<(), String> {
        match self.call(words)? {
            (true, said) if said == "success" => Ok(()),
            (_, said) => Err(format!(
                "{} {}: {said}",
                self.command.join(" "),
                words.join(" ")
            )),
        }
    }

    /// Has firewalld read its permanent rules, with the command that is configured for it.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let mut command = self.reload.clone();
        // Whatever PATH is: this very program.
        if command.first().is_some_and(|word| word == "slapos")
            && let Ok(program) = std::env::current_exe()
        {
            command[0] = program.to_string_lossy().into_owned();
        }
        match run(&command, &[])? {
            (true, _) => Ok(()),
            (false, said) => Err(format!(
                "cannot load the firewall's rules with `{}`: {said}",
                self.reload.join(" ")
            )),
        }
    }
}

fn run(command: &[String], words: &[&str]) -> Result<(bool, String), String> {
    let Some((program, options)) = command.split_first() else {
        return Err("no command is configured for the firewall".to_owned());
    };
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("`{program}` is not installed; [firewall] says where it is")
        }
        _ => format!("cannot run {program}: {error}"),
    };
    let mut child = Command::new(program)
        .args(options)
        .args(words)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let end = Instant::now() + TIMEOUT;
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if Instant::now() >= end => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "{program} did not end within {} s",
                    TIMEOUT.as_secs()
                ));
            }
            None => std::thread::sleep(LOOK),
        }
    };
    let mut said = String::new();
    if let Some(pipe) = child.stdout.take() {
        // What is no text is no answer either.
        let _ = pipe.take(ANSWER_BYTES_MAX).read_to_string(&mut said);
    }
    Ok((status.success(), said.trim().to_owned()))
}
