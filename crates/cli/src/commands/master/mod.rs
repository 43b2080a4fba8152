//! `slapos master …`: runs a Master, and administrates one.

mod start;

use crate::CommandResult;
use crate::args::master::Master;

pub(crate) fn run(command: Master) -> CommandResult {
    match command {
        Master::Start(arguments) => start::run(&arguments),
    }
}
