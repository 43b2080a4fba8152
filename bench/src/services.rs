//! Many services: how quickly they start and stop, and what it costs that they run.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::failure::{Context, Failure};
use crate::peers::Peer;
use crate::process::{self, Memory, Running};
use crate::{Sizes, say};

/// The longest time all of them may take to start, or to stop.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(2);

/// What was measured of one supervisor, a value for each round.
#[derive(Default)]
pub(crate) struct ServicesFigures {
    /// Until every program runs, from the start of the supervisor.
    pub(crate) start_s: Vec<f64>,
    /// The supervisor's share of a processor while nothing happens.
    pub(crate) idle_share: Vec<f64>,
    /// Until every program, and the supervisor, has ended.
    pub(crate) stop_s: Vec<f64>,
    pub(crate) memory: Vec<Memory>,
}

/// Runs the supervisor of each peer in turn with the same configuration.
pub(crate) fn compare(
    peers: &[Peer],
    directory: &Path,
    sizes: &Sizes,
) -> Result<Vec<ServicesFigures>, Failure> {
    let mut figures: Vec<ServicesFigures> = peers.iter().map(|_| Default::default()).collect();
    for round in 0..sizes.rounds {
        for (peer, figures) in peers.iter().zip(&mut figures) {
            let place = directory.join(peer.name).join(format!("services{round}"));
            fs::create_dir_all(&place).context("making a directory")?;
            once(peer, &place, sizes, figures)?;
        }
    }
    Ok(figures)
}

fn once(
    peer: &Peer,
    place: &Path,
    sizes: &Sizes,
    figures: &mut ServicesFigures,
) -> Result<(), Failure> {
    let configuration = place.join("supervisord.conf");
    fs::write(&configuration, configure(place, sizes.services))
        .context("writing the configuration of the services")?;
    let mut command = supervisor(peer, &configuration);
    let begin = Instant::now();
    let running = Running::start(&mut command, &place.join("log"))?;
    let pid = running.pid();
    wait("start", begin, || children(pid) == sizes.services)?;
    let start_s = begin.elapsed().as_secs_f64();

    // What a start leaves to do is over.
    std::thread::sleep(Duration::from_secs(1));
    let before = process::cpu_seconds(pid);
    let idle = Instant::now();
    std::thread::sleep(sizes.idle);
    let share = (process::cpu_seconds(pid) - before) / idle.elapsed().as_secs_f64();
    let memory = Memory::of_one(pid);

    let begin = Instant::now();
    drop(running);
    let stop_s = begin.elapsed().as_secs_f64();
    say(&format!(
        "{} services {:>8}: started in {start_s:.3} s, idle {:.3} %, stopped in {stop_s:.3} s",
        sizes.services,
        peer.name,
        share * 100.0
    ));
    figures.start_s.push(start_s);
    figures.idle_share.push(share * 100.0);
    figures.stop_s.push(stop_s);
    figures.memory.push(memory);
    Ok(())
}

fn wait(what: &str, begin: Instant, is_done: impl Fn() -> bool) -> Result<(), Failure> {
    while !is_done() {
        if begin.elapsed() > PATIENCE {
            return Err(Failure::new(format!("the services do not {what}")));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn children(pid: u32) -> usize {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    text.unwrap_or_default().split_whitespace().count()
}

fn supervisor(peer: &Peer, configuration: &Path) -> Command {
    let upstream = peer.node.with_file_name("supervisord");
    if peer.name == "upstream" {
        let mut command = Command::new(upstream);
        command.arg("-n").arg("-c").arg(configuration);
        return command;
    }
    let mut command = Command::new(&peer.node);
    command
        .args(["node", "supervisord", "--nodaemon", "--configuration"])
        .arg(configuration);
    command
}

fn configure(place: &Path, services: usize) -> String {
    let place = place.display();
    let mut text = format!(
        "[unix_http_server]\nfile={place}/sv.sock\nchmod=0700\n\n\
         [supervisord]\nlogfile={place}/supervisord.log\npidfile={place}/supervisord.pid\n\
         minfds=8192\nnodaemon=true\n\n\
         [rpcinterface:supervisor]\n\
         supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
    );
    for number in 0..services {
        text += &format!(
            "\n[program:service{number}]\ncommand=/bin/sleep 1000000\nstartsecs=0\n\
             autostart=true\nautorestart=false\nredirect_stderr=true\n\
             stdout_logfile={place}/service{number}.log\n"
        );
    }
    text
}
