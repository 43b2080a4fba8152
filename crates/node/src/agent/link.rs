//! The agent's ear at the Master: one thread that listens for events, and the clock that asks where
//! there are none.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use slap::NodeId;
use slap_client::{Client, Error, Watch};

use super::Message;
use super::agenda::doubled;
use crate::random;

/// A stream is opened anew after this time, so that a connection that broke without a word is
/// noticed.
const LIFETIME: Duration = Duration::from_secs(600);
/// Pauses between two tries to open one.
const REOPEN_MIN: Duration = Duration::from_secs(1);
const REOPEN_MAX: Duration = Duration::from_secs(60);
/// Until a Master without events is asked again whether it has some: it may be a newer one then.
const NONE_PAUSE: Duration = Duration::from_secs(3600);

/// How often the Master is asked when it does not tell, as upstream's nodes ask.
const POLL: Duration = Duration::from_secs(60);
/// How often it is asked although it tells: whatever may have been missed.
const POLL_TOLD: Duration = Duration::from_secs(600);
/// First and longest pause before a Master is asked again that could not be reached.
const AWAY_MIN: Duration = Duration::from_secs(1);
const AWAY_MAX: Duration = Duration::from_secs(60);

/// What the listening thread has to say.
#[derive(Debug)]
pub(super) enum News {
    /// A stream is open.
    Open,
    /// Something changed.
    Changed,
    /// There is no stream now.
    Closed,
    /// There is none, and none can be opened.
    Lost,
}

/// Who listens. It ends at the latest with the stream that is open when this is dropped.
#[derive(Debug)]
pub(super) struct Link(Sender<()>);

impl Link {
    /// Starts to listen.
    pub(super) fn listen(client: Client, node: NodeId, to: Sender<Message>) -> Link {
        let (hurry, hurried) = channel();
        let thread = thread::Builder::new().name("events".to_owned());
        if let Err(error) = thread.spawn(move || listen(&client, &node, &to, &hurried)) {
            tracing::warn!("cannot listen for events: {error}");
        }
        Link(hurry)
    }

    /// The Master is there: the pause before the next try is over.
    pub(super) fn hurry(&self) {
        // Without a listener nobody hurries.
        let _ = self.0.send(());
    }
}

