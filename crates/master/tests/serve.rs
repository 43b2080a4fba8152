//! A Master as a whole: its first start, its restarts, its certificates over real TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use master::{ServeError, Server};
use slap::{NodeId, PartitionId, ReleaseUrl};
use slap_client::{Identity, RequestReply};

use common::{RELEASE, client, one_partition, redeem, request, settings};

#[test]
fn from_an_empty_directory_to_an_instance_and_a_restart_keeps_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(settings(directory.path())).unwrap();
    let started = server.started().clone();
    let welcome = started.welcome.clone().unwrap();
    assert_eq!(welcome.login, "admin");
    let token = &welcome.client_token;
    let admin = redeem(&started, "Person_getCertificate", token, &[]);

    // Strangers come in, and no further.
    let stranger = client(&started, None);
    assert!(
        stranger
            .hateoas_url()
            .unwrap()
            .unwrap()
            .ends_with("/hateoas/")
    );
    let comp: NodeId = "COMP-1".parse().unwrap();
    let refused = stranger.node(&comp).unwrap_err().to_string();
    assert!(
        refused.contains("401") || refused.contains("certificate"),
        "{refused}"
    );

    let person = client(&started, Some(&admin));
    let made = person.request_node("one").unwrap();
    assert_eq!(made.node, comp);
    let issued = person.issue_node_certificate(&comp).unwrap();
    let node_identity = Identity {
        certificate: issued.certificate,
        key: issued.key,
    };
    let node = client(&started, Some(&node_identity));
    let partition: PartitionId = "slappart0".parse().unwrap();
    node.post_format(&one_partition(&comp, &partition)).unwrap();
    let release = ReleaseUrl::new(RELEASE).unwrap();
    let supplied = slap::InstallationState::Available;
    person.supply(&release, &comp, supplied).unwrap();
    let RequestReply::NotReady { why } = person.request(&request("web")).unwrap() else {
        panic!("the release is not there yet");
    };
    assert!(why.contains("COMP-1"), "it says why: {why}");
    node.release_available(&release, &comp).unwrap();
    let RequestReply::Allocated(placed) = person.request(&request("web")).unwrap() else {
        panic!("there is a place now");
    };
    assert_eq!(placed.partition, partition.as_str());
    let told = node.node(&comp).unwrap();
    assert_eq!(told.partitions[0].guid.as_deref(), Some("SOFTINST-1"));
    let given = node.partition_certificate(&comp, &partition).unwrap();
    assert!(given.certificate.contains("CERTIFICATE"));

    // An instance speaks with its own certificate.
    let instance = client(
        &started,
        Some(&Identity {
            certificate: given.certificate.clone(),
            key: given.key.clone(),
        }),
    );
    assert_eq!(instance.node(&comp).unwrap().partitions.len(), 1);

    server.stop().unwrap();
    let pem = std::fs::read_to_string(directory.path().join("data/server.pem")).unwrap();
    drop(server);
    let server = Server::start(settings(directory.path())).unwrap();
    let again = server.started();
    assert!(again.welcome.is_none(), "somebody came in already");
    assert_eq!(again.authority_fingerprint, started.authority_fingerprint);
    assert_eq!(
        std::fs::read_to_string(directory.path().join("data/server.pem")).unwrap(),
        pem
    );
    let node = client(again, Some(&node_identity));
    assert_eq!(node.node(&comp).unwrap(), told);
    assert_eq!(
        node.partition_certificate(&comp, &partition).unwrap(),
        given
    );
    // A certificate that is revoked is worth nothing from that moment on.
    let person = client(again, Some(&admin));
    person.revoke_node_certificate(&comp).unwrap();
    assert!(node.node(&comp).is_err());
}

#[test]
fn the_way_in_is_shown_until_somebody_used_it() {
    let directory = tempfile::tempdir().unwrap();
    let first = {
        let server = Server::start(settings(directory.path())).unwrap();
        server.started().welcome.clone().unwrap()
    };
    let server = Server::start(settings(directory.path())).unwrap();
    let second = server.started().welcome.clone().unwrap();
    assert_eq!(
        (&first.login, first.project),
        (&second.login, second.project)
    );
    assert_ne!(first.client_token, second.client_token);
    // The earlier link is as good as the later one.
    let started = server.started();
    redeem(started, "Person_getCertificate", &first.client_token, &[]);
}

#[test]
fn a_master_without_its_key_says_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("data/secret.key");
    drop(Server::start(settings(directory.path())).unwrap());
    let kept = std::fs::read(&key).unwrap();
    let refusal = || match Server::start(settings(directory.path())) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it started"),
    };
    std::fs::remove_file(&key).unwrap();
    let text = refusal();
    assert!(text.contains("secret.key is missing"), "{text}");
    assert!(!key.exists(), "a new key would hide what happened");
    std::fs::write(&key, "0".repeat(64)).unwrap();
    let text = refusal();
    assert!(text.contains("does not open the secrets"), "{text}");
    std::fs::write(&key, &kept).unwrap();
    drop(Server::start(settings(directory.path())).unwrap());
}

#[test]
fn what_cannot_be_had_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(settings(directory.path())).unwrap();
    let text = match Server::start(settings(directory.path())) {
        Err(error @ ServeError::Open(_)) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it started"),
    };
    assert!(text.contains("another Master"), "{text}");
    let other = tempfile::tempdir().unwrap();
    let mut settings = settings(other.path());
    settings.listen[0].port = server.started().listen[0].port();
    let text = match Server::start(settings) {
        Err(error @ ServeError::Listen(_)) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it started"),
    };
    assert!(text.contains("in use"), "{text}");
}
