//! Whom the client believes: real TLS handshakes against a server with a CA of its own.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use slap::NodeId;
use slap_client::{Client, Error, Settings, Trust};

struct Server {
    url: String,
    directory: tempfile::TempDir,
    /// For each served call, how many certificates the client showed.
    shown: Receiver<usize>,
}

impl Server {
    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// A Master that knows nobody (404), behind TLS signed by its own CA.
fn server() -> Server {
    let directory = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(directory.path().join("ca.pem"), ca.pem()).unwrap();

    let client_key = KeyPair::generate().unwrap();
    let client = CertificateParams::new(vec!["client".to_owned()])
        .unwrap()
        .signed_by(&client_key, &ca)
        .unwrap();
    std::fs::write(directory.path().join("client.crt"), client.pem()).unwrap();
    std::fs::write(
        directory.path().join("client.key"),
        client_key.serialize_pem(),
    )
    .unwrap();

    let server_key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&server_key, &ca)
        .unwrap();

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let config = Arc::new(
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
            )
            .unwrap(),
    );

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (sender, shown) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut tls = StreamOwned::new(connection, stream.unwrap());
            let mut buffer = [0; 4096];
            while matches!(tls.read(&mut buffer), Ok(count) if count > 0) {
                sender
                    .send(tls.conn.peer_certificates().map_or(0, <[_]>::len))
                    .unwrap();
                tls.write_all(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")
                    .unwrap();
            }
        }
    });
    Server {
        url,
        directory,
        shown,
    }
}

fn ask(settings: Settings) -> Error {
    Client::new(settings)
        .unwrap()
        .node(&NodeId::new("COMP-1").unwrap())
        .unwrap_err()
}

#[test]
fn a_stranger_is_not_believed() {
    let server = server();
    let error = ask(Settings::new(&server.url));
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    assert!(
        error.to_string().contains("certificate is not accepted"),
        "{error}"
    );
    assert!(server.shown.try_recv().is_err(), "something was sent");
}

#[test]
fn a_ca_file_is_believed_and_the_certificate_is_shown() {
    let server = server();
    let mut settings = Settings::new(&server.url);
    settings.trust = Trust::CaFile(server.file("ca.pem"));
    assert!(ask(settings.clone()).is_not_found());
    assert_eq!(server.shown.recv().unwrap(), 0);
    assert_eq!(server.shown.recv().unwrap(), 0);

    settings.certificate = Some((server.file("client.crt"), server.file("client.key")));
    assert!(ask(settings).is_not_found());
    assert_eq!(server.shown.recv().unwrap(), 1);
}

#[test]
fn anybody_is_believed_only_when_told_so() {
    let server = server();
    let mut settings = Settings::new(&server.url);
    settings.trust = Trust::Insecure;
    assert!(ask(settings).is_not_found());
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let server = server();
    let mut settings = Settings::new(&server.url);
    settings.trust = Trust::CaFile(server.file("absent.pem"));
    let error = Client::new(settings.clone()).unwrap_err().to_string();
    assert!(error.contains("absent.pem"), "{error}");

    settings.trust = Trust::CaFile(server.file("client.key"));
    let error = Client::new(settings.clone()).unwrap_err().to_string();
    assert!(
        error.ends_with("it holds no certificate in PEM form"),
        "{error}"
    );

    settings.trust = Trust::Insecure;
    settings.certificate = Some((server.file("client.crt"), server.file("ca.pem")));
    let error = Client::new(settings).unwrap_err().to_string();
    assert!(
        error.ends_with("it holds no private key in PEM form"),
        "{error}"
    );
}
