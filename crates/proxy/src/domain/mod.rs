//! The Master's rules, without I/O: what a request means, where an instance goes, what a report of
//! destruction may do, how time advances. Everything here is a function of its arguments.

mod allocation;
mod guid;
mod instance;
mod refusal;
mod request;
mod time;

pub use allocation::{HostCandidate, HostWish, choose_host};
pub use guid::TreeGuid;
pub use instance::{
    Address, Instance, InstanceId, Node, Parameters, Partition, Place, shared_reference,
};
pub use refusal::Refusal;
pub use request::{Decision, Known, Request, Update, decide, effective_state};
pub use time::{Clock, SystemClock, Timestamp};
