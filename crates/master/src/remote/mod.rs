//! Gates to other Masters: what is placed at one is requested there, and what comes back is
//! published here (P 6.15, 6.16).
//!
//! One task, without input: it looks at what the database says is to be asked, asks, and writes down
//! the answers. It is woken by changes and by time, may be killed anywhere, and may run in several
//! Masters on one database, since asking again is harmless. A Master that is away is tried again with
//! growing pauses; nothing here waits for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use slap::document::InstanceDocument;
use slap::{InstanceState, InstanceTitle, ReleaseUrl, SoftwareType, Value};
use slap_client::{Client, Identity, RequestReply, Settings, Trust};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::domain::{Caller, NodeKey};
use crate::events::Topic;
use crate::pki::Sealer;
use crate::store::{
    Address, InstanceRecord, RemoteAnswer, RemoteRecord, RemoteWork, Store, StoreError,
};

/// How often another Master is asked what became of an instance it was told everything about.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How long to wait after a change for more of them.
const GATHER: Duration = Duration::from_millis(100);
/// The longest pause before a Master that is away is tried again.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How old the written moment of the last answer may become.
const CONTACT_EVERY: Duration = Duration::from_secs(60);
/// How long another Master may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What sealed keys of gates are sealed for.
pub fn sealing_purpose(node: crate::domain::NodeReference) -> String {
    format!("remote-key {node}")
}

/// A gate as the task keeps it between two rounds.
struct Gate {
    record: RemoteRecord,
    client: Option<Client>,
    failures: u32,
    not_before: Instant,
}

/// Asks other Masters until dropped.
pub async fn run(store: Arc<Store>, sealer: Arc<Sealer>) {
    let mut gates: HashMap<NodeKey, Gate> = HashMap::new();
    let mut changes = store.hub().subscribe(Topic::Everything);
    loop {
        let asked = round(&store, &sealer, &mut gates).await;
        if let Err(error) = asked {
            tracing::warn!("the gates to other Masters could not be looked at: {error}");
        }
        let pause = if gates.is_empty() {
            PAUSE_MAX
        } else {
            ASK_EVERY
        };
        // Whichever comes first: a change that may concern a gate, or time.
        let _ = tokio::time::timeout(pause, changes.changed()).await;
        tokio::time::sleep(GATHER).await;
    }
}

/// Asks every gate's Master what there is to ask, all gates at the same time.
async fn round(
    store: &Arc<Store>,
    sealer: &Sealer,
    gates: &mut HashMap<NodeKey, Gate>,
) -> Result<(), StoreError> {
    let records = store.remotes(Caller::Master).await?;
    let mut known: HashMap<NodeKey, Gate> = std::mem::take(gates);
    let mut rounds = JoinSet::new();
    for record in records {
        let key = record.node.key;
        let gate = match known.remove(&key) {
            Some(mut gate) => {
                if settings_differ(&gate.record, &record) {
                    gate = fresh(record);
                } else {
                    gate.record = record;
                }
                gate
            }
            None => fresh(record),
        };
        if Instant::now() < gate.not_before {
            gates.insert(key, gate);
            continue;
        }
        let mut gate = gate;
        if gate.client.is_none() {
            gate.client = connect(&gate.record, sealer).map_or_else(
                |reason| {
                    tracing::warn!("{}: {reason}", gate.record.node);
                    None
                },
                Some,
            );
        }
        let store = Arc::clone(store);
        rounds.spawn(async move {
            let done = ask_all(&store, &gate).await;
            (gate, done)
        });
    }
    while let Some(joined) = rounds.join_next().await {
        let Ok((mut gate, done)) = joined else {
            continue;
        };
        match done {
            Ok(()) => {
                gate.failures = 0;
                gate.not_before = Instant::now();
            }
            Err(reason) => {
                gate.failures = gate.failures.saturating_add(1);
                let pause = Duration::from_millis(500)
                    .saturating_mul(1 << gate.failures.min(8))
                    .min(PAUSE_MAX);
                gate.not_before = Instant::now() + pause;
                tracing::warn!(
                    "{} does not reach {}: {reason}; tried again in {} s",
                    gate.record.node,
                    gate.record.master_url,
                    pause.as_secs()
                );
            }
        }
        gates.insert(gate.record.node.key, gate);
    }
    Ok(())
}

fn fresh(record: RemoteRecord) -> Gate {
    Gate {
        record,
        client: None,
        failures: 0,
        not_before: Instant::now(),
    }
}

fn settings_differ(one: &RemoteRecord, two: &RemoteRecord) -> bool {
    one.master_url != two.master_url
        || one.authority != two.authority
        || one.certificate != two.certificate
        || one.sealed_key != two.sealed_key
}

