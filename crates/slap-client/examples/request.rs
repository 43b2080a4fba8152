//! Asks for an instance and waits for its address:
//!
//! ```text
//! cargo run -p slap-client --example request -- hello product.helloworld name=World
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use slap::{InstanceTitle, Value};
use slap_client::{Cloud, Order, Profile, home};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(title), Some(release)) = (arguments.next(), arguments.next()) else {
        return Err("usage: request TITLE RELEASE [KEY=VALUE…]".into());
    };
    let parameters: BTreeMap<String, Value> = arguments
        .filter_map(|word| {
            let (key, value) = word.split_once('=')?;
            Some((key.to_owned(), Value::text(value)))
        })
        .collect();

    let profile = Profile::read(&home().join(".slapos/slapos-client.cfg"))?;
    let cloud = Cloud::open(&profile)?;
    // An alias, a product, a URL or a path.
    let release = cloud.release(&release)?;
    let order = Order {
        // What is left out stays as it is: also the parameters, when none are given.
        parameters: (!parameters.is_empty()).then_some(parameters),
        ..Order::new(title.parse::<InstanceTitle>()?, release)
    };
    let instance = cloud.wait(&order, Duration::from_secs(600), &mut |said| {
        eprintln!("{said}");
    })?;
    for (key, value) in instance.map(|found| found.connection).unwrap_or_default() {
        println!("{key} = {value}");
    }
    Ok(())
}
