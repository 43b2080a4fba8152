//! Random operations of many users, nodes and instances against the Master, compared after every
//! step with a small model of it, written independently from the rules.
//!
//! The model is in `reference.rs`; `drive.rs` runs scripts against it and a system side by side:
//! the store in this process, or real Masters over HTTP, which are killed at random moments, also
//! amid concurrent operations.
//!
//! Environment: `SLAPOS_TEST_SEED` repeats a run, `SLAPOS_MODEL_SECONDS` is how long each test looks
//! for trouble (the default is for CI), `SLAPOS_MODEL_STEPS` how long one script is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    dead_code
)]

mod backdoor;
mod cast;
mod compare;
mod drive;
mod generate;
mod http;
mod in_process;
mod operation;
mod reference;
mod system;

use std::time::{Duration, Instant};

use drive::Tally;
use http::Masters;
use in_process::InProcess;
use system::System;
use testkit::{Postgres, Random};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn seconds(default: u64) -> Duration {
    Duration::from_secs(number("SLAPOS_MODEL_SECONDS", default))
}

#[test]
fn the_store_does_what_the_model_says() {
    let mut random = Random::from_environment("the store against the model");
    let steps = number("SLAPOS_MODEL_STEPS", 120);
    let end = Instant::now() + seconds(12);
    let mut scripts = 0;
    let mut total = Tally::default();
    while Instant::now() < end {
        let script: Vec<u64> = (0..steps).map(|_| random.number()).collect();
        let fails = |script: &[u64]| drive::run(&InProcess::new(), script, None).err();
        match drive::run(&InProcess::new(), &script, None) {
            Ok(tally) => total.add(&tally),
            Err(failure) => {
                // What happens at once does not happen twice in the same way.
                let thrice = |script: &[u64]| (0..3).find_map(|_| fails(script));
                let (shorter, last) = drive::shrink(&script, Duration::from_secs(60), thrice);
                panic!(
                    "script {scripts} of the seed, cut from {} to {} steps:\n{}",
                    script.len(),
                    shorter.len(),
                    last.unwrap_or(failure).report()
                );
            }
        }
        scripts += 1;
    }
    eprintln!("{scripts} scripts of {steps} steps: {total:?}");
}

/// Runs scripts on Masters until the time is over.
fn against_masters(what: &str, default: u64, make: impl Fn(u64) -> Masters) {
    let mut random = Random::from_environment(what);
    let end = Instant::now() + seconds(default);
    let mut total = Tally::default();
    while Instant::now() < end {
        let masters = make(random.number());
        let steps = number("SLAPOS_MODEL_STEPS", 2_000);
        let script: Vec<u64> = (0..steps).map(|_| random.number()).collect();
        // Beyond that, nodes would have been silent for too long.
        let last = Instant::now() + Duration::from_secs(120);
        let result = drive::run(&masters as &dyn System, &script, Some(end.min(last)));
        match result {
            Ok(tally) => total.add(&tally),
            Err(failure) => panic!("{}", failure.report()),
        }
    }
    eprintln!("{total:?}");
}

#[test]
fn a_master_does_what_the_model_says() {
    against_masters(
        "a Master over HTTP against the model",
        15,
        Masters::with_sqlite,
    );
}

#[test]
fn two_masters_on_one_database_do_what_the_model_says() {
    if Postgres::is_left_out() {
        return;
    }
    let server = Postgres::start();
    against_masters("two Masters against the model", 20, |seed| {
        Masters::with_postgres(&server, 2, seed)
    });
}
