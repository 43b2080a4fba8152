//! Asking the person at the keyboard.

use std::io::{self, BufRead, IsTerminal, Read, Write};

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

/// Asks until something is said.
pub(crate) fn ask(prompt: &str, otherwise: &str) -> Result<String, Failure> {
    loop {
        match line(prompt)? {
            Some(answer) if answer.is_empty() => {}
            Some(answer) => return Ok(answer),
            None => return Err(Failure::new("nothing was said").hint(otherwise)),
        }
    }
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
