//! Clients that come, ask and go.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use super::{REQUEST, ask, sleep_until};
use crate::demo::{
    actor::{Curtain, report},
    cue::Report,
    role::Role,
    scene,
};

/// A connection for each request, closed by the client: each leaves its port in `TIME_WAIT`.
pub(super) fn burn_ports(at: SocketAddr, curtain: &Curtain) -> io::Result<()> {
    report(&Report::Begun)?;
    let (mut next, mut taken, mut failures) = (Instant::now(), 0, 0);
    while !curtain.has_fallen() {
        match TcpStream::connect(at) {
            Ok(mut stream) => {
                ask(&mut stream)?;
                taken += 1;
                let slow = taken > scene::FAST && !curtain.is_in_hurry();
                next += if slow { scene::SLOW_BURN } else { scene::BURN };
            }
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                failures += 1;
                report(&Report::NoPort(failures))?;
                next = Instant::now() + scene::DESPAIR;
            }
            Err(error) => return Err(error),
        }
        sleep_until(next);
    }
    Ok(())
}

/// Clients of the servers that do not do their part; they do theirs, and close.
pub(super) fn visit_the_sick(curtain: &Curtain) -> io::Result<()> {
    report(&Report::Begun)?;
    let connect = |role: Role| {
        let at = role.address().ok_or_else(|| io::Error::other("it has no address"))?;
        TcpStream::connect(at)
    };
    for _ in 0..scene::UNHEARD {
        connect(Role::Reports)?.write_all(REQUEST)?;
        let mut login = connect(Role::LoginSvc)?;
        login.write_all(REQUEST)?;
        login.set_read_timeout(Some(scene::PATIENCE))?;
        match login.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(io::Error::other("somebody has accepted")),
        }
    }
    let mut next = Instant::now();
    for _ in 0..scene::VISITS {
        if curtain.has_fallen() {
            break;
        }
        ask(&mut connect(Role::ShopApi)?)?;
        next += scene::FORGET;
        sleep_until(next);
    }
    Ok(())
}
