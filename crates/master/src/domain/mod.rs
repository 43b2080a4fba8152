//! The Master's rules, without I/O: everything here is a function of its arguments.

pub mod words;
