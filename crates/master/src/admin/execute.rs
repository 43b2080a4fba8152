//! Does what an administrator asks for. Names are looked up here; who may do what is decided by the
//! store, as for every other caller.

use std::str::FromStr;
use std::sync::Arc;

use super::answer::*;
use super::command::*;
use crate::auth::Auth;
use crate::domain::{
    Caller, CertificateOwner, InstanceKey, Login, NodeReference, ProjectKey, Timestamp,
};
use crate::files::DataDir;
use crate::pki::{Authority as Pki, Sealer, random_hex};
use crate::store::{AuditQuery, Database, PersonRecord, ProjectRecord, Store};

/// The longest list that is answered.
pub(super) const LIST_MAX: usize = 10_000;
/// Waiting instances that are explained at a time.
const WAITING_MAX: i64 = 1_000;
/// What copies of the database are called until they are taken.
const SNAPSHOT: &str = "snapshot-";

/// What administration works with.
pub(crate) struct Administration {
    /// The database.
    pub(crate) store: Arc<Store>,
    /// Gives certificates.
    pub(crate) auth: Arc<Auth>,
    /// The authority.
    pub(crate) authority: Arc<Pki>,
    /// Opens secrets.
    pub(crate) sealer: Arc<Sealer>,
    /// The Master's files.
    pub(crate) directory: DataDir,
    /// Where the database is.
    pub(crate) database: Database,
    /// The URL for people, as far as it is known.
    pub(crate) public_url: Option<String>,
}

/// Does something, for a caller.
///
/// # Errors
/// [`Refused`]; nothing was changed then, but for what the words say.
pub(crate) async fn execute(
    administration: &Administration,
    caller: Caller,
    command: Command,
) -> Result<Answer, Refused> {
    let work = Work {
        administration,
        store: &administration.store,
        caller,
    };
    work.run(command).await
}

/// Reads a reference or a word; what is wrong with it is said by its type.
pub(super) fn parse<T>(text: &str) -> Result<T, Refused>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(Refused::invalid)
}

pub(super) fn done(what: impl Into<String>) -> Result<Answer, Refused> {
    Ok(Answer::Done(what.into()))
}

pub(super) fn made(
    reference: impl std::fmt::Display,
    what: impl Into<String>,
) -> Result<Answer, Refused> {
    Ok(Answer::Made(Made {
        reference: reference.to_string(),
        what: what.into(),
    }))
}

pub(super) struct Work<'a> {
    pub(super) administration: &'a Administration,
    pub(super) store: &'a Arc<Store>,
    pub(super) caller: Caller,
}

