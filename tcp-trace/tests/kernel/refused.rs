//! Connections that never come about, and sockets that live twice.

use std::io::ErrorKind;

use tcp_trace::core::tcp_state::TcpState as S;

use super::{
    deadline::until,
    life::Life,
    stage::{ANY, Family, Loopback, Wired},
};

#[test]
#[ignore = "needs root"]
fn nobody_listens() {
    Loopback::play("refused", |all| {
        let (listener, at) = all.listen();
        let its_life = Life::listener(&listener);
        listener.close();
        let sock = all.client.socket(at);
        assert_eq!(sock.connect(at).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        sock.close();
        let life = Life::failed(&all.client, at).goes("close syn_sent close");
        vec![life.ends("refused", "remote").with_error("ECONNREFUSED"), its_life]
    });
}

#[test]
#[ignore = "needs root"]
fn nobody_answers() {
    Wired::play("connect_timeout", |all| {
        all.wire.left.set("ipv4/tcp_syn_retries", "1");
        all.wire.lose();
        let at = all.nowhere();
        let sock = all.client.socket(at);
        assert_eq!(sock.connect(at).unwrap_err().kind(), ErrorKind::TimedOut);
        sock.close();
        let life = Life::failed(&all.client, at).goes("close syn_sent close");
        vec![life.ends("connect_timeout", "nobody").with_error("ETIMEDOUT")]
    });
}

#[test]
#[ignore = "needs root"]
fn a_connect_is_given_up() {
    Wired::play("connect_given_up", |all| {
        all.wire.lose();
        let at = all.nowhere();
        let sock = all.client.socket(at);
        sock.set_nonblocking();
        assert_eq!(sock.connect(at).unwrap_err().raw_os_error(), Some(libc::EINPROGRESS));
        let local = sock.local();
        all.shows(&[(local, at, Some(S::SynSent))]);
        sock.close();
        let life = Life { local: Some(local), ..Life::failed(&all.client, at) };
        vec![life.goes("close syn_sent close").ends("unknown", "local")]
    });
}

#[test]
#[ignore = "needs root"]
fn no_port_is_left() {
    Loopback::play("no_port_left", |all| {
        let (listener, at) = all.listen();
        let before = all.daemon().metrics().count(EADDRNOTAVAIL);
        // Two ports, of which the listener may have one already.
        all.netns.set("ipv4/ip_local_port_range", "61001 61002");
        let (mut open, mut lives) = (Vec::new(), Vec::new());
        let failed = loop {
            let sock = all.client.socket(at);
            match sock.connect(at) {
                Ok(()) => open.push((sock, listener.accept())),
                Err(error) => break error,
            }
        };
        assert_eq!(failed.kind(), ErrorKind::AddrNotAvailable);
        assert!((1..=2).contains(&open.len()), "{open:?}");
        all.netns.set("ipv4/ip_local_port_range", "32768 60999");
        for (client, server) in open {
            let life = Life::client(&client, at);
            let reset = "close syn_sent established close";
            lives.push(life.clone().goes(reset).ends("abort_linger", "local"));
            let life =
                Life::server(&life, server.actor()).goes("listen syn_recv established close");
            lives.push(life.ends("rst_received", "remote").with_error("ECONNRESET"));
            client.abort();
            assert_eq!(server.receive().unwrap_err().kind(), ErrorKind::ConnectionReset);
            server.close();
        }
        let nowhere = Life { local: Some((at.ip(), 0).into()), ..Life::failed(&all.client, at) };
        let nowhere = nowhere.goes("close syn_sent close").ends("unknown", "local");
        lives.push(nowhere.with_error("EADDRNOTAVAIL"));
        lives.push(Life::listener(&listener));
        listener.close();
        let counted = || all.daemon().metrics().count(EADDRNOTAVAIL) - before;
        until(|| format!("{} are counted", counted()), || (counted() == 1).then_some(()));
        lives
    });
}

const EADDRNOTAVAIL: &str = "tcp_trace_connect_errors_total{error=\"eaddrnotavail\"}";

#[test]
#[ignore = "needs root"]
fn a_disconnected_socket_lives_again() {
    Loopback::play("disconnected", |all| {
        let pair = all.pair();
        pair.client.disconnect();
        let error = pair.server.receive().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        pair.server.close();
        all.stands(&pair, None, None);
        let first = [
            pair.client_life()
                .goes("close syn_sent established close")
                .ends("abort_linger", "local"),
            pair.server_life()
                .goes("listen syn_recv established close")
                .ends("rst_received", "remote")
                .with_error("ECONNRESET"),
        ];

        // The same socket, another connection.
        pair.client.connect(pair.server_at).unwrap();
        let server = pair.listener.accept();
        let client = Life::client(&pair.client, pair.server_at);
        let ends = (client.local.unwrap(), pair.server_at);
        let standing = Some(S::Established);
        all.shows(&[(ends.0, ends.1, standing), (ends.1, ends.0, standing)]);
        pair.client.close();
        server.read_to_end(b"");
        server.close();
        let second = [
            Life::server(&client, server.actor())
                .goes("listen syn_recv established close_wait last_ack close")
                .ends("fin_passive", "remote"),
            client
                .goes("close syn_sent established fin_wait1 fin_wait2 close")
                .ends("fin_active", "local"),
        ];
        [&first[..], &second, &[pair.end()]].concat()
    });
}

#[test]
#[ignore = "needs root"]
fn a_listener_that_nobody_reaches_is_told() {
    Loopback::play("listener", |all| {
        let at = if all.family == Family::V4 { ANY } else { all.family.listens(ANY.ip()) };
        let at = if all.family == Family::V6 { all.family.loopback() } else { at };
        let listener = all.server.listen(at);
        let life = Life::listener(&listener);
        all.shows(&[(life.local.unwrap(), life.remote, Some(S::Listen))]);
        listener.close();
        vec![life]
    });
}
