//! The command line: how long a person waits.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::failure::{Context, Failure};
use crate::masters::{self, Master};
use crate::peers::Peer;
use crate::process::{self, Measured};
use crate::{Sizes, say, wire};

/// The commands that are measured; the console runs a script that says what it has.
pub(crate) const COMMANDS: [&str; 3] = [
    "slapos --version",
    "slapos service list",
    "slapos console script.py",
];

/// Uses what a person at the prompt has, and asks the Master nothing.
const SCRIPT: &str = "print(slap, request, supply)\n";

/// By [`COMMANDS`]: all runs.
pub(crate) type CliFigures = Vec<Vec<Measured>>;

/// The Python behind `python3`: a version manager may stand before it, and takes its time.
fn interpreter() -> String {
    let asked = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output();
    let said = asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.ok()
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| "python3".to_owned())
}

/// Runs each command in turn with each peer, each client against its own Master with two instances.
pub(crate) fn compare(
    peers: &[Peer],
    directory: &Path,
    sizes: &Sizes,
) -> Result<Vec<CliFigures>, Failure> {
    fs::write(directory.join("script.py"), SCRIPT).context("writing the script")?;
    let python = interpreter();
    let mut masters = Vec::new();
    for peer in peers {
        let directory = directory.join(peer.name).join("cli");
        fs::create_dir_all(&directory).context("making a directory")?;
        let master = Master::start(peer, &directory, masters::client_configuration)?;
        master.call(
            "formatting a node",
            &wire::format_node("local_computer", 10)?,
        )?;
        for title in ["shop", "wiki"] {
            let request = wire::request("local_computer", title, wire::RELEASE)?;
            master.call("requesting an instance", &request)?;
        }
        masters.push((directory.join("cli.log"), master));
    }
    let mut figures: Vec<CliFigures> = peers
        .iter()
        .map(|_| COMMANDS.iter().map(|_| Vec::new()).collect())
        .collect();
    for (index, command) in COMMANDS.iter().enumerate() {
        say(&format!("`{command}`, {} times each", sizes.runs));
        // The first run, which warms the page cache, is not counted.
        for run in 0..=sizes.runs {
            for (side, peer) in peers.iter().enumerate() {
                let (log, master) = &masters[side];
                let mut process = Command::new(&peer.client);
                let mut words = command.split(' ').skip(1).peekable();
                process.args(words.next());
                if index > 0 {
                    process.args(words.next_if(|word| !word.contains('.')));
                    process.arg("--cfg").arg(&master.configuration);
                }
                let script = directory.join("script.py");
                for word in words {
                    match word {
                        "script.py" => process.arg(&script),
                        word => process.arg(word),
                    };
                }
                process.env("SLAPOS_PYTHON", &python);
                let measured = process::measure(&mut process, None, log)?;
                if measured.code != 0 {
                    return Err(Failure::new(format!(
                        "`{command}` of {} failed:\n{}",
                        peer.name,
                        process::tail(log)
                    )));
                }
                if run > 0 {
                    figures[side][index].push(measured);
                }
            }
        }
    }
    Ok(figures)
}
