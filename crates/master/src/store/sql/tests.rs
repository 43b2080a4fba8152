//! What the seam promises, asked of both databases.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use testkit::{Postgres as TestServer, TestDatabase, for_each_database};

use super::postgres::Patience;
use super::*;

fn server(url: &str) -> Arc<Server> {
    Arc::new(Server::new(ServerAddress::parse(url).unwrap()).unwrap())
}

fn connect(database: &TestDatabase) -> Connection {
    match database.url().strip_prefix("sqlite:") {
        Some(path) => Sqlite::writer(path.as_ref()).unwrap().into(),
        None => Postgres::new(server(database.url())).into(),
    }
}

/// A connection with a table of each type of column.
fn with_table(database: &TestDatabase) -> Connection {
    let mut connection = connect(database);
    let table = connection.dialect().schema(
        "CREATE TABLE thing (id {KEY}, number BIGINT, word TEXT, kind TEXT NOT NULL DEFAULT 'a');
         CREATE UNIQUE INDEX thing_word ON thing (word) WHERE kind = 'a';
         CREATE TABLE long (id {KEY}, number BIGINT, word TEXT);
         CREATE TABLE part (
           thing_id BIGINT NOT NULL REFERENCES thing(id),
           name TEXT NOT NULL,
           PRIMARY KEY (thing_id, name)
         );",
    );
    connection.begin_write().unwrap();
    connection.script(&table).unwrap();
    connection.commit().unwrap();
    connection
}

