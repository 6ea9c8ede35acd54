//! A pool as it should be: few connections, used in turn, and replaced once the server has closed
//! them, which may be a while after that.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use super::{ask, sleep_until};
use crate::demo::{
    actor::{Curtain, report},
    cue::Report,
    scene,
};

/// Uses the pool until the curtain falls.
pub(super) fn keep(at: SocketAddr, curtain: &Curtain) -> io::Result<()> {
    let connect = || TcpStream::connect(at);
    let mut pool = (0..scene::POOL).map(|_| connect()).collect::<io::Result<Vec<_>>>()?;
    report(&Report::Begun)?;
    let (mut next, mut replaced) = (Instant::now(), 0);
    loop {
        for stream in &mut pool {
            if curtain.has_fallen() {
                return Ok(());
            }
            if has_ended(stream)? {
                *stream = connect()?;
                replaced += 1;
                report(&Report::Replaced(replaced))?;
            }
            ask(stream)?;
            next += scene::USE;
            sleep_until(next);
        }
    }
}

/// Whether the server has closed it.
fn has_ended(stream: &TcpStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let seen = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    match seen {
        Ok(read) => Ok(read == 0),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}