fn listen(client: &Client, node: &NodeId, to: &Sender<Message>, hurried: &Receiver<()>) {
    let mut last = None;
    let mut pause = REOPEN_MIN;
    loop {
        let begun = Instant::now();
        let mut news = News::Closed;
        match client.events(&Watch::Node(node.clone()), last.as_deref(), LIFETIME) {
            Ok(events) => {
                if to.send(Message::News(News::Open)).is_err() {
                    return;
                }
                for event in events {
                    last = event.id.or(last);
                    if to.send(Message::News(News::Changed)).is_err() {
                        return;
                    }
                }
                if begun.elapsed() > REOPEN_MAX {
                    pause = REOPEN_MIN;
                }
            }
            Err(Error::NotFound { .. }) => pause = NONE_PAUSE,
            Err(error) => {
                tracing::debug!("no events: {error}");
                news = News::Lost;
            }
        }
        if to.send(Message::News(news)).is_err() {
            return;
        }
        match hurried.recv_timeout(jitter(pause)) {
            Ok(()) => pause = REOPEN_MIN,
            Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(REOPEN_MAX),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// When the Master is asked next. No I/O.
#[derive(Debug)]
pub(super) struct Clock {
    /// A stream is open.
    pub(super) told: bool,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Why the last try failed.
    pub(super) trouble: Option<String>,
    /// It is being asked now.
    pub(super) asking: bool,
    /// Something changed while it was being asked.
    again: bool,
    /// When to ask.
    pub(super) next: Instant,
}

/// How one hears of the Master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hearing {
    /// It cannot be reached.
    Away,
    /// It tells of changes.
    Told,
    /// It is asked from time to time.
    Asking,
}

impl Clock {
    pub(super) fn hearing(&self) -> Hearing {
        match (self.failures, self.told) {
            (1.., _) => Hearing::Away,
            (0, true) => Hearing::Told,
            (0, false) => Hearing::Asking,
        }
    }

    pub(super) fn new(now: Instant) -> Self {
        Clock {
            told: false,
            failures: 0,
            trouble: None,
            asking: false,
            again: false,
            next: now,
        }
    }

    /// Whether to ask now; it counts as asked then.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        if self.asking || now < self.next {
            return false;
        }
        self.asking = true;
        true
    }

    pub(super) fn hear(&mut self, news: &News, now: Instant) {
        match news {
            News::Open => {
                self.told = true;
                // It is back: whatever pause there was is over.
                if self.failures > 0 {
                    self.soon(now);
                }
            }
            News::Changed => self.soon(now),
            News::Closed | News::Lost => {
                let was_told = std::mem::replace(&mut self.told, false);
                if was_told {
                    self.next = self.next.min(now + jitter(POLL));
                }
                // Once: from then on it is asked ever more seldom.
                if matches!(news, News::Lost) && self.failures == 0 {
                    self.soon(now);
                }
            }
        }
    }

    fn soon(&mut self, now: Instant) {
        if self.asking {
            self.again = true;
        } else {
            self.next = now;
        }
    }

    /// The Master answered.
    pub(super) fn answered(&mut self, now: Instant) {
        self.asking = false;
        self.failures = 0;
        self.trouble = None;
        let again = std::mem::take(&mut self.again);
        self.next = if again {
            now
        } else {
            now + if self.told { POLL_TOLD } else { jitter(POLL) }
        };
    }

    /// The Master could not be reached, or refused.
    pub(super) fn failed(&mut self, reason: String, now: Instant) {
        self.asking = false;
        self.again = false;
        self.failures = self.failures.saturating_add(1);
        self.trouble = Some(reason);
        self.next = now + jitter(doubled(AWAY_MIN, AWAY_MAX, self.failures));
    }
}

/// A time near this one, so that not all nodes ask at once: between three quarters of it and all.
fn jitter(time: Duration) -> Duration {
    let share = (random::number() >> 40) as f64 / f64::from(1 << 24);
    time.mul_f64(0.75 + share / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_master_is_asked_when_it_tells_and_else_from_time_to_time() {
        let now = Instant::now();
        let mut clock = Clock::new(now);
        assert!(clock.ask(now));
        assert!(!clock.ask(now), "not twice at once");
        clock.answered(now);
        assert!(!clock.ask(now + Duration::from_secs(44)));
        assert!(clock.ask(now + POLL), "it tells nothing");
        clock.answered(now);
        clock.hear(&News::Open, now);
        clock.hear(&News::Changed, now);
        assert!(clock.ask(now));
        // What changes while it is asked may not be in the answer.
        clock.hear(&News::Changed, now);
        clock.answered(now);
        assert!(clock.ask(now));
        clock.answered(now);
        assert!(!clock.ask(now + POLL), "it would have told");
        clock.hear(&News::Closed, now);
        assert!(!clock.ask(now), "it may only be a new stream");
        clock.hear(&News::Lost, now);
        assert!(clock.ask(now), "it may be away");
        clock.failed("away".into(), now);
        clock.hear(&News::Lost, now);
        assert!(!clock.ask(now), "that is known");
        assert!(clock.ask(now + POLL));
    }

    #[test]
    fn a_master_that_is_away_is_asked_ever_more_seldom() {
        let now = Instant::now();
        let mut clock = Clock::new(now);
        let mut pauses = Vec::new();
        for _ in 0..20 {
            clock.failed("away".into(), now);
            pauses.push(clock.next - now);
        }
        assert!(pauses[0] <= AWAY_MIN && pauses[0] >= AWAY_MIN.mul_f64(0.75));
        assert!(pauses[3] > pauses[0]);
        assert!(pauses.iter().all(|pause| *pause <= AWAY_MAX));
        clock.hear(&News::Open, now);
        assert!(clock.ask(now), "it is back");
        clock.answered(now);
        assert_eq!(clock.trouble, None);
    }
}