/// What a query returns, in a transaction of its own.
fn ask(connection: &mut Connection, sql: &str, params: &[Param<'_>]) -> Vec<Vec<Cell>> {
    connection.begin_read().unwrap();
    let rows = connection.all(sql, params);
    connection.rollback().unwrap();
    rows.unwrap_or_else(|error| panic!("{sql}: {error}"))
        .into_iter()
        .map(|row| row.0)
        .collect()
}

/// Changes something, in a transaction of its own.
fn change(connection: &mut Connection, sql: &str, params: &[Param<'_>]) -> Result<u64, SqlError> {
    connection.begin_write()?;
    match connection.execute(sql, params) {
        Ok(changed) => connection.commit().map(|()| changed),
        Err(error) => {
            connection.rollback()?;
            Err(error)
        }
    }
}

fn text(value: &str) -> Cell {
    Cell::Text(value.to_owned())
}

fn texts(rows: Vec<Vec<Cell>>) -> Vec<String> {
    rows.into_iter()
        .map(|row| match row.into_iter().next() {
            Some(Cell::Text(text)) => text,
            other => panic!("{other:?}"),
        })
        .collect()
}

for_each_database! {
    fn what_goes_in_comes_out(database: TestDatabase) {
        let mut connection = with_table(&database);
        let long = "ä".repeat(1_000_000);
        let numbers = [Some(0), Some(-1), Some(i64::MAX), Some(i64::MIN), None, Some(1)];
        let words = [Some(""), Some("plain"), Some("O'Neill \\ % _ \u{1}\r\n"), None, Some("日本 🦀"), Some(&long)];
        for (number, word) in numbers.into_iter().zip(words) {
            let inserted = change(
                &mut connection,
                "INSERT INTO long (number, word) VALUES (?1, ?2)",
                params![number, word],
            );
            assert_eq!(inserted, Ok(1));
            let rows = ask(
                &mut connection,
                "SELECT number, word FROM long ORDER BY id DESC LIMIT 1",
                &[],
            );
            let number = number.map_or(Cell::Null, Cell::Int);
            let word = word.map_or(Cell::Null, text);
            assert_eq!(rows, [[number, word]]);
        }
        let all = ask(
            &mut connection,
            "SELECT COUNT(*), COUNT(word), MAX(number), SUM(number),
               EXISTS (SELECT 1 FROM long WHERE number = ?1),
               EXISTS (SELECT 1 FROM long WHERE number = ?2),
               COALESCE(SUM(CASE WHEN number = ?1 THEN 1 ELSE 0 END), 0),
               CASE WHEN COUNT(*) > ?3 THEN 'many' ELSE 'few' END
             FROM long",
            params![-1, 77, 5],
        );
        let expected = [6, 5, i64::MAX, -1, 1, 0, 1].map(Cell::Int);
        assert_eq!(all, [[&expected[..], &[text("many")]].concat()]);
        // The same text with parameters of other types.
        for (number, found) in [(None, 0), (Some(1), 1), (None, 0), (Some(-1), 1)] {
            let rows = ask(
                &mut connection,
                "SELECT COUNT(*) FROM long WHERE number = ?1",
                params![number],
            );
            assert_eq!(rows, [[Cell::Int(found)]]);
        }
        let changed = change(&mut connection, "UPDATE long SET number = ?1", params![3]);
        assert_eq!(changed, Ok(6));
        // The same parameter more than once, in any order.
        let rows = ask(
            &mut connection,
            "SELECT word FROM long WHERE word = ?2 AND number = ?1 AND number <= ?1 LIMIT ?3",
            params![3, "plain", 10],
        );
        assert_eq!(rows, [[text("plain")]]);
    }

    fn a_nul_character_is_refused_and_spoils_nothing(database: TestDatabase) {
        let mut connection = with_table(&database);
        connection.begin_write().unwrap();
        let sql = "INSERT INTO thing (word) VALUES (?1)";
        let refused = connection.execute(sql, params!["a\0b"]);
        assert!(matches!(refused, Err(SqlError::Text(_))), "{refused:?}");
        assert_eq!(connection.execute(sql, params!["ab"]), Ok(1));
        connection.commit().unwrap();
        assert_eq!(texts(ask(&mut connection, "SELECT word FROM thing", &[])), ["ab"]);
    }

    fn texts_compare_bytewise(database: TestDatabase) {
        let mut connection = with_table(&database);
        let mut words = vec![
            "a", "B", "ab", "a b", "Z", "z", "_", "-", "ä", "é", "e\u{301}", "ß", "ss", "😀",
            "\u{ffff}", "A", "10", "9", "", " ",
        ];
        for word in &words {
            change(&mut connection, "INSERT INTO thing (word) VALUES (?1)", params![*word]).unwrap();
        }
        words.sort_unstable();
        let sorted = ask(&mut connection, "SELECT word FROM thing ORDER BY word", &[]);
        assert_eq!(texts(sorted), words);
        let sorted = ask(
            &mut connection,
            "SELECT word FROM (SELECT word || '' AS word FROM thing) AS t GROUP BY word ORDER BY word DESC",
            &[],
        );
        words.reverse();
        assert_eq!(texts(sorted), words);
        for limit in &words {
            let rows = ask(
                &mut connection,
                "SELECT word FROM thing WHERE word > ?1 ORDER BY word DESC",
                params![*limit],
            );
            let mut above = words.clone();
            above.retain(|word| word > limit);
            assert_eq!(texts(rows), above, "{limit:?}");
        }
        // Composed and decomposed are two texts.
        let rows = ask(&mut connection, "SELECT word FROM thing WHERE word = ?1", params!["é"]);
        assert_eq!(texts(rows), ["é"]);
    }

    fn like_minds_case_and_lower_knows_ascii(database: TestDatabase) {
        let mut connection = with_table(&database);
        for word in ["Abc", "abc", "a%c", "a_c", "a\\c", "ÄBC"] {
            change(&mut connection, "INSERT INTO thing (word) VALUES (?1)", params![word]).unwrap();
        }
        for (pattern, found) in [
            ("a%", &["a%c", "a\\c", "a_c", "abc"][..]),
            ("A%", &["Abc"]),
            ("a\\%c", &["a%c"]),
            ("a\\_c", &["a_c"]),
            ("a\\\\c", &["a\\c"]),
            ("%B%", &["ÄBC"]),
            ("ä%", &[]),
        ] {
            let rows = ask(
                &mut connection,
                "SELECT word FROM thing WHERE word LIKE ?1 ESCAPE '\\' ORDER BY word",
                params![pattern],
            );
            assert_eq!(texts(rows), found, "{pattern}");
        }
        let lower = ask(&mut connection, "SELECT lower(word) FROM thing WHERE word = ?1", params!["ÄBC"]);
        assert_eq!(texts(lower), ["Äbc"]);
    }

    fn a_rule_that_is_broken_spoils_the_transaction(database: TestDatabase) {
        let mut connection = with_table(&database);
        change(&mut connection, "INSERT INTO thing (word) VALUES (?1)", params!["first"]).unwrap();
        let wrong: [(&str, &[Param<'_>]); 5] = [
            ("INSERT INTO thing (word) VALUES (?1)", params!["first"]),
            ("INSERT INTO part (thing_id, name) VALUES (?1, ?2)", params![99, "x"]),
            ("INSERT INTO part (thing_id, name) VALUES (?1, ?2)", params![1, None::<&str>]),
            ("UPDATE thing SET kind = NULL", &[]),
            ("INSERT INTO part (thing_id, name) VALUES (1, 'x'), (1, 'x')", &[]),
        ];
        for (sql, values) in wrong {
            connection.begin_write().unwrap();
            let done = "INSERT INTO thing (word, kind) VALUES (?1, 'b')";
            connection.execute(done, params!["lost"]).unwrap();
            let error = connection.execute(sql, values).unwrap_err();
            assert!(matches!(error, SqlError::Constraint(_)), "{sql}: {error}");
            assert_eq!(connection.spoiled_by(), Some(&error));
            // Nothing more is done in it.
            assert_eq!(connection.execute(done, params!["late"]), Err(error.clone()));
            assert_eq!(connection.one("SELECT 1", &[]), Err(error));
            assert!(matches!(connection.commit(), Err(SqlError::Other(_))));
        }
        // Other mistakes, too.
        for sql in ["SELEC 1", "SELECT nothing FROM nowhere", "SELECT word FROM thing WHERE id = ?2"] {
            connection.begin_write().unwrap();
            assert!(connection.all(sql, params![1]).is_err(), "{sql}");
            assert!(connection.commit().is_err(), "{sql}");
        }
        let left = ask(&mut connection, "SELECT word FROM thing", &[]);
        assert_eq!(texts(left), ["first"]);
    }

    fn conflicts_and_keys_are_alike(database: TestDatabase) {
        let mut connection = with_table(&database);
        let insert = "INSERT INTO thing (word, number) VALUES (?1, 1) RETURNING id";
        let key = |connection: &mut Connection, sql: &str, word: &str| {
            connection.begin_write().unwrap();
            let row = connection.one(sql, params![word]).unwrap();
            connection.commit().unwrap();
            row.map(|row| row.int(0).unwrap())
        };
        let first = key(&mut connection, insert, "a").unwrap();
        let second = key(&mut connection, insert, "b").unwrap();
        assert!(second > first && first > 0);
        change(&mut connection, "DELETE FROM thing WHERE id = ?1", params![second]).unwrap();
        let third = key(&mut connection, insert, "b").unwrap();
        assert!(third > second, "a key is never used twice");
        let nothing = "INSERT INTO thing (word) VALUES (?1)
            ON CONFLICT (word) WHERE kind = 'a' DO NOTHING RETURNING id";
        assert_eq!(key(&mut connection, nothing, "a"), None);
        let update = "INSERT INTO thing (word, number) VALUES (?1, 5)
            ON CONFLICT (word) WHERE kind = 'a' DO UPDATE SET number = thing.number + excluded.number
            RETURNING number";
        assert_eq!(key(&mut connection, update, "a"), Some(6));
        assert_eq!(key(&mut connection, update, "c"), Some(5));
        // The partial index lets others be.
        let other = "INSERT INTO thing (word, kind) VALUES (?1, 'b') RETURNING id";
        assert!(key(&mut connection, other, "a") < key(&mut connection, other, "a"));
        let numbers = ask(
            &mut connection,
            "WITH RECURSIVE up (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM up WHERE n < ?2)
             SELECT n FROM up ORDER BY n DESC",
            params![1, 4],
        );
        assert_eq!(numbers, [4, 3, 2, 1].map(|n| [Cell::Int(n)]));
    }

    fn one_writes_at_a_time_and_each_sees_the_last(database: TestDatabase) {
        const WRITERS: u64 = 4;
        const ROUNDS: u64 = 50;
        drop({
            let mut connection = with_table(&database);
            change(&mut connection, "INSERT INTO thing (number) VALUES (0)", &[]).unwrap();
            connection
        });
        let inside = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| {
                    let mut connection = connect(&database);
                    for _ in 0..ROUNDS {
                        connection.begin_write().unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        // Read, then write: whoever writes meanwhile would be lost.
                        let row = connection.one("SELECT number FROM thing", &[]).unwrap();
                        let number = row.unwrap().int(0).unwrap() + 1;
                        connection
                            .execute("UPDATE thing SET number = ?1", params![number])
                            .unwrap();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        connection.commit().unwrap();
                    }
                });
            }
        });
        let rows = ask(&mut connect(&database), "SELECT number FROM thing", &[]);
        assert_eq!(rows, [[Cell::Int((WRITERS * ROUNDS).cast_signed())]]);
    }

    fn a_reader_sees_one_state(database: TestDatabase) {
        let mut writer = with_table(&database);
        let mut reader = connect(&database);
        let insert = "INSERT INTO thing (number) VALUES (1)";
        let count = "SELECT COUNT(*) FROM thing";
        change(&mut writer, insert, &[]).unwrap();
        reader.begin_read().unwrap();
        let seen = reader.all(count, &[]).unwrap();
        change(&mut writer, insert, &[]).unwrap();
        assert_eq!(reader.all(count, &[]).unwrap(), seen);
        reader.rollback().unwrap();
        assert_eq!(ask(&mut reader, count, &[]), [[Cell::Int(2)]]);
        // What is dropped was never there.
        writer.begin_write().unwrap();
        writer.execute(insert, &[]).unwrap();
        assert_eq!(ask(&mut reader, count, &[]), [[Cell::Int(2)]]);
        writer.rollback().unwrap();
        assert_eq!(ask(&mut writer, count, &[]), [[Cell::Int(2)]]);
    }

    fn any_text_is_kept_and_found(database: TestDatabase) {
        let connection = std::cell::RefCell::new(with_table(&database));
        let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(word in "\\PC{0,40}", number: i64)| {
            change(
                &mut connection.borrow_mut(),
                "INSERT INTO thing (word, number, kind) VALUES (?1, ?2, 'b')",
                params![&word, number],
            ).unwrap();
            let rows = ask(
                &mut connection.borrow_mut(),
                "SELECT word, number FROM thing WHERE word = ?1 AND number = ?2",
                params![&word, number],
            );
            prop_assert_eq!(rows.first(), Some(&vec![Cell::Text(word), Cell::Int(number)]));
        });
    }
}

