//! What the store promises, whichever database is behind it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testkit::{Postgres as TestServer, TestDatabase, for_each_database};

use super::sql::params;
use super::*;
use crate::domain::{NodeKey, Refusal};
use crate::events::Topic;

fn open(url: &str) -> Result<Arc<Store>, OpenError> {
    Store::open(&Database::parse(url).unwrap(), Arc::new(Hub::default())).map(Arc::new)
}

/// Adds a release; a job that writes.
async fn add(store: &Store, url: String) -> Result<i64, StoreError> {
    store
        .write(move |tx| {
            let sql = "INSERT INTO release (url) VALUES (?1) RETURNING id";
            Ok(tx.insert(sql, params![&url])?)
        })
        .await
}

async fn releases(store: &Store) -> Vec<String> {
    let read = |sql: &mut Connection| {
        let rows = sql.all("SELECT url FROM release ORDER BY url", &[])?;
        let urls = rows.iter().map(|row| row.text(0).map(str::to_owned));
        Ok(urls.collect::<Result<_, SqlError>>()?)
    };
    store.read(read).await.unwrap()
}

for_each_database! {
    async fn what_is_acknowledged_is_read_and_what_fails_leaves_nothing(database: TestDatabase) {
        let store = open(database.url()).unwrap();
        // Together, so that they share transactions: those that fail before they write, those that
        // fail after, those that break a rule, those that hide that, and those that panic.
        let jobs = (0..200).map(|nth| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let result = store
                    .write(move |tx| {
                        let sql = "INSERT INTO release (url) VALUES (?1) RETURNING id";
                        if nth % 7 == 1 {
                            return Err(Refusal::Invalid("early".into()).into());
                        }
                        let id = tx.insert(sql, params![format!("r{nth:03}")])?;
                        match nth % 7 {
                            2 => return Err(Refusal::Invalid("late".into()).into()),
                            3 => {
                                tx.insert(sql, params![format!("r{nth:03}")])?;
                            }
                            4 => {
                                let hidden = tx.one("SELECT nonsense", &[]);
                                assert!(hidden.is_err());
                            }
                            5 => panic!("as asked"),
                            _ => {}
                        }
                        Ok(id)
                    })
                    .await;
                (nth, result)
            })
        });
        let jobs: Vec<_> = jobs.collect();
        let mut expected = Vec::new();
        let mut keys = BTreeSet::new();
        for job in jobs {
            let (nth, result) = job.await.unwrap();
            match nth % 7 {
                0 | 6 => {
                    assert!(keys.insert(result.unwrap()));
                    expected.push(format!("r{nth:03}"));
                }
                1 | 2 => assert!(matches!(result, Err(StoreError::Refused(_))), "{nth} {result:?}"),
                3 => assert!(
                    matches!(result, Err(StoreError::Sql(SqlError::Constraint(_)))),
                    "{nth} {result:?}"
                ),
                4 => assert!(matches!(result, Err(StoreError::Sql(SqlError::Other(_)))), "{nth} {result:?}"),
                _ => assert!(matches!(result, Err(StoreError::Internal(_))), "{nth} {result:?}"),
            }
        }
        assert_eq!(releases(&store).await, expected);
        drop(store);
        let store = open(database.url()).unwrap();
        assert_eq!(releases(&store).await, expected);
    }

    async fn a_database_of_something_else_is_refused(database: TestDatabase) {
        drop(open(database.url()).unwrap());
        // Ours, opened again.
        let store = open(database.url()).unwrap();
        let later = (SCHEMA_VERSION + 1).to_string();
        store
            .write(move |tx| Ok(schema::set_setting(tx.sql(), "schema", &later)?))
            .await
            .unwrap();
        drop(store);
        let refused = open(database.url()).err().unwrap();
        assert!(matches!(refused, OpenError::TooNew { .. }), "{refused}");

        let other = if database.is_shared() {
            TestDatabase::postgres().unwrap()
        } else {
            TestDatabase::sqlite()
        };
        execute(&other, "CREATE TABLE customer (id BIGINT)");
        let refused = open(other.url()).err().unwrap();
        assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
        assert_eq!(tables(&other), ["customer"], "it is as it was");
    }

    async fn a_schema_that_cannot_be_made_leaves_nothing(database: TestDatabase) {
        // In the way of one of the last tables: an index of its name.
        let other = "CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT);
            CREATE TABLE upgrade_decision (id BIGINT); CREATE TABLE audit (id BIGINT);
            INSERT INTO setting VALUES ('schema', '0');";
        execute(&database, other);
        let refused = open(database.url()).err().unwrap();
        assert!(matches!(refused, OpenError::Database { .. }), "{refused}");
        assert_eq!(tables(&database), ["audit", "setting", "upgrade_decision"]);
    }

    async fn a_database_of_the_first_schema_is_brought_up_to_date(database: TestDatabase) {
        let dialect = {
            let store = open(database.url()).unwrap();
            store.read(|sql| Ok(sql.dialect())).await.unwrap()
        };
        let old = if database.is_shared() {
            TestDatabase::postgres().unwrap()
        } else {
            TestDatabase::sqlite()
        };
        execute(&old, &dialect.schema(include_str!("schema/1.sql")));
        execute(&old, "INSERT INTO setting VALUES ('schema', '1');
            INSERT INTO release (url) VALUES ('kept');");
        let store = open(old.url()).unwrap();
        assert_eq!(releases(&store).await, ["kept"]);
        let version = store.read(|sql| Ok(schema::setting(sql, "schema")?)).await.unwrap();
        assert_eq!(version, Some(SCHEMA_VERSION.to_string()));
        assert_eq!(tables(&old), tables(&database));
    }

    async fn changes_wake_whoever_waits(database: TestDatabase) {
        let hub = Arc::new(Hub::default());
        let here = Store::open(&Database::parse(database.url()).unwrap(), Arc::clone(&hub)).unwrap();
        let there = if database.is_shared() {
            Some(open(database.url()).unwrap())
        } else {
            None
        };
        let writer = there.as_deref().unwrap_or(&here);
        for _ in 0..3 {
            let mut waiting = hub.subscribe(Topic::Node(NodeKey(7)));
            let change = |tx: &mut Tx<'_>| {
                tx.changes.nodes.insert(NodeKey(7));
                Ok(())
            };
            writer.write(change).await.unwrap();
            let woken = tokio::time::timeout(Duration::from_secs(20), waiting.changed()).await;
            assert!(woken.is_ok());
        }
    }
}

