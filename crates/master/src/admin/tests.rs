//! Administration of a running Master and of one that does not run; backups under load.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use testkit::{TestDatabase, for_each_database};

use super::*;
use crate::Server;
use crate::store::{RestoreError, restore};

/// A Master's directory and database.
struct Place {
    database: TestDatabase,
    directory: tempfile::TempDir,
}

impl Place {
    fn new(database: TestDatabase) -> Self {
        Place {
            database,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::new(self.file("data"));
        settings.database = Database::parse(self.database.url()).unwrap();
        settings.listen = vec!["127.0.0.1:0".parse().unwrap()];
        settings
    }

    fn start(&self) -> Server {
        Server::start(self.settings()).unwrap()
    }

    fn admin(&self) -> Admin {
        Admin::connect(&self.settings()).unwrap()
    }
}

fn user(login: &str) -> Command {
    Command::UserAdd {
        login: login.to_owned(),
        name: None,
        administrator: false,
        password: Some(Secret("correct horse battery".to_owned())),
    }
}

fn logins(admin: &mut Admin) -> Vec<String> {
    match admin.call(&Command::UserList).unwrap() {
        Answer::Users(users) => users.into_iter().map(|user| user.login).collect(),
        other => panic!("{other:?}"),
    }
}

fn problems(admin: &mut Admin) -> Vec<Problem> {
    match admin.call(&Command::Check).unwrap() {
        Answer::Problems(problems) => problems,
        other => panic!("{other:?}"),
    }
}

for_each_database! {
    fn a_master_is_administrated_alike_whether_it_runs_or_not(database: TestDatabase) {
        let place = Place::new(database);
        let nothing = Admin::connect(&place.settings()).err().unwrap();
        assert_eq!(nothing.kind, RefusedKind::NotFound);
        assert!(nothing.message.contains("slapos master start"), "{nothing}");
        let mut server = place.start();
        let mode = std::fs::metadata(place.file("data/master.sock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut running = place.admin();
        assert!(running.is_running());
        running.call(&user("ada")).unwrap();
        assert_eq!(logins(&mut running), ["admin", "ada"]);
        let refused = running.call(&user("ada")).unwrap_err();
        assert_eq!(refused.kind, RefusedKind::Conflict);
        assert_eq!(problems(&mut running), []);
        drop(running);
        server.stop().unwrap();
        assert!(!place.file("data/master.sock").exists());
        let mut direct = place.admin();
        assert!(!direct.is_running());
        assert_eq!(logins(&mut direct), ["admin", "ada"]);
        direct.call(&user("bob")).unwrap();
        assert_eq!(problems(&mut direct), []);
        drop(direct);
        // A socket that a killed Master left behind is no obstacle.
        std::os::unix::net::UnixListener::bind(place.file("data/master.sock")).map(drop).unwrap();
        assert_eq!(logins(&mut place.admin()), ["admin", "ada", "bob"]);
        let server = place.start();
        assert_eq!(logins(&mut place.admin()), ["admin", "ada", "bob"]);
        drop(server);
    }

    fn a_backup_under_load_restores_all_that_was_acknowledged_before(database: TestDatabase) {
        let place = Place::new(database);
        let server = place.start();
        let mut admin = place.admin();
        for nth in 0..20 {
            admin.call(&user(&format!("before{nth}"))).unwrap();
        }
        admin.call(&Command::NodeAdd { title: "n".to_owned(), project: None }).unwrap();
        let over = AtomicBool::new(false);
        let kept = std::thread::scope(|scope| {
            for thread in 0..2 {
                let (place, over) = (&place, &over);
                scope.spawn(move || {
                    let mut admin = place.admin();
                    for nth in 0..1_000_000 {
                        if over.load(Ordering::Relaxed) {
                            break;
                        }
                        let add = Command::ProjectAdd {
                            title: format!("{thread}.{nth}"),
                            managers: vec!["before0".to_owned()],
                        };
                        admin.call(&add).unwrap();
                    }
                });
            }
            // Both are at work.
            testkit::eventually("projects come", std::time::Duration::from_secs(60), || {
                match admin.call(&Command::ProjectList) {
                    Ok(Answer::Projects(projects)) if projects.len() > 5 => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
            let Answer::Projects(before) = admin.call(&Command::ProjectList).unwrap() else {
                panic!()
            };
            admin.backup(&place.file("backup"), true).unwrap();
            admin.backup(&place.file("without"), false).unwrap();
            over.store(true, Ordering::Relaxed);
            before
        });
        drop((admin, server));
        let backup = place.file("backup");
        let mode = std::fs::metadata(&backup).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Nothing is left in the Master's own directory.
        let left = std::fs::read_dir(place.file("data")).unwrap();
        assert!(!left.flatten().any(|entry| entry.file_name().to_string_lossy().contains("snap")));

        // It is restored into a file, whichever database it came from.
        let mut settings = Settings::new(place.file("restored"));
        settings.listen = vec!["127.0.0.1:0".parse().unwrap()];
        let target = settings.database.clone();
        let again = |file: &str, directory: &str, key| {
            let directory = place.file(directory);
            let database = Database::Sqlite(directory.join("master.db"));
            restore(&place.file(file), key, &directory, &database, false)
        };
        let restored = restore(&backup, None, &settings.data_dir, &target, false).unwrap();
        assert!(restored.taken_at.is_some() && restored.contradictions.is_empty());
        let mut admin = Admin::connect(&settings).unwrap();
        assert_eq!(problems(&mut admin), []);
        assert_eq!(logins(&mut admin).len(), 21);
        let Answer::Projects(after) = admin.call(&Command::ProjectList).unwrap() else { panic!() };
        for project in &kept {
            assert!(after.iter().any(|other| other.reference == project.reference));
        }
        // Keys go on where they were.
        let made = admin.call(&Command::ProjectAdd { title: "new".into(), managers: vec![] });
        let Answer::Made(made) = made.unwrap() else { panic!() };
        assert!(after.iter().all(|project| project.reference != made.reference));
        drop(admin);
        drop(Server::start(settings).unwrap());

        // Never over something that is there, and not without the key.
        assert!(matches!(again("backup", "restored", None), Err(RestoreError::NotEmpty { .. })));
        assert!(matches!(again("without", "a", None), Err(RestoreError::NoSecret { .. })));
        assert!(matches!(
            again("without", "b", Some([7; 32])),
            Err(RestoreError::Contradictions(_))
        ));
        std::fs::write(place.file("garbage"), "no database at all").unwrap();
        assert!(matches!(again("garbage", "c", None), Err(RestoreError::NoBackup { .. })));
        for directory in ["a", "b", "c"] {
            let left = std::fs::read_dir(place.file(directory)).unwrap().count();
            assert_eq!(left, 0, "{directory}");
        }
        let key = std::fs::read_to_string(place.file("data/secret.key")).unwrap();
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(key.trim().as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        }
        again("without", "d", Some(bytes)).unwrap();
    }

    fn what_breaks_a_promise_is_found(database: TestDatabase) {
        let place = Place::new(database);
        drop(place.start());
        let mut admin = place.admin();
        admin.call(&Command::NodeAdd { title: "n".to_owned(), project: None }).unwrap();
        drop(admin);
        let broken = [
            ("UPDATE node SET free = 3", "free partitions"),
            ("UPDATE node SET used = 3", "used units"),
            ("UPDATE node SET categories = 'x'", "categories"),
            ("UPDATE person SET administrator = 0", "administrates"),
            ("UPDATE setting SET value = 's1.x' WHERE name = 'authority_key'", "secrets"),
            (
                "INSERT INTO partition (node_id, name, position, active, addresses, capabilities, \
                 instance_id) SELECT id, 'p', 0, 1, '[]', '[]', 77 FROM node",
                "one living instance",
            ),
            (
                "UPDATE certificate SET owner_id = 99",
                "no certificate",
            ),
        ];
        let settings = place.settings();
        let store = Store::open(&settings.database, Arc::new(Hub::default())).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let key = DataDir::prepare(&settings.data_dir).unwrap().secret_key().unwrap().unwrap();
        let sealer = Arc::new(crate::pki::Sealer::from_key(&key).unwrap());
        runtime.block_on(async {
            let check = || store.check(Caller::Master, &settings.database, Some(Arc::clone(&sealer)));
            assert_eq!(check().await.unwrap(), []);
            for (damage, rule) in broken {
                store.write(move |tx| Ok(tx.execute(damage, &[])?)).await.unwrap();
                let found = check().await.unwrap();
                assert!(found.iter().any(|found| found.rule.contains(rule)), "{rule}: {found:?}");
            }
        });
        drop(store);
        let whole = crate::store::Contradiction {
            rule: "r",
            subject: "s".into(),
            problem: "p".into(),
        };
        assert_eq!(Problem::from(whole).rule, "r");
    }
}

/// A backup of a file is restored into a server, and one of that into a file again.
#[test]
fn a_backup_moves_from_one_kind_of_database_to_the_other_and_back() {
    let Some(server) = TestDatabase::postgres() else {
        return;
    };
    let place = Place::new(TestDatabase::sqlite());
    drop(place.start());
    let mut admin = place.admin();
    for nth in 0..50 {
        admin.call(&user(&format!("user{nth}"))).unwrap();
    }
    admin.backup(&place.file("one"), true).unwrap();
    drop(admin);
    let mut on_server = Settings::new(place.file("server"));
    on_server.database = Database::parse(server.url()).unwrap();
    let restored = |from: &str, to: &Settings| {
        restore(&place.file(from), None, &to.data_dir, &to.database, false)
    };
    restored("one", &on_server).unwrap();
    let mut admin = Admin::connect(&on_server).unwrap();
    assert_eq!(problems(&mut admin), []);
    assert_eq!(logins(&mut admin).len(), 51);
    // The server goes on counting.
    admin.call(&user("another")).unwrap();
    admin.backup(&place.file("two"), true).unwrap();
    drop(admin);
    let other = Settings {
        data_dir: place.file("elsewhere"),
        ..on_server
    };
    assert!(matches!(
        restored("two", &other),
        Err(RestoreError::NotEmpty { .. })
    ));
    let back = Settings::new(place.file("back"));
    restored("two", &back).unwrap();
    let mut admin = Admin::connect(&back).unwrap();
    assert_eq!(problems(&mut admin), []);
    assert_eq!(logins(&mut admin).len(), 52);
}

#[test]
fn secrets_are_not_shown_by_accident() {
    let text = format!("{:?}", user("ada"));
    assert!(text.contains("ada") && !text.contains("horse"), "{text}");
}