impl Work<'_> {
    async fn run(&self, command: Command) -> Result<Answer, Refused> {
        match command {
            Command::Ping => done(format!("schema {}", crate::store::SCHEMA_VERSION)),
            Command::UserAdd { .. }
            | Command::UserDisable { .. }
            | Command::UserPassword { .. }
            | Command::UserAdmin { .. } => self.user(command).await,
            Command::ProjectAdd { .. }
            | Command::ProjectClose { .. }
            | Command::MemberAdd { .. }
            | Command::MemberRemove { .. } => self.project_command(command).await,
            Command::TokenCreate {
                login,
                purpose,
                project,
            } => self.token(&login, &purpose, project).await,
            Command::CertificateRevoke { common_name } => self.revoke(&common_name).await,
            Command::RevocationList => self.revocation_list().await,
            Command::NodeAdd { .. }
            | Command::NodeScope { .. }
            | Command::NodeCapacity { .. }
            | Command::NodeNetwork { .. }
            | Command::NodeCategories { .. }
            | Command::NodeRemove { .. }
            | Command::NodeRevoke { .. }
            | Command::NetworkAdd { .. } => self.node(command).await,
            Command::ProductAdd { .. }
            | Command::ReleaseAdd { .. }
            | Command::ReleaseRemove { .. }
            | Command::ProductType { .. } => self.product(command).await,
            Command::DecisionMake { number, accept } => self.decide(number, accept).await,
            Command::DecisionAuto { tree, automatic } => self.automatic(&tree, automatic).await,
            Command::Snapshot { with_secret } => self.snapshot(with_secret).await,
            Command::Check => self.check().await,
            Command::UserList => self.users().await,
            Command::ProjectList => self.projects().await,
            Command::MemberList { project } => self.members(&project).await,
            Command::TokenList => self.tokens().await,
            Command::CertificateList { owner } => self.certificates(owner).await,
            Command::Authority => self.authority(),
            Command::NodeList => self.nodes().await,
            Command::NetworkList => self.networks().await,
            Command::RemoteAdd { .. } => self.remote(command).await,
            Command::RemoteList => self.remotes().await,
            Command::ProductList => self.products().await,
            Command::ReleaseList { product, project } => self.releases(&product, project).await,
            Command::DecisionList { all } => self.decisions(all).await,
            Command::Waiting => self.waiting(WAITING_MAX).await,
            Command::Audit {
                project,
                subject,
                actor,
                limit,
            } => {
                let project = match project {
                    Some(project) => Some(self.project(Some(project)).await?),
                    None => None,
                };
                let limit = usize::try_from(limit).unwrap_or(0).clamp(1, LIST_MAX);
                self.audit(AuditQuery {
                    project,
                    subject,
                    actor,
                    before: None,
                    limit,
                })
                .await
            }
        }
    }

    pub(super) async fn person(&self, login: &str) -> Result<PersonRecord, Refused> {
        let login: Login = parse(login)?;
        Ok(self.store.person_by_login(self.caller, login).await?)
    }

    /// All projects, page by page.
    pub(super) async fn all_projects(&self) -> Result<Vec<ProjectRecord>, Refused> {
        let mut all: Vec<ProjectRecord> = Vec::new();
        while all.len() < LIST_MAX {
            let after = all.last().map(|last| last.key);
            let page = self.store.projects(self.caller, after).await?;
            if page.is_empty() {
                break;
            }
            all.extend(page);
        }
        Ok(all)
    }

    /// The project that is named, by its reference or its title; the only open one when none is.
    pub(super) async fn project(&self, named: Option<String>) -> Result<ProjectKey, Refused> {
        if let Some(Ok(key)) = named.as_deref().map(str::parse::<ProjectKey>) {
            return Ok(key);
        }
        let open: Vec<ProjectRecord> = self
            .all_projects()
            .await?
            .into_iter()
            .filter(|project| project.closed_at.is_none())
            .collect();
        let Some(named) = named else {
            return match open.as_slice() {
                [only] => Ok(only.key),
                [] => Err(Refused::not_found("there is no open project")),
                several => Err(Refused::invalid(format!(
                    "say which project is meant: {}",
                    shown(several)
                ))),
            };
        };
        let of_title: Vec<ProjectRecord> = open
            .iter()
            .filter(|project| project.title == named)
            .cloned()
            .collect();
        match of_title.as_slice() {
            [only] => Ok(only.key),
            [] => Err(Refused::not_found(format!(
                "there is no open project {named:?}: there are {}",
                shown(&open)
            ))),
            several => Err(Refused::invalid(format!(
                "several projects are called {named:?}: give the reference, {}",
                shown(several)
            ))),
        }
    }

    /// Copies the database into the Master's directory, where whoever asked takes it. One copy at a
    /// time: those of others who did not come for theirs are removed.
    async fn snapshot(&self, with_secret: bool) -> Result<Answer, Refused> {
        let directory = &self.administration.directory;
        let secret = match with_secret {
            true => Some(
                directory
                    .secret_key()
                    .map_err(Refused::failed)?
                    .ok_or_else(|| Refused::failed("this Master has no secret.key"))?,
            ),
            false => None,
        };
        let now = self.store.clock().now();
        forget_snapshots(directory, now);
        let name = format!("{SNAPSHOT}{}-{}", now.seconds(), random_hex(4)?);
        let path = directory.file(&name);
        self.store
            .snapshot(
                self.caller,
                &self.administration.database,
                path.clone(),
                secret,
            )
            .await?;
        let bytes = std::fs::metadata(&path).map_err(Refused::failed)?.len();
        Ok(Answer::Snapshot(Snapshot { path, bytes }))
    }

    async fn check(&self) -> Result<Answer, Refused> {
        let found = self
            .store
            .check(
                self.caller,
                &self.administration.database,
                Some(Arc::clone(&self.administration.sealer)),
            )
            .await?;
        Ok(Answer::Problems(
            found.into_iter().map(Problem::from).collect(),
        ))
    }

    /// Who a certificate is for: a login, a node, an instance.
    pub(super) async fn owner(&self, text: &str) -> Result<CertificateOwner, Refused> {
        if let Ok(node) = text.parse::<NodeReference>() {
            return Ok(CertificateOwner::Node(node));
        }
        if let Ok(instance) = text.parse::<InstanceKey>() {
            return Ok(CertificateOwner::Instance(instance));
        }
        Ok(CertificateOwner::Person(self.person(text).await?.key))
    }
}

impl From<crate::store::Contradiction> for Problem {
    fn from(found: crate::store::Contradiction) -> Self {
        Problem {
            rule: found.rule.to_owned(),
            subject: found.subject,
            problem: found.problem,
        }
    }
}

/// Copies nobody came for in an hour.
fn forget_snapshots(directory: &DataDir, now: Timestamp) {
    let Ok(entries) = std::fs::read_dir(directory.file("")) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let made = name
            .to_str()
            .and_then(|name| name.strip_prefix(SNAPSHOT))
            .and_then(|rest| rest.split('-').next())
            .and_then(|seconds| seconds.parse::<i64>().ok());
        if made.is_some_and(|made| now.seconds() - made > 3600) {
            // The next time, then.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn shown(projects: &[ProjectRecord]) -> String {
    const SHOWN: usize = 10;
    let mut names: Vec<String> = projects
        .iter()
        .take(SHOWN)
        .map(|project| format!("{} ({})", project.key, project.title))
        .collect();
    if projects.len() > SHOWN {
        names.push("…".to_owned());
    }
    if names.is_empty() {
        names.push("none".to_owned());
    }
    names.join(", ")
}

pub(super) fn other_room(command: &Command) -> Refused {
    Refused::failed(format!("a mistake in the program: {command:?}"))
}
