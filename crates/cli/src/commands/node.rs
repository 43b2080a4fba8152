//! `slapos node …` (C 1.7): options in, the node crate's commands, exit codes out.

mod promise;
mod status;
mod usage;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use node::config::{ConfigError, NodeConfig, Overrides};
use node::format::FormatConfig;
use node::{Cancel, Outcome, Reload};
use supervisor::ctl;

use crate::args::node::{Common, Format, Node, NodeCommand, Supervisord};
use crate::args::{Global, OutputFormat};
use crate::failure::Failure;
use crate::progress::NodeProgress;
use crate::{CommandResult, interrupt, output, settings};

pub(crate) fn run(arguments: Node, global: &Global) -> CommandResult {
    let file = settings::node_file(arguments.config.cfg.as_deref());
    let progress = NodeProgress::new(global.quiet, global.verbose);
    let cancel = Cancel::new();
    let command = arguments
        .command
        .unwrap_or_else(|| NodeCommand::Status(Default::default()));
    match command {
        NodeCommand::Register(register) => {
            super::register::run(&register, arguments.config.cfg.as_deref())
        }
        NodeCommand::Format(format) => {
            let config = FormatConfig::load(&file, &format_overrides(&format)).map_err(unusable)?;
            stop_on_interrupt(&cancel)?;
            let options = node::format::Options {
                undo: format.undo,
                cancel,
            };
            done(node::format::run(&config, &options, &progress))
        }
        NodeCommand::Agent(agent) => {
            let reload = Reload::new();
            stop_on_interrupt(&cancel)?;
            interrupt::on_hangup({
                let reload = reload.clone();
                move || reload.ask()
            })?;
            let options = node::agent::Options { cancel, reload };
            done(node::agent::run(
                &file,
                &overrides(&agent.common),
                &options,
                &progress,
            ))
        }
        NodeCommand::Software(software) => {
            let mut overrides = overrides(&software.common);
            set_flag(&mut overrides, "buildout_debug", software.buildout_debug);
            set_flag(&mut overrides, "force", software.force);
            let config = load(&file, &overrides)?;
            stop_on_interrupt(&cancel)?;
            let options = node::software::Options {
                only: software.only,
                garbage_collect: software.garbage_collect,
                cancel,
            };
            done(node::software::run(&config, &options, &progress))
        }
        NodeCommand::Instance(instance) => {
            let mut overrides = overrides(&instance.common);
            set_flag(&mut overrides, "buildout_debug", instance.buildout_debug);
            set_flag(&mut overrides, "force", instance.force);
            let config = load(&file, &overrides)?;
            stop_on_interrupt(&cancel)?;
            let options = node::instance::Options {
                only: instance.only,
                force_stop: instance.force_stop,
                cancel,
                ..Default::default()
            };
            done(node::instance::run(&config, &options, &progress))
        }
        NodeCommand::Report(report) => {
            let config = load(&file, &overrides(&report.common))?;
            stop_on_interrupt(&cancel)?;
            let options = node::report::Options { cancel };
            done(node::report::run(&config, &options, &progress))
        }
        NodeCommand::Promise(arguments) => {
            let config = load(&file, &overrides(&arguments.common))?;
            stop_on_interrupt(&cancel)?;
            let options = node::promise::Options {
                only: arguments.only,
                cancel,
            };
            let report = node::promise::run(&config, &options, &progress)?;
            promise::tell(&report, arguments.output)
        }
        NodeCommand::Bang(bang) => {
            let config = load(&file, &Overrides::new())?;
            output::print(&format!("Banging to '{}'", config.master.url))?;
            config
                .master
                .client()?
                .node_bang(&config.node, &bang.message)?;
            output::print(&format!("Bang with message '{}'", bang.message))?;
            Ok(ExitCode::SUCCESS)
        }
        NodeCommand::Usage(usage) => {
            let config = load(&file, &Overrides::new())?;
            usage::run(&config, usage.output)
        }
        NodeCommand::Boot(boot) => super::upkeep::boot(&boot, &file, cancel, &progress),
        NodeCommand::Collect(collect) => {
            stop_on_interrupt(&cancel)?;
            let options = node::collect::Options {
                interval: std::time::Duration::from_secs(collect.interval),
                cancel,
            };
            match node::collect::run(&file, &options, &progress) {
                Err(node::Error::Config(error)) => Err(unusable(error)),
                other => done(other),
            }
        }
        NodeCommand::Prune(prune) => {
            let config = load(&file, &Overrides::new())?;
            stop_on_interrupt(&cancel)?;
            super::upkeep::prune(prune, &config, cancel, &progress)
        }
        NodeCommand::Supervisord(supervisord) => run_supervisor(&file, &supervisord),
        NodeCommand::Supervisorctl(words) => control(&file, words.arguments),
        NodeCommand::Status(asked) => match output::format(asked.output) {
            // As upstream: the services alone, for scripts and for who asks for some by name.
            None => control_names(&file, "status", asked.names),
            Some(OutputFormat::Table) if !asked.names.is_empty() => {
                control_names(&file, "status", asked.names)
            }
            Some(_) => status::run(&load(&file, &Overrides::new())?, &asked),
        },
        NodeCommand::Start(names) => control_names(&file, "start", names.names),
        NodeCommand::Stop(names) => control_names(&file, "stop", names.names),
        NodeCommand::Restart(names) => control_names(&file, "restart", names.names),
        NodeCommand::Tail(tail) => {
            let mut words = vec!["tail".to_owned()];
            words.extend(tail.follow.then(|| "-f".to_owned()));
            words.push(tail.name);
            control(&file, words)
        }
    }
}