fn connect(record: &RemoteRecord, sealer: &Sealer) -> Result<Client, String> {
    let mut settings = Settings::new(record.master_url.as_str());
    settings.timeout = TIMEOUT;
    if let Some(authority) = &record.authority {
        settings.trust = Trust::CaText(authority.clone());
    }
    if let (Some(certificate), Some(sealed)) = (&record.certificate, &record.sealed_key) {
        let key = sealer
            .open_text(&sealing_purpose(record.node), sealed)
            .map_err(|error| format!("its key cannot be opened: {error}"))?;
        settings.identity = Some(Identity {
            certificate: certificate.clone(),
            key,
        });
    }
    Client::new(settings).map_err(|error| error.to_string())
}

/// Asks one gate's Master all there is. An error means that it is away.
async fn ask_all(store: &Arc<Store>, gate: &Gate) -> Result<(), String> {
    let node = gate.record.node;
    let failed = |error: StoreError| error.to_string();
    let work = store.remote_work(node, ASK_EVERY).await.map_err(failed)?;
    if work.is_empty() {
        return Ok(());
    }
    let Some(client) = &gate.client else {
        return Err("its settings cannot be used".to_owned());
    };
    for piece in work {
        let sent = piece.instance.timestamp;
        let key = piece.instance.key;
        let client = client.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&client, &piece)).await;
        let answer = match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(reason)) => {
                store
                    .remote_reached(node, Some(reason.clone()))
                    .await
                    .map_err(failed)?;
                return Err(reason);
            }
            Err(error) => return Err(error.to_string()),
        };
        store
            .remote_answered(node, key, sent, answer)
            .await
            .map_err(failed)?;
    }
    let fresh = gate
        .record
        .contact_at
        .is_some_and(|contact| store.clock().now().since(contact) < CONTACT_EVERY);
    if fresh && gate.record.error.is_none() {
        return Ok(());
    }
    store.remote_reached(node, None).await.map_err(failed)
}

/// One request to another Master. An error means that it is away, or troubled.
fn ask(client: &Client, work: &RemoteWork) -> Result<RemoteAnswer, String> {
    let instance = &work.instance;
    let destroys = instance.state == InstanceState::Destroyed;
    let request = match there(work) {
        Ok(request) => request,
        Err(reason) => return Ok(RemoteAnswer::Refused(reason)),
    };
    match client.request(&request) {
        Ok(_) if destroys => Ok(RemoteAnswer::Destroyed),
        Ok(RequestReply::Allocated(document)) => Ok(RemoteAnswer::Placed {
            addresses: addresses(&document),
            connection: document.connection.into_iter().collect(),
        }),
        Ok(RequestReply::NotReady { .. }) => Ok(RemoteAnswer::NotReady),
        Err(error) if error.is_master_unreachable() => Err(error.to_string()),
        Err(slap_client::Error::NotFound { .. }) if destroys => Ok(RemoteAnswer::Destroyed),
        Err(error) => Ok(RemoteAnswer::Refused(error.to_string())),
    }
}

/// An instance as another Master is asked for it. What of its SLA names things here stays here.
fn there(work: &RemoteWork) -> Result<slap_client::Request, String> {
    let instance: &InstanceRecord = &work.instance;
    let values = |texts: &BTreeMap<String, String>| -> BTreeMap<String, Value> {
        texts
            .iter()
            .map(|(key, value)| (key.clone(), Value::text(value)))
            .collect()
    };
    let mut sla = values(&instance.sla);
    for key in [
        "computer_guid",
        "instance_guid",
        "network_guid",
        "project_guid",
        "master_url",
    ] {
        sla.remove(key);
    }
    Ok(slap_client::Request {
        requester: None,
        release: ReleaseUrl::new(instance.release.clone()).map_err(|error| error.to_string())?,
        software_type: SoftwareType::new(instance.software_type.clone())
            .map_err(|error| error.to_string())?,
        title: InstanceTitle::new(work.title.clone()).map_err(|error| error.to_string())?,
        parameters: values(&instance.parameters),
        sla,
        state: Some(instance.state),
        shared: instance.shared,
    })
}

/// The addresses in a document, as far as they can be read.
fn addresses(document: &InstanceDocument) -> Vec<Address> {
    let Some(Value::List(items)) = document.further.get("ip_list") else {
        return Vec::new();
    };
    items
        .iter()
        .filter_map(|item| {
            let (Value::Tuple(parts) | Value::List(parts)) = item else {
                return None;
            };
            match parts.as_slice() {
                [interface, ip] => Some(Address {
                    interface: interface.as_str()?.to_owned(),
                    ip: ip.as_str()?.to_owned(),
                    route: None,
                }),
                _ => None,
            }
        })
        .collect()
}
