//! What the standard library does not offer: what a child used, the unit of processor times, and a
//! flag that an interrupt sets.
#![allow(unsafe_code)] // wait4, sysconf and signal have no safe form in the crates we have.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::failure::{Context, Failure};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What a child and the descendants it waited for used.
pub(crate) struct Usage {
    /// Exit code, or 128 + the signal that ended it.
    pub(crate) code: i32,
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    /// The largest single process.
    pub(crate) max_rss_kib: u64,
}

/// Waits for one child.
pub(crate) fn wait4(pid: u32) -> io::Result<Usage> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut status: libc::c_int = 0;
    // SAFETY: all fields of rusage are plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live, writable values of the right types.
        if unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } == pid {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(Usage {
        code: if libc::WIFEXITED(status) {
            libc::WEXITSTATUS(status)
        } else {
            128 + libc::WTERMSIG(status)
        },
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
        max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
    })
}

fn duration(time: libc::timeval) -> Duration {
    let micros = time.tv_sec * 1_000_000 + time.tv_usec;
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// The unit of processor times in `/proc`.
pub(crate) fn clock_ticks_per_second() -> f64 {
    // SAFETY: a question without side effects.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as f64
}

/// From now on SIGINT, SIGTERM and SIGHUP only set a flag, so that everything started gets stopped.
pub(crate) fn catch_interrupts() {
    extern "C" fn note(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler does nothing but store to an atomic.
        unsafe { libc::signal(signal, note as extern "C" fn(libc::c_int) as usize) };
    }
}

/// Lets this process and those it starts have this many files open, as far as the system allows.
pub(crate) fn allow_files(wanted: u64) -> Result<(), Failure> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let possible = limit.maximum.map_or(wanted, |most| most.min(wanted));
    if limit.current.is_none_or(|current| current >= possible) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(possible),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("allowing more open files")
}

pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