#[test]
fn who_hangs_in_a_transaction_loses_it() {
    let Some(database) = TestDatabase::postgres() else {
        return;
    };
    let patience = Patience {
        idle: Duration::from_millis(500),
        lock: Duration::from_secs(30),
        statement: Duration::from_secs(30),
    };
    drop(with_table(&database));
    let address = || ServerAddress::parse(database.url()).unwrap();
    let hasty = Server::with_patience(address(), patience).unwrap();
    let mut hung = Connection::from(Postgres::new(Arc::new(hasty)));
    let mut other = connect(&database);
    let insert = "INSERT INTO thing (word) VALUES (?1)";
    hung.begin_write().unwrap();
    hung.execute(insert, params!["hung"]).unwrap();
    // Waits until the server has ended what hangs.
    change(&mut other, insert, params!["other"]).unwrap();
    assert!(matches!(hung.commit(), Err(SqlError::Lost(_)),));
    assert_eq!(
        texts(ask(&mut other, "SELECT word FROM thing", &[])),
        ["other"]
    );
    // And begins anew.
    change(&mut hung, insert, params!["hung"]).unwrap();

    // One that is merely slow makes others wait, but not for ever.
    let patience = Patience {
        lock: Duration::from_millis(100),
        ..patience
    };
    let hasty = Server::with_patience(address(), patience).unwrap();
    let mut waiting = Connection::from(Postgres::new(Arc::new(hasty)));
    other.begin_write().unwrap();
    let refused = waiting.begin_write();
    assert!(matches!(refused, Err(SqlError::Busy(_))), "{refused:?}");
    other.commit().unwrap();
    change(&mut waiting, insert, params!["waited"]).unwrap();
}

