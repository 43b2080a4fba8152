//! `slapos node instance` when nothing changed: what a node costs every minute of its life.

use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::failure::{Context, Failure};
use crate::masters::Master;
use crate::peers::{self, Peer};
use crate::process::{self, Measured, Memory, User};
use crate::{Sizes, say, wire};

const NODE: &str = "local_computer";

/// The runs of one peer.
#[derive(Default)]
pub(crate) struct NodeFigures {
    /// The run that deployed all instances.
    pub(crate) first: Vec<Measured>,
    /// Nothing changed, and no promise is due.
    pub(crate) unchanged: Vec<Measured>,
    /// Nothing changed, but each partition's promise is due.
    pub(crate) due: Vec<Measured>,
    /// One instance got another parameter.
    pub(crate) one_changed: Vec<Measured>,
    /// Every instance got another parameter.
    pub(crate) all_changed: Vec<Measured>,
    /// The process supervisor with all services.
    pub(crate) supervisor: Memory,
}

/// A node with its own Master, all instances deployed.
struct Node<'a> {
    peer: &'a Peer,
    /// A program that the user of the node can start.
    program: PathBuf,
    user: User,
    root: PathBuf,
    /// After the Master, so that the services are stopped first.
    services: Services,
    master: Master,
    /// What all instances run.
    release: String,
    figures: NodeFigures,
}

/// Deploys the same instances with each peer, then runs its `node instance` in turn.
pub(crate) fn compare(
    peers: &[Peer],
    directory: &Path,
    sizes: &Sizes,
) -> Result<Vec<NodeFigures>, Failure> {
    let release = directory.join("release");
    write_release(&release)?;
    let mut nodes = Vec::new();
    for peer in peers {
        let root = directory.join(peer.name).join("node");
        say(&format!(
            "{}: {} instances are deployed",
            peer.name, sizes.partitions
        ));
        nodes.push(Node::deploy(peer, root, &release, sizes.partitions)?);
    }
    // The first is not counted: it may still settle something.
    for round in 0..=sizes.node_runs {
        for node in &mut nodes {
            let before = node.stamps(sizes.partitions)?;
            let measured = node.instance()?;
            if node.stamps(sizes.partitions)? != before {
                return Err(Failure::new(format!("{} processed again", node.peer.name)));
            }
            node.told("nothing changed", &measured);
            if round > 0 {
                node.figures.unchanged.push(measured);
            }
        }
    }
    for _ in 0..sizes.node_runs {
        for node in &mut nodes {
            node.forget_promises(sizes.partitions)?;
            let measured = node.instance()?;
            node.told("promises due", &measured);
            node.figures.due.push(measured);
        }
    }
    for round in 0..sizes.node_runs {
        let (size, number) = (10 + round as i64, round % sizes.partitions);
        for node in &mut nodes {
            let measured = node.change(number..number + 1, size, sizes.partitions)?;
            node.told("one changed", &measured);
            node.figures.one_changed.push(measured);
        }
    }
    for node in &mut nodes {
        let measured = node.change(0..sizes.partitions, 100, sizes.partitions)?;
        node.told("all changed", &measured);
        node.figures.all_changed.push(measured);
    }
    Ok(nodes
        .into_iter()
        .map(|mut node| {
            node.figures.supervisor = node.services.pid().map(Memory::of_one).unwrap_or_default();
            node.figures
        })
        .collect())
}

