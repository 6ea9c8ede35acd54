//! Passwords, checked one at a time: bcrypt is made to be slow.
//!
//! Whoever was right once is known again by a keyed digest, so that a scrape every few seconds costs
//! no bcrypt. Wrong passwords are not remembered: there is no end to them.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{hmac, rand::SystemRandom};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::users::Users;

/// How many that were right are remembered.
const KNOWN: usize = 64;
/// Passwords of one address that wait for their turn; more are sent away, so that who hammers keeps
/// nobody else waiting for long.
const WAITING: usize = 4;

type Digest = [u8; 32];

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Refusal {
    /// No name and password, or wrong ones.
    Unknown,
    /// Too many of this address are being checked.
    Busy,
}

/// Checks passwords.
#[derive(Debug)]
pub(in crate::serve) struct Passwords {
    /// Made at start and never told.
    key: hmac::Key,
    /// Digests of those that were right, the latest last.
    known: Mutex<VecDeque<Digest>>,
    /// bcrypt keeps one CPU busy, and no more than one.
    turn: Arc<Semaphore>,
    waiting: Mutex<HashMap<Option<IpAddr>, usize>>,
}

impl Passwords {
    /// `None` where the host gives no random numbers.
    pub(in crate::serve) fn new() -> Option<Self> {
        Some(Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?,
            known: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
            waiting: Mutex::default(),
        })
    }

    /// Whether a request with these headers is one of `users`'.
    pub(in crate::serve) async fn check(
        &self,
        users: &Users,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<(), Refusal> {
        let (user, password) = credentials(headers).ok_or(Refusal::Unknown)?;
        let (hash, is_user) = users.hash(&user);
        let digest = self.digest(&user, hash, &password);
        if is_user && self.is_known(&digest) {
            return Ok(());
        }
        let _place = self.place(peer).ok_or(Refusal::Busy)?;
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| Refusal::Busy)?;
        // Somebody with the same password may have been first.
        if is_user && self.is_known(&digest) {
            return Ok(());
        }
        let hash = hash.to_owned();
        let checked = spawn_blocking(move || {
            let right = bcrypt::verify(password, &hash).unwrap_or(false);
            // Whoever asked may be gone; the turn is over only now.
            drop(turn);
            right
        });
        let right = checked.await.unwrap_or(false);
        if !is_user || !right {
            return Err(Refusal::Unknown);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == KNOWN {
            known.pop_front();
        }
        known.push_back(digest);
        Ok(())
    }

    /// The hash is part of it: who has a new password is not known by the old one.
    fn digest(&self, user: &str, hash: &str, password: &[u8]) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user.as_bytes(), hash.as_bytes(), password] {
            context.update(&part.len().to_le_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    /// How long it takes tells something of the digests, which without the key tell nothing.
    fn is_known(&self, digest: &Digest) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(digest)
    }

    fn place(&self, peer: Option<IpAddr>) -> Option<Place<'_>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.entry(peer).or_default();
        if *count == WAITING {
            return None;
        }
        *count += 1;
        Some(Place { passwords: self, peer })
    }
}

/// A place among those of an address that wait.
struct Place<'a> {
    passwords: &'a Passwords,
    peer: Option<IpAddr>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.passwords.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.peer);
            }
        }
    }
}

/// The name and password of a `Basic` authorization.
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, coded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(coded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (user, password) = decoded.split_at(colon);
    Some((String::from_utf8(user.to_vec()).ok()?, password.get(1..)?.to_vec()))
}

#[cfg(test)]
mod tests;
