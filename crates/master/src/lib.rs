//! The SlapOS Master: many users, many nodes, its own certificates, immediate allocation.
//!
//! - `api` is what can be called;
//! - [`auth`] knows who calls, and makes known who was not;
//! - [`domain`] decides, without I/O;
//! - [`store`] keeps, durably; the only place that speaks SQL;
//! - [`events`] wakes who waits for a change;
//! - [`pki`] is the Master's certificate authority and seals its secrets;
//! - [`server`] has the sockets.

#![allow(dead_code)] // rooms are being furnished

pub mod api;
pub mod auth;
pub mod domain;
pub mod events;
pub mod pki;
pub mod remote;
pub mod server;
pub mod store;