impl<'a> Node<'a> {
    fn deploy(
        peer: &'a Peer,
        root: PathBuf,
        release: &Path,
        partitions: usize,
    ) -> Result<Node<'a>, Failure> {
        for name in ["etc", "run", "software", "instance"] {
            fs::create_dir_all(root.join(name)).context("making a directory")?;
        }
        let user = User::unprivileged()?;
        let program = public_program(peer, &root)?;
        fs::write(
            root.join("etc/definition.cfg"),
            definition(&user.name, partitions),
        )
        .context("writing the definition of the node")?;
        let master = Master::start(peer, &root, |address| {
            configuration(&root, address, &user.name, partitions)
        })?;
        user.own(&root)?;
        let services = Services {
            pid_file: root.join("instance/var/run/supervisord.pid"),
        };
        let mut node = Node {
            peer,
            program,
            user,
            root,
            services,
            master,
            release: release.join("software.cfg").display().to_string(),
            figures: NodeFigures::default(),
        };
        node.slapos(&["format", "--now"])?;
        let supply = [
            ("url", node.release.as_str()),
            ("computer_id", NODE),
            ("state", "available"),
        ];
        node.master.call(
            "supplying the release",
            &wire::post("supplySupply", &supply),
        )?;
        node.slapos(&["software"])?;
        for number in 0..partitions {
            node.request(number, 3)?;
        }
        let first = node.instance()?;
        node.told("first run", &first);
        node.figures.first.push(first);
        node.stamps(partitions)?;
        Ok(node)
    }

    fn told(&self, what: &str, measured: &Measured) {
        say(&format!(
            "{what:<16} {:>8}: {:>8.3} s, {:>8.3} s of CPU, {:>4} MB",
            self.peer.name,
            measured.wall_s,
            measured.cpu_s,
            measured.max_rss_kib / 1024
        ));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("node")
            .args(arguments)
            .arg("--cfg")
            .arg(&self.master.configuration);
        command
    }

    fn log(&self) -> PathBuf {
        self.root.join("node.log")
    }

    fn slapos(&self, arguments: &[&str]) -> Result<(), Failure> {
        self.measure(arguments).map(|_| ())
    }

    fn instance(&self) -> Result<Measured, Failure> {
        self.measure(&["instance"])
    }

    fn request(&self, number: usize, size: i64) -> Result<(), Failure> {
        let title = wire::title(number);
        let request = wire::request_sized(NODE, &title, &self.release, size)?;
        self.master
            .call("requesting an instance", &request)
            .map(|_| ())
    }

    /// Gives these instances another parameter and processes them, and no other.
    fn change(
        &self,
        changed: Range<usize>,
        size: i64,
        partitions: usize,
    ) -> Result<Measured, Failure> {
        let before = self.stamps(partitions)?;
        for number in changed.clone() {
            self.request(number, size)?;
        }
        let measured = self.instance()?;
        let processed = self
            .stamps(partitions)?
            .iter()
            .zip(&before)
            .filter(|(after, before)| after != before)
            .count();
        if processed != changed.len() {
            return Err(Failure::new(format!(
                "{} processed {processed} partitions where {} had changed",
                self.peer.name,
                changed.len()
            )));
        }
        Ok(measured)
    }

    /// Runs a command that must succeed.
    fn measure(&self, arguments: &[&str]) -> Result<Measured, Failure> {
        let user = Some((&self.user, self.root.as_path()));
        let measured = process::measure(&mut self.command(arguments), user, &self.log())?;
        if measured.code == 0 {
            return Ok(measured);
        }
        Err(Failure::new(format!(
            "`node {}` of {} ended with exit code {}:\n{}",
            arguments.join(" "),
            self.peer.name,
            measured.code,
            process::tail(&self.log())
        )))
    }

    fn partition(&self, number: usize) -> PathBuf {
        self.root.join("instance").join(wire::partition(number))
    }

    /// When each partition was last processed with success; all of them were.
    fn stamps(&self, partitions: usize) -> Result<Vec<SystemTime>, Failure> {
        (0..partitions)
            .map(|number| {
                let stamp = self.partition(number).join(".timestamp");
                fs::metadata(&stamp)
                    .and_then(|metadata| metadata.modified())
                    .context(format_args!("{} was not processed", stamp.display()))
            })
            .collect()
    }

    fn forget_promises(&self, partitions: usize) -> Result<(), Failure> {
        for number in 0..partitions {
            let cache = self.partition(number).join(".slapgrid/promise/cache");
            for entry in fs::read_dir(&cache)
                .context("reading a promise cache")?
                .flatten()
            {
                fs::remove_file(entry.path()).context("emptying a promise cache")?;
            }
        }
        Ok(())
    }
}

