//! What may be typed: the whole command line, with upstream's words (C 1).

pub(crate) mod apply;
pub(crate) mod cachelookup;
pub(crate) mod client;
pub(crate) mod contexts;
pub(crate) mod enrol;
pub(crate) mod master;
pub(crate) mod node;
pub(crate) mod proxy;
pub(crate) mod service;
pub(crate) mod software;
pub(crate) mod standalone;
pub(crate) mod upkeep;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// SlapOS: Master, Node and Client of a decentralised cloud, in one program
#[derive(Debug, Parser)]
#[command(
    name = "slapos",
    version,
    propagate_version = true,
    infer_long_args = true,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = false,
    after_help = "\
Start here:
  slapos standalone --demo                    a whole cloud on this machine, with a real application
  slapos supply URL NODE                      install a software release on a node
  slapos request TITLE URL --wait             ask for an instance and wait for its address
  slapos service info TITLE                   see what became of it

`slapos help COMMAND` tells more, with examples: `slapos help request`, `slapos help service list`.

Exit codes: 0 done; 1 failed; 2 wrong usage, not found or not ready yet, or a promise failed;
3 the node worked without its Master; 5 no such command, or root is needed; 10 already running."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options every command takes, anywhere on the line.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet", help_heading = "Global options")]
    pub(crate) verbose: u8,
    /// Say only what went wrong
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// Also write everything to this file
    #[arg(
        long,
        alias = "logfile",
        alias = "log_file",
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub(crate) log_file: Option<PathBuf>,
    /// Begin each message with the time
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) log_time: bool,
    /// When to use colours; `auto` is on terminals, unless NO_COLOR, CLICOLOR=0 or TERM=dumb say no
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        help_heading = "Global options"
    )]
    pub(crate) color: Color,
    /// Accepted for compatibility
    #[arg(long, global = true, hide = true)]
    pub(crate) log_color: bool,
    /// Accepted for compatibility; `-v` shows the details of errors
    #[arg(long, global = true, hide = true)]
    pub(crate) debug: bool,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    // No doc comments: the help would list the values on a line each.
    Auto,
    Always,
    Never,
}

/// How a result is printed: for people, for scripts, for both, or the names only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    // No doc comments: the help would list the values on a line each.
    Table,
    Json,
    Yaml,
    Csv,
    Name,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Request(client::Request),
    Apply(apply::Apply),
    /// Ask a node to install a software release
    Supply(client::Supply),
    /// Ask a node to remove a software release
    Remove(client::Supply),
    /// Look at the instances you requested
    #[command(subcommand, arg_required_else_help = true)]
    Service(service::Service),
    #[command(subcommand, arg_required_else_help = true)]
    Software(software::Software),
    /// Look at compute nodes
    #[command(subcommand, arg_required_else_help = true)]
    Computer(client::Computer),
    Console(client::Console),
    Login(contexts::Login),
    Logout(contexts::Logout),
    #[command(subcommand, arg_required_else_help = true)]
    Context(contexts::Context),
    Check(contexts::Check),
    /// Set up this program for use with a Master
    #[command(subcommand, arg_required_else_help = true)]
    Configure(enrol::Configure),
    Node(Box<node::Node>),
    /// Look up what the network cache has
    #[command(name = "cachelookup", subcommand, arg_required_else_help = true)]
    CacheLookup(cachelookup::CacheLookup),
    /// Run a Master for many users and nodes, and administrate it
    #[command(subcommand, arg_required_else_help = true)]
    Master(master::Master),
    /// A Master for one machine, without security, on loopback
    #[command(subcommand, arg_required_else_help = true)]
    Proxy(proxy::Proxy),
    Standalone(standalone::Standalone),
    #[command(visible_alias = "completion")]
    Complete(Complete),
    #[command(hide = true)]
    Man(Man),
}

/// Write the help as manual pages
///
/// Without a directory the first page is printed: `slapos man | man -l -`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos man ~/.local/share/man/man1
  slapos man | man -l -")]
pub(crate) struct Man {
    /// Where the pages go
    #[arg(value_name = "DIRECTORY")]
    pub(crate) directory: Option<PathBuf>,
}

/// Print what a shell needs to complete commands, options, and the names your Master knows
///
/// Services, nodes, software and contexts are completed with those there are; the Master is asked for
/// 0.3 seconds at most, and what it says is kept for a moment.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eval \"$(slapos complete --shell bash)\"      in ~/.bashrc
  eval \"$(slapos complete --shell zsh)\"       in ~/.zshrc, after compinit
  slapos complete --shell fish > ~/.config/fish/completions/slapos.fish
  slapos completion zsh")]
pub(crate) struct Complete {
    /// The shell
    #[arg(long = "shell", value_name = "SHELL", default_value = "bash")]
    shell: clap_complete::Shell,
    /// The shell
    #[arg(value_name = "SHELL", hide = true)]
    shell_word: Option<clap_complete::Shell>,
    /// What the program is called
    #[arg(long, value_name = "NAME", default_value = "slapos")]
    pub(crate) name: String,
}

impl Complete {
    /// The shell, as an option or, as other programs have it, a word.
    pub(crate) fn shell(&self) -> clap_complete::Shell {
        self.shell_word.unwrap_or(self.shell)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
        crate::help::command().debug_assert();
    }
}
