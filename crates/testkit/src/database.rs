//! A database for one test, of either kind.

use crate::Postgres;

/// An empty database, which is gone with this.
#[derive(Debug)]
pub struct TestDatabase {
    url: String,
    _directory: Option<tempfile::TempDir>,
}

impl TestDatabase {
    /// A file of its own.
    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        TestDatabase {
            url: format!("sqlite:{}", directory.path().join("master.db").display()),
            _directory: Some(directory),
        }
    }

    /// A database of the server all tests of this process share; none where PostgreSQL is left out.
    pub fn postgres() -> Option<Self> {
        Postgres::shared().map(|server| TestDatabase {
            url: server.new_database(),
            _directory: None,
        })
    }

    /// As `--database` takes it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether several Masters may share it.
    pub fn is_shared(&self) -> bool {
        self.url.starts_with("postgres:")
    }
}

/// Makes of a test one for each kind of database:
///
/// ```ignore
/// testkit::for_each_database! {
///     async fn a_thing_is_kept(database: TestDatabase) { … }
/// }
/// ```
///
/// or, of asynchronous functions that take a [`TestDatabase`] and stand elsewhere in the module:
///
/// ```ignore
/// testkit::for_each_database!(a_thing_is_kept, another_is_not);
/// ```
#[macro_export]
macro_rules! for_each_database {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$name($crate::TestDatabase::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                if let Some(database) = $crate::TestDatabase::postgres() {
                    super::$name(database).await;
                }
            }
        }
    )+};
    ($($(#[$meta:meta])* async fn $name:ident($database:ident: $kind:ty) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$meta])*
            async fn body($database: $kind) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                body($crate::TestDatabase::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                if let Some(database) = $crate::TestDatabase::postgres() {
                    body(database).await;
                }
            }
        }
    )*};
    ($($(#[$meta:meta])* fn $name:ident($database:ident: $kind:ty) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$meta])*
            fn body($database: $kind) $body

            #[test]
            fn sqlite() {
                body($crate::TestDatabase::sqlite());
            }

            #[test]
            fn postgres() {
                if let Some(database) = $crate::TestDatabase::postgres() {
                    body(database);
                }
            }
        }
    )*};
}
