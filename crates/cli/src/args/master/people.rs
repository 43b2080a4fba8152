//! Persons, projects, tokens, certificates.

use clap::{Args, Subcommand, ValueEnum};

use super::{Listing, Plain, Printed, Which};

/// Persons
#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Add a person; prints a one-time link to set a password
    Add(UserAdd),
    /// List persons
    List(Listing),
    /// Refuse a person from now on: certificates, sessions and tokens do not work any more
    Disable(UserName),
    /// Let a disabled person in again
    Enable(UserName),
    /// Set a person's password, or print a one-time link to set it
    Password(UserPassword),
    /// Make a person an administrator of the Master, or an ordinary person again
    Admin(UserAdmin),
}

/// Add a person
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos master user add ada --name 'Ada Lovelace'
  slapos master user add ada --administrator
  pass show slapos/ada | slapos master user add ada --stdin")]
pub(crate) struct UserAdd {
    /// The name to sign in with
    #[arg(value_name = "LOGIN")]
    pub(crate) login: String,
    /// The person's name [default: the login]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// May do everything
    #[arg(long, visible_alias = "admin")]
    pub(crate) administrator: bool,
    /// Read the password from stdin (one line) instead of printing a link
    #[arg(long)]
    pub(crate) stdin: bool,
    #[command(flatten)]
    pub(crate) printed: Printed,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// A person by name.
#[derive(Debug, Args)]
pub(crate) struct UserName {
    /// The person
    #[arg(value_name = "LOGIN")]
    pub(crate) login: String,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Set a password
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos master user password ada             prints a link that works once
  slapos master user password ada --stdin < file")]
pub(crate) struct UserPassword {
    /// The person
    #[arg(value_name = "LOGIN")]
    pub(crate) login: String,
    /// Read the password from stdin (one line)
    #[arg(long)]
    pub(crate) stdin: bool,
    #[command(flatten)]
    pub(crate) printed: Printed,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Make or unmake an administrator
#[derive(Debug, Args)]
pub(crate) struct UserAdmin {
    /// The person
    #[arg(value_name = "LOGIN")]
    pub(crate) login: String,
    /// An ordinary person from now on
    #[arg(long)]
    pub(crate) revoke: bool,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Projects
#[derive(Debug, Subcommand)]
pub(crate) enum Project {
    /// Add a project
    Add(ProjectAdd),
    /// List projects
    List(Listing),
    /// Close a project that has no nodes and no instance trees any more
    Close(ProjectName),
    /// Who belongs to a project
    #[command(subcommand, arg_required_else_help = true)]
    Member(Member),
}

/// Add a project
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  slapos master project add Observatory --manager ada")]
pub(crate) struct ProjectAdd {
    /// Its title
    #[arg(value_name = "TITLE")]
    pub(crate) title: String,
    /// Who manages it (may be repeated)
    #[arg(long, value_name = "LOGIN")]
    pub(crate) manager: Vec<String>,
    #[command(flatten)]
    pub(crate) printed: Printed,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// A project by name.
#[derive(Debug, Args)]
pub(crate) struct ProjectName {
    /// The project: PROJ-1, or its title
    #[arg(value_name = "PROJECT")]
    pub(crate) project: String,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Members
#[derive(Debug, Subcommand)]
pub(crate) enum Member {
    /// Let a person into a project, or change the role
    Add(MemberAdd),
    /// Take a person out of a project
    Remove(MemberRemove),
    /// List who belongs to a project
    List(MemberList),
}

/// Let a person into a project
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos master project member add PROJ-1 ada --role manager
  slapos master project member add Observatory bob")]
pub(crate) struct MemberAdd {
    /// The project: PROJ-1, or its title
    #[arg(value_name = "PROJECT")]
    pub(crate) project: String,
    /// The person
    #[arg(value_name = "LOGIN")]
    pub(crate) login: String,
    /// `member` requests instances, `manager` also looks after nodes, releases and members
    #[arg(long, default_value = "member")]
    pub(crate) role: RoleName,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// A role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    Member,
    Manager,
}

/// Take a person out of a project
#[derive(Debug, Args)]
pub(crate) struct MemberRemove {
    /// The project: PROJ-1, or its title
    #[arg(value_name = "PROJECT")]
    pub(crate) project: String,
    /// The person
    #[arg(value_name = "LOGIN")]
    pub(crate) login: String,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// List who belongs to a project
#[derive(Debug, Args)]
pub(crate) struct MemberList {
    /// The project: PROJ-1, or its title
    #[arg(value_name = "PROJECT")]
    pub(crate) project: String,
    #[command(flatten)]
    pub(crate) printed: Printed,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// One-time tokens
#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token; it is printed once and not kept
    Create(TokenCreate),
    /// List the tokens there are, without themselves
    List(Listing),
}

/// Make a token
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos master token create --user ada                    for `slapos configure client --token`
  slapos master token create --user ada --purpose node     for `slapos node register --token`

A token works once, within 24 hours.")]
pub(crate) struct TokenCreate {
    /// For whom
    #[arg(long, value_name = "LOGIN")]
    pub(crate) user: String,
    /// What it is good for
    #[arg(long, default_value = "client")]
    pub(crate) purpose: Purpose,
    /// The project a node is registered in: PROJ-1, or its title [default: the only one]
    #[arg(long, value_name = "PROJECT")]
    pub(crate) project: Option<String>,
    #[command(flatten)]
    pub(crate) printed: Printed,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// A person's certificate
    Client,
    /// A node's certificate
    Node,
    /// Either, once
    Any,
}

/// Certificates
#[derive(Debug, Subcommand)]
pub(crate) enum Certificate {
    /// List certificates
    List(CertificateList),
    /// Refuse a certificate from now on
    Revoke(CertificateRevoke),
}

/// List certificates
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  slapos master certificate list
  slapos master certificate list --owner COMP-1")]
pub(crate) struct CertificateList {
    /// Of this person (LOGIN), node (COMP-1) or instance (SOFTINST-1) only
    #[arg(long, value_name = "OWNER")]
    pub(crate) owner: Option<String>,
    #[command(flatten)]
    pub(crate) printed: Printed,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Refuse a certificate from now on
#[derive(Debug, Args)]
pub(crate) struct CertificateRevoke {
    /// Its common name, as `slapos master certificate list` shows it
    #[arg(value_name = "COMMON_NAME")]
    pub(crate) common_name: String,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// The authority
#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    /// Show whose it is, until when it is valid, and its fingerprint
    Show(Listing),
    /// Print its certificate, which clients need to trust the Master
    Export(Plain),
    /// Print the list of revoked certificates, for a proxy in front of the Master
    Crl(Plain),
}
