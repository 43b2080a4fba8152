//! Certificates against the rules of the wire, and against the real OpenSSL where there is one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn authority() -> Authority {
    Authority::create("Example Organisation", SystemTime::now())
        .unwrap()
        .0
}

fn subject(common_name: &str) -> Subject {
    Subject {
        common_name: common_name.to_owned(),
        email: "COMP-1234@example.org".to_owned(),
    }
}

fn node_certificate(authority: &Authority) -> Issued {
    let subject = subject("CERTLOGIN-7-0123456789abcdef-COMP-1234");
    authority
        .issue(&subject, Profile::Instance, SystemTime::now())
        .unwrap()
}

/// As the released client does (P 5.4 step 3).
fn released_client_reference(certificate: &str) -> &str {
    let start = certificate.find("COMP-").unwrap();
    let end = certificate[start..].find("/email").unwrap() + start;
    &certificate[start..end]
}

/// `None` where there is no openssl.
fn openssl(arguments: &[&str], directory: &Path) -> Option<Output> {
    Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .output()
        .ok()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn an_authority_comes_back_from_its_material() {
    let (authority, material) = Authority::create(" Example ", SystemTime::now()).unwrap();
    let loaded = Authority::load(&material.certificate_pem, &material.key_pem).unwrap();
    assert_eq!(loaded.organisation(), "Example");
    assert_eq!(loaded.certificate_pem(), authority.certificate_pem());
    assert_eq!(loaded.facts(), authority.facts());
    assert!(node_certificate(&loaded).certificate.contains("COMP-1234"));
}

#[test]
fn an_authority_does_not_load_from_damaged_or_foreign_parts() {
    let (_, one) = Authority::create("One", SystemTime::now()).unwrap();
    let (_, two) = Authority::create("Two", SystemTime::now()).unwrap();
    let leaf = node_certificate(&authority());
    for (certificate, key) in [
        (one.certificate_pem.as_str(), two.key_pem.as_str()),
        ("", one.key_pem.as_str()),
        (one.certificate_pem.as_str(), ""),
        (&one.certificate_pem[..200], one.key_pem.as_str()),
        (leaf.certificate_pem.as_str(), leaf.key_pem.as_str()),
    ] {
        let error = Authority::load(certificate, key).unwrap_err();
        assert!(matches!(error, PkiError::Read { .. }), "{error}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let (authority, material) = Authority::create("Example", SystemTime::now()).unwrap();
    let issued = node_certificate(&authority);
    for shown in [
        format!("{authority:?}"),
        format!("{material:?}"),
        format!("{issued:?}"),
    ] {
        assert!(
            !shown.contains("PRIVATE") && !shown.contains("KEY-----"),
            "{shown}"
        );
    }
}

#[test]
fn names_that_cannot_stand_in_a_certificate_are_refused() {
    let long = "x".repeat(65);
    for bad in ["", "  ", "a\nb", "my COMP-any", long.as_str()] {
        let error = Authority::create(bad, SystemTime::now()).unwrap_err();
        assert!(matches!(error, PkiError::Organisation { .. }), "{error}");
    }
    let authority = authority();
    for (common_name, email) in [
        ("", "a@b"),
        (long.as_str(), "a@b"),
        ("a b", "a@b"),
        ("a/emailAddress=x", "a@b"),
        ("é", "a@b"),
        ("a", ""),
        ("a", "a b@c"),
        ("a", "é@c"),
        ("a", "a@b\n-----BEGIN"),
        ("a", "x".repeat(256).as_str()),
    ] {
        let subject = Subject {
            common_name: common_name.to_owned(),
            email: email.to_owned(),
        };
        let error = authority
            .issue(&subject, Profile::Instance, SystemTime::now())
            .unwrap_err();
        assert!(matches!(error, PkiError::Subject { .. }), "{error}");
    }
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    assert!(matches!(
        authority.issue_server(&[], SystemTime::now()),
        Err(PkiError::NoServerName)
    ));
    for bad in [
        "",
        "a b",
        "http://a",
        "a..b",
        "a:8080",
        "é.example",
        "*.*.a",
        "::g",
    ] {
        assert!(
            matches!(
                authority.issue_server(&names(&["good.example", bad]), SystemTime::now()),
                Err(PkiError::ServerName { .. })
            ),
            "{bad:?}"
        );
    }
}

#[test]
fn the_released_client_finds_the_reference_of_the_node() {
    let authority = authority();
    let common_name = login_common_name(7, "COMP-1234").unwrap();
    let issued = authority
        .issue(&subject(&common_name), Profile::Node, SystemTime::now())
        .unwrap();
    assert_eq!(released_client_reference(&issued.certificate), "COMP-1234");
    let line = format!(
        "        Subject: O=Example Organisation, CN={common_name}/emailAddress=COMP-1234@example.org\n"
    );
    assert!(issued.certificate.contains(&line), "{}", issued.certificate);
    assert!(issued.certificate.ends_with(&issued.certificate_pem));
    assert_eq!(issued.common_name, common_name);
}

#[test]
fn what_is_issued_is_what_is_read() {
    let authority = authority();
    let issued = node_certificate(&authority);
    let der = reading::der_of_pem(&issued.certificate).unwrap();
    let peer = peer_common_name(&der).unwrap();
    assert_eq!(peer.common_name, issued.common_name);
    assert_eq!(peer.serial_hex, issued.serial_hex);
    assert_eq!(peer.fingerprint_sha256_hex, issued.fingerprint_sha256_hex);
    assert_eq!(peer.not_after, issued.not_after);
    let life = issued.not_after.duration_since(SystemTime::now()).unwrap();
    assert!(life > CLIENT_LIFE - DAY && life <= CLIENT_LIFE);
    for bad in [&der[..100], b"", b"\x30\x00"] {
        assert!(peer_common_name(bad).is_err());
    }
    assert_ne!(node_certificate(&authority).serial_hex, issued.serial_hex);
}

#[test]
fn nothing_outlives_its_authority() {
    let made = SystemTime::now() - DAY * 365 * 15;
    let (authority, _) = Authority::create("Example", made).unwrap();
    let issued = node_certificate(&authority);
    assert_eq!(issued.not_after, authority.facts().not_after);
    let error = authority
        .issue(
            &subject("a"),
            Profile::Instance,
            SystemTime::now() + DAY * 365 * 6,
        )
        .unwrap_err();
    assert!(
        matches!(error, PkiError::AuthorityExpired { .. }),
        "{error}"
    );
    assert!(Authority::create("Example", SystemTime::UNIX_EPOCH).is_err());
}

#[test]
fn a_server_certificate_has_all_names() {
    let authority = authority();
    let names: Vec<String> = [
        "Master.Example.",
        "192.0.2.1",
        "[2001:DB8::1]",
        "::1",
        "*.a.b",
        "::1",
    ]
    .map(str::to_owned)
    .to_vec();
    let now = SystemTime::now();
    let issued = authority.issue_server(&names, now).unwrap();
    let facts = certificate_facts(&issued.certificate).unwrap();
    assert_eq!(
        facts.names,
        ["*.a.b", "192.0.2.1", "2001:db8::1", "::1", "master.example"]
    );
    assert_eq!(facts.common_name.as_deref(), Some("master.example"));
    assert!(!server_renewal_due(&facts, &names, now));
    assert!(!server_renewal_due(&facts, &names[..1], now));
    assert!(server_renewal_due(
        &facts,
        &["other.example".to_owned()],
        now
    ));
    assert!(server_renewal_due(&facts, &names, now + DAY * 300));
    let long = format!("{}.example", "x".repeat(60));
    let issued = authority
        .issue_server(std::slice::from_ref(&long), now)
        .unwrap();
    let facts = certificate_facts(&issued.certificate_pem).unwrap();
    assert_eq!((facts.common_name, facts.names), (None, vec![long]));
}

#[test]
fn renewal_begins_in_the_last_third() {
    let at = |days: u32| SystemTime::UNIX_EPOCH + DAY * days;
    for (from, to, now, due) in [
        (10, 100, 10, false),
        (10, 100, 0, false),
        (10, 100, 70, false),
        (10, 100, 71, true),
        (10, 100, 100, true),
        (10, 100, 200, true),
        (100, 10, 5, false),
        (100, 10, 11, false),
    ] {
        assert_eq!(
            renewal_due(at(from), at(to), at(now)),
            due,
            "{from} {to} {now}"
        );
    }
}

#[test]
fn bad_serial_numbers_are_refused() {
    let authority = authority();
    let now = SystemTime::now();
    for bad in ["", "xy", "é", &"1".repeat(41)] {
        let error = authority.crl(&[(bad.to_owned(), now)], 1, now).unwrap_err();
        assert!(matches!(error, PkiError::Serial { .. }), "{error}");
    }
    for good in ["1", "0A", "aBc", &"1".repeat(40)] {
        authority.crl(&[(good.to_owned(), now)], 1, now).unwrap();
    }
}

#[test]
fn openssl_reads_certificates_and_keys() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let Some(version) = openssl(&["version"], path) else {
        return;
    };
    let authority = authority();
    std::fs::write(path.join("ca.crt"), authority.certificate_pem()).unwrap();
    let subject = subject(&login_common_name(7, "COMP-1234").unwrap());
    for profile in [Profile::Person, Profile::Node, Profile::Instance] {
        let issued = authority
            .issue(&subject, profile, SystemTime::now())
            .unwrap();
        std::fs::write(path.join("crt"), &issued.certificate).unwrap();
        std::fs::write(path.join("key"), &issued.key_pem).unwrap();
        let run = |arguments: &str| {
            let arguments: Vec<&str> = arguments.split(' ').collect();
            let output = openssl(&arguments, path).unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", text(&output));
            text(&output)
        };
        run("x509 -noout -in crt");
        let serial = run("x509 -noout -serial -in crt");
        assert_eq!(serial.trim(), format!("serial={}", issued.serial_hex));
        let fingerprint = run("x509 -noout -fingerprint -sha256 -in crt");
        let fingerprint = fingerprint.replace(':', "").trim().to_lowercase();
        assert!(fingerprint.ends_with(&issued.fingerprint_sha256_hex));
        run("verify -x509_strict -purpose sslclient -CAfile ca.crt crt");
        match profile {
            Profile::Person | Profile::Node => {
                assert!(run("rsa -noout -check -in key").contains("RSA key ok"));
            }
            Profile::Instance => {
                run("ec -noout -check -in key");
            }
        }
        // Our head of the dump is OpenSSL's, but for spaces that newer versions put around `=`
        // and the comma before the address, which the released clients do not expect (P 5.4).
        let theirs = run("x509 -noout -text -nameopt compat -in crt");
        let ours = issued.certificate.split("-----BEGIN").next().unwrap();
        for line in ours.lines() {
            let line = line.replace("/emailAddress", ", emailAddress");
            let plain = |text: &str| {
                text.replace(" = ", "=")
                    .replace("/emailAddress", ", emailAddress")
            };
            assert!(
                plain(&theirs).contains(&line),
                "{} {line:?} {theirs}",
                text(&version)
            );
        }
    }
}

#[test]
fn openssl_accepts_a_server_certificate_and_a_revocation_list() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    if openssl(&["version"], path).is_none() {
        return;
    }
    let now = SystemTime::now();
    let authority = authority();
    let names = ["localhost", "::1"].map(str::to_owned);
    let server = authority.issue_server(&names, now).unwrap();
    let good = node_certificate(&authority);
    let revoked = node_certificate(&authority);
    let list = authority
        .crl(&[(revoked.serial_hex.clone(), now)], 2, now)
        .unwrap();
    for (name, text) in [
        ("ca.crt", authority.certificate_pem()),
        ("server.crt", server.certificate.as_str()),
        ("good.crt", good.certificate.as_str()),
        ("revoked.crt", revoked.certificate.as_str()),
        ("crl.pem", list.as_str()),
    ] {
        std::fs::write(path.join(name), text).unwrap();
    }
    for (arguments, expected) in [
        (
            "verify -x509_strict -purpose sslserver -verify_hostname localhost -CAfile ca.crt server.crt",
            true,
        ),
        (
            "verify -x509_strict -purpose sslserver -verify_ip ::1 -CAfile ca.crt server.crt",
            true,
        ),
        ("verify -purpose sslclient -CAfile ca.crt server.crt", false),
        ("verify -purpose sslserver -CAfile ca.crt good.crt", false),
        ("crl -noout -CAfile ca.crt -in crl.pem", true),
        (
            "verify -x509_strict -crl_check -CRLfile crl.pem -CAfile ca.crt good.crt",
            true,
        ),
        (
            "verify -x509_strict -crl_check -CRLfile crl.pem -CAfile ca.crt revoked.crt",
            false,
        ),
    ] {
        let split: Vec<&str> = arguments.split(' ').collect();
        let output = openssl(&split, path).unwrap();
        assert_eq!(
            output.status.success(),
            expected,
            "{arguments}: {}",
            text(&output)
        );
    }
    // An empty list is a list too.
    std::fs::write(path.join("crl.pem"), authority.crl(&[], 1, now).unwrap()).unwrap();
    let arguments = "verify -x509_strict -crl_check -CRLfile crl.pem -CAfile ca.crt revoked.crt";
    let split: Vec<&str> = arguments.split(' ').collect();
    let output = openssl(&split, path).unwrap();
    assert!(output.status.success(), "{}", text(&output));
}
