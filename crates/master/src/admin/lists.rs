//! What there is, as an administrator sees it.

use std::time::UNIX_EPOCH;

use super::answer::*;
use super::command::*;
use super::execute::{LIST_MAX, Work};
use crate::domain::{CertificateOwner, Timestamp};
use crate::store::{AuditQuery, CertificateRecord, DecisionRecord, PAGE_MAX, PersonRecord};

impl Work<'_> {
    async fn all_persons(&self) -> Result<Vec<PersonRecord>, Refused> {
        let mut all: Vec<PersonRecord> = Vec::new();
        while all.len() < LIST_MAX {
            let after = all.last().map(|last| last.key);
            let page = self.store.persons(self.caller, after).await?;
            if page.is_empty() {
                break;
            }
            all.extend(page);
        }
        Ok(all)
    }

    pub(super) async fn users(&self) -> Result<Answer, Refused> {
        let users = self.all_persons().await?.into_iter().map(|person| User {
            login: person.login.to_string(),
            name: person.name,
            administrator: person.administrator,
            disabled: person.disabled_at.is_some(),
            password: person.has_password,
            created_at: person.created_at.0,
        });
        Ok(Answer::Users(users.collect()))
    }

    pub(super) async fn projects(&self) -> Result<Answer, Refused> {
        let mut projects = Vec::new();
        for project in self.all_projects().await? {
            let counts = self.store.project_counts(self.caller, project.key).await?;
            projects.push(Project {
                reference: project.key.to_string(),
                title: project.title,
                closed: project.closed_at.is_some(),
                members: counts.members,
                nodes: counts.nodes,
                trees: counts.trees,
            });
        }
        Ok(Answer::Projects(projects))
    }

    pub(super) async fn members(&self, project: &str) -> Result<Answer, Refused> {
        let project = self.project(Some(project.to_owned())).await?;
        let mut members: Vec<Member> = Vec::new();
        let mut after = None;
        while members.len() < LIST_MAX {
            let page = self
                .store
                .members(self.caller, project, after.take(), PAGE_MAX)
                .await?;
            let Some(last) = page.last() else { break };
            after = Some(last.login.clone());
            members.extend(page.into_iter().map(|member| Member {
                login: member.login.to_string(),
                name: member.name,
                role: member.role.to_string(),
            }));
        }
        Ok(Answer::Members(members))
    }

    pub(super) async fn tokens(&self) -> Result<Answer, Refused> {
        let now = self.store.clock().now();
        let tokens = self.store.all_tokens(self.caller).await?;
        let tokens = tokens.into_iter().map(|(token, login)| Token {
            login,
            purpose: token.purpose.as_str().to_owned(),
            project: token.project.map(|project| project.to_string()),
            state: match token.used_at {
                Some(_) => "used",
                None if token.expires_at <= now => "expired",
                None => "unused",
            }
            .to_owned(),
            created_at: token.created_at.0,
            expires_at: token.expires_at.0,
        });
        Ok(Answer::Tokens(tokens.collect()))
    }

    pub(super) async fn certificates(&self, owner: Option<String>) -> Result<Answer, Refused> {
        let now = self.store.clock().now();
        let records = match owner {
            Some(owner) => {
                let owner = self.owner(&owner).await?;
                self.store.certificates(self.caller, owner).await?
            }
            None => self.store.all_certificates(self.caller).await?,
        };
        let persons = self.all_persons().await?;
        let certificates = records
            .into_iter()
            .map(|record| certificate(record, &persons, now));
        Ok(Answer::Certificates(certificates.collect()))
    }

    pub(super) fn authority(&self) -> Result<Answer, Refused> {
        let authority = &self.administration.authority;
        let facts = authority.facts();
        let expires = facts
            .not_after
            .duration_since(UNIX_EPOCH)
            .map_err(Refused::failed)?;
        Ok(Answer::Authority(Authority {
            organisation: authority.organisation().to_owned(),
            fingerprint: facts.fingerprint_sha256_hex.clone(),
            expires_at: Timestamp::default().plus(expires).0,
            certificate: authority.certificate_pem().to_owned(),
        }))
    }

    pub(super) async fn nodes(&self) -> Result<Answer, Refused> {
        let nodes = self.store.nodes(self.caller).await?;
        let nodes = nodes.into_iter().map(|node| Node {
            reference: node.node.to_string(),
            title: node.title,
            project: node.project.to_string(),
            scope: node.scope.to_string(),
            alive: node.alive,
            partitions: node.partitions,
            free: node.free,
            capacity: node.capacity,
            used: node.used,
            network: node.network.map(|network| network.to_string()),
            categories: node.categories,
            status: node.status.text,
            contact_at: node.contact_at.map(|at| at.0),
        });
        Ok(Answer::Nodes(nodes.collect()))
    }

    pub(super) async fn networks(&self) -> Result<Answer, Refused> {
        let networks = self.store.networks(self.caller).await?;
        let networks = networks.into_iter().map(|network| Network {
            reference: network.key.to_string(),
            title: network.title,
            project: network.project.to_string(),
            nodes: network.nodes,
        });
        Ok(Answer::Networks(networks.collect()))
    }

    pub(super) async fn remotes(&self) -> Result<Answer, Refused> {
        let remotes = self.store.remotes(self.caller).await?;
        let remotes = remotes.into_iter().map(|remote| Remote {
            reference: remote.node.to_string(),
            title: remote.title,
            project: remote.project.to_string(),
            master_url: remote.master_url,
            releases: remote.releases,
            contact_at: remote.contact_at.map(|at| at.0),
            error: remote.error,
        });
        Ok(Answer::Remotes(remotes.collect()))
    }

    pub(super) async fn products(&self) -> Result<Answer, Refused> {
        let now = self.store.clock().now();
        let products = self.store.products(self.caller, None).await?;
        let products = products.into_iter().map(|product| Product {
            best: product
                .releases
                .first()
                .filter(|release| release.in_effect(now))
                .map(|release| release.url.clone()),
            releases: i64::try_from(product.releases.len()).unwrap_or(i64::MAX),
            reference: product.reference,
            title: product.title,
            project: product.project.to_string(),
            units: product.units,
        });
        Ok(Answer::Products(products.collect()))
    }

    pub(super) async fn releases(
        &self,
        reference: &str,
        project: Option<String>,
    ) -> Result<Answer, Refused> {
        let project = self.project(project).await?;
        let products = self.store.products(self.caller, Some(project)).await?;
        let product = products
            .into_iter()
            .find(|product| product.reference == reference)
            .ok_or_else(|| {
                Refused::not_found(format!(
                    "there is no product {reference:?} in {project}: see `slapos master product list`"
                ))
            })?;
        let releases = product.releases.into_iter().map(|release| Release {
            url: release.url,
            effective_at: release.effective_at.map(|at| at.0),
            created_at: release.added_at.0,
        });
        Ok(Answer::Releases(releases.collect()))
    }

    pub(super) async fn decisions(&self, all: bool) -> Result<Answer, Refused> {
        let decisions = self.store.decisions(self.caller, all).await?;
        Ok(Answer::Decisions(
            decisions.into_iter().map(decision).collect(),
        ))
    }

    pub(super) async fn waiting(&self, limit: i64) -> Result<Answer, Refused> {
        let waiting = self.store.waiting(self.caller, limit).await?;
        let waiting = waiting.into_iter().map(|(record, since, why)| Waiting {
            instance: record.key.to_string(),
            title: record.title,
            tree: record.root_title,
            project: record.project.to_string(),
            release: record.release,
            since: since.0,
            why,
        });
        Ok(Answer::Waiting(waiting.collect()))
    }

    pub(super) async fn audit(&self, query: AuditQuery) -> Result<Answer, Refused> {
        let limit = query.limit;
        let mut events: Vec<Event> = Vec::new();
        let mut before = query.before;
        while events.len() < limit {
            let page = self
                .store
                .audit_trail(
                    self.caller,
                    AuditQuery {
                        before,
                        limit: limit - events.len(),
                        ..query.clone()
                    },
                )
                .await?;
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            events.extend(page.into_iter().map(|note| Event {
                at: note.at.0,
                actor: note.actor,
                action: note.action,
                subject: note.subject,
                project: note.project.map(|project| project.to_string()),
                detail: note.detail,
            }));
        }
        Ok(Answer::Audit(events))
    }
}

fn certificate(record: CertificateRecord, persons: &[PersonRecord], now: Timestamp) -> Certificate {
    let owner = match record.owner {
        CertificateOwner::Person(key) => persons
            .iter()
            .find(|person| person.key == key)
            .map(|person| person.login.to_string()),
        _ => None,
    };
    Certificate {
        owner: owner.unwrap_or_else(|| record.owner.to_string()),
        common_name: record.common_name,
        serial: record.serial,
        fingerprint: record.fingerprint,
        state: match record.revoked_at {
            Some(_) => "revoked",
            None if record.expires_at <= now => "expired",
            None => "valid",
        }
        .to_owned(),
        issued_at: record.issued_at.0,
        expires_at: record.expires_at.0,
    }
}

pub(super) fn decision(record: DecisionRecord) -> Decision {
    Decision {
        number: record.key.0,
        tree: record.tree.to_string(),
        title: record.title,
        owner: record.owner,
        from: record.from,
        to: record.to,
        state: record.state.to_string(),
    }
}
