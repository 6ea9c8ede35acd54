//! Questions to a daemon over its Unix socket: as little of HTTP as that takes.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

/// Longest silence of the daemon.
const PATIENCE: Duration = Duration::from_secs(10);

/// The body of the answer to `GET path`; an error unless the daemon says 200.
pub(crate) fn get(socket: &Path, path: &str) -> Result<String> {
    let tried = || format!("cannot get {path} from {}", socket.display());
    let answer = exchange(socket, path).with_context(tried)?;
    body(&answer).with_context(tried)
}

fn exchange(socket: &Path, path: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Version 1.0: the body ends with the connection, and is not cut into chunks.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn body(answer: &str) -> Result<String> {
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("the daemon answered {status}: {}", body.trim());
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_200_has_a_body_to_use() {
        assert_eq!(body("HTTP/1.0 200 OK\r\na: b\r\n\r\nready\n").unwrap(), "ready\n");
        let error = body("HTTP/1.0 503 Service Unavailable\r\n\r\nbusy").unwrap_err().to_string();
        assert!(error.contains("503") && error.contains("busy"), "{error}");
        assert!(body("").is_err());
    }
}
