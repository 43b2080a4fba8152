//! How soon a program that was killed is started again: at once, but one that is killed again soon
//! after waits longer each time, as one does that needs more memory than it may have.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::agenda::doubled;
use crate::services::Killed;

/// Whoever lived so long was not killed for how it begins.
const WELL: Duration = Duration::from_secs(60);
/// Pause after the second kill; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_secs(2);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(120);

/// What is remembered of programs that were killed.
#[derive(Debug, Default)]
pub(super) struct Patience {
    last: BTreeMap<String, Kill>,
}

/// The last time a program was killed.
#[derive(Debug)]
struct Kill {
    /// When that run of it began, by the supervisor's clock.
    run: i64,
    /// How many times in a row it was killed soon after.
    soon: u32,
    /// When it may be started again.
    due: Instant,
}

impl Patience {
    /// Leaves in `killed` whose time has come. Tells, by group, when it comes for the first of the
    /// others.
    pub(super) fn hold_back(
        &mut self,
        killed: &mut BTreeMap<String, Vec<Killed>>,
        now: Instant,
    ) -> BTreeMap<String, Instant> {
        // Whoever may have lived well since begins anew anyway.
        self.last
            .retain(|_, kill| now < kill.due + PAUSE_MAX + WELL);
        let mut held = BTreeMap::new();
        for (group, programs) in &mut *killed {
            programs.retain(|program| {
                let due = self.due(program, now);
                if due > now {
                    let first = held.entry(group.clone()).or_insert(due);
                    *first = due.min(*first);
                }
                due <= now
            });
        }
        killed.retain(|_, programs| !programs.is_empty());
        held
    }

    /// When a program may be started again.
    fn due(&mut self, program: &Killed, now: Instant) -> Instant {
        let soon = match self.last.get(&program.name) {
            Some(kill) if kill.run == program.run => return kill.due,
            Some(kill) if program.lived < WELL => kill.soon.saturating_add(1),
            _ => 0,
        };
        let pause = match soon {
            0 => Duration::ZERO,
            times => doubled(PAUSE_MIN, PAUSE_MAX, times),
        };
        let due = now + pause;
        let run = program.run;
        let kill = Kill { run, soon, due };
        self.last.insert(program.name.clone(), kill);
        due
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn killed(name: &str, run: i64, lived: u64) -> BTreeMap<String, Vec<Killed>> {
        let killed = Killed {
            name: format!("part0:{name}"),
            run,
            lived: Duration::from_secs(lived),
        };
        BTreeMap::from([("part0".to_owned(), vec![killed])])
    }

    /// The pause of each of these runs of a program, which lived so many seconds, in seconds.
    fn pauses(lives: &[u64]) -> Vec<u64> {
        let mut patience = Patience::default();
        let mut now = Instant::now();
        let mut begun = 0;
        let mut pauses = Vec::new();
        for lived in lives {
            now += Duration::from_secs(*lived);
            let mut waited = 0;
            loop {
                let mut programs = killed("eats", begun, *lived);
                let held = patience.hold_back(&mut programs, now);
                assert_eq!(held.is_empty(), !programs.is_empty());
                let Some(due) = held.get("part0") else { break };
                // Looking twice changes nothing.
                let pause = (*due - now).as_secs();
                assert!(pause > 0);
                waited += pause;
                now = *due;
            }
            begun += i64::try_from(*lived + waited).unwrap() + 1;
            pauses.push(waited);
        }
        pauses
    }

    #[test]
    fn the_first_time_at_once_then_later_and_later() {
        assert_eq!(pauses(&[5]), [0]);
        assert_eq!(pauses(&[0; 9]), [0, 2, 4, 8, 16, 32, 64, 120, 120]);
    }

    #[test]
    fn one_that_lived_for_a_while_begins_anew() {
        assert_eq!(pauses(&[1, 1, 1, 59, 60, 1]), [0, 2, 4, 8, 0, 2]);
        assert_eq!(pauses(&[1, 100_000, 1]), [0, 0, 2]);
    }

    #[test]
    fn each_program_for_itself() {
        let mut patience = Patience::default();
        let now = Instant::now();
        patience.hold_back(&mut killed("eats", 1, 1), now);
        let mut both = killed("eats", 2, 1);
        let other = killed("other", 2, 1).remove("part0").unwrap();
        both.get_mut("part0").unwrap().extend(other);
        let held = patience.hold_back(&mut both, now);
        assert_eq!(held["part0"], now + PAUSE_MIN);
        assert_eq!(both["part0"].len(), 1);
        assert_eq!(both["part0"][0].name, "part0:other");
    }

    #[test]
    fn what_is_long_past_is_forgotten() {
        let mut patience = Patience::default();
        let now = Instant::now();
        patience.hold_back(&mut killed("eats", 1, 1), now);
        let later = now + PAUSE_MAX + WELL;
        assert!(patience.hold_back(&mut BTreeMap::new(), later).is_empty());
        assert!(patience.last.is_empty());
    }
}
