//! One file per command. Each translates what was typed into calls, and answers into text.

mod cachelookup;
mod check;
mod complete;
mod computer;
mod configure;
mod configure_local;
mod context;
mod man;
mod master;
mod node;
mod proxy;
mod register;
mod request;
mod service;
mod software;
mod supply;
mod token;
mod upkeep;

use std::path::PathBuf;

use slap::InstallationState;

use crate::args::client::Computer;
use crate::args::node::NodeCommand;
use crate::args::proxy::Proxy;
use crate::args::software::Software;
use crate::args::{Command, Global};
use crate::{CommandResult, settings};

/// The log file that the configuration names for this command. A configuration that cannot be read
/// is complained about by the command itself.
pub(crate) fn configured_log_file(command: &Command) -> Option<PathBuf> {
    let (cfg, section) = match command {
        Command::Proxy(Proxy::Start(start)) => (&start.cfg, "slapproxy"),
        Command::Node(node) if matches!(node.command, Some(NodeCommand::Format(_))) => {
            (&node.config.cfg, "slapformat")
        }
        _ => return None,
    };
    let config = settings::read(&settings::node_file(cfg.as_deref())).ok()?;
    let path = config.get(section, "log_file").ok()??;
    Some(settings::expand_home(path.as_ref())).filter(|path| !path.as_os_str().is_empty())
}

/// Does what was typed.
pub(crate) fn run(command: Command, global: &Global) -> CommandResult {
    match command {
        Command::Request(arguments) => request::run(arguments),
        Command::Apply(arguments) => crate::apply::run(&arguments),
        Command::Service(command) => service::run(&command),
        Command::Software(Software::List(arguments)) => software::list(&arguments),
        Command::Software(Software::Info(arguments)) => software::info(&arguments),
        Command::Computer(Computer::List(arguments)) => computer::list(&arguments),
        Command::Computer(Computer::Info(arguments)) => computer::info(&arguments),
        Command::Computer(Computer::Token(arguments)) => token::run(&arguments),
        Command::Supply(arguments) | Command::Computer(Computer::Supply(arguments)) => {
            supply::run(&arguments, InstallationState::Available)
        }
        Command::Remove(arguments) | Command::Computer(Computer::Remove(arguments)) => {
            supply::run(&arguments, InstallationState::Destroyed)
        }
        Command::Console(arguments) => crate::console::run(&arguments),
        Command::Login(arguments) => context::login(&arguments),
        Command::Logout(arguments) => context::logout(&arguments),
        Command::Context(command) => context::run(command),
        Command::Check(arguments) => check::run(&arguments),
        Command::Configure(command) => configure::run(command, global),
        Command::Node(arguments) => node::run(*arguments, global),
        Command::CacheLookup(command) => cachelookup::run(command),
        Command::Master(arguments) => master::run(arguments),
        Command::Proxy(arguments) => proxy::run(arguments),
        Command::Standalone(arguments) => crate::standalone::run(&arguments, global),
        Command::Complete(arguments) => complete::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    }
}
