//! Running the Master: in a process of its own, or inside another one.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use network_cache::NetworkCache;
use tokio::sync::watch;

use crate::api::{self, App};
use crate::settings::bare_host;
use crate::store::{OpenError, Store};
use crate::{Settings, SettingsError};

/// How long requests under way may take once the Master is asked to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// Threads that answer. The database bounds what more of them could do.
const WORKERS_MIN: usize = 2;

/// Why the Master does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration.
    #[error("{0}")]
    Settings(#[from] SettingsError),
    /// The database.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// Its network cache.
    #[error("{0}")]
    Cache(#[from] network_cache::OpenError),
    /// Something else listens there.
    #[error(
        "port {port} of {host} is in use; stop what listens there (perhaps another `slapos proxy \
         start`), or give another --port"
    )]
    PortInUse {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// Listening is not possible.
    #[error("cannot listen on port {port} of {host}: {source}")]
    Listen {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// The system gives no threads or signals.
    #[error("cannot start: {0}")]
    Start(#[source] std::io::Error),
    /// Serving ended on its own.
    #[error("stopped serving: {0}")]
    Serve(#[source] std::io::Error),
}

/// Asks a running Master to stop. Clones ask the same one; when all are dropped nothing happens.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

impl Shutdown {
    /// A handle that is not used yet.
    pub fn new() -> Self {
        Shutdown(Arc::new(watch::Sender::new(false)))
    }

    /// Asks to stop: no new requests, those under way are finished.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    async fn wait(&self) {
        let mut asked = self.0.subscribe();
        // The sender lives in `self`: this ends by a stop only.
        let _ = asked.wait_for(|asked| *asked).await;
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves until SIGTERM, SIGINT or `shutdown`; blocks.
///
/// `on_ready` is called once requests are accepted, with the address.
///
/// # Errors
/// [`ServeError`], before `on_ready` in nearly all cases.
pub fn serve(
    settings: &Settings,
    shutdown: &Shutdown,
    on_ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    run(settings, shutdown, true, on_ready)
}

fn run(
    settings: &Settings,
    shutdown: &Shutdown,
    signals: bool,
    on_ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    settings.check_host()?;
    let listener = listen(settings)?;
    let address = listener.local_addr().map_err(ServeError::Start)?;
    let store = Store::open(&settings.database, &settings.node)?;
    let cache = settings
        .cache
        .as_ref()
        .map(NetworkCache::open)
        .transpose()?;
    let app = Arc::new(App {
        cache,
        ..App::new(
            store,
            settings.node.clone(),
            settings.products.clone(),
            settings.masters.clone(),
            run_id(),
        )
    });
    let workers = std::thread::available_parallelism().map_or(WORKERS_MIN, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.max(WORKERS_MIN))
        .thread_name("master")
        .enable_all()
        .build()
        .map_err(ServeError::Start)?;
    let result = runtime.block_on(async {
        listener.set_nonblocking(true).map_err(ServeError::Start)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(ServeError::Start)?;
        let mut terminate = None;
        if signals {
            use tokio::signal::unix::{SignalKind, signal};
            let one = |kind| signal(kind).map_err(ServeError::Start);
            terminate = Some((one(SignalKind::terminate())?, one(SignalKind::interrupt())?));
        }
        let stopping = Shutdown::new();
        let asked = {
            let (shutdown, stopping) = (shutdown.clone(), stopping.clone());
            let app = Arc::clone(&app);
            async move {
                match &mut terminate {
                    Some((terminate, interrupt)) => {
                        tokio::select! {
                            () = shutdown.wait() => {}
                            _ = terminate.recv() => {}
                            _ = interrupt.recv() => {}
                        }
                    }
                    None => shutdown.wait().await,
                }
                stopping.stop();
                app.streams.end();
            }
        };
        on_ready(address);
        let serving = axum::serve(Nodelay(listener), api::router(Arc::clone(&app)))
            .with_graceful_shutdown(asked)
            .into_future();
        tokio::select! {
            result = serving => result.map_err(ServeError::Serve),
            () = async {
                stopping.wait().await;
                tokio::time::sleep(DRAIN).await;
            } => Ok(()),
        }
    });
    // Connections that are kept open without a request must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    // The last owner closes the database: what was acknowledged is on disk, the lock is free.
    drop(app);
    result
}

/// Accepts connections that send small answers at once.
struct Nodelay(tokio::net::TcpListener);

impl axum::serve::Listener for Nodelay {
    type Io = tokio::net::TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = axum::serve::Listener::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("cannot send small packets at once: {error}");
        }
        (stream, address)
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

fn listen(settings: &Settings) -> Result<TcpListener, ServeError> {
    let host = bare_host(&settings.host);
    TcpListener::bind((host, settings.port)).map_err(|source| {
        let (host, port) = (settings.host.clone(), settings.port);
        if source.kind() == std::io::ErrorKind::AddrInUse {
            ServeError::PortInUse { host, port }
        } else {
            ServeError::Listen { host, port, source }
        }
    })
}

/// 32 letters and digits that differ between two starts (P 1.3, `getRunId`).
fn run_id() -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..32_u64)
        .map(|position| {
            // Each state is keyed at random: unpredictable enough for a name.
            let mut hasher = RandomState::new().build_hasher();
            hasher.write_u64(position);
            let index = usize::try_from(hasher.finish() % 62).unwrap_or_default();
            char::from(ALPHABET.get(index).copied().unwrap_or(b'A'))
        })
        .collect()
}

/// A Master that runs on a thread of this process, for tests and for `slapos standalone`.
///
/// Dropping it stops it and waits until its data is on disk.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Server {
    /// Starts and returns once requests are accepted. Signals are left to the process.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn start(settings: Settings) -> Result<Self, ServeError> {
        let shutdown = Shutdown::new();
        let (ready, address) = mpsc::channel();
        let thread = {
            let shutdown = shutdown.clone();
            std::thread::Builder::new()
                .name("master-main".to_owned())
                .spawn(move || {
                    run(&settings, &shutdown, false, move |address| {
                        // Whoever started us may have gone.
                        let _ = ready.send(address);
                    })
                })
                .map_err(ServeError::Start)?
        };
        let mut server = Server {
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            shutdown,
            thread: Some(thread),
        };
        match address.recv() {
            Ok(address) => {
                server.address = address;
                Ok(server)
            }
            Err(_) => Err(match server.stop() {
                Err(error) => error,
                Ok(()) => ServeError::Start(std::io::Error::other("it stopped at once")),
            }),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Stops it and waits.
    ///
    /// # Errors
    /// Why it had stopped on its own.
    pub fn stop(&mut self) -> Result<(), ServeError> {
        self.shutdown.stop();
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(ServeError::Serve(std::io::Error::other(
                "it ended in a panic",
            ))),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!("{error}");
        }
    }
}