/// The daemon that `node instance` started and left behind with all services.
struct Services {
    pid_file: PathBuf,
}

impl Services {
    fn pid(&self) -> Option<u32> {
        fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            process::stop(pid, || process::exists(pid));
        }
    }
}

/// The node's program; a copy where root's programs cannot be reached by the node's user.
fn public_program(peer: &Peer, root: &Path) -> Result<PathBuf, Failure> {
    if peers::is_public(&peer.node) || !rustix::process::geteuid().is_root() {
        return Ok(peer.node.clone());
    }
    let copy = root.join("slapos");
    fs::copy(&peer.node, &copy).context("copying a program")?;
    Ok(copy)
}

/// A node for an unprivileged user, on loopback (N 1.2, 1.3).
fn configuration(root: &Path, address: SocketAddr, user: &str, partitions: usize) -> String {
    let root = root.display();
    format!(
        "[slapos]\n\
         software_root = {root}/software\ninstance_root = {root}/instance\n\
         master_url = http://{address}/\nmaster_rest_url = http://{address}/hateoas\n\
         computer_id = {NODE}\nroot_check = false\n\
         pidfile_software = {root}/run/software.pid\npidfile_instance = {root}/run/instance.pid\n\
         pidfile_report = {root}/run/report.pid\n\
         software_min_free_space = 10M\ninstance_min_free_space = 10M\n\n\
         [slapformat]\n\
         interface_name = lo\npartition_amount = {partitions}\n\
         partition_base_name = slappart\nuser_base_name = {user}\ntap_base_name = slaptap\n\
         software_user = {user}\ncomputer_xml = {root}/etc/computer.xml\n\
         input_definition_file = {root}/etc/definition.cfg\n\
         alter_user = False\nalter_network = False\ncreate_tap = False\n\
         partition_has_ipv6_range = False\n\n[networkcache]\n"
    )
}

fn definition(user: &str, partitions: usize) -> String {
    let mut text = format!("[computer]\naddress = 127.0.0.1/255.0.0.0\nsoftware_user = {user}\n");
    for number in 0..partitions {
        text += &format!(
            "\n[partition_{number}]\n\
             address = 127.0.0.1/255.0.0.0 ::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n\
             user = {user}\nnetwork_interface = lo\npathname = {}\n",
            wire::partition(number)
        );
    }
    text
}

/// A release that needs nothing but a recipe both builders have: each instance gets one watched
/// and one unwatched program, and one promise that is due every hour.
fn write_release(directory: &Path) -> Result<(), Failure> {
    fs::create_dir_all(directory).context("making a directory")?;
    let template = directory.join("instance.cfg.in");
    let software = format!(
        "[buildout]\nparts = instance\n\n\
         [instance]\nrecipe = slapos.recipe.template\nurl = {}\n\
         output = ${{buildout:directory}}/instance.cfg\n",
        template.display()
    );
    fs::write(directory.join("software.cfg"), software).context("writing the release")?;
    fs::write(template, INSTANCE).context("writing the release")
}

const INSTANCE: &str = r"[buildout]
parts = run service promise
eggs-directory = ${buildout:directory}/eggs
develop-eggs-directory = ${buildout:directory}/develop-eggs

[program]
recipe = slapos.recipe.template
inline =
  #!/bin/sh
  exec sleep 1000000
mode = 0700

[run]
<= program
output = $${buildout:directory}/etc/run/runner

[service]
<= program
output = $${buildout:directory}/etc/service/service

[promise]
recipe = slapos.recipe.template
inline =
  import sys
  sys.path[0:0] = []
  from zope.interface import implementer
  from slapos.grid.promise import interface
  from slapos.grid.promise.generic import GenericPromise

  @implementer(interface.IPromise)
  class RunPromise(GenericPromise):

    def __init__(self, config):
      super().__init__(config)
      self.setPeriodicity(minute=60)

    def sense(self):
      self.logger.info('well')
output = $${buildout:directory}/etc/plugin/well.py
";
