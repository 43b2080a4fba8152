//! Lists what one has requested, what can be requested, and the nodes one may see:
//!
//! ```text
//! cargo run -p slap-client --example services
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;

use slap_client::{Cloud, Profile, home};

fn main() -> Result<(), Box<dyn Error>> {
    let profile = Profile::read(&home().join(".slapos/slapos-client.cfg"))?;
    let cloud = Cloud::open(&profile)?;
    for tree in cloud.services()? {
        println!("service  {}  {}", tree.title, tree.release);
    }
    for (name, release) in cloud.software_list()? {
        println!("software {name}  {release}");
    }
    for node in cloud.nodes()? {
        println!("node     {}  {}", node.reference, node.title);
    }
    Ok(())
}
