//! TLS with real clients: rustls, ureq, and OpenSSL and Python where they exist.

use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};

use super::*;
use crate::pki::{Authority, Issued, Profile, Subject, certificate_facts};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const CN: &str = "CERTLOGIN-7-0123456789abcdef-COMP-1234";

struct Tls {
    authority: Authority,
    server: Running,
    tls: Arc<ServerTls>,
}

fn names() -> Vec<String> {
    ["localhost", "127.0.0.1"].map(str::to_owned).to_vec()
}

fn start(limits: Limits) -> Tls {
    // Old enough for certificates that have expired.
    let made = SystemTime::now() - YEAR * 12;
    let (authority, _) = Authority::create("Example", made).unwrap();
    let own = authority.issue_server(&names(), SystemTime::now()).unwrap();
    let tls = ServerTls::new(
        &own.certificate,
        &own.key_pem,
        &[authority.certificate_pem()],
    )
    .unwrap();
    let spec = ListenSpec {
        tls: Some(Arc::clone(&tls)),
        ..plain("127.0.0.1")
    };
    let server = Running::start(&[spec, plain("127.0.0.1")], limits);
    Tls {
        authority,
        server,
        tls,
    }
}

fn issue(authority: &Authority, profile: Profile, now: SystemTime) -> Issued {
    let subject = Subject {
        common_name: CN.to_owned(),
        email: "node@example.org".to_owned(),
    };
    authority.issue(&subject, profile, now).unwrap()
}

type Client = StreamOwned<ClientConnection, TcpStream>;

fn config(
    authority: &Authority,
    certificate: Option<&Issued>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(der(authority.certificate_pem())).unwrap();
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
            builder
                .with_client_auth_cert(vec![der(&issued.certificate)], key)
                .unwrap()
        }
    };
    Arc::new(config)
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

impl Tls {
    fn client(&self, config: &Arc<ClientConfig>) -> Client {
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::clone(config), name).unwrap();
        StreamOwned::new(session, self.server.connect())
    }

    /// The answer, or why there is none.
    fn try_ask(&self, config: &Arc<ClientConfig>) -> Result<String, std::io::Error> {
        let mut client = self.client(config);
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        client.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

#[test]
fn the_name_in_the_client_certificate_is_seen() {
    let tls = start(Limits::default());
    for version in VERSIONS {
        for profile in [Profile::Instance, Profile::Node] {
            let certificate = issue(&tls.authority, profile, SystemTime::now());
            let config = config(&tls.authority, Some(&certificate), version);
            let mut client = tls.client(&config);
            for _ in 0..3 {
                let answer = ask(&mut client, "/");
                assert_eq!(answer, format!("{CN} tls=true 127.0.0.1\n"));
            }
        }
        let config = config(&tls.authority, None, version);
        let answer = ask(&mut tls.client(&config), "/");
        assert_eq!(answer, "nobody tls=true 127.0.0.1\n");
    }
}

#[test]
fn a_resumed_session_keeps_the_name() {
    let tls = start(Limits::default());
    for version in VERSIONS {
        let certificate = issue(&tls.authority, Profile::Instance, SystemTime::now());
        let config = config(&tls.authority, Some(&certificate), version);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut client = tls.client(&config);
            assert_eq!(ask(&mut client, "/"), format!("{CN} tls=true 127.0.0.1\n"));
            assert_eq!(client.conn.handshake_kind(), Some(expected));
        }
    }
}

#[test]
fn foreign_expired_and_wrong_certificates_are_refused() {
    let tls = start(Limits::default());
    let now = SystemTime::now();
    let (foreign, _) = Authority::create("Example", now).unwrap();
    let bad = [
        issue(&foreign, Profile::Instance, now),
        // Its ten years are over.
        issue(&tls.authority, Profile::Instance, now - YEAR * 11),
        // Not valid yet.
        issue(&tls.authority, Profile::Instance, now + YEAR),
        // Not for clients.
        tls.authority.issue_server(&names(), now).unwrap(),
    ];
    for version in VERSIONS {
        for certificate in &bad {
            let config = config(&tls.authority, Some(certificate), version);
            let refused = tls.try_ask(&config);
            let error = refused.expect_err("it was accepted");
            assert!(
                matches!(
                    error.kind(),
                    ErrorKind::InvalidData | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ),
                "{error:?}"
            );
        }
        let config = config(&tls.authority, None, version);
        assert!(tls.try_ask(&config).unwrap().contains("nobody"));
    }
}

