//! The programs' own rare log lines, carried into the daemon's log.

use aya::Ebpf;
use aya_log::EbpfLogger;

/// Carries log lines; does nothing where the kernel has no ring buffers (before 5.8).
pub(crate) struct Notes(Option<EbpfLogger<&'static dyn log::Log>>);

impl Notes {
    /// Takes hold of the programs' log.
    pub(crate) fn open(ebpf: &mut Ebpf) -> Self {
        match EbpfLogger::init(ebpf) {
            Ok(logger) => Self(Some(logger)),
            Err(error) => {
                tracing::debug!(%error, "the kernel programs' log lines are not available");
                Self(None)
            }
        }
    }

    /// Hands over what the programs have written.
    pub(crate) fn flush(&mut self) {
        if let Some(logger) = &mut self.0 {
            logger.flush();
        }
    }
}

impl std::fmt::Debug for Notes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Notes").field(&self.0.is_some()).finish()
    }
}
