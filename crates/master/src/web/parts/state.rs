//! States: an icon, a word, a colour. The colour never stands alone.

use maud::{Markup, Render, html};
use slap_server::json_rpc::detail::Actual;

use crate::domain::AllocationScope;
use crate::store::{InstallationRecord, NodeRecord};
use crate::web::Icon;

/// How much attention something needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web) enum Tone {
    /// As it shall be.
    Good,
    /// On its way.
    Busy,
    /// Waits for something or somebody.
    Wait,
    /// Something is wrong.
    Bad,
    /// At rest.
    Idle,
}

impl Tone {
    /// The class that gives the colour.
    pub(in crate::web) fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Busy => "busy",
            Tone::Wait => "wait",
            Tone::Bad => "bad",
            Tone::Idle => "idle",
        }
    }
}

/// A state as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web) struct Badge {
    /// Its colour.
    pub(in crate::web) tone: Tone,
    /// Its icon.
    pub(in crate::web) icon: Icon,
    /// Its word.
    pub(in crate::web) word: &'static str,
}

impl Render for Badge {
    fn render(&self) -> Markup {
        html! { span class=(format!("badge {}", self.tone.class())) { (self.icon) (self.word) } }
    }
}

const fn badge(tone: Tone, icon: Icon, word: &'static str) -> Badge {
    Badge { tone, icon, word }
}

impl Badge {
    /// A node that answers.
    pub(in crate::web) const ONLINE: Badge = badge(Tone::Good, Icon::Done, "Online");
    /// A node that does not.
    pub(in crate::web) const SILENT: Badge = badge(Tone::Bad, Icon::Unplugged, "Silent");
    /// There is something better.
    pub(in crate::web) const UPGRADE: Badge = badge(Tone::Wait, Icon::Upgrade, "Upgrade offered");
    /// A partition that somebody has.
    pub(in crate::web) const BUSY: Badge = badge(Tone::Idle, Icon::Lock, "In use");
    /// A partition that nobody has.
    pub(in crate::web) const FREE: Badge = badge(Tone::Idle, Icon::Idle, "Free");
    /// A certificate that is good.
    pub(in crate::web) const GOOD: Badge = badge(Tone::Good, Icon::Done, "Good");
    /// One that was revoked.
    pub(in crate::web) const REVOKED: Badge = badge(Tone::Idle, Icon::Failed, "Revoked");
    /// One that is over.
    pub(in crate::web) const EXPIRED: Badge = badge(Tone::Idle, Icon::Wait, "Expired");
    /// The browser one looks with.
    pub(in crate::web) const THIS: Badge = badge(Tone::Good, Icon::Yes, "This one");
    /// Somebody who may do everything.
    pub(in crate::web) const ADMINISTRATOR: Badge =
        badge(Tone::Busy, Icon::Shield, "Administrator");
    /// The release that is offered.
    pub(in crate::web) const BEST: Badge = badge(Tone::Good, Icon::Star, "Best");
    /// Somebody who runs a project.
    pub(in crate::web) const MANAGER: Badge = badge(Tone::Busy, Icon::Wrench, "Manager");
    /// Somebody who uses it.
    pub(in crate::web) const MEMBER: Badge = badge(Tone::Idle, Icon::Account, "Member");
    /// What takes nothing new.
    pub(in crate::web) const CLOSED: Badge = badge(Tone::Idle, Icon::Lock, "Closed");
    /// Somebody who may sign in.
    pub(in crate::web) const ACTIVE: Badge = badge(Tone::Good, Icon::Done, "Active");
    /// Somebody who may not.
    pub(in crate::web) const DISABLED: Badge = badge(Tone::Idle, Icon::Lock, "Locked out");
    /// Somebody who has set no password yet.
    pub(in crate::web) const NO_PASSWORD: Badge = badge(Tone::Wait, Icon::Wait, "No password yet");
    /// All is well.
    pub(in crate::web) const FINE: Badge = badge(Tone::Good, Icon::Done, "All well");

    /// An instance, or a service as its worst instance.
    pub(in crate::web) fn instance(actual: Actual) -> Self {
        match actual {
            Actual::Started => badge(Tone::Good, Icon::Done, "Running"),
            Actual::Starting => badge(Tone::Busy, Icon::Busy, "Starting"),
            Actual::Stopping => badge(Tone::Busy, Icon::Busy, "Stopping"),
            Actual::Stopped => badge(Tone::Idle, Icon::Paused, "Stopped"),
            Actual::Destroying => badge(Tone::Busy, Icon::Trash, "Destroying"),
            Actual::Waiting => badge(Tone::Wait, Icon::Wait, "Waiting"),
            Actual::Error => badge(Tone::Bad, Icon::Alert, "Failing"),
        }
    }

    /// A release on a node.
    pub(in crate::web) fn installation(installation: &InstallationRecord) -> Self {
        use slap::InstallationState::{Available, Destroyed};
        match (installation.state, installation.status.reported.as_str()) {
            (Destroyed, _) => badge(Tone::Busy, Icon::Trash, "Removing"),
            (Available, "available") => badge(Tone::Good, Icon::Done, "Installed"),
            (Available, "building") => badge(Tone::Busy, Icon::Work, "Building"),
            (Available, "error") => badge(Tone::Bad, Icon::Alert, "Failed"),
            (Available, _) => badge(Tone::Wait, Icon::Wait, "Asked for"),
        }
    }

    /// Whether a node answers.
    pub(in crate::web) fn node(node: &NodeRecord) -> Self {
        let is_error = |text: &str| text.starts_with("#error");
        match (node.alive, node.contact_at, &node.status.text) {
            (true, ..) => Badge::ONLINE,
            (false, _, Some(text)) if is_error(text) => badge(Tone::Bad, Icon::Alert, "Failing"),
            (false, Some(_), _) => Badge::SILENT,
            (false, None, _) => badge(Tone::Wait, Icon::Wait, "Never seen"),
        }
    }

    /// Whether a node takes new instances.
    pub(in crate::web) fn scope(scope: AllocationScope) -> Self {
        match scope {
            AllocationScope::Open => badge(Tone::Good, Icon::Done, "Open"),
            AllocationScope::NoAllocation => badge(Tone::Idle, Icon::Lock, "Closed"),
            AllocationScope::Termination => badge(Tone::Wait, Icon::Trash, "Being emptied"),
            AllocationScope::Forever => badge(Tone::Idle, Icon::Lock, "Closed for good"),
            AllocationScope::Outdated => badge(Tone::Idle, Icon::Unplugged, "Given up"),
            AllocationScope::Maintenance => badge(Tone::Wait, Icon::Wrench, "Maintenance"),
        }
    }

    /// Whether a promise holds.
    pub(in crate::web) fn promise(failed: bool) -> Self {
        match failed {
            false => badge(Tone::Good, Icon::Done, "Holds"),
            true => badge(Tone::Bad, Icon::Alert, "Fails"),
        }
    }
}
