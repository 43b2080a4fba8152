//! Talks to a SlapOS Master: blocking HTTP(S), one method per call of the protocol.
//!
//! - [`Profile`] is what a configuration file says, [`Cloud`] the Master as its user sees it;
//! - [`release`] reads what a software release says of itself, and checks parameters by it;
//! - [`Client`] has one method per endpoint of P 1.3, typed on both sides;
//! - [`Service`], [`NodeState`], [`ServiceEvent`] are whole trees, nodes and their history, where the
//!   Master tells them (JSON calls that only ours answer);
//! - [`Client::events`] hears of changes as they happen;
//! - [`Hateoas`] navigates the documents behind `service` and `computer` commands (P 4);
//! - [`Enrolment`] turns a one-time token into a certificate (P 5.2–5.4);
//! - [`Error`] maps every failure to what a caller does about it (P 1.2).
//!
//! TLS is verified unless told otherwise. One connection is kept and used again. A read is tried
//! once more when its connection breaks; a write never is, because only the Master knows whether
//! it arrived.

mod cloud;
mod detail;
mod enrol;
mod error;
mod events;
mod hateoas;
mod json_rpc;
mod profile;
pub mod release;
mod slap_api;
mod transport;
mod url;

pub use cloud::{Changes, Cloud, Order, Rest, WaitError, similar};
pub use detail::{
    EventRange, NodePartition, NodeRelease, NodeState, PromiseState, PromiseTold, Report, Service,
    ServiceEvent, ServiceInstance, ServiceSummary, UpgradeAnswer,
};
pub use enrol::{Authority, Enrolled, Enrolment, Fingerprint, NotAFingerprint};
pub use error::Error;
pub use events::{Event, Events, Watch};
pub use hateoas::{Hateoas, InstanceTreeInfo, InstanceTreeSummary, NodeSummary};
pub use json_rpc::Product;
pub use profile::{Profile, ProfileError, expand_home, home};
pub use slap_api::{Client, IssuedCertificate, Request, RequestReply, StatusRecord};
pub use transport::{Identity, Settings, Trust};
pub use url::normalise_master_url;
