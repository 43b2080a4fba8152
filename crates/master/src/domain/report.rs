//! What a node's report may do (P 6.2, 6.13, promise P3): it tells how things are, and never decides
//! how they shall be. A node with an old view can free what it was ordered to remove, and nothing
//! else; it resurrects nothing.

use slap::{InstallationState, InstanceState};

/// What there is of the subject of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Life<S> {
    /// It shall be this.
    Wanted(S),
    /// It was destroyed, and its node has reported so.
    Gone,
}

/// What a node says about an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InstanceReport {
    /// Its services run.
    Started,
    /// Its services are stopped.
    Stopped,
    /// Everything it had is removed.
    Destroyed,
    /// It could not be processed.
    Error,
}

/// What a node says about a release it was asked to install.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InstallationReport {
    /// It is being built.
    Building,
    /// It is there.
    Available,
    /// It is removed.
    Destroyed,
    /// It could not be built.
    Error,
}

/// What a report does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It is recorded as the last status.
    Record,
    /// The subject is gone from now on: its place is free, its certificates are revoked.
    Gone,
    /// Nothing: the subject is gone already, and the report is late or repeated.
    Nothing,
}

/// Something is reported destroyed that shall not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not asked to be destroyed but to be {wanted}: nothing was changed. Ask for its \
     destruction first"
)]
pub struct NotAskedToDestroy {
    /// What it shall be.
    pub wanted: &'static str,
}

/// What a report about an instance does.
///
/// # Errors
/// [`NotAskedToDestroy`] when nobody has asked for what is reported as done.
pub fn report_instance(
    life: Life<InstanceState>,
    report: InstanceReport,
) -> Result<Effect, NotAskedToDestroy> {
    match (life, report) {
        (Life::Gone, _) => Ok(Effect::Nothing),
        (Life::Wanted(InstanceState::Destroyed), InstanceReport::Destroyed) => Ok(Effect::Gone),
        (Life::Wanted(state), InstanceReport::Destroyed) => Err(NotAskedToDestroy {
            wanted: state.as_str(),
        }),
        (Life::Wanted(_), _) => Ok(Effect::Record),
    }
}

/// What a report about a software installation does. It counts as available for allocation while the
/// last recorded report says so **and** it is not asked to be destroyed.
///
/// # Errors
/// [`NotAskedToDestroy`] when nobody has asked for what is reported as done.
pub fn report_installation(
    life: Life<InstallationState>,
    report: InstallationReport,
) -> Result<Effect, NotAskedToDestroy> {
    match (life, report) {
        (Life::Gone, _) => Ok(Effect::Nothing),
        (Life::Wanted(InstallationState::Destroyed), InstallationReport::Destroyed) => {
            Ok(Effect::Gone)
        }
        (Life::Wanted(state), InstallationReport::Destroyed) => Err(NotAskedToDestroy {
            wanted: state.as_str(),
        }),
        (Life::Wanted(_), _) => Ok(Effect::Record),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_was_ordered_destroyed_goes() {
        use InstanceReport as R;
        use InstanceState as S;
        for report in [R::Started, R::Stopped, R::Destroyed, R::Error] {
            assert_eq!(report_instance(Life::Gone, report), Ok(Effect::Nothing));
            for state in [S::Started, S::Stopped, S::Destroyed] {
                let effect = report_instance(Life::Wanted(state), report);
                match (state, report) {
                    (S::Destroyed, R::Destroyed) => assert_eq!(effect, Ok(Effect::Gone)),
                    (_, R::Destroyed) => {
                        let text = effect.unwrap_err().to_string();
                        assert!(text.contains(state.as_str()), "{text}");
                    }
                    _ => assert_eq!(effect, Ok(Effect::Record)),
                }
            }
        }
    }

    #[test]
    fn only_a_release_that_was_ordered_removed_goes() {
        use InstallationReport as R;
        use InstallationState as S;
        for report in [R::Building, R::Available, R::Destroyed, R::Error] {
            assert_eq!(report_installation(Life::Gone, report), Ok(Effect::Nothing));
            for state in [S::Available, S::Destroyed] {
                let effect = report_installation(Life::Wanted(state), report);
                match (state, report) {
                    (S::Destroyed, R::Destroyed) => assert_eq!(effect, Ok(Effect::Gone)),
                    (S::Available, R::Destroyed) => assert!(effect.is_err()),
                    _ => assert_eq!(effect, Ok(Effect::Record)),
                }
            }
        }
    }
}
