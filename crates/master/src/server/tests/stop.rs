//! Stopping.

use std::time::Instant;

use super::*;

/// Waits until nobody listens any more.
fn wait_until_closed(address: SocketAddr) {
    let begun = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(begun.elapsed() < DEADLINE, "it still listens");
        std::thread::yield_now();
    }
}

#[test]
fn requests_under_way_are_finished() {
    let mut server = Running::plain(Limits {
        drain: DEADLINE,
        ..Limits::default()
    });
    let mut idle = server.connect();
    ask(&mut idle, "/");
    let mut unused = server.connect();
    let mut working = server.connect();
    send(&mut working, "/wait");
    server.arrived.recv_timeout(DEADLINE).unwrap();
    server.ask_to_stop();
    assert_eq!(rest(&mut idle), "");
    assert_eq!(rest(&mut unused), "");
    wait_until_closed(server.address());
    assert!(!server.stopped.load(Ordering::SeqCst));
    server.gate.notify_one();
    // Whether the answer already says that the connection ends depends on who was first.
    let (_, body) = receive(&mut working);
    assert_eq!(body, "waited");
    assert_eq!(rest(&mut working), "");
    server.wait_for_end();
}

#[test]
fn event_streams_are_ended_properly() {
    let mut server = Running::plain(Limits {
        drain: DEADLINE,
        ..Limits::default()
    });
    let mut stream = server.connect();
    send(&mut stream, "/events");
    until(&mut stream, "data: 1\n\n\r\n");
    server.ask_to_stop();
    // The end of a chunked body.
    assert_eq!(rest(&mut stream), "0\r\n\r\n");
    server.wait_for_end();
}

#[test]
fn what_does_not_end_is_cut() {
    let mut server = Running::plain(Limits {
        drain: SHORT,
        ..Limits::default()
    });
    let mut stream = server.connect();
    send(&mut stream, "/wait");
    server.arrived.recv_timeout(DEADLINE).unwrap();
    let mut half = server.connect();
    half.write_all(b"GET / HT").unwrap();
    server.ask_to_stop();
    server.wait_for_end();
    assert_eq!(rest(&mut stream), "");
    assert_eq!(rest(&mut half), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_future_stops_everything() {
    let bound = Server::bind(&[plain("127.0.0.1")], Limits::default())
        .await
        .unwrap();
    let address = bound.addresses()[0];
    let (arrival, arrived) = mpsc::channel();
    let router = router(Arc::new(Notify::new()), arrival);
    let serving = tokio::spawn(bound.serve(router, std::future::pending()));
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = connect(address);
        send(&mut stream, "/wait");
        arrived.recv_timeout(DEADLINE).unwrap();
        serving.abort();
        assert_eq!(rest(&mut stream), "");
        wait_until_closed(address);
    });
    client.await.unwrap();
}
