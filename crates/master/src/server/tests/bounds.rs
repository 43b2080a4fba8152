//! What a client may take, and where we listen.

use std::io::ErrorKind;

use super::*;

#[test]
fn plain_http_on_several_addresses() {
    let specs = ["127.0.0.1", "[::1]", "::1", "localhost"].map(plain);
    let server = Running::start(&specs, Limits::default());
    assert_eq!(server.addresses.len(), 4);
    for (address, ip) in server.addresses.iter().zip(["127.0.0.1", "::1", "::1"]) {
        let mut stream = connect(*address);
        for _ in 0..3 {
            assert_eq!(ask(&mut stream, "/"), format!("nobody tls=false {ip}\n"));
        }
    }
}

#[test]
fn an_ipv4_client_of_an_ipv6_listener_has_its_own_address() {
    let server = Running::start(&[plain("::")], Limits::default());
    let mut stream = connect(SocketAddr::from(([127, 0, 0, 1], server.address().port())));
    assert_eq!(ask(&mut stream, "/"), "nobody tls=false 127.0.0.1\n");
}

#[tokio::test]
async fn a_port_in_use_and_a_host_that_is_not_ours_are_told() {
    let first = Server::bind(&[plain("127.0.0.1")], Limits::default())
        .await
        .unwrap();
    let mut spec = plain("127.0.0.1");
    spec.port = first.addresses()[0].port();
    let error = Server::bind(&[plain("::1"), spec.clone()], Limits::default())
        .await
        .unwrap_err();
    let text = format!("port {} of 127.0.0.1 is in use", spec.port);
    assert!(error.to_string().starts_with(&text), "{error}");
    for host in ["192.0.2.77", "no host", "", "[::1"] {
        let error = Server::bind(&[plain(host)], Limits::default())
            .await
            .unwrap_err();
        let text = format!("cannot listen on port 0 of {host}: ");
        assert!(error.to_string().starts_with(&text), "{error}");
    }
    // The port is free again at once.
    drop(first);
    Server::bind(&[spec], Limits::default()).await.unwrap();
}

#[test]
fn a_slow_head_is_cut() {
    let server = Running::plain(Limits {
        head: SHORT,
        ..Limits::default()
    });
    // Nothing at all; the beginning; a byte now and then; the beginning of a second request.
    let mut nothing = server.connect();
    assert_eq!(rest(&mut nothing), "");
    let mut beginning = server.connect();
    beginning.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    assert_eq!(rest(&mut beginning), "");
    let mut dribble = server.connect();
    dribble.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    dribble.set_read_timeout(Some(SHORT / 10)).unwrap();
    let begun = std::time::Instant::now();
    loop {
        assert!(begun.elapsed() < DEADLINE, "a dribbling client is not cut");
        let _ = dribble.write_all(b"x");
        match dribble.read(&mut [0; 10]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => break,
            Ok(_) => panic!("an answer to half a request"),
        }
    }
    let mut second = server.connect();
    ask(&mut second, "/");
    second.write_all(b"GET / HT").unwrap();
    assert_eq!(rest(&mut second), "");
}

#[test]
fn a_slow_request_to_the_router_is_not_cut() {
    let server = Running::plain(Limits {
        head: SHORT,
        idle: SHORT,
        body: SHORT,
        write_stall: SHORT,
        ..Limits::default()
    });
    let mut stream = server.connect();
    send(&mut stream, "/wait");
    server.arrived.recv_timeout(DEADLINE).unwrap();
    // Another connection passes all its limits meanwhile.
    assert_eq!(rest(&mut server.connect()), "");
    let mut idle = server.connect();
    ask(&mut idle, "/");
    assert_eq!(rest(&mut idle), "");
    server.gate.notify_one();
    assert_eq!(receive(&mut stream).1, "waited");
}

#[test]
fn an_idle_connection_ends() {
    let server = Running::plain(Limits {
        idle: SHORT,
        ..Limits::default()
    });
    let mut stream = server.connect();
    ask(&mut stream, "/");
    assert_eq!(rest(&mut stream), "");
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let server = Running::plain(Limits {
        head_bytes: 10_000,
        ..Limits::default()
    });
    let request = |length| format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(length));
    let mut stream = server.connect();
    stream.write_all(request(9_900).as_bytes()).unwrap();
    assert!(receive(&mut stream).0.starts_with("HTTP/1.1 200"));
    stream.write_all(request(10_000).as_bytes()).unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[test]
