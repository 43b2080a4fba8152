#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use super::*;
use crate::config::Overrides;

struct Fixture {
    root: tempfile::TempDir,
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn event(&self, event: &Event<'_>) {
        if let Event::Info(text) | Event::Warning(text) = event {
            self.0.lock().unwrap().push((*text).to_owned());
        }
    }
}

impl Fixture {
    fn new() -> Self {
        Fixture {
            root: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(name)
    }

    fn config(&self, more: &str) -> FormatConfig {
        let root = self.root.path().display();
        // Port 9 answers nobody: the Master is away.
        let text = format!(
            "[slapos]\ncomputer_id = COMP-1\nmaster_url = http://127.0.0.1:9/\nroot_check = false\n\
             software_root = {root}/soft\ninstance_root = {root}/inst\n\
             [slapformat]\ncomputer_xml = {root}/etc/slapos.xml\ncomputer_json = {root}/etc/slapos.json\n\
             partition_base_name = part\nalter_user = false\nalter_network = false\nnow = true\n{more}\n"
        );
        let file = self.path("slapos.cfg");
        fs::write(&file, text).unwrap();
        FormatConfig::load(&file, &Overrides::new()).unwrap()
    }

    fn run(&self, more: &str) -> Result<Outcome, Error> {
        run(&self.config(more), &Options::default(), &Told::default())
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn n_5_1_partitions_appear_and_stay_as_they_are() {
    let fixture = Fixture::new();
    assert_eq!(
        fixture.run("partition_amount = 2").unwrap(),
        Outcome::FormatOffline
    );
    assert_eq!(mode(&fixture.path("inst")), 0o755);
    assert_eq!(mode(&fixture.path("inst/part1")), 0o750);
    let resource = fs::read_to_string(fixture.path("inst/part0/.slapos-resource")).unwrap();
    assert!(resource.starts_with("{\n    \"address_list\": [\n        {\n            \"addr\": \"127.0.0.1\",\n            \"netmask\": \"255.255.255.255\"\n        },"), "{resource}");
    let state = fs::read_to_string(fixture.path("etc/slapos.xml")).unwrap();
    assert!(
        state.starts_with(
            "<marshal>\n  <dictionary id=\"i2\">\n    <string>address</string>\n    <none/>\n"
        ),
        "{state}"
    );
    let before = fs::metadata(fixture.path("etc/slapos.xml"))
        .unwrap()
        .modified()
        .unwrap();
    fixture.run("partition_amount = 2").unwrap();
    let after = fs::metadata(fixture.path("etc/slapos.xml"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(before, after, "nothing changed, nothing is written");
    let changed = fs::read_to_string(fixture.path("etc/slapos.xml"))
        .unwrap()
        .replacen("127.0.0.1", "127.0.0.9", 1);
    fs::write(fixture.path("etc/slapos.xml"), changed).unwrap();
    fixture.run("partition_amount = 3").unwrap();
    let resource = fs::read_to_string(fixture.path("inst/part0/.slapos-resource")).unwrap();
    assert!(resource.contains("127.0.0.9"), "stored addresses stay");
    assert!(fixture.path("inst/part2").is_dir());
    assert!(fixture.path("etc/slapos.xml.old").exists());
}

#[test]
fn n_5_1_partitions_are_never_removed() {
    let fixture = Fixture::new();
    fixture.run("partition_amount = 3").unwrap();
    let error = fixture.run("partition_amount = 2").unwrap_err();
    assert!(error.to_string().contains("at least 3"), "{error}");
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn n_5_2_a_definition_file_gives_the_addresses() {
    let fixture = Fixture::new();
    let definition = fixture.path("definition.cfg");
    fs::write(
        &definition,
        "[computer]\naddress = 10.0.0.1/255.255.255.0\n\
         [partition_0]\naddress = 10.1.0.1/255.255.255.255 fd00::1/ffff::\nuser = joe\n\
         network_interface = tap9\npathname = first\nipv6_range = fd00:1::/64\n\
         capability_list =\n  a\n  b\n",
    )
    .unwrap();
    let more = format!(
        "partition_amount = 1\ninput_definition_file = {}\noutput_definition_file = {}/out.cfg",
        definition.display(),
        fixture.root.path().display()
    );
    fixture.run(&more).unwrap();
    let text = fs::read_to_string(fixture.path("inst/first/.slapos-resource")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["address_list"][1]["addr"], "fd00::1");
    assert_eq!(json["tap"]["name"], "tap9");
    assert_eq!(json["user"]["name"], "joe");
    assert_eq!(json["ipv6_range"]["netmask"], "ffff:ffff:ffff:ffff::");
    assert_eq!(json["capability_list"][1], "b");
    let out = fs::read_to_string(fixture.path("out.cfg")).unwrap();
    assert!(
        out.contains("address = 10.1.0.1/255.255.255.255 fd00::1/ffff::\nuser = joe\n"),
        "{out}"
    );
    let state = fs::read_to_string(fixture.path("etc/slapos.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&state).unwrap();
    assert_eq!(json["address"], "10.0.0.1");
}

#[test]
fn n_5_2_mistakes_in_a_definition_are_named() {
    let fixture = Fixture::new();
    let definition = fixture.path("definition.cfg");
    let more = format!(
        "partition_amount = 1\ninput_definition_file = {}",
        definition.display()
    );
    for (text, message) in [
        (
            "[computer]\n",
            "option `pathname` is missing from section [partition_0]",
        ),
        (
            "[partition_0]\npathname = a/b\naddress = 1.1.1.1/255.0.0.0\nuser = x\n",
            "cannot be the name of a directory",
        ),
        (
            "[partition_0]\npathname = a\naddress = 1.1.1.1/24\nuser = x\n",
            "`24` is not a netmask in address notation",
        ),
    ] {
        fs::write(&definition, text).unwrap();
        let error = fixture.run(&more).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert!(!fixture.path("inst").exists(), "nothing is done");
    }
}

#[test]
fn a_damaged_state_file_is_not_overwritten() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("etc")).unwrap();
    fs::write(fixture.path("etc/slapos.xml"), "<marshal>").unwrap();
    let error = fixture.run("partition_amount = 1").unwrap_err().to_string();
    assert!(error.contains("cannot be understood"), "{error}");
    assert_eq!(
        fs::read_to_string(fixture.path("etc/slapos.xml")).unwrap(),
        "<marshal>"
    );
}

#[test]
fn n_5_1_dry_run_tells_and_does_nothing() {
    let fixture = Fixture::new();
    let told = Told::default();
    let config = fixture.config("partition_amount = 1\ndry_run = true");
    run(&config, &Options::default(), &told).unwrap();
    let told = told.0.into_inner().unwrap().join("\n");
    assert!(told.contains("would create partition part0"), "{told}");
    assert!(!fixture.path("inst").exists() && !fixture.path("etc").exists());
}

#[test]
fn what_needs_root_is_refused_with_a_word() {
    let fixture = Fixture::new();
    let mut config = fixture.config("partition_amount = 1");
    config.alter_network = true;
    let error = run(&config, &Options::default(), &Told::default()).unwrap_err();
    assert!(error.to_string().contains("alter_network"), "{error}");
    assert!(!fixture.path("inst").exists());
}
