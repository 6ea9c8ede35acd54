use std::{collections::BTreeMap, time::Instant};

use super::*;

fn users(cost: u32) -> Users {
    let hash = bcrypt::hash("right", cost).unwrap();
    Users::new(&BTreeMap::from([("alice".to_owned(), hash)])).unwrap()
}

fn with(user: &str, password: &str) -> HeaderMap {
    let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
}

fn address(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

#[tokio::test]
async fn the_right_password_and_no_other() {
    let (passwords, users) = (Passwords::new().unwrap(), users(4));
    for _ in 0..2 {
        assert_eq!(passwords.check(&users, &with("alice", "right"), None).await, Ok(()));
        for wrong in [
            with("alice", "wrong"),
            with("alice", ""),
            with("alice", "right "),
            with("bob", "right"),
            with("bob", "fakepassword"),
            with("", ""),
            HeaderMap::new(),
        ] {
            let refused = passwords.check(&users, &wrong, None).await;
            assert_eq!(refused, Err(Refusal::Unknown), "{wrong:?}");
        }
    }
    for odd in ["", "Basic", "Basic ", "Basic !", "Basic YWxpY2U=", "Bearer YWxpY2U6cmlnaHQ="] {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, odd.parse().unwrap())]);
        assert!(passwords.check(&users, &headers, None).await.is_err(), "{odd}");
    }
    let lower = "basic YWxpY2U6cmlnaHQ=".parse().unwrap();
    let lower = HeaderMap::from_iter([(header::AUTHORIZATION, lower)]);
    assert_eq!(passwords.check(&users, &lower, None).await, Ok(()));
}

#[tokio::test]
async fn who_was_right_is_known_until_the_hash_changes() {
    let (passwords, before) = (Passwords::new().unwrap(), users(4));
    let right = with("alice", "right");
    passwords.check(&before, &right, None).await.unwrap();
    // Nobody's turn comes any more: what passes now was known.
    let _turn = Arc::clone(&passwords.turn).acquire_owned().await.unwrap();
    passwords.check(&before, &right, None).await.unwrap();
    let after = users(4);
    let wait = std::time::Duration::from_millis(50);
    let asked = tokio::time::timeout(wait, passwords.check(&after, &right, None)).await;
    assert!(asked.is_err(), "another hash is checked again");
}

#[tokio::test]
async fn the_known_are_bounded() {
    let passwords = Passwords::new().unwrap();
    let hash = bcrypt::hash("right", 4).unwrap();
    let names = (0..KNOWN + 10).map(|number| format!("user{number}"));
    let users = names.clone().map(|name| (name, hash.clone())).collect();
    let users = Users::new(&users).unwrap();
    for name in names {
        passwords.check(&users, &with(&name, "right"), None).await.unwrap();
    }
    assert_eq!(passwords.known.lock().unwrap().len(), KNOWN);
}

#[tokio::test]
async fn who_hammers_keeps_nobody_else_waiting() {
    let passwords = Arc::new(Passwords::new().unwrap());
    let users = Arc::new(users(4));
    let turn = Arc::clone(&passwords.turn).acquire_owned().await.unwrap();
    let hammer: Vec<_> = (0..100)
        .map(|_| {
            let (passwords, users) = (Arc::clone(&passwords), Arc::clone(&users));
            tokio::spawn(async move {
                passwords.check(&users, &with("alice", "wrong"), Some(address(1))).await
            })
        })
        .collect();
    tokio::task::yield_now().await;
    drop(turn);
    let right = with("alice", "right");
    assert_eq!(passwords.check(&users, &right, Some(address(2))).await, Ok(()));
    let mut busy = 0;
    for one in hammer {
        busy += usize::from(one.await.unwrap() == Err(Refusal::Busy));
    }
    assert_eq!(busy, 100 - WAITING);
    assert!(passwords.waiting.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_unknown_user_takes_as_long_as_a_known_one() {
    let (passwords, users) = (Passwords::new().unwrap(), users(9));
    let mut least = [f64::INFINITY; 2];
    for _ in 0..5 {
        for (user, least) in ["alice", "nobody"].into_iter().zip(&mut least) {
            let start = Instant::now();
            assert!(passwords.check(&users, &with(user, "wrong"), None).await.is_err());
            *least = least.min(start.elapsed().as_secs_f64());
        }
    }
    let ratio = least[0] / least[1];
    assert!((0.5..2.0).contains(&ratio), "{least:?}");
}
