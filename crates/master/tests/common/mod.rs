//! A whole Master in this process, and those who talk to it over real TLS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unreachable_pub
)]

use std::collections::BTreeMap;
use std::path::Path;

use master::{Listen, Settings, Started};
use slap::{InstanceState, NodeId, PartitionId, ReleaseUrl, SoftwareType, Value};
use slap_client::{Client, Identity, Request, Trust};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

pub const RELEASE: &str = "http://example.com/software.cfg";

pub fn settings(directory: &Path) -> Settings {
    let mut settings = Settings::new(directory.join("data"));
    settings.listen = vec![anywhere()];
    settings
}

pub fn anywhere() -> Listen {
    "127.0.0.1:0".parse().unwrap()
}

/// The URL by which we reach it: the certificate is for this address too.
pub fn url(started: &Started) -> String {
    format!("https://{}", started.listen[0])
}

pub fn authority(started: &Started) -> String {
    std::fs::read_to_string(&started.authority_file).unwrap()
}

/// Somebody with or without a certificate.
pub fn client(started: &Started, identity: Option<&Identity>) -> Client {
    let mut settings = slap_client::Settings::new(url(started));
    settings.trust = Trust::CaText(authority(started));
    settings.identity = identity.cloned();
    Client::new(settings).unwrap()
}

/// Turns a one-time token into a certificate, as released clients do.
pub fn redeem(started: &Started, call: &str, token: &str, form: &[(&str, &str)]) -> Identity {
    let root = Certificate::from_pem(authority(started).as_bytes()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[root]))
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let agent = Agent::new_with_config(Agent::config_builder().tls_config(tls).build());
    let mut reply = agent
        .post(format!("{}/{call}", url(started)))
        .header("x-access-token", token)
        .send_form(form.iter().copied())
        .unwrap();
    let text = reply.body_mut().read_to_string().unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let pem = |name: &str| json[name].as_str().unwrap().to_owned();
    Identity {
        certificate: pem("certificate"),
        key: pem("key"),
    }
}

pub fn request(title: &str) -> Request {
    Request {
        requester: None,
        release: ReleaseUrl::new(RELEASE).unwrap(),
        software_type: SoftwareType::default(),
        title: title.parse().unwrap(),
        parameters: BTreeMap::from([("a".to_owned(), Value::text("b"))]),
        sla: BTreeMap::new(),
        state: Some(InstanceState::Started),
        shared: false,
    }
}

/// A node with one partition that has the release, made by a person who may.
pub fn ready_node(started: &Started, person: &Client) -> (Client, NodeId, PartitionId) {
    let node: NodeId = person.request_node("one").unwrap().node;
    let issued = person.issue_node_certificate(&node).unwrap();
    let identity = Identity {
        certificate: issued.certificate,
        key: issued.key,
    };
    let partition: PartitionId = "slappart0".parse().unwrap();
    let speaker = client(started, Some(&identity));
    speaker
        .post_format(&one_partition(&node, &partition))
        .unwrap();
    let release = ReleaseUrl::new(RELEASE).unwrap();
    let supplied = slap::InstallationState::Available;
    person.supply(&release, &node, supplied).unwrap();
    speaker.release_available(&release, &node).unwrap();
    (speaker, node, partition)
}

/// How a node describes its only partition.
pub fn one_partition(node: &NodeId, partition: &PartitionId) -> Value {
    Value::dict([
        ("reference", Value::text(node.as_str())),
        (
            "partition_list",
            Value::List(vec![Value::dict([
                ("reference", Value::text(partition.as_str())),
                (
                    "address_list",
                    Value::List(vec![Value::dict([
                        ("addr", Value::text("fd00::1")),
                        ("netmask", Value::text("ffff::")),
                    ])]),
                ),
            ])]),
        ),
    ])
}
