//! Signals become a readable descriptor.
#![allow(
    unsafe_code,
    reason = "registering a signal handler has no safe form without another crate"
)]

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::event::EventfdFlags;

pub(super) const HUP: i32 = 1;
pub(super) const INT: i32 = 2;
pub(super) const QUIT: i32 = 3;
pub(super) const USR2: i32 = 12;
pub(super) const TERM: i32 = 15;
pub(super) const CHILD: i32 = 17;

/// The signals that have arrived since the last look.
#[derive(Debug)]
pub(super) struct Signals {
    wake: Arc<OwnedFd>,
    arrived: Arc<AtomicU32>,
    handlers: Vec<signal_hook_registry::SigId>,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        let wake = Arc::new(rustix::event::eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?);
        let arrived = Arc::new(AtomicU32::new(0));
        let mut signals = Self {
            wake,
            arrived,
            handlers: Vec::new(),
        };
        for signal in [HUP, INT, QUIT, USR2, TERM, CHILD] {
            let (wake, arrived) = (Arc::clone(&signals.wake), Arc::clone(&signals.arrived));
            // SAFETY: the handler sets a bit and makes one system call; both are allowed in it.
            let id = unsafe {
                signal_hook_registry::register(signal, move || {
                    arrived.fetch_or(1 << signal, Ordering::SeqCst);
                    let _ = rustix::io::write(&*wake, &1_u64.to_ne_bytes());
                })
            }?;
            signals.handlers.push(id);
        }
        Ok(signals)
    }

    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.wake
    }

    /// Whether a signal arrived, by number; empties the descriptor.
    pub(super) fn take(&self) -> impl Fn(i32) -> bool + use<> {
        let _ = rustix::io::read(&*self.wake, &mut [0_u8; 8]);
        let bits = self.arrived.swap(0, Ordering::SeqCst);
        move |signal| bits & (1 << signal) != 0
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.handlers.drain(..) {
            signal_hook_registry::unregister(id);
        }
    }
}