/// Runs statements on an empty database, past the store.
fn execute(database: &TestDatabase, sql: &str) {
    match database.url().strip_prefix("sqlite:") {
        Some(path) => rusqlite::Connection::open(path)
            .unwrap()
            .execute_batch(sql)
            .unwrap(),
        None => {
            let name = database.url().rsplit('/').next().unwrap();
            TestServer::shared().unwrap().sql(name, sql);
        }
    }
}

fn tables(database: &TestDatabase) -> Vec<String> {
    let list = match database.url().strip_prefix("sqlite:") {
        Some(path) => {
            let connection = rusqlite::Connection::open(path).unwrap();
            let sql = "SELECT group_concat(name, char(10)) FROM sqlite_master
                WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
            let names: Option<String> = connection.query_row(sql, [], |row| row.get(0)).unwrap();
            names.unwrap_or_default()
        }
        None => {
            let name = database.url().rsplit('/').next().unwrap();
            let sql = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'";
            TestServer::shared().unwrap().sql(name, sql)
        }
    };
    let mut names: Vec<String> = list.lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_has_a_file() {
    let database = TestDatabase::sqlite();
    let store = open(database.url()).unwrap();
    let refused = open(database.url()).err().unwrap();
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused}");
    drop(store);
    open(database.url()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_the_schema_compare_bytewise() {
    let Some(database) = TestDatabase::postgres() else {
        return;
    };
    drop(open(database.url()).unwrap());
    let name = database.url().rsplit('/').next().unwrap();
    let test = TestServer::shared().unwrap();
    let sql = "SELECT table_name || '.' || column_name || ' ' || data_type
        FROM information_schema.columns
        WHERE table_schema = 'public'
        AND NOT (data_type = 'bigint' OR data_type = 'text' AND collation_name = 'C')";
    assert_eq!(test.sql(name, sql), "");
    let ours = "SELECT count(*) > 50 FROM information_schema.columns WHERE table_schema = 'public'";
    assert_eq!(test.sql(name, ours), "t");
}

#[test]
fn a_database_is_shown_without_its_password() {
    let database = Database::parse("postgres://u:secret@h:1/d?sslmode=disable").unwrap();
    assert_eq!(database.to_string(), "postgres://u@h:1/d");
    assert_eq!(format!("{database:?}"), "postgres://u@h:1/d");
    let broken = Database::parse("postgres://u:secret@h:port/d").unwrap();
    assert!(!broken.to_string().contains("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn masters_that_begin_together_make_one_schema() {
    let Some(database) = TestDatabase::postgres() else {
        return;
    };
    let url: Arc<str> = database.url().into();
    let opened: Vec<_> = (0..4)
        .map(|_| {
            let url = Arc::clone(&url);
            std::thread::spawn(move || open(&url).map(drop))
        })
        .collect();
    for thread in opened {
        thread.join().unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_was_left_behind_writes_no_more() {
    let Some(database) = TestDatabase::postgres() else {
        return;
    };
    let old = open(database.url()).unwrap();
    add(&old, "before".into()).await.unwrap();
    let later = (SCHEMA_VERSION + 1).to_string();
    old.write(move |tx| Ok(schema::set_setting(tx.sql(), "schema", &later)?))
        .await
        .unwrap();
    let refused = add(&old, "after".into()).await.unwrap_err();
    assert!(refused.to_string().contains("restart"), "{refused}");
    assert_eq!(releases(&old).await, ["before"], "it may still read");
}

/// Two Masters write to one server while it is killed, again and again: what they acknowledged is
/// there, what they refused is not, and what they do not know of is there once or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    const CLIENTS: usize = 8;
    const KILLS: usize = 3;
    if TestServer::is_left_out() {
        return;
    }
    let server = Arc::new(TestServer::start());
    let url = server.new_database();
    let masters = [open(&url).unwrap(), open(&url).unwrap()];
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let store = Arc::clone(&masters[client % 2]);
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                let (mut refused, mut unknown) = (BTreeSet::new(), BTreeSet::new());
                let mut nth = 0;
                while !stop.load(Ordering::Relaxed) {
                    let url = format!("{client}-{nth:05}");
                    nth += 1;
                    match add(&store, url.clone()).await {
                        Ok(_) => {
                            acknowledged.lock().unwrap().insert(url);
                        }
                        Err(StoreError::CommitUnknown(_)) => {
                            unknown.insert(url);
                        }
                        Err(StoreError::Sql(SqlError::Lost(_))) => {
                            refused.insert(url);
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        Err(other) => panic!("{other:?}"),
                    }
                }
                (refused, unknown)
            })
        })
        .collect();
    let count = || acknowledged.lock().unwrap().len();
    for _ in 0..KILLS {
        let before = count();
        let (server, more) = (Arc::clone(&server), Arc::clone(&acknowledged));
        tokio::task::spawn_blocking(move || {
            testkit::eventually("work goes on", Duration::from_secs(60), || {
                let now = more.lock().unwrap().len();
                if now > before + 50 { Ok(()) } else { Err(now) }
            });
            server.kill();
            server.start_again();
        })
        .await
        .unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let (mut refused, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    for client in clients {
        let (mut no, mut perhaps) = client.await.unwrap();
        refused.append(&mut no);
        unknown.append(&mut perhaps);
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    let mut there = None;
    for _ in 0..200 {
        let read = masters[0]
            .read(|sql| {
                let rows = sql.all("SELECT url FROM release", &[])?;
                let urls = rows.iter().map(|row| row.text(0).map(str::to_owned));
                Ok(urls.collect::<Result<Vec<_>, SqlError>>()?)
            })
            .await;
        match read {
            Ok(urls) => {
                there = Some(urls);
                break;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    let there = there.unwrap();
    let set: BTreeSet<String> = there.iter().cloned().collect();
    assert_eq!(set.len(), there.len());
    let lost: Vec<_> = acknowledged.difference(&set).collect();
    assert!(lost.is_empty(), "acknowledged, but lost: {lost:?}");
    let unasked: Vec<_> = set
        .iter()
        .filter(|url| !acknowledged.contains(*url) && !unknown.contains(*url))
        .collect();
    assert!(unasked.is_empty(), "refused, but done: {unasked:?}");
}
