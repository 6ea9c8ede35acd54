//! Connections that end with a RST, or for want of any answer.

use std::io::ErrorKind;

use tcp_trace::core::tcp_state::TcpState as S;

use super::{
    life::Life,
    stage::{Loopback, Wired},
};

/// A client, and a server, whose connection is established until it is no more.
const CLIENT: &str = "close syn_sent established close";
const SERVER: &str = "listen syn_recv established close";

#[test]
#[ignore = "needs root"]
fn linger_0_resets_an_established_connection() {
    Loopback::play("linger_0", |all| {
        let pair = all.pair();
        pair.client.abort();
        let error = pair.server.receive().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        // In CLOSE with its descriptor open; close() changes nothing more.
        all.stands(&pair, None, None);
        pair.server.close();
        vec![
            pair.client_life().goes(CLIENT).ends("abort_linger", "local"),
            pair.server_life().goes(SERVER).ends("rst_received", "remote").with_error("ECONNRESET"),
            pair.end(),
        ]
    });
}

#[test]
#[ignore = "needs root"]
fn a_reset_after_the_peers_fin() {
    Loopback::play("reset_after_fin", |all| {
        let pair = all.pair();
        pair.client.shutdown();
        all.stands(&pair, Some(S::FinWait2), Some(S::CloseWait));
        pair.client.abort();
        all.stands(&pair, None, None);
        pair.server.close();
        vec![
            pair.client_life()
                .goes("close syn_sent established fin_wait1 fin_wait2 close")
                .ends("abort_linger", "local")
                .moves(0, 0),
            pair.server_life()
                .goes("listen syn_recv established close_wait close")
                .ends("reset_after_fin", "remote")
                .with_error("EPIPE")
                .moves(0, 0),
            pair.end(),
        ]
    });
}

#[test]
#[ignore = "needs root"]
fn data_left_unread_resets_an_established_connection() {
    Loopback::play("unread", |all| {
        let pair = all.pair();
        pair.client.send(b"12345");
        pair.server.wait_for(5);
        pair.server.close();
        let error = pair.client.receive().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        all.stands(&pair, None, None);
        pair.client.close();
        vec![
            pair.client_life().goes(CLIENT).ends("rst_received", "remote").with_error("ECONNRESET"),
            pair.server_life()
                .goes(SERVER)
                .ends("abort_unread_data", "local")
                .leaves_unread(5)
                .moves(0, 5),
            pair.end(),
        ]
    });
}

#[test]
#[ignore = "needs root"]
fn data_left_unread_resets_a_half_closed_connection() {
    Loopback::play("unread_after_fin", |all| {
        let pair = all.pair();
        pair.client.send(b"12345");
        pair.client.shutdown();
        all.stands(&pair, Some(S::FinWait2), Some(S::CloseWait));
        pair.server.close();
        all.stands(&pair, None, None);
        pair.client.close();
        vec![
            pair.client_life()
                .goes("close syn_sent established fin_wait1 fin_wait2 close")
                .ends("reset_after_fin", "local")
                .with_error("ECONNRESET")
                .moves(5, 0),
            pair.server_life()
                .goes("listen syn_recv established close_wait close")
                .ends("abort_unread_data", "remote")
                .leaves_unread(5)
                .moves(0, 5),
            pair.end(),
        ]
    });
}

