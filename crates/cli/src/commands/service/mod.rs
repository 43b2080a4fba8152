//! `slapos service …` (C 1.4). What is printed where nobody looks is upstream's, key by key:
//! scripts read it.

mod change;
mod events;
mod info;
mod list;
mod promises;
mod reach;
mod whole;

pub(crate) use whole::moment;

use crate::CommandResult;
use crate::args::service::Service;

pub(crate) fn run(command: &Service) -> CommandResult {
    match command {
        Service::List(arguments) => list::run(arguments),
        Service::Info(arguments) => info::run(arguments),
        Service::Tree(arguments) => whole::tree(arguments),
        Service::Events(arguments) => events::run(arguments, false),
        Service::Logs(arguments) => events::run(arguments, true),
        Service::Promises(arguments) => promises::run(arguments),
        Service::Wait(arguments) => reach::wait(arguments),
        Service::Open(arguments) => reach::open(arguments),
        Service::Start(arguments) => change::start(arguments),
        Service::Stop(arguments) => change::stop(arguments),
        Service::Destroy(arguments) => change::destroy(arguments),
        Service::Rename(arguments) => change::rename(arguments),
        Service::Upgrade(arguments) => change::upgrade(arguments),
    }
}
