//! Taking over a database of upstream's proxy (P 6.17): nothing is lost, nothing is reprocessed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Ask, NODE, RELEASE, Rig, ask, upstream_database};
use proxy::store::OpenError;
use proxy::{Selection, ServeError, Server, show};
use slap::Value;

const ROWS: &str = r#"
INSERT INTO computer18 VALUES ('local_computer', '127.0.0.1', '255.255.255.0');
INSERT INTO software18 VALUES ('http://example.com/dummy/software.cfg', 'local_computer', 'available');
INSERT INTO software18 VALUES ('http://x/gone.cfg', 'other', 'destroyed');
INSERT INTO partition18 VALUES ('slappart0', 'local_computer', 'busy',
  'http://example.com/dummy/software.cfg',
  '<?xml version=''1.0'' encoding=''utf-8''?>
<instance>
  <parameter id="a">b&lt;&amp;&gt;é</parameter>
  <parameter id="e"></parameter>
</instance>
',
  '<?xml version=''1.0'' encoding=''utf-8''?>
<instance>
  <parameter id="url">http://[::1]/</parameter>
</instance>
',
  '<marshal><list id="i2"><dictionary id="i3"><string>p</string><int>1</int><string>slap_software_type</string><string>default</string><string>slave_reference</string><string>_sh1</string><string>slave_title</string><string>_sh1</string></dictionary><dictionary id="i4"><string>slap_software_type</string><string>default</string><string>slave_reference</string><string>root1_sh2</string><string>slave_title</string><string>root1_sh2</string></dictionary></list></marshal>',
  'default', 'root1', '', 'user', 'started', 1795334859.5746188);
INSERT INTO partition18 VALUES ('slappart1', 'local_computer', 'busy',
  'http://example.com/dummy/software.cfg', NULL, NULL, NULL, 'default', 'child', 'root1',
  'slappart0', 'stopped', 1795334860.0);
INSERT INTO partition18 (reference, computer_reference) VALUES ('slappart2', 'local_computer');
INSERT INTO slave18 VALUES ('_sh1', 'local_computer', NULL, 'slappart0', 'user');
INSERT INTO slave18 VALUES ('root1_sh2', 'local_computer', '<instance><parameter id="u">v</parameter></instance>', 'slappart0', 'slappart1');
INSERT INTO slave18 VALUES ('_destroyed', 'local_computer', NULL, 'slappart0', 'user');
INSERT INTO partition_network18 VALUES ('slappart0', 'local_computer', 'slaptap0', '10.0.0.1', '255.255.255.255');
INSERT INTO forwarded_partition_request18 VALUES ('user_x', 'http://m.example/');
"#;

fn taken_over() -> Rig {
    Rig::with(|settings| upstream_database(&settings.database, ROWS))
}

#[test]
fn documents_are_as_upstream_gave_them_down_to_the_timestamp() {
    let rig = taken_over();
    let partition = rig.register("slappart0");
    assert_eq!(partition.timestamp(), "1795334859.5746188");
    let parameters = partition.attribute("_parameter_dict");
    let parameters = parameters.as_dict().unwrap();
    assert_eq!(parameters["a"], Value::text("b<&>é"));
    assert_eq!(parameters["e"], Value::None);
    let shared = parameters["slave_instance_list"].as_sequence().unwrap();
    assert_eq!(shared.len(), 2);
    assert_eq!(shared[0].as_dict().unwrap()["p"], Value::Int(1));
    let child = rig.register("slappart1");
    assert_eq!(child.timestamp(), "1795334860.0");
    assert_eq!(child.attribute("_requested_state"), Value::text("stopped"));
    assert!(
        rig.full()
            .ok()
            .contains("<string>_requested_state</string><string>available</string>")
    );
}