#[test]
#[ignore = "needs root"]
fn a_listener_killed_takes_its_queue_along() {
    Loopback::play("listener_killed", |all| {
        // A process of its own, to be killed.
        let victim = all.netns.actor("kt-victim");
        let reached = all.family.loopback().ip();
        let listener = victim.listen(all.family.listens(reached));
        let at = (reached, listener.local().port()).into();
        let its_life = Life::listener(&listener);
        let (open, half) = (all.client.connect(at), all.client.connect(at));
        half.send(b"nobody reads this");
        half.shutdown();
        let (open_life, half_life) = (Life::client(&open, at), Life::client(&half, at));
        let ends = |life: &Life, ours, theirs| {
            let local = life.local.unwrap();
            [(local, at, ours), (at, local, theirs)]
        };
        let open_ends = ends(&open_life, Some(S::Established), Some(S::Established));
        let half_ends = ends(&half_life, Some(S::FinWait2), Some(S::CloseWait));
        all.shows(&[open_ends, half_ends].concat());
        let gone = [ends(&open_life, None, None), ends(&half_life, None, None)].concat();
        let lives = vec![
            Life::server(&open_life, &victim).goes(SERVER).ends("listener_closed", "local"),
            Life::server(&half_life, &victim)
                .goes("listen syn_recv established close_wait close")
                .ends("listener_closed", "remote")
                .leaves_unread(17)
                .moves(0, 17),
            open_life.goes(CLIENT).ends("rst_received", "remote").with_error("ECONNRESET"),
            half_life
                .goes("close syn_sent established fin_wait1 fin_wait2 close")
                .ends("reset_after_fin", "local")
                .with_error("ECONNRESET")
                .moves(17, 0),
            its_life,
        ];
        victim.kill();
        all.shows(&gone);
        open.close();
        half.close();
        lives
    });
}

#[test]
#[ignore = "needs root"]
fn a_socket_destroyed_from_outside() {
    Loopback::play("destroyed", |all| {
        let pair = all.pair();
        let port = format!(":{}", pair.client_at.port());
        let ss = all.netns.command("ss").args(["-K", "-tnH", "sport", "=", &port]).output();
        let ss = ss.expect("ss runs (package iproute2)");
        assert!(ss.status.success() && !ss.stdout.is_empty(), "{ss:?} (CONFIG_INET_DIAG_DESTROY)");
        all.stands(&pair, None, None);
        assert_eq!(pair.client.receive().unwrap_err().kind(), ErrorKind::ConnectionAborted);
        pair.client.close();
        pair.server.close();
        vec![
            pair.client_life().goes(CLIENT).ends("destroyed", "local").with_error("ECONNABORTED"),
            pair.server_life().goes(SERVER).ends("rst_received", "remote").with_error("ECONNRESET"),
            pair.end(),
        ]
    });
}

#[test]
#[ignore = "needs root"]
fn what_is_sent_is_never_acknowledged() {
    Wired::play("retransmit_timeout", |all| {
        let pair = all.pair();
        pair.client.set_number(libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 300);
        all.wire.lose();
        pair.client.send(b"lost");
        all.stands(&pair, None, Some(S::Established));
        assert_eq!(pair.client.receive().unwrap_err().kind(), ErrorKind::TimedOut);
        pair.client.close();
        pair.server.abort();
        vec![
            pair.client_life()
                .goes(CLIENT)
                .ends("retransmit_timeout", "nobody")
                .with_error("ETIMEDOUT")
                .moves(0, 0),
            pair.server_life().goes(SERVER).ends("abort_linger", "local"),
            pair.end(),
        ]
    });
}

#[test]
#[ignore = "needs root"]
fn keep_alive_probes_are_never_answered() {
    Wired::play("keepalive_timeout", |all| {
        let pair = all.pair();
        all.wire.lose();
        for option in [libc::TCP_KEEPIDLE, libc::TCP_KEEPINTVL, libc::TCP_KEEPCNT] {
            pair.client.set_number(libc::IPPROTO_TCP, option, 1);
        }
        pair.client.set_number(libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
        assert_eq!(pair.client.receive().unwrap_err().kind(), ErrorKind::TimedOut);
        all.stands(&pair, None, Some(S::Established));
        pair.client.close();
        pair.server.abort();
        vec![
            pair.client_life()
                .goes(CLIENT)
                .ends("keepalive_timeout", "nobody")
                .with_error("ETIMEDOUT"),
            pair.server_life().goes(SERVER).ends("abort_linger", "local"),
            pair.end(),
        ]
    });
}