#[test]
fn the_server_certificate_is_replaced_while_serving() {
    let tls = start(Limits::default());
    let config = config(&tls.authority, None, &rustls::version::TLS13);
    let shown = |client: &Client| {
        let shown = client.conn.peer_certificates().unwrap();
        crate::pki::peer_common_name(&shown[0]).unwrap().serial_hex
    };
    let mut before = tls.client(&config);
    ask(&mut before, "/");
    let new = tls
        .authority
        .issue_server(&names(), SystemTime::now())
        .unwrap();
    let other = tls
        .authority
        .issue_server(&names(), SystemTime::now())
        .unwrap();
    // What cannot be used changes nothing.
    for (chain, key) in [
        (new.certificate_pem.as_str(), other.key_pem.as_str()),
        ("", new.key_pem.as_str()),
        (new.certificate_pem.as_str(), "-----BEGIN PRIVATE KEY-----"),
    ] {
        let error = tls.tls.replace(chain, key).unwrap_err();
        assert!(error.to_string().contains("cannot be used"), "{error}");
        assert!(!error.to_string().contains("BEGIN"), "{error}");
    }
    let facts = certificate_facts(&new.certificate).unwrap();
    assert_ne!(shown(&before), facts.serial_hex);
    tls.tls.replace(&new.certificate, &new.key_pem).unwrap();
    // Nothing of the former session: a resumed one shows the certificate it began with.
    let config = config_again(&tls);
    let mut after = tls.client(&config);
    ask(&mut after, "/");
    assert_eq!(shown(&after), facts.serial_hex);
    ask(&mut before, "/");
}

fn config_again(tls: &Tls) -> Arc<ClientConfig> {
    config(&tls.authority, None, &rustls::version::TLS13)
}

#[test]
fn a_connection_that_idles_ends_with_a_farewell() {
    let tls = start(Limits {
        idle: SHORT,
        ..Limits::default()
    });
    for version in VERSIONS {
        let mut client = tls.client(&config(&tls.authority, None, version));
        ask(&mut client, "/");
        // Without close_notify rustls makes an error of the end.
        assert_eq!(client.read(&mut [0; 10]).unwrap(), 0);
    }
}

#[test]
fn who_does_not_speak_tls_is_told_or_cut() {
    let tls = start(Limits {
        handshake: SHORT,
        ..Limits::default()
    });
    let mut http = tls.server.connect();
    send(&mut http, "/");
    let (head, body) = receive_lower(&mut http);
    assert!(head.starts_with("http/1.1 400"), "{head}");
    assert_eq!(body, "This address speaks HTTPS: begin it with https.\n");
    assert_eq!(rest(&mut http), "");
    assert_eq!(rest(&mut tls.server.connect()), "");
    // The beginning of a TLS record.
    let mut half = tls.server.connect();
    half.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    assert_eq!(rest(&mut half), "");
    // The plain listener beside it.
    let answer = ask(&mut connect(tls.server.addresses[1]), "/");
    assert_eq!(answer, "nobody tls=false 127.0.0.1\n");
}

