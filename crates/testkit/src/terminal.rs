//! A program at a real terminal, with somebody who types.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::run::{Invocation, wait};
use crate::wait::eventually;

/// As wide as to wrap nothing a test compares.
const COLUMNS: u16 = 240;

/// How long the last words of a program may take to reach the screen.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A program whose input and output are a terminal. Dropped, it is killed.
pub struct Terminal {
    title: String,
    child: Child,
    keyboard: File,
    /// What came to the screen, escape sequences and all.
    seen: Arc<Mutex<Vec<u8>>>,
    /// Ends when nobody has the terminal open any more.
    reader: JoinHandle<()>,
    /// How much of the screen's text was waited for already, in bytes.
    read: usize,
}

impl Invocation {
    /// Starts it at a terminal of its own, 240 columns wide, that knows colours.
    pub fn at_terminal(self) -> Terminal {
        self.at_terminal_of(COLUMNS)
    }

    /// Starts it at a terminal with so many columns; with none, at one that does not know its size,
    /// such as a serial line.
    pub fn at_terminal_of(self, columns: u16) -> Terminal {
        let title = self.title();
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a terminal");
        grantpt(&master).expect("a terminal of ours");
        unlockpt(&master).expect("a terminal of ours");
        let size = Winsize {
            ws_row: if columns == 0 { 0 } else { 50 },
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).expect("a size");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave: OwnedFd = rustix::fs::open(&name, flags, Mode::empty()).expect("its other end");
        let copy = || Stdio::from(slave.try_clone().expect("a descriptor"));
        // Only `setsid` makes a terminal the controlling one without unsafe code of ours.
        let child = self
            .env("TERM", "xterm-256color")
            .through(["setsid", "--ctty", "--wait"])
            .hearing_ctrl_c()
            .command()
            .stdin(copy())
            .stdout(copy())
            .stderr(copy())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {title}: {error}"));
        drop(slave);
        let keyboard = File::from(master);
        let mut screen = keyboard.try_clone().expect("a descriptor");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal nobody has open any more gives an error instead of an end.
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                kept.lock().expect("no panic").extend(&bytes[..count]);
            }
        });
        Terminal {
            title,
            child,
            keyboard,
            seen,
            reader,
            read: 0,
        }
    }
}

impl Terminal {
    /// Types a line and the return key.
    pub fn type_line(&mut self, line: &str) {
        self.press(&format!("{line}\r"));
    }

    /// Types these characters: `\t`, `\x03` for Ctrl-C, `\x04` for Ctrl-D.
    pub fn press(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .unwrap_or_else(|error| panic!("nobody reads {}: {error}\n{self:?}", self.title));
    }

    /// Waits until the screen shows this text, after what was waited for before; answers everything
    /// between the two.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str, deadline: Duration) -> String {
        let from = self.read;
        let what = format!("{} shows {text:?}", self.title);
        let found = eventually(&what, deadline, || {
            let screen = self.screen();
            let new = screen.get(from..).unwrap_or_default();
            match new.find(text) {
                Some(at) => Ok(at),
                None => Err(Screen(new.to_owned())),
            }
        });
        self.read = from + found + text.len();
        self.screen()[from..from + found].to_owned()
    }

    /// Waits until the program has ended; answers its exit code and what was not waited for.
    #[track_caller]
    pub fn wait_end(mut self, deadline: Duration) -> (i32, String) {
        let Some(status) = wait(&mut self.child, deadline) else {
            panic!(
                "{} goes on after {} s:\n{self:?}",
                self.title,
                deadline.as_secs()
            );
        };
        // What it said last may still be on its way; what it left running may keep the terminal.
        let last = Instant::now() + LAST_WORDS;
        while !self.reader.is_finished() && Instant::now() < last {
            std::thread::sleep(Duration::from_millis(5));
        }
        let screen = self.screen();
        let rest = screen.get(self.read..).unwrap_or_default().to_owned();
        (status.code().unwrap_or(-1), rest)
    }

    /// Everything that was shown so far, as text.
    pub fn screen(&self) -> String {
        plain(&self.seen.lock().expect("no panic"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} showed:\n{}", self.title, self.screen())
    }
}

/// Text that a failure shows with its line breaks.
struct Screen(String);

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "on the screen:\n{}", self.0)
    }
}

/// The text without what only moves the cursor or colours it. What is shown later never changes
/// what came before.
fn plain(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            0x1b => match rest.next() {
                Some(b'[') => {
                    while rest
                        .next()
                        .is_some_and(|byte| !(0x40..0x7f).contains(&byte))
                    {}
                }
                Some(b']') => {
                    while rest.next().is_some_and(|byte| byte != 0x07 && byte != 0x1b) {}
                    rest.next_if_eq(&b'\\');
                }
                Some(b'(' | b')') => drop(rest.next()),
                _ => {}
            },
            b'\r' if rest.peek().is_some_and(|next| !b"\r\n".contains(next)) => text.push(b'\n'),
            b'\n' | b'\t' | 0x20.. => text.push(byte),
            _ => {}
        }
    }
    if let Err(error) = std::str::from_utf8(&text)
        && error.error_len().is_none()
    {
        // The rest of the last character is still to come.
        text.truncate(error.valid_up_to());
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn what_a_terminal_shows_becomes_text() {
        assert_eq!(
            plain(b"\x1b[0;31mred\x1b[0m\r\nnext\x1b]0;title\x07!"),
            "red\nnext!"
        );
        assert_eq!(plain(b"10 %\r20 %\r\n"), "10 %\n20 %\n");
    }

    #[test]
    fn somebody_types_and_reads() {
        let directory = tempfile::tempdir().unwrap();
        let mut terminal = Invocation::new("/bin/sh", directory.path())
            .args(["-c", "test -t 0 && stty size && printf 'name? ' && read name && echo \"<$name>\" && exit 7"])
            .at_terminal();
        assert_eq!(terminal.wait_for("name? ", SOON), "50 240\n");
        terminal.type_line("Ada");
        assert_eq!(terminal.wait_for("<Ada>", SOON), "Ada\n");
        assert_eq!(terminal.wait_end(SOON).0, 7);
    }

    #[test]
    fn ctrl_c_reaches_the_program() {
        let directory = tempfile::tempdir().unwrap();
        let mut terminal = Invocation::new("/bin/sh", directory.path())
            .args([
                "-c",
                "trap 'echo caught; exit 3' INT; echo ready; sleep 60 & wait",
            ])
            .at_terminal();
        terminal.wait_for("ready", SOON);
        terminal.press("\x03");
        terminal.wait_for("caught", SOON);
        assert_eq!(terminal.wait_end(SOON).0, 3);
    }
}