fn a_body_that_does_not_arrive_is_given_up() {
    let server = Running::plain(Limits {
        body: SHORT,
        ..Limits::default()
    });
    let head = "POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n";
    let mut stream = server.connect();
    stream
        .write_all(format!("{head}0123456789").as_bytes())
        .unwrap();
    assert_eq!(receive(&mut stream).1, "10");
    stream.write_all(format!("{head}01234").as_bytes()).unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[test]
fn a_body_that_comes_fast_enough_may_take_longer() {
    let server = Running::plain(Limits {
        body: SHORT,
        idle: SHORT,
        head: SHORT,
        ..Limits::default()
    });
    let mut stream = server.connect();
    let head = "POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 600001\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&[b'x'; 600_000]).unwrap();
    // Another connection passes the limit meanwhile, twice.
    for _ in 0..2 {
        assert_eq!(rest(&mut server.connect()), "");
    }
    stream.write_all(b"x").unwrap();
    assert_eq!(receive(&mut stream).1, "600001");
}

#[test]
fn who_is_refused_while_sending_reads_the_answer() {
    let server = Running::plain(Limits::default());
    let mut stream = server.connect();
    // More than axum's default limit of 2 MB, and than all buffers on the way. The client reads
    // after it has sent all, as simple ones do.
    let length = 32 << 20;
    let head = format!("POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b'x'; length]).unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[test]
fn who_pauses_while_it_is_refused_reads_the_answer() {
    let server = Running::plain(Limits::default());
    let mut stream = server.connect();
    let (length, refused) = (32 << 20, (2 << 20) + 1);
    let head = format!("POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b'x'; refused]).unwrap();
    // Everything that was sent is read, and the refusal is there, before the rest is sent.
    assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
    stream.write_all(&vec![b'x'; length - refused]).unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[test]
fn a_client_that_takes_nothing_is_cut() {
    let server = Running::plain(Limits {
        write_stall: SHORT,
        connections: 1,
        ..Limits::default()
    });
    let mut greedy = server.connect();
    send(&mut greedy, "/large");
    // The only place is given to the next client once the first is cut.
    let mut stream = server.connect();
    assert_eq!(ask(&mut stream, "/"), "nobody tls=false 127.0.0.1\n");
}

#[test]
fn a_large_answer_may_take_longer_than_a_connection_may_idle() {
    let server = Running::plain(Limits {
        idle: SHORT,
        head: SHORT,
        ..Limits::default()
    });
    let mut stream = server.connect();
    send(&mut stream, "/large");
    let head = until(&mut stream, "\r\n\r\n");
    let mut left: usize = 64 << 20;
    assert!(
        head.contains(&format!("content-length: {left}\r\n")),
        "{head}"
    );
    // Slowly, but for a moment each time: another connection idles away in between.
    let mut buffer = vec![0; 16 << 20];
    while left > 0 {
        let take = buffer.len().min(left);
        stream.read_exact(&mut buffer[..take]).unwrap();
        left -= take;
        let mut idle = server.connect();
        ask(&mut idle, "/");
        assert_eq!(rest(&mut idle), "");
    }
}

#[test]
fn the_number_of_connections_is_bounded_for_each_listener() {
    let specs = [plain("127.0.0.1"), plain("127.0.0.1")];
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let server = Running::start(&specs, limits);
    let mut held = [server.connect(), server.connect()];
    for stream in &mut held {
        ask(stream, "/");
    }
    let mut third = server.connect();
    send(&mut third, "/");
    third.set_read_timeout(Some(SHORT)).unwrap();
    let error = third.read(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    // The other listener has places of its own.
    ask(&mut connect(server.addresses[1]), "/");
    let [first, mut second] = held;
    drop(first);
    third.set_read_timeout(Some(DEADLINE)).unwrap();
    receive(&mut third);
    ask(&mut second, "/");
}

#[test]
fn a_panic_is_an_answer_and_the_connection_lives_on() {
    let server = Running::plain(Limits::default());
    let mut stream = server.connect();
    send(&mut stream, "/panic");
    let (head, body) = receive(&mut stream);
    assert!(head.starts_with("HTTP/1.1 500"), "{head}");
    assert_eq!(body, "The server failed.\n");
    assert_eq!(ask(&mut stream, "/"), "nobody tls=false 127.0.0.1\n");
}

#[test]
fn requests_in_a_row_are_answered_in_order() {
    let server = Running::plain(Limits::default());
    let mut stream = server.connect();
    for path in ["/", "/missing", "/"] {
        send(&mut stream, path);
    }
    let statuses = [200, 404, 200].map(|status| format!("HTTP/1.1 {status}"));
    for status in statuses {
        let (head, _) = receive(&mut stream);
        assert!(head.starts_with(&status), "{head}");
    }
    stream.write_all(b"nonsense\r\n\r\n").unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}
