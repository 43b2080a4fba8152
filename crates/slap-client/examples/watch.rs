//! Hears of every change of what one may see, as it happens (our Masters tell; others do not):
//!
//! ```text
//! cargo run -p slap-client --example watch
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::time::Duration;

use slap_client::{Cloud, Profile, Watch, home};

fn main() -> Result<(), Box<dyn Error>> {
    let profile = Profile::read(&home().join(".slapos/slapos-client.cfg"))?;
    let cloud = Cloud::open(&profile)?;
    let mut last: Option<String> = None;
    loop {
        // A stream ends with its connection: one connects again, and is told what was missed.
        let lifetime = Duration::from_secs(3600);
        for event in cloud
            .client()
            .events(&Watch::Mine, last.as_deref(), lifetime)?
        {
            println!("{} {}", event.kind, event.data);
            last = event.id.or(last);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
