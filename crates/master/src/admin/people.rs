//! Persons, projects, tokens, certificates: what an administrator changes of them.

use super::execute::{Work, done, made, other_room, parse};
use super::{Answer, Command, OneTime, Refused, Secret};
use crate::auth::password;
use crate::domain::{Login, PersonKey, Role, TokenPurpose};
use crate::store::{NewPerson, NewToken, TOKEN_LIFE};

impl Work<'_> {
    pub(super) async fn user(&self, command: Command) -> Result<Answer, Refused> {
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
            url: self.administration.public_url.clone(),
            fingerprint: self.fingerprint(),
            expires_at: issued.expires_at.0,
        }))
    }

    /// By what the Master is recognised.
    fn fingerprint(&self) -> String {
        let facts = self.administration.authority.facts();
        facts.fingerprint_sha256_hex.clone()
    }

    pub(super) async fn token(
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
            url: self.administration.public_url.clone(),
            fingerprint: self.fingerprint(),
            expires_at: issued.expires_at.0,
        }))
    }

    pub(super) async fn project_command(&self, command: Command) -> Result<Answer, Refused> {
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

    pub(super) async fn revoke(&self, common_name: &str) -> Result<Answer, Refused> {
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

    pub(super) async fn revocation_list(&self) -> Result<Answer, Refused> {
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
}
