//! `slapos master …`: runs a Master, and administrates one.

mod connect;
mod keep;
mod people;
mod places;
mod show;
mod start;

use crate::CommandResult;
use crate::args::master::Master;

pub(crate) fn run(command: Master) -> CommandResult {
    match command {
        Master::Start(arguments) => start::run(&arguments),
        Master::User(command) => people::user(command),
        Master::Project(command) => people::project(command),
        Master::Token(command) => people::token(command),
        Master::Certificate(command) => people::certificate(command),
        Master::Ca(command) => people::authority(command),
        Master::Node(command) => places::node(*command),
        Master::Network(command) => places::network(command),
        Master::Remote(command) => places::remote(*command),
        Master::Product(command) => places::product(command),
        Master::Decision(command) => places::decision(command),
        Master::Waiting(arguments) => places::waiting(&arguments),
        Master::Audit(arguments) => keep::audit(arguments),
        Master::Backup(arguments) => keep::backup(&arguments),
        Master::Restore(arguments) => keep::restore(&arguments),
        Master::Upgrade(arguments) => keep::upgrade(&arguments),
        Master::Check(arguments) => keep::check(&arguments),
    }
}