fn receive_lower(stream: &mut impl Read) -> (String, String) {
    let head = until(stream, "\r\n\r\n").to_ascii_lowercase();
    let (_, length) = head.split_once("content-length: ").unwrap();
    let mut body = vec![0; length.split("\r\n").next().unwrap().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn a_handshake_under_way_does_not_hold_up_the_end() {
    let mut tls = start(Limits {
        drain: DEADLINE,
        handshake: DEADLINE,
        ..Limits::default()
    });
    let mut half = tls.server.connect();
    half.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    let config = config(&tls.authority, None, &rustls::version::TLS13);
    let mut events = tls.client(&config);
    send(&mut events, "/events");
    until(&mut events, "data: 1\n\n\r\n");
    tls.server.ask_to_stop();
    assert_eq!(rest(&mut half), "");
    assert_eq!(rest(&mut events), "0\r\n\r\n");
    tls.server.wait_for_end();
}

#[test]
fn without_authorities_nobody_is_asked_for_a_certificate() {
    let (authority, _) = Authority::create("Example", SystemTime::now()).unwrap();
    let own = authority.issue_server(&names(), SystemTime::now()).unwrap();
    let tls = ServerTls::new(&own.certificate, &own.key_pem, &[]).unwrap();
    let spec = ListenSpec {
        tls: Some(Arc::clone(&tls)),
        ..plain("127.0.0.1")
    };
    let server = Running::start(&[spec], Limits::default());
    let tls = Tls {
        authority,
        server,
        tls,
    };
    let (foreign, _) = Authority::create("Example", SystemTime::now()).unwrap();
    let certificate = issue(&foreign, Profile::Instance, SystemTime::now());
    let config = config(&tls.authority, Some(&certificate), &rustls::version::TLS13);
    assert!(tls.try_ask(&config).unwrap().contains("nobody"));
    for bad in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        assert!(ServerTls::new(&own.certificate, &own.key_pem, &[bad]).is_err());
    }
}

#[test]
fn a_blocking_client_library() {
    let tls = start(Limits::default());
    let certificate = issue(&tls.authority, Profile::Node, SystemTime::now());
    let root = ureq::tls::Certificate::from_pem(tls.authority.certificate_pem().as_bytes());
    let own = ureq::tls::Certificate::from_pem(certificate.certificate.as_bytes()).unwrap();
    let key = ureq::tls::PrivateKey::from_pem(certificate.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let agent = ureq::Agent::config_builder()
        .tls_config(
            ureq::tls::TlsConfig::builder()
                .unversioned_rustls_crypto_provider(provider)
                .root_certs(ureq::tls::RootCerts::new_with_certs(&[root.unwrap()]))
                .client_cert(Some(ureq::tls::ClientCert::new_with_certs(&[own], key)))
                .build(),
        )
        .build()
        .new_agent();
    for _ in 0..2 {
        let url = format!("https://{}/", tls.server.address());
        let mut answer = agent.get(&url).call().unwrap();
        let answer = answer.body_mut().read_to_string().unwrap();
        assert_eq!(answer, format!("{CN} tls=true 127.0.0.1\n"));
    }
}

/// Runs a program with the files of a client beside it; `None` where it does not exist.
fn run(tls: &Tls, program: &str, arguments: &[&str], input: &str) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let certificate = issue(&tls.authority, Profile::Person, SystemTime::now());
    for (name, text) in [
        ("ca", tls.authority.certificate_pem()),
        ("crt", certificate.certificate.as_str()),
        ("key", certificate.key_pem.as_str()),
    ] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    Some(format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

#[test]
fn openssl_s_client() {
    let tls = start(Limits::default());
    let address = tls.server.address().to_string();
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let mut arguments = vec!["s_client", "-connect", &address, version, "-ign_eof"];
        arguments.extend(["-CAfile", "ca", "-verify_return_error"]);
        arguments.extend(["-verify_hostname", "localhost", "-alpn", "h2,http/1.1"]);
        let Some(anonymous) = run(&tls, "openssl", &arguments, request) else {
            return;
        };
        assert!(anonymous.contains("nobody tls=true"), "{anonymous}");
        assert!(anonymous.contains("ALPN protocol: http/1.1"), "{anonymous}");
        arguments.extend(["-cert", "crt", "-key", "key"]);
        let named = run(&tls, "openssl", &arguments, request).unwrap();
        assert!(named.contains(&format!("{CN} tls=true")), "{named}");
    }
}

#[test]
fn python() {
    const PROGRAM: &str = r#"
import http.client, ssl, sys
for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
    context = ssl.create_default_context(cafile="ca")
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain("crt", "key")
    connection = http.client.HTTPSConnection("127.0.0.1", int(sys.argv[1]), context=context)
    for _ in range(2):
        connection.request("GET", "/")
        print(version.name, connection.getresponse().read().decode(), end="")
"#;
    let tls = start(Limits::default());
    let port = tls.server.address().port().to_string();
    let Some(answer) = run(&tls, "python3", &["-c", PROGRAM, &port], "") else {
        return;
    };
    let line = |version| format!("{version} {CN} tls=true 127.0.0.1\n").repeat(2);
    assert_eq!(answer, line("TLSv1_2") + &line("TLSv1_3"));
}
