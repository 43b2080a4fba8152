//! The SlapOS Master: many users, many nodes, its own certificates, immediate allocation.

pub mod domain;
pub mod events;
pub mod pki;
pub mod store;
