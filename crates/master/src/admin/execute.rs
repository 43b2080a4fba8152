//! Does what an administrator asks for. Names are looked up here; who may do what is decided by the
//! store, as for every other caller.

use std::str::FromStr;
use std::sync::Arc;

use slap::{ReleaseUrl, SoftwareType};

use super::command::*;
use super::lists;
use crate::auth::{Auth, password};
use crate::domain::upgrade::{Answer as UpgradeAnswer, UpgradePolicy};
use crate::domain::{
    AllocationScope, Caller, CertificateOwner, DecisionKey, InstanceKey, Login, NetworkKey,
    NodeKind, NodeReference, PersonKey, ProjectKey, Role, Timestamp, TokenPurpose, TreeKey,
};
use crate::files::DataDir;
use crate::pki::{Authority as Pki, Sealer, random_hex};
use crate::remote::sealing_purpose;
use crate::store::{
    AuditQuery, Database, NewPerson, NewToken, PersonRecord, ProjectRecord, RemoteSettings, Store,
    TOKEN_LIFE,
};

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
fn parse<T>(text: &str) -> Result<T, Refused>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(Refused::invalid)
}

fn done(what: impl Into<String>) -> Result<Answer, Refused> {
    Ok(Answer::Done(what.into()))
}

fn made(reference: impl std::fmt::Display, what: impl Into<String>) -> Result<Answer, Refused> {
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

    async fn user(&self, command: Command) -> Result<Answer, Refused> {
        match command {
            Command::UserAdd {
                login,
                name,
                administrator,
                password: given,
            } => {
                let login: Login = parse(&login)?;
                // A password that cannot be: nobody is made.
                let hash = match &given {
                    Some(given) => Some(self.hash(&login, given).await?),
                    None => None,
                };
                let new = NewPerson {
                    login: login.clone(),
                    name: name.unwrap_or_default(),
                    administrator,
                };
                let person = self.store.create_person(self.caller, new).await?;
                match hash {
                    Some(hash) => {
                        self.store.set_password(self.caller, person, hash).await?;
                        made(&login, format!("{login} may sign in"))
                    }
                    None => self.password_link(person).await,
                }
            }
            Command::UserDisable { login, disabled } => {
                let login: Login = parse(&login)?;
                self.store
                    .set_disabled(self.caller, login.clone(), disabled)
                    .await?;
                done(if disabled {
                    format!("{login} is refused from now on")
                } else {
                    format!("{login} may come in again")
                })
            }
            Command::UserPassword {
                login,
                password: given,
            } => {
                let person = self.person(&login).await?;
                match given {
                    Some(given) => {
                        let hash = self.hash(&person.login, &given).await?;
                        self.store
                            .set_password(self.caller, person.key, hash)
                            .await?;
                        done(format!("{} has a new password", person.login))
                    }
                    None => self.password_link(person.key).await,
                }
            }
            Command::UserAdmin {
                login,
                administrator,
            } => {
                let login: Login = parse(&login)?;
                self.store
                    .set_administrator(self.caller, login.clone(), administrator)
                    .await?;
                done(if administrator {
                    format!("{login} administrates this Master")
                } else {
                    format!("{login} is an ordinary person")
                })
            }
            other => Err(other_room(&other)),
        }
    }

    async fn hash(&self, login: &Login, given: &Secret) -> Result<String, Refused> {
        password::check(login, &given.0).map_err(Refused::invalid)?;
        let text = given.0.clone();
        tokio::task::spawn_blocking(move || password::hash(&text))
            .await
            .map_err(Refused::failed)?
            .map_err(Refused::failed)
    }

    async fn password_link(&self, person: PersonKey) -> Result<Answer, Refused> {
        let purpose = TokenPurpose::Password;
        let issued = self
            .store
            .create_token(
                self.caller,
                NewToken {
                    purpose,
                    person,
                    project: None,
                    life: TOKEN_LIFE,
                },
            )
            .await?;
        let link = self
            .administration
            .public_url
            .as_ref()
            .map(|url| Secret(format!("{url}/password?token={}", issued.token)));
        Ok(Answer::Token(OneTime {
            login: issued.login.to_string(),
            purpose: purpose.as_str().to_owned(),
            token: Secret(issued.token),
            link,
            expires_at: issued.expires_at.0,
        }))
    }

    async fn token(
        &self,
        login: &str,
        purpose: &str,
        project: Option<String>,
    ) -> Result<Answer, Refused> {
        let person = self.person(login).await?;
        let purpose: TokenPurpose = parse(purpose)?;
        let project = match project {
            Some(project) => Some(self.project(Some(project)).await?),
            None => None,
        };
        let issued = self
            .store
            .create_token(
                self.caller,
                NewToken {
                    purpose,
                    person: person.key,
                    project,
                    life: TOKEN_LIFE,
                },
            )
            .await?;
        Ok(Answer::Token(OneTime {
            login: issued.login.to_string(),
            purpose: purpose.as_str().to_owned(),
            token: Secret(issued.token),
            link: None,
            expires_at: issued.expires_at.0,
        }))
    }

    async fn project_command(&self, command: Command) -> Result<Answer, Refused> {
        match command {
            Command::ProjectAdd { title, managers } => {
                let mut logins = Vec::new();
                for login in &managers {
                    // Whoever does not exist is told before anything is made.
                    logins.push(self.person(login).await?.login);
                }
                let key = self
                    .store
                    .create_project(self.caller, title.clone())
                    .await?;
                for login in logins {
                    self.store
                        .set_member(self.caller, key, login, Some(Role::Manager))
                        .await?;
                }
                made(key, format!("project {title:?}"))
            }
            Command::ProjectClose { project } => {
                let key = self.project(Some(project)).await?;
                self.store.close_project(self.caller, key).await?;
                done(format!("{key} is closed"))
            }
            Command::MemberAdd {
                project,
                login,
                role,
            } => {
                let key = self.project(Some(project)).await?;
                let login: Login = parse(&login)?;
                let role: Role = parse(&role)?;
                self.store
                    .set_member(self.caller, key, login.clone(), Some(role))
                    .await?;
                done(format!("{login} is a {role} of {key}"))
            }
            Command::MemberRemove { project, login } => {
                let key = self.project(Some(project)).await?;
                let login: Login = parse(&login)?;
                self.store
                    .set_member(self.caller, key, login.clone(), None)
                    .await?;
                done(format!("{login} is no member of {key}"))
            }
            other => Err(other_room(&other)),
        }
    }

    async fn revoke(&self, common_name: &str) -> Result<Answer, Refused> {
        let all = self.store.all_certificates(self.caller).await?;
        let known = all
            .iter()
            .find(|certificate| certificate.common_name == common_name)
            .or_else(|| all.iter().find(|known| known.serial == common_name))
            .ok_or_else(|| {
                Refused::not_found(format!(
                    "there is no certificate {common_name:?}: see `slapos master certificate list`"
                ))
            })?;
        self.store
            .revoke_certificate(self.caller, known.serial.clone())
            .await?;
        done(format!("{} is refused from now on", known.common_name))
    }

    async fn revocation_list(&self) -> Result<Answer, Refused> {
        let revoked: Vec<_> = self
            .store
            .revoked_certificates(self.caller)
            .await?
            .into_iter()
            .map(|(serial, at)| (serial, at.system()))
            .collect();
        let now = self.store.clock().now();
        let number = u64::try_from(now.0).unwrap_or(0);
        let list = self
            .administration
            .authority
            .crl(&revoked, number, now.system())?;
        Ok(Answer::Text(list))
    }

    async fn node(&self, command: Command) -> Result<Answer, Refused> {
        let (store, caller) = (self.store, self.caller);
        match command {
            Command::NodeAdd { title, project } => {
                let project = self.project(project).await?;
                let node = store
                    .create_node(caller, project, NodeKind::Compute, title)
                    .await?;
                let certifier = self.administration.auth.certifier();
                let certified = certifier.for_node(caller, node).await?;
                Ok(Answer::NodeCertificate(NodeCertificate {
                    node: node.to_string(),
                    certificate: certified.certificate,
                    key: Secret(certified.key),
                }))
            }
            Command::NodeScope { node, scope } => {
                let (node, scope): (NodeReference, AllocationScope) =
                    (parse(&node)?, parse(&scope)?);
                store.set_scope(caller, node, scope).await?;
                done(format!("{node} is {scope}"))
            }
            Command::NodeCapacity { node, units } => {
                let node: NodeReference = parse(&node)?;
                store.set_capacity(caller, node, units).await?;
                done(match units {
                    Some(units) => format!("{node} takes {units} units at most"),
                    None => format!("{node} has no limit but its partitions"),
                })
            }
            Command::NodeNetwork { node, network } => {
                let node: NodeReference = parse(&node)?;
                let network = network.as_deref().map(parse::<NetworkKey>).transpose()?;
                store.set_network(caller, node, network).await?;
                done(match network {
                    Some(network) => format!("{node} belongs to {network}"),
                    None => format!("{node} belongs to no network"),
                })
            }
            Command::NodeCategories { node, categories } => {
                let node: NodeReference = parse(&node)?;
                store.set_categories(caller, node, categories).await?;
                done(format!("{node} has these categories"))
            }
            Command::NodeRemove { node } => {
                let node: NodeReference = parse(&node)?;
                store.remove_node(caller, node).await?;
                done(format!("{node} is removed"))
            }
            Command::NodeRevoke { node } => {
                let node: NodeReference = parse(&node)?;
                let count = store
                    .revoke_certificates(caller, CertificateOwner::Node(node))
                    .await?;
                done(match count {
                    0 => format!("{node} had no certificate that was good"),
                    _ => format!(
                        "{node} is refused from now on; `slapos node register` with a token, or \
                         `slapos master node add` with its title, gives it a new certificate"
                    ),
                })
            }
            Command::NetworkAdd { title, project } => {
                let project = self.project(project).await?;
                let key = store.create_network(caller, project, title.clone()).await?;
                made(key, format!("network {title:?}"))
            }
            other => Err(other_room(&other)),
        }
    }

    async fn remote(&self, command: Command) -> Result<Answer, Refused> {
        let Command::RemoteAdd {
            title,
            project,
            master_url,
            authority,
            certificate,
            key,
            releases,
        } = command
        else {
            return Err(other_room(&command));
        };
        let (store, caller) = (self.store, self.caller);
        if !(master_url.starts_with("https://") || master_url.starts_with("http://")) {
            return Err(Refused::invalid(format!(
                "{master_url:?} is no URL of a Master: it begins with https://"
            )));
        }
        for release in &releases {
            ReleaseUrl::new(release.as_str()).map_err(Refused::invalid)?;
        }
        if certificate.is_some() != key.is_some() {
            return Err(Refused::invalid(
                "a certificate goes with its key: give both, or neither",
            ));
        }
        let project = self.project(project).await?;
        let node = store
            .create_node(caller, project, NodeKind::Remote, title)
            .await?;
        let sealed_key = key
            .map(|key| {
                self.administration
                    .sealer
                    .seal(&sealing_purpose(node), key.0.as_bytes())
            })
            .transpose()?;
        let settings = RemoteSettings {
            master_url: master_url.clone(),
            authority,
            certificate,
            sealed_key,
            releases,
        };
        store.set_remote(caller, node, settings).await?;
        made(node, format!("gate to {master_url}"))
    }

    async fn product(&self, command: Command) -> Result<Answer, Refused> {
        let (store, caller) = (self.store, self.caller);
        let url = |url: &str| ReleaseUrl::new(url).map_err(Refused::invalid);
        match command {
            Command::ProductAdd {
                product,
                title,
                project,
            } => {
                let project = self.project(project).await?;
                let title = title.unwrap_or_else(|| product.clone());
                store
                    .create_product(caller, project, product.clone(), title)
                    .await?;
                made(&product, format!("product {product:?} of {project}"))
            }
            Command::ReleaseAdd {
                product,
                project,
                url: given,
                effective_at,
            } => {
                let project = self.project(project).await?;
                let effective = effective_at.map(Timestamp);
                store
                    .add_release(caller, project, product.clone(), url(&given)?, effective)
                    .await?;
                done(format!("{given} is a release of {product}"))
            }
            Command::ReleaseRemove {
                product,
                project,
                url: given,
            } => {
                let project = self.project(project).await?;
                store
                    .remove_release(caller, project, product.clone(), url(&given)?)
                    .await?;
                done(format!("{given} is no release of {product} any more"))
            }
            Command::ProductType {
                product,
                project,
                software_type,
                units,
            } => {
                let project = self.project(project).await?;
                let kind = SoftwareType::new(software_type.as_str()).map_err(Refused::invalid)?;
                store
                    .set_units(caller, project, product.clone(), kind, units)
                    .await?;
                done(format!(
                    "instances of {product} with type {software_type} take {units} units"
                ))
            }
            other => Err(other_room(&other)),
        }
    }

    async fn decide(&self, number: i64, accept: bool) -> Result<Answer, Refused> {
        let answer = if accept {
            UpgradeAnswer::Accept
        } else {
            UpgradeAnswer::Reject
        };
        let decision = self
            .store
            .answer_decision(self.caller, DecisionKey(number), answer)
            .await?;
        Ok(Answer::Decisions(vec![lists::decision(decision)]))
    }

    async fn automatic(&self, tree: &str, automatic: bool) -> Result<Answer, Refused> {
        let tree: TreeKey = parse(tree)?;
        let policy = if automatic {
            UpgradePolicy::Automatic
        } else {
            UpgradePolicy::Ask
        };
        self.store
            .set_upgrade_policy(self.caller, tree, policy)
            .await?;
        done(if automatic {
            format!("{tree} takes its upgrades by itself")
        } else {
            format!("the owner of {tree} is asked about its upgrades")
        })
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

fn other_room(command: &Command) -> Refused {
    Refused::failed(format!("a mistake in the program: {command:?}"))
}
