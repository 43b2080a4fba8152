//! Ports that no other test takes.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// Below the kernel's range for outgoing connections: a connection that is refused again and again
/// would sooner or later be given the very port it asks for, and talk to itself.
const FIRST: u16 = 30_000;
const COUNT: u16 = 2_700;

/// A TCP port on 127.0.0.1, reserved among all tests of this machine as long as this lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reservation: UnixListener,
}

impl Port {
    /// Finds a port that is free and that no other test has reserved.
    pub fn reserve() -> Port {
        let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
        for step in 0..COUNT {
            let number = FIRST + (start + step * 7) % COUNT;
            let name = SocketAddr::from_abstract_name(format!("slapos-test-port-{number}"))
                .expect("a short name");
            let Ok(reservation) = UnixListener::bind_addr(&name) else {
                continue;
            };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Port {
                    number,
                    _reservation: reservation,
                };
            }
        }
        panic!("no free port between {FIRST} and {}", FIRST + COUNT)
    }

    /// The number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Whether something accepts connections there.
    pub fn is_open(&self) -> bool {
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.number)).is_ok()
    }
}
