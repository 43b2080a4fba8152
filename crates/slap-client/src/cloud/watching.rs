//! Whole services and nodes where the Master tells them, with names that were mistyped found.

use crate::detail::{EventRange, NodeState, Service, ServiceEvent};
use crate::error::Error;

use super::Cloud;

impl Cloud {
    /// A whole service; `None` where the Master does not tell more than its root.
    ///
    /// # Errors
    /// [`Error::UnknownName`] when there is none of this title, with the titles that are like it.
    pub fn whole_service(&self, title: &str) -> Result<Option<Service>, Error> {
        self.named(title, self.client().whole_service(title))
    }

    /// What happened to a service, the latest first; `None` where the Master keeps no history.
    ///
    /// # Errors
    /// As [`Cloud::whole_service`].
    pub fn service_events(
        &self,
        title: &str,
        range: EventRange,
    ) -> Result<Option<Vec<ServiceEvent>>, Error> {
        self.named(title, self.client().service_events(title, range))
    }

    /// Gives a service another title; `None` where the Master cannot be asked to.
    ///
    /// # Errors
    /// As [`Cloud::whole_service`]; [`Error::Refused`] when the new title is taken.
    pub fn rename(&self, title: &str, new: &str) -> Result<Option<()>, Error> {
        self.named(title, self.client().rename_service(title, new))
    }

    /// A node with its partitions and releases; `None` where the Master does not tell.
    ///
    /// # Errors
    /// [`Error::UnknownName`] when there is no such node, with those that are like it.
    pub fn whole_node(&self, reference: &str) -> Result<Option<NodeState>, Error> {
        match self.client().whole_node(reference) {
            Err(error) if is_unknown(&error) => {
                let nodes = self.client().node_list().ok().flatten().unwrap_or_default();
                let names = nodes.into_iter().map(|node| node.reference);
                Err(Error::unknown_name("compute node", reference, names))
            }
            told => told,
        }
    }

    fn named<T>(&self, title: &str, told: Result<T, Error>) -> Result<T, Error> {
        match told {
            Err(error) if is_unknown(&error) => {
                let known = self.client().service_list("").ok().flatten();
                let titles = known.unwrap_or_default().into_iter().map(|row| row.title);
                Err(Error::unknown_name("instance", title, titles))
            }
            told => told,
        }
    }
}

/// JSON calls answer 403 for what there is not, as for what one may not (P 3.3).
pub(super) fn is_unknown(error: &Error) -> bool {
    matches!(
        error,
        Error::Refused { status: 403, .. } | Error::NotFound { .. }
    )
}
