//! The states of instances and software installations (P 6.2), as enums with the wire's words.

use std::fmt;
use std::str::FromStr;

/// A state word nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a state; expected {expected}")]
pub struct UnknownState {
    given: String,
    expected: &'static str,
}

/// What an instance is asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum InstanceState {
    /// Its services run.
    Started,
    /// Its services are stopped, its data stays.
    Stopped,
    /// Everything it has is removed. There is no way back.
    Destroyed,
}

impl InstanceState {
    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            InstanceState::Started => "started",
            InstanceState::Stopped => "stopped",
            InstanceState::Destroyed => "destroyed",
        }
    }
}

impl FromStr for InstanceState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        match text {
            "started" => Ok(InstanceState::Started),
            "stopped" => Ok(InstanceState::Stopped),
            "destroyed" => Ok(InstanceState::Destroyed),
            _ => Err(UnknownState {
                given: text.chars().take(80).collect(),
                expected: "`started`, `stopped` or `destroyed`",
            }),
        }
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a node is asked to do with a software release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum InstallationState {
    /// Build it and keep it.
    Available,
    /// Remove it.
    Destroyed,
}

impl InstallationState {
    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            InstallationState::Available => "available",
            InstallationState::Destroyed => "destroyed",
        }
    }
}

impl FromStr for InstallationState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        match text {
            "available" => Ok(InstallationState::Available),
            "destroyed" => Ok(InstallationState::Destroyed),
            _ => Err(UnknownState {
                given: text.chars().take(80).collect(),
                expected: "`available` or `destroyed`",
            }),
        }
    }
}

impl fmt::Display for InstallationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_state_reads_back_from_its_word() {
        for state in [
            InstanceState::Started,
            InstanceState::Stopped,
            InstanceState::Destroyed,
        ] {
            assert_eq!(state.as_str().parse::<InstanceState>().unwrap(), state);
        }
        for state in [InstallationState::Available, InstallationState::Destroyed] {
            assert_eq!(state.as_str().parse::<InstallationState>().unwrap(), state);
        }
    }

    #[test]
    fn an_unknown_word_is_refused_with_the_choice() {
        let error = "bogus".parse::<InstanceState>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`bogus` is not a state; expected `started`, `stopped` or `destroyed`"
        );
        assert!("Started".parse::<InstanceState>().is_err());
    }
}