#[test]
fn a_connection_heals_when_a_transaction_begins() {
    if TestServer::is_left_out() {
        return;
    }
    let test = TestServer::start();
    let url = test.new_database();
    let mut connection = Connection::from(Postgres::new(server(&url)));
    change(&mut connection, "CREATE TABLE t (n BIGINT)", &[]).unwrap();
    let insert = "INSERT INTO t (n) VALUES (?1)";
    connection.begin_write().unwrap();
    connection.execute(insert, params![1]).unwrap();
    test.stop();
    assert!(matches!(
        connection.execute(insert, params![2]),
        Err(SqlError::Lost(_))
    ));
    assert!(matches!(connection.spoiled_by(), Some(SqlError::Lost(_))));
    connection.rollback().unwrap();
    let away = connection.begin_write();
    assert!(matches!(away, Err(SqlError::Lost(_))), "{away:?}");
    test.start_again();
    testkit::eventually("it is reached again", Duration::from_secs(20), || {
        connection.begin_write()
    });
    connection.execute(insert, params![3]).unwrap();
    connection.commit().unwrap();
    // A restart nobody noticed.
    test.kill();
    test.start_again();
    let rows = ask(&mut connection, "SELECT n FROM t", &[]);
    assert_eq!(rows, [[Cell::Int(3)]]);
}

