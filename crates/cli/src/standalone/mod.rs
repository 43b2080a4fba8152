//! Master, node and processing loop on one machine, in one directory, as an ordinary user.
//!
//! The Master is a process of its own, so is the supervisor of the services; this process runs the
//! loop between them. Any of the three may be killed: what is found at the next start is used.

mod demo;
mod engine;
mod layout;
mod master;

use std::fs::File;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use node::config::{NodeConfig, Overrides};
use node::{Cancel, Observer};

use crate::args::Global;
use crate::args::standalone::Standalone;
use crate::failure::Failure;
use crate::progress::NodeProgress;
use crate::{CommandResult, interrupt, output};
use demo::Demo;
use engine::Engine;
use layout::Layout;
use master::Master;

/// How often the main thread looks whether it shall end.
const LOOK: Duration = Duration::from_millis(100);
/// Longest time all services may take to stop.
const SERVICES_STOP_MAX: Duration = Duration::from_secs(90);

pub(crate) fn run(arguments: &Standalone, global: &Global) -> CommandResult {
    let layout = Layout::create(arguments.root.as_deref())?;
    let _lock = lock(&layout)?;
    let cancel = Cancel::new();
    interrupt::on_interrupt({
        let cancel = cancel.clone();
        move || cancel.cancel()
    })?;

    let port = layout.configure(arguments.port, arguments.partitions)?;
    let observer = Arc::new(NodeProgress::new(global.quiet, global.verbose));
    let master = Master::start(&layout, port)?;
    let prepared = prepare(&layout, &*observer);
    if let Err(failure) = prepared {
        master.stop()?;
        return Err(failure);
    }
    let client = master.client().clone();
    if !arguments.demo {
        introduce(&layout, port)?;
    }
    let engine = Engine::start(layout.configuration(), master, observer, cancel.clone())?;

    let played = if arguments.demo {
        Demo::new(client, &layout, cancel.clone()).and_then(|demo| demo.play())
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
        while !cancel.is_cancelled() && !engine.ended() {
            std::thread::sleep(LOOK);
        }
    }

    let stopped = stop(&layout, engine);
    played?;
    stopped?;
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

/// Formats the node, and starts again what ran when it was stopped.
fn prepare(layout: &Layout, observer: &dyn Observer) -> Result<(), Failure> {
    engine::format(&layout.configuration(), observer)?;
    let config = NodeConfig::load(&layout.configuration(), &Overrides::new())
        .map_err(|error| Failure::of(&error))?;
    node::supervisor(&config)?
        .start_all(false)
        .map_err(|error| Failure::of(&error))?;
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

/// Ends the loop, then the services, then the Master: nobody is left without whom it needs.
fn stop(layout: &Layout, engine: Engine) -> Result<(), Failure> {
    tracing::info!("stopping");
    let master = engine.stop();
    let socket = layout.instance_root().join("sv.sock");
    let services = if socket.exists() {
        supervisor::Client::new(&socket)
            .shutdown_and_wait(SERVICES_STOP_MAX)
            .map_err(|error| Failure::of(&error))
    } else {
        Ok(())
    };
    master?.stop()?;
    services
}
