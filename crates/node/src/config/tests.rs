#![allow(clippy::unwrap_used)]

use super::*;

struct Fixture {
    root: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("soft")).unwrap();
        std::fs::create_dir(root.path().join("inst")).unwrap();
        Fixture { root }
    }

    fn load(&self, more: &str, overrides: &Overrides) -> Result<NodeConfig, ConfigError> {
        let root = self.root.path().display();
        let text = format!(
            "[slapos]\ncomputer_id = COMP-1\nmaster_url = http://127.0.0.1:1/\n\
             software_root = {root}/soft\ninstance_root = {root}/inst\n{more}\n"
        );
        let file = self.root.path().join("slapos.cfg");
        std::fs::write(&file, text).unwrap();
        NodeConfig::load(&file, overrides)
    }
}

#[test]
fn n_1_2_defaults_are_upstreams() {
    let config = Fixture::new().load("", &Overrides::new()).unwrap();
    assert_eq!(config.maximum_periodicity, 86_400);
    assert_eq!(config.promise_timeout, Duration::from_secs(20));
    assert_eq!(config.partition_timeout, None);
    assert_eq!(config.software_min_free_space, 1_048_576_000);
    assert_eq!(
        config.pidfile_instance,
        Path::new("/opt/slapos/slapgrid-cp.pid")
    );
    assert!(config.root_check && !config.force);
    assert!(matches!(config.master.trust, Trust::WebRoots));
}

#[test]
fn n_1_1_the_file_is_obeyed_where_upstream_ignores_it_and_the_command_line_wins() {
    let fixture = Fixture::new();
    let more = "maximum_periodicity = 60\npromise_timeout = 3\ndevelop = false\n\
                pidfile = /tmp/x.pid\npidfile_report = /tmp/r.pid\nroot_check = FALSE";
    let config = fixture.load(more, &Overrides::new()).unwrap();
    assert_eq!(config.maximum_periodicity, 60);
    assert_eq!(config.promise_timeout, Duration::from_secs(3));
    assert!(!config.force && !config.root_check);
    assert_eq!(config.pidfile_instance, Path::new("/tmp/x.pid"));
    assert_eq!(config.pidfile_report, Path::new("/tmp/r.pid"));
    let mut overrides = Overrides::new();
    overrides.set("promise_timeout", "7").set("force", "true");
    let config = fixture.load(more, &overrides).unwrap();
    assert_eq!(config.promise_timeout, Duration::from_secs(7));
    assert!(config.force);
}

#[test]
fn n_1_1_mistakes_name_option_and_file() {
    let fixture = Fixture::new();
    let file = fixture.root.path().join("slapos.cfg");
    let file = file.display();
    let message = |more: &str| {
        fixture
            .load(more, &Overrides::new())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        message("promise_timeout = soon"),
        format!("{file}: option `promise_timeout`: `soon` is not a whole number")
    );
    assert_eq!(
        message("root_check = maybe"),
        format!("{file}: option `root_check`: `maybe` is neither `true` nor `false`")
    );
    assert_eq!(
        message("key_file = /k"),
        format!("{file}: option `cert_file` is missing from section [slapos]")
    );
    assert_eq!(
        message("master_ca_file = /no/such"),
        format!("{file}: option `master_ca_file`: /no/such does not exist")
    );
    assert!(message("certificate_repository_path = /no/such").contains("not a directory"));
    assert!(message("workers = 0").contains("at least 1"));
    let mut overrides = Overrides::new();
    overrides.set("maximum_periodicity", "x");
    assert!(
        fixture
            .load("", &overrides)
            .unwrap_err()
            .to_string()
            .starts_with("command line: option `maximum_periodicity`")
    );
}

#[test]
fn n_1_2_sizes_are_powers_of_1024() {
    for (text, bytes) in [
        ("1000M", Some(1_048_576_000)),
        ("1.5Gi", Some(1_610_612_736)),
        ("500", Some(500)),
        ("2 k", Some(2048)),
        ("1 kibi", Some(1024)),
        ("3mega", Some(3 << 20)),
        ("7B", Some(7)),
        ("1T", Some(1 << 40)),
        ("", None),
        ("much", None),
        ("-1", None),
        ("1Y1", None),
    ] {
        assert_eq!(parse_size(text), bytes, "{text}");
    }
}

#[test]
fn n_1_2_verification_of_the_master_can_be_chosen() {
    let fixture = Fixture::new();
    let config = fixture
        .load("master_tls_verify = false", &Overrides::new())
        .unwrap();
    assert!(matches!(config.master.trust, Trust::Insecure));
    let ca = fixture.root.path().join("ca.pem");
    std::fs::write(&ca, "").unwrap();
    let config = fixture
        .load(
            &format!("master_ca_file = {}", ca.display()),
            &Overrides::new(),
        )
        .unwrap();
    assert!(matches!(config.master.trust, Trust::CaFile(path) if path == ca));
}
