//! Waits for connections and starts their tasks; stops them all in the end.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection::{self, Shared};
use super::{Bound, Limits};

/// More tasks than a machine can have connections.
const MAX_CONNECTIONS: usize = 1 << 24;
/// After the system refused a connection (no more files or memory), it gets time to recover.
const PAUSE: Duration = Duration::from_millis(100);
/// The same trouble is not told more often.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// How long tasks may take to notice that they are cut.
const CUT: Duration = Duration::from_secs(1);

/// How far the server is; it only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Running,
    /// Nothing new; what is under way is finished.
    Draining,
    /// What is left is cut.
    Cutting,
}

/// Waits until the server is that far. If it was dropped, it is.
pub(super) async fn reached(phase: &mut watch::Receiver<Phase>, far: Phase) {
    let _ = phase.wait_for(|phase| *phase >= far).await;
}

pub(super) async fn serve(
    listeners: Vec<Bound>,
    limits: Limits,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let (phase, _) = watch::channel(Phase::Running);
    let places = limits.connections.clamp(1, MAX_CONNECTIONS);
    // Dropped with this future: then the loops end, and the connections with them.
    let mut loops = JoinSet::new();
    let mut all_slots = Vec::with_capacity(listeners.len());
    for bound in listeners {
        let slots = Arc::new(Semaphore::new(places));
        all_slots.push(Arc::clone(&slots));
        let shared = Arc::new(Shared {
            router: router.clone(),
            limits: limits.clone(),
            tls: bound.tls.clone(),
            phase: phase.subscribe(),
        });
        loops.spawn(accept_loop(bound, slots, shared));
    }
    shutdown.await;
    phase.send_replace(Phase::Draining);
    while loops.join_next().await.is_some() {}
    let all = u32::try_from(places).unwrap_or(u32::MAX);
    let ended = async {
        for slots in &all_slots {
            // Nobody closes the semaphore.
            let _ = slots.acquire_many(all).await;
        }
    };
    tokio::pin!(ended);
    if tokio::time::timeout(limits.drain, &mut ended).await.is_ok() {
        return;
    }
    let open: usize = all_slots
        .iter()
        .map(|slots| places.saturating_sub(slots.available_permits()))
        .sum();
    tracing::warn!(
        "{open} connections were cut: their requests were not finished {} s after the server \
         was asked to stop",
        limits.drain.as_secs()
    );
    phase.send_replace(Phase::Cutting);
    let _ = tokio::time::timeout(CUT, ended).await;
}

async fn accept_loop(bound: Bound, slots: Arc<Semaphore>, shared: Arc<Shared>) {
    let mut phase = shared.phase.clone();
    let mut full = Trouble::default();
    let mut refused = Trouble::default();
    loop {
        let next = async {
            let slot = slot(&slots, &mut full, &bound).await?;
            Some((slot, bound.listener.accept().await))
        };
        let (slot, accepted) = tokio::select! {
            biased;
            () = reached(&mut phase, Phase::Draining) => return,
            next = next => match next {
                Some(next) => next,
                None => return,
            },
        };
        match accepted {
            Ok((stream, address)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    connection::run(&shared, stream, address).await;
                    drop(slot);
                });
            }
            // The client has gone before we took it.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionAborted
                        | ErrorKind::ConnectionReset
                        | ErrorKind::ConnectionRefused
                        | ErrorKind::Interrupted
                ) => {}
            Err(error) => {
                if refused.tell() {
                    tracing::warn!("cannot take connections on {}: {error}", bound.address);
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A place for one more connection. `None` never happens: nobody closes the semaphore.
async fn slot(
    slots: &Arc<Semaphore>,
    full: &mut Trouble,
    bound: &Bound,
) -> Option<OwnedSemaphorePermit> {
    if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
        return Some(slot);
    }
    if full.tell() {
        tracing::warn!(
            "all connections allowed on {} are in use: further clients wait",
            bound.address
        );
    }
    Arc::clone(slots).acquire_owned().await.ok()
}

/// Something that is told once in a while.
#[derive(Default)]
struct Trouble(Option<Instant>);

impl Trouble {
    fn tell(&mut self) -> bool {
        let now = Instant::now();
        if self
            .0
            .is_some_and(|told| now.duration_since(told) < TELL_AGAIN)
        {
            return false;
        }
        self.0 = Some(now);
        true
    }
}
