//! The SlapOS Master: many users, many nodes, its own certificates, immediate allocation.

pub mod domain;
