//! The language of SLAP: values, documents, references and states. No I/O.
//!
//! Everything that travels between Master, Node and Client is described here once, so that both
//! ends of a wire are written against the same types:
//!
//! - [`Value`] is what the wire can carry, [`marshal`] turns it into bytes and back (P 1.1);
//! - [`document`] gives the wire's four object classes the field's names (P 1.1.2, 1.4, 1.5);
//! - [`instance_xml`] and [`serialisation`] are how parameters are written down (P 2);
//! - [`reference`] and [`state`] are the typed words used above the wire;
//! - [`event`] has words for what happened;
//! - [`secret`] tells which values are nobody else's business;
//! - [`usage`] is what a node tells of what was used (P 6.12);
//! - [`config`] reads the dialect of `slapos.cfg` (N 1.1);
//! - [`python`] reproduces the few Python text conversions that are visible on the wire.

pub mod config;
pub mod document;
pub mod event;
pub mod instance_xml;
pub mod marshal;
pub mod python;
pub mod reference;
pub mod secret;
pub mod serialisation;
pub mod state;
pub mod usage;
mod value;
mod xml;

pub use reference::{
    InstanceGuid, InstanceTitle, NodeId, PartitionId, ProductReference, ReleaseUrl, SoftwareType,
};
pub use state::{InstallationState, InstanceState};
pub use value::{Class, Object, Value};
