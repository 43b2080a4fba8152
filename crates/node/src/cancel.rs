//! Asking running work to stop, or to begin anew.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A flag shared between whoever asks (a Ctrl-C handler) and the work, which looks at it often.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<Flag>);

impl Cancel {
    /// A flag nobody has raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work to stop. Children are killed, errors are reported as for an interrupt (N 3).
    pub fn cancel(&self) {
        self.0.raise();
    }

    /// Whether the work shall stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.raised.load(Ordering::SeqCst)
    }

    /// Calls this when the flag is raised; at once when it is already.
    pub(crate) fn on_cancel(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.0.listen(Box::new(listener));
        if self.is_cancelled() {
            self.0.ring();
        }
    }
}

/// Asks the agent to read its configuration anew (SIGHUP).
#[derive(Debug, Clone, Default)]
pub struct Reload(Arc<Flag>);

impl Reload {
    /// A request nobody has made.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks.
    pub fn ask(&self) {
        self.0.raise();
    }

    /// Whether it was asked for since the last call.
    pub(crate) fn take(&self) -> bool {
        self.0.raised.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn on_ask(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.0.listen(Box::new(listener));
    }
}

type Listener = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Flag {
    raised: AtomicBool,
    listeners: Mutex<Vec<Listener>>,
}

impl Flag {
    fn raise(&self) {
        self.raised.store(true, Ordering::SeqCst);
        self.ring();
    }

    fn ring(&self) {
        let listeners = self.listeners.lock();
        for listener in listeners.unwrap_or_else(PoisonError::into_inner).iter() {
            listener();
        }
    }

    fn listen(&self, listener: Listener) {
        let listeners = self.listeners.lock();
        listeners
            .unwrap_or_else(PoisonError::into_inner)
            .push(listener);
    }
}

impl fmt::Debug for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Flag").field(&self.raised).finish()
    }
}