#[test]
fn what_was_there_is_recognised_when_it_is_asked_for_again() {
    let mut rig = taken_over();
    let before = rig.full().ok();
    let parameters = vec![("a", Value::text("b<&>é")), ("e", Value::text(""))];
    rig.request(&Ask {
        parameters,
        ..ask("root1")
    })
    .ok();
    rig.request(&Ask {
        requester: Some("slappart0"),
        ..ask("child")
    })
    .ok();
    rig.request(&Ask {
        shared: true,
        parameters: vec![("p", Value::Int(1))],
        ..ask("sh1")
    })
    .ok();
    let shared = Ask {
        shared: true,
        requester: Some("slappart1"),
        ..ask("sh2")
    };
    assert_eq!(
        rig.request(&shared).attribute("_connection_dict"),
        Value::dict([("u", Value::text("v"))])
    );
    assert_eq!(rig.full().ok(), before);
    // Once, not at each start.
    rig.restart();
    assert_eq!(rig.full().ok(), before);
    assert_eq!(
        rig.request(&ask("new"))
            .attribute("slap_computer_partition_id"),
        Value::text("slappart2")
    );
}

#[test]
fn a_copy_of_the_original_stays_beside_it() {
    let rig = taken_over();
    let mut copy = rig.database().into_os_string();
    copy.push(".upstream-18");
    let copy = rusqlite::Connection::open(copy).unwrap();
    let rows: i64 = copy
        .query_row("SELECT count(*) FROM partition18", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 3);
}

#[test]
fn what_cannot_be_taken_over_is_refused_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("proxy.db");
    upstream_database(
        &database,
        "INSERT INTO partition18 (reference, computer_reference, slap_state, partition_reference, requested_state) VALUES ('slappart0', 'local_computer', 'busy', 'x', 'bogus');",
    );
    let settings = proxy::Settings::new(&database, slap::NodeId::new(NODE).unwrap());
    let error = Server::start(settings).unwrap_err();
    assert!(
        matches!(error, ServeError::Open(OpenError::Import { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("slappart0"), "{error}");
    let connection = rusqlite::Connection::open(&database).unwrap();
    let rows: i64 = connection
        .query_row("SELECT count(*) FROM partition18", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 1);
}

#[test]
fn older_schemas_are_refused_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("proxy.db");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection
        .execute_batch("CREATE TABLE computer11 (a); CREATE TABLE partition11 (a);")
        .unwrap();
    drop(connection);
    let settings = proxy::Settings::new(&database, slap::NodeId::new(NODE).unwrap());
    let error = Server::start(settings).unwrap_err();
    assert!(
        matches!(
            error,
            ServeError::Open(OpenError::UpstreamSchema { found: 11, .. })
        ),
        "{error}"
    );
    let error = show(&database, Selection::default()).unwrap_err();
    assert!(matches!(error, OpenError::NotTakenOver { .. }), "{error}");
}

#[test]
fn the_tables_of_show_have_upstreams_columns() {
    let rig = taken_over();
    let tables = show(&rig.database(), Selection::default()).unwrap();
    let table = |title: &str| tables.iter().find(|table| table.title == title).unwrap();
    assert_eq!(
        table("computer").rows,
        [["local_computer", "127.0.0.1", "255.255.255.0"]]
    );
    assert_eq!(
        table("software").columns,
        ["url", "computer_reference", "requested_state", "md5"]
    );
    assert_eq!(table("software").rows[0][..3], [RELEASE, NODE, "available"]);
    assert_eq!(
        table("partition").rows[1],
        [
            "slappart1",
            NODE,
            "busy",
            RELEASE,
            "default",
            "child",
            "root1",
            "slappart0",
            "stopped",
            "1795334860.0"
        ]
    );
    assert_eq!(
        table("slave").rows[1],
        ["root1_sh2", NODE, "slappart0", "slappart1"]
    );
    assert_eq!(
        table("partition_network").rows[0],
        ["slappart0", NODE, "10.0.0.1"]
    );
    let params = table("slappart0: root1 (type default)");
    assert_eq!(params.rows, [["a", "b<&>é"], ["e", ""]]);
    let only = Selection {
        slaves: true,
        ..Selection::default()
    };
    assert_eq!(show(&rig.database(), only).unwrap().len(), 1);
}

#[test]
fn showing_what_is_not_there_creates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("no.db");
    let error = show(&database, Selection::default()).unwrap_err();
    assert!(matches!(error, OpenError::Missing { .. }), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