pub(super) fn done(result: Result<Outcome, node::Error>) -> CommandResult {
    Ok(ExitCode::from(result?.exit_code()))
}

fn load(file: &Path, overrides: &Overrides) -> Result<NodeConfig, Failure> {
    NodeConfig::load(file, overrides).map_err(unusable)
}

pub(super) fn unusable(error: ConfigError) -> Failure {
    let failure = Failure::of(&error);
    match error {
        ConfigError::Read { .. } => failure
            .hint("name another one with --cfg, or try `slapos standalone` which makes its own"),
        _ => failure,
    }
}

fn stop_on_interrupt(cancel: &Cancel) -> Result<(), Failure> {
    let cancel = cancel.clone();
    interrupt::on_interrupt(move || cancel.cancel())
}

fn set_flag(overrides: &mut Overrides, option: &str, set: bool) {
    if set {
        overrides.set(option, "true");
    }
}

fn set_path(overrides: &mut Overrides, option: &str, path: Option<&PathBuf>) {
    overrides.set_opt(option, path.map(|path| path.display().to_string()));
}

/// The options that software, instance, report and promise share, by their names in the file.
fn overrides(common: &Common) -> Overrides {
    let mut overrides = Overrides::new();
    for (option, path) in [
        ("instance_root", &common.instance_root),
        ("software_root", &common.software_root),
        ("buildout", &common.buildout),
        ("pidfile", &common.pidfile),
        ("key_file", &common.key_file),
        ("cert_file", &common.cert_file),
        (
            "signature-private-key-file",
            &common.signature_private_key_file,
        ),
        ("master_ca_file", &common.master_ca_file),
        (
            "certificate_repository_path",
            &common.certificate_repository_path,
        ),
    ] {
        set_path(&mut overrides, option, path.as_ref());
    }
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    overrides
        .set_opt("master_url", common.master_url.clone())
        .set_opt("computer_id", common.computer_id.clone())
        .set_opt(
            "maximum_periodicity",
            common.maximum_periodicity.map(|number| number.to_string()),
        )
        .set_opt("promise_timeout", number(common.promise_timeout))
        .set_opt("partition_timeout", number(common.partition_timeout))
        .set_opt("maximal_delay", number(common.maximal_delay));
    set_flag(&mut overrides, "now", common.now);
    overrides
}

fn format_overrides(format: &Format) -> Overrides {
    let mut overrides = Overrides::new();
    for (option, path) in [
        ("computer_xml", &format.computer_xml),
        ("computer_json", &format.computer_json),
        ("input_definition_file", &format.input_definition_file),
        ("output_definition_file", &format.output_definition_file),
    ] {
        set_path(&mut overrides, option, path.as_ref());
    }
    overrides
        .set_opt("alter_user", format.alter_user.clone())
        .set_opt("alter_network", format.alter_network.clone());
    set_flag(&mut overrides, "now", format.now);
    set_flag(&mut overrides, "dry_run", format.dry_run);
    overrides
}

/// Runs the supervisor: in this process when told so, else by starting one in the background.
fn run_supervisor(file: &Path, arguments: &Supervisord) -> CommandResult {
    let configuration = match &arguments.configuration {
        Some(configuration) => configuration.clone(),
        None => {
            let config = load(file, &Overrides::new())?;
            if !arguments.nodaemon {
                node::supervisor(&config)?;
                return Ok(ExitCode::SUCCESS);
            }
            config.prepare_structure()?;
            config.supervisord_conf()
        }
    };
    supervisor::daemon::run(&configuration, arguments.nodaemon)
        .map_err(|error| Failure::of(&error))?;
    Ok(ExitCode::SUCCESS)
}

fn control_names(file: &Path, action: &str, names: Vec<String>) -> CommandResult {
    let mut words = vec![action.to_owned()];
    words.extend(names);
    control(file, words)
}

/// supervisorctl's words, with its output and exit codes.
fn control(file: &Path, words: Vec<String>) -> CommandResult {
    let config = load(file, &Overrides::new())?;
    let client = node::supervisor(&config)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if ctl::is_follow(&words) {
        let outcome = ctl::follow(&client, &words, &mut std::io::stdout());
        return print_outcome(&outcome);
    }
    if ctl::is_foreground(&words) {
        let mut input = std::io::stdin().lock();
        let outputs: [Box<dyn Write + Send>; 2] =
            [Box::new(std::io::stdout()), Box::new(std::io::stderr())];
        let outcome = ctl::foreground(&client, &words, &mut input, outputs);
        return print_outcome(&outcome);
    }
    print_outcome(&ctl::run(&client, &words))
}

fn print_outcome(outcome: &ctl::Outcome) -> CommandResult {
    let text = outcome.text.trim_end_matches('\n');
    if !text.is_empty() {
        output::print(text)?;
    }
    Ok(ExitCode::from(outcome.code))
}
