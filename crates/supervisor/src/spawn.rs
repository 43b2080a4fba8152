//! Creates processes.
#![allow(
    unsafe_code,
    reason = "what must happen between fork and exec can only be said with pre_exec"
)]

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The command's process leaves the caller's session and terminal.
pub(crate) fn in_own_session(command: &mut Command) {
    // SAFETY: setsid is async-signal-safe and touches no memory.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into));
    }
}
