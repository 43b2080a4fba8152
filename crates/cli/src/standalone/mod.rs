//! A Master and a node on one machine, in one directory, as an ordinary user.
//!
//! The Master is a process of its own, so is the supervisor of the services; this process runs the
//! node's agent between them. Any of the three may be killed: what is found at the next start is
//! used.

mod agent;
mod demo;
mod layout;
mod master;

use std::fs::File;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use node::config::Overrides;
use node::format::FormatConfig;
use node::{Cancel, Observer};

use crate::args::Global;
use crate::args::standalone::Standalone;
use crate::failure::Failure;
use crate::progress::NodeProgress;
use crate::{CommandResult, interrupt, output};
use agent::Agent;
use demo::Demo;
use layout::Layout;
use master::Master;

/// Longest time all services may take to stop.
const SERVICES_STOP_MAX: Duration = Duration::from_secs(90);

pub(crate) fn run(arguments: &Standalone, global: &Global) -> CommandResult {
    let layout = Layout::create(arguments.root.as_deref())?;
    let _lock = lock(&layout)?;
    let cancel = Cancel::new();
    let (end, ended) = channel();
    interrupt::on_interrupt({
        let (cancel, end) = (cancel.clone(), end.clone());
        move || {
            cancel.cancel();
            let _ = end.send(());
        }
    })?;

    let port = layout.configure(arguments.port, arguments.partitions)?;
    let observer = Arc::new(NodeProgress::new(global.quiet, global.verbose));
    let master = Master::start(&layout, port)?;
    if let Err(failure) = format(&layout, &*observer) {
        master.stop()?;
        return Err(failure);
    }
    if !arguments.demo {
        introduce(&layout, port)?;
    }
    let agent = Agent::start(
        layout.configuration(),
        observer,
        cancel.clone(),
        move || {
            let _ = end.send(());
        },
    )?;

    let played = if arguments.demo {
        Demo::new(master.client().clone(), &layout, cancel).and_then(|demo| demo.play())
    } else {
        Ok(String::new())
    };
    if let Ok(url) = &played
        && !arguments.exit
    {
        if arguments.demo {
            output::print(&format!(
                "\n`{}` goes on running: {url}\nStop everything with Ctrl-C.",
                demo::TITLE
            ))?;
            introduce(&layout, port)?;
        }
        let _ = ended.recv();
    }

    stop(&layout, agent, master)?;
    played?;
    Ok(ExitCode::SUCCESS)
}

/// One standalone per directory.
fn lock(layout: &Layout) -> Result<File, Failure> {
    let path = layout.lock();
    let file = File::create(&path)?;
    file.try_lock().map_err(|_| {
        Failure::new(format!(
            "another `slapos standalone` uses {}",
            layout.root.display()
        ))
        .hint("stop it, or choose another directory with --root")
        .exit_code(10)
    })?;
    Ok(file)
}

/// Makes the partitions what they shall be, and tells the Master about them.
fn format(layout: &Layout, observer: &dyn Observer) -> Result<(), Failure> {
    let config = FormatConfig::load(&layout.configuration(), Overrides::new().set("now", "true"))
        .map_err(|error| Failure::of(&error))?;
    node::format::run(&config, &node::format::Options::default(), observer)?;
    Ok(())
}

fn introduce(layout: &Layout, port: u16) -> Result<(), Failure> {
    let cfg = layout.configuration();
    let cfg = cfg.display();
    output::print(&format!(
        "\
The Master answers at http://127.0.0.1:{port}/ and the node `{}` works for it.
From another terminal:
  export SLAPOS_CONFIGURATION={cfg} SLAPOS_CLIENT_CONFIGURATION={cfg}
  slapos computer list
  slapos service list
  slapos node status",
        layout::NODE
    ))
}

/// Ends the agent, then the services, then the Master: nobody is left without whom it needs.
fn stop(layout: &Layout, agent: Agent, master: Master) -> Result<(), Failure> {
    tracing::info!("stopping");
    let agent = agent.stop();
    let socket = layout.instance_root().join("sv.sock");
    let services = if socket.exists() {
        supervisor::Client::new(&socket)
            .shutdown_and_wait(SERVICES_STOP_MAX)
            .map_err(|error| Failure::of(&error))
    } else {
        Ok(())
    };
    master.stop()?;
    services?;
    agent
}
