//! Asking the person at the keyboard.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 4096;

/// A line of the standard input without blanks around it; `None` at its end.
fn line(prompt: &str) -> Result<Option<String>, Failure> {
    let mut stdout = io::stdout().lock();
    write!(stdout, "{prompt}")?;
    stdout.flush()?;
    let mut line = String::new();
    let length = io::stdin()
        .lock()
        .take(LINE_BYTES_MAX)
        .read_line(&mut line)?;
    Ok((length > 0).then(|| line.trim().to_owned()))
}

/// Asks for a secret until something is said. What is typed at a terminal is not shown.
pub(crate) fn ask_secret(prompt: &str, otherwise: &str) -> Result<String, Failure> {
    let typed = io::stdin().is_terminal() && io::stdout().is_terminal();
    loop {
        let answer = if typed {
            hidden_line(prompt)?
        } else {
            line(prompt)?
        };
        match answer {
            Some(answer) if answer.is_empty() => {}
            Some(answer) => return Ok(answer),
            None => return Err(Failure::new("nothing was said").hint(otherwise)),
        }
    }
}

/// The terminal as it was, again.
struct Restored(Termios);

impl Drop for Restored {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// A line of the terminal that is not shown; `None` where Ctrl-D ends it.
fn hidden_line(prompt: &str) -> Result<Option<String>, Failure> {
    let cannot = |error: rustix::io::Errno| Failure::from(io::Error::from(error));
    let before = tcgetattr(io::stdin()).map_err(cannot)?;
    let mut hidden = before.clone();
    // Signals, too, are keys here: whoever is interrupted leaves the terminal as it was.
    hidden.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
    tcsetattr(io::stdin(), OptionalActions::Now, &hidden).map_err(cannot)?;
    let restored = Restored(before);
    let mut stdout = io::stdout().lock();
    write!(stdout, "{prompt}")?;
    stdout.flush()?;
    let mut typed = Vec::new();
    let answer = loop {
        let mut key = [0];
        let count = rustix::io::read(io::stdin(), &mut key).map_err(cannot)?;
        match key {
            _ if count == 0 => break None,
            [b'\r' | b'\n'] => break Some(typed),
            [0x03] => {
                drop(restored);
                writeln!(stdout)?;
                return Err(Failure::interrupted());
            }
            [0x04] if typed.is_empty() => break None,
            [0x08 | 0x7f] => drop(typed.pop()),
            [0x15] => typed.clear(),
            [key] if typed.len() as u64 >= LINE_BYTES_MAX || key < b' ' => {}
            [key] => typed.push(key),
        }
    };
    drop(restored);
    writeln!(stdout)?;
    Ok(answer.map(|typed| String::from_utf8_lossy(&typed).trim().to_owned()))
}

/// Asks for a yes. `None` where nobody is there to say it: a yes is never taken from a file.
pub(crate) fn confirm(question: &str) -> Result<Option<bool>, Failure> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Ok(None);
    }
    let answer = line(&format!("{question} [y/N] "))?.unwrap_or_default();
    Ok(Some(matches!(
        answer.to_ascii_lowercase().as_str(),
        "y" | "yes"
    )))
}
