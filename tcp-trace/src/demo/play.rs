//! What each player does: plain blocking sockets, as the programs have that they stand for.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Instant,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    actor::{Curtain, report},
    cue::Report,
    role::Role,
    scene,
};

mod pool;
mod visits;

/// A request, and the answer to it.
const REQUEST: &[u8] = b"GET /";
const ANSWER: &[u8] = b"200 OK";

/// Plays a part, until the curtain falls where it would not end by itself.
pub(super) fn play(role: Role, curtain: &Curtain) -> io::Result<()> {
    let at = || role.address().ok_or_else(|| io::Error::other("it has no address"));
    match role {
        Role::ShopApi => forget_to_close(&listen(at()?)?),
        Role::Reports => stop_reading(&listen(at()?)?),
        Role::LoginSvc => stop_accepting(&listen(at()?)?),
        Role::PriceDb | Role::OrderDb => serve(&listen(at()?)?),
        Role::Pricing => visits::burn_ports(at()?, curtain),
        Role::Orders => pool::keep(at()?, curtain),
        Role::Visitors => visits::visit_the_sick(curtain),
    }
}

fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(at)?;
    report(&Report::Begun)?;
    Ok(listener)
}

/// The bug: each socket goes into a list, and nobody takes it out.
fn forget_to_close(listener: &TcpListener) -> io::Result<()> {
    let most = getrlimit(Resource::Nofile).maximum;
    let current = Some(most.map_or(scene::DESCRIPTORS, |most| most.min(scene::DESCRIPTORS)));
    setrlimit(Resource::Nofile, Rlimit { current, maximum: most })?;
    let mut sessions = Vec::new();
    for stream in listener.incoming() {
        let mut stream = stream?;
        while answer(&mut stream)? {}
        sessions.push(stream);
    }
    Ok(())
}

/// The bug: what would read waits for something else.
fn stop_reading(listener: &TcpListener) -> io::Result<()> {
    let reports: io::Result<Vec<_>> = listener.incoming().collect();
    reports.map(drop)
}

/// The bug: what would accept waits for something else.
fn stop_accepting(_: &TcpListener) -> ! {
    loop {
        thread::park();
    }
}

/// A server as it should be: it answers, closes what its client has closed, and lets no connection
/// be kept alive for ever.
fn serve(listener: &TcpListener) -> io::Result<()> {
    for stream in listener.incoming() {
        let mut stream = stream?;
        thread::Builder::new().spawn(move || {
            let answers = (0..scene::KEPT_ALIVE).map_while(|_| answer(&mut stream).ok());
            answers.take_while(|answered| *answered).count()
        })?;
    }
    Ok(())
}

/// Answers one request; false where the client has closed instead.
fn answer(stream: &mut TcpStream) -> io::Result<bool> {
    let mut request = [0; REQUEST.len()];
    match stream.read_exact(&mut request) {
        Ok(()) => stream.write_all(ANSWER).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Asks, and takes the answer.
fn ask(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(REQUEST)?;
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer)
}

/// Sleeps until `when`.
fn sleep_until(when: Instant) {
    thread::sleep(when.saturating_duration_since(Instant::now()));
}
