//! Signals: Ctrl-C and a polite kill, turned into a flag that the work looks at; and a hangup.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Failure;

/// Calls `stop` at the first SIGINT or SIGTERM; a second one ends the program at once.
pub(crate) fn on_interrupt(stop: impl Fn() + Send + 'static) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let seen = Arc::new(AtomicBool::new(false));
    let (mut interrupt, mut terminate) = {
        use tokio::signal::unix::{SignalKind, signal};
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if seen.swap(true, Ordering::SeqCst) {
                        std::process::exit(130);
                    }
                    stop();
                }
            });
        })?;
    Ok(())
}

/// Calls `reload` at each SIGHUP.
pub(crate) fn on_hangup(reload: impl Fn() + Send + 'static) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let mut hangup = {
        use tokio::signal::unix::{SignalKind, signal};
        let _inside = runtime.enter();
        signal(SignalKind::hangup())?
    };
    std::thread::Builder::new()
        .name("hangup".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                while hangup.recv().await.is_some() {
                    reload();
                }
            });
        })?;
    Ok(())
}
