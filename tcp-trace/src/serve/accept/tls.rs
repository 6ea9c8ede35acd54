//! TLS with a client, or no client.

use std::{sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Time for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Time to hear why there is no TLS without a handshake.
const FAREWELL: Duration = Duration::from_secs(1);
/// As much of what such a client says is read, lest its answer be cut by a RST.
const HEARD: u64 = 64 * 1024;

const NO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\nContent-Length: 45\r\n\r\nTLS is spoken here: ask for https:// instead\n";

/// The stream behind the handshake; `None` where none came about.
pub(super) async fn handshake(
    stream: TcpStream,
    config: Arc<ServerConfig>,
) -> Option<TlsStream<TcpStream>> {
    let shaken = timeout(HANDSHAKE, async {
        let mut first = [0];
        // A method begins with a letter, a handshake with 22.
        if stream.peek(&mut first).await.ok()? == 1 && first[0].is_ascii_alphabetic() {
            let _ = timeout(FAREWELL, refuse(stream)).await;
            return None;
        }
        TlsAcceptor::from(config).accept(stream).await.ok()
    });
    shaken.await.ok().flatten()
}

async fn refuse(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(NO_TLS).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(HEARD), &mut tokio::io::sink()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let text = String::from_utf8(super::NO_TLS.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
