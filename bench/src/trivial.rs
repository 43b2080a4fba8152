//! A server that does nothing but answer: what the generator can do at most.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Keeps the connection, as a good server does.
pub(crate) const KEEP_ALIVE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// Closes after each reply, as upstream's does.
#[cfg(test)]
pub(crate) const CLOSING: &str = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Serves until the process ends; a thread for each connection.
pub(crate) struct Server {
    address: SocketAddr,
}

impl Server {
    pub(crate) fn start(reply: &'static str) -> io::Result<Server> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || serve(stream, reply));
            }
        });
        Ok(Server { address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// One read is one request: the generator sends each with one write and waits for the reply.
fn serve(mut stream: TcpStream, reply: &str) {
    let mut block = [0; 16 << 10];
    let _ = stream.set_nodelay(true);
    while stream.read(&mut block).is_ok_and(|n| n > 0) {
        if stream.write_all(reply.as_bytes()).is_err() || reply.starts_with("HTTP/1.0") {
            return;
        }
    }
}
