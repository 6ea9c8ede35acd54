//! How the parts of the server learn that the daemon is going down.

use tokio::sync::watch;

/// Returns once `shutdown` turns true, or nobody is left who could turn it.
pub(super) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: the daemon is going down without a word.
    let _ = shutdown.wait_for(|stop| *stop).await;
}
