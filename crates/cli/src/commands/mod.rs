//! One file per command. Each translates what was typed into calls, and answers into text.

mod complete;
mod computer;
mod node;
mod proxy;
mod request;
mod service;
mod supply;

use crate::CommandResult;
use crate::args::client::{Computer, Service};
use crate::args::{Command, Global};
use slap::InstallationState;

/// Does what was typed.
pub(crate) fn run(command: Command, global: &Global) -> CommandResult {
    match command {
        Command::Request(arguments) => request::run(arguments),
        Command::Supply(arguments) => supply::run(&arguments, InstallationState::Available),
        Command::Remove(arguments) => supply::run(&arguments, InstallationState::Destroyed),
        Command::Service(Service::List(arguments)) => service::list(&arguments),
        Command::Service(Service::Info(arguments)) => service::info(&arguments),
        Command::Computer(Computer::List(arguments)) => computer::list(&arguments),
        Command::Computer(Computer::Info(arguments)) => computer::info(&arguments),
        Command::Node(arguments) => node::run(*arguments, global),
        Command::Proxy(arguments) => proxy::run(arguments),
        Command::Standalone(arguments) => crate::standalone::run(&arguments, global),
        Command::Complete(arguments) => complete::run(&arguments),
    }
}