#[test]
fn masters_hear_one_another_but_not_themselves() {
    if TestServer::is_left_out() {
        return;
    }
    let test = TestServer::start();
    let url = test.new_database();
    let (one, two) = (server(&url), server(&url));
    let (heard, notices) = std::sync::mpsc::channel();
    let listener = Listener::start(Arc::clone(&one), move |notice| {
        let _ = heard.send(notice.to_owned());
    })
    .unwrap();
    let mut one = Connection::from(Postgres::new(one));
    let mut two = Connection::from(Postgres::new(two));
    let tell = |connection: &mut Connection, notice: &str, commit: bool| {
        connection.begin_write().unwrap();
        connection.notify(notice).unwrap();
        if commit {
            connection.commit().unwrap();
        } else {
            connection.rollback().unwrap();
        }
    };
    let next = || notices.recv_timeout(Duration::from_secs(20)).unwrap();
    tell(&mut one, "own", true);
    tell(&mut two, "dropped", false);
    tell(&mut two, "a \"notice\" with 'quotes'", true);
    tell(&mut two, &"x".repeat(20_000), true);
    tell(&mut two, "last", true);
    assert_eq!(next(), "a \"notice\" with 'quotes'");
    assert_eq!(next(), "", "too long to be told: anything may have changed");
    assert_eq!(next(), "last");
    test.kill();
    test.start_again();
    assert_eq!(next(), "", "some may have been missed");
    tell(&mut two, "again", true);
    assert_eq!(next(), "again");
    drop(listener);
    one.close();
    // The thread ends, and with it its end of the channel.
    let end = notices.recv_timeout(Duration::from_secs(20));
    assert_eq!(end, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
}

/// A certificate for a name, and its key.
fn certificate(name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn the_way_is_as_safe_as_the_address_asks() {
    if TestServer::is_left_out() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let save = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (own, key) = certificate("localhost");
    let (foreign, _) = certificate("localhost");
    let (own, key) = (own.as_str(), key.as_str());
    let trusted = save("own.pem", own);
    let foreign = save("foreign.pem", &foreign);
    let test = TestServer::builder()
        .tls(own, key)
        .password("p'ä:ss")
        .start();
    let port = test.port().unwrap();
    let try_as = |host: &str, password: &str, parameters: &str| {
        let user = test.user();
        let url = format!("postgres://{user}:{password}@{host}:{port}/postgres?{parameters}");
        let address =
            ServerAddress::parse(&url).unwrap_or_else(|error| panic!("{parameters}: {error}"));
        let mut connection =
            Connection::from(Postgres::new(Arc::new(Server::new(address).unwrap())));
        connection.begin_read()?;
        let row = connection.one(
            "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
            &[],
        )?;
        row.unwrap().int(0)
    };
    let good = "p%27%C3%A4%3Ass";
    for (host, parameters, safe) in [
        ("127.0.0.1", "", true),
        ("127.0.0.1", "sslmode=prefer", true),
        ("127.0.0.1", "sslmode=require", true),
        ("127.0.0.1", "sslmode=require&channel_binding=require", true),
        (
            "127.0.0.1",
            &format!("sslmode=require&sslrootcert={trusted}"),
            true,
        ),
        (
            "127.0.0.1",
            &format!("sslmode=require&sslrootcert={foreign}"),
            false,
        ),
        (
            "127.0.0.1",
            &format!("sslmode=verify-ca&sslrootcert={trusted}"),
            true,
        ),
        (
            "127.0.0.1",
            &format!("sslmode=verify-ca&sslrootcert={foreign}"),
            false,
        ),
        (
            "localhost",
            &format!("sslmode=verify-full&sslrootcert={trusted}"),
            true,
        ),
        (
            "localhost",
            &format!("sslmode=verify-full&sslrootcert={foreign}"),
            false,
        ),
        (
            "127.0.0.1",
            &format!("sslmode=verify-full&sslrootcert={trusted}"),
            false,
        ),
        // The server asks for TLS.
        ("127.0.0.1", "sslmode=disable", false),
    ] {
        let result = try_as(host, good, parameters);
        if safe {
            assert_eq!(result, Ok(1), "{host} {parameters}");
        } else {
            assert!(
                matches!(result, Err(SqlError::Lost(_))),
                "{host} {parameters}: {result:?}"
            );
        }
    }
    let wrong = try_as("127.0.0.1", "guess", "").unwrap_err().to_string();
    assert!(wrong.contains("password authentication failed"), "{wrong}");
    assert!(!wrong.contains("guess"), "{wrong}");
}

#[test]
fn a_server_may_ask_for_a_certificate() {
    if TestServer::is_left_out() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (own, key) = certificate("localhost");
    let (foreign, foreign_key) = certificate("localhost");
    let files = [("own", &own, &key), ("foreign", &foreign, &foreign_key)];
    for (name, certificate, key) in files {
        std::fs::write(directory.path().join(name), certificate).unwrap();
        std::fs::write(directory.path().join(format!("{name}.key")), key).unwrap();
    }
    let test = TestServer::builder()
        .tls(&own, &key)
        .client_authority(&own)
        .start();
    let (user, port) = (test.user(), test.port().unwrap());
    let try_with = |parameters: &str| {
        let url = format!("postgres://{user}@127.0.0.1:{port}/postgres?{parameters}");
        let mut connection = Connection::from(Postgres::new(server(&url)));
        connection.begin_read()
    };
    let with = |name: &str| {
        let path = directory.path().join(name).display().to_string();
        format!("sslcert={path}&sslkey={path}.key")
    };
    assert_eq!(try_with(&with("own")), Ok(()));
    for refused in [with("foreign"), String::new()] {
        let result = try_with(&refused);
        assert!(
            matches!(result, Err(SqlError::Lost(_))),
            "{refused}: {result:?}"
        );
    }
}

#[test]
fn a_server_that_cannot_be_relied_on_is_refused() {
    let Some(database) = TestDatabase::postgres() else {
        return;
    };
    let test = TestServer::shared().unwrap();
    test.sql(
        "postgres",
        "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0",
    );
    let mut latin = Connection::from(Postgres::new(server(&test.url("latin"))));
    let refused = latin.begin_write().unwrap_err().to_string();
    assert!(refused.contains("LATIN1"), "{refused}");
    // What the address asks for less safety, it does not get.
    let careless = format!("{}?options=-csynchronous_commit%3Doff", database.url());
    let mut careless = Connection::from(Postgres::new(server(&careless)));
    let rows = ask(
        &mut careless,
        "SELECT current_setting('synchronous_commit')",
        &[],
    );
    assert_eq!(texts(rows), ["on"]);
}
