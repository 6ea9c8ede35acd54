//! Exit codes, and the last words on standard error.

use std::{io, process::ExitCode};

use super::print;
use crate::{
    demo::troupe::NoStage,
    kernel::{load::LoadError, plan::PlanError, selfcheck::CheckError},
    serve::listen::ListenError,
};

/// Something failed.
pub(super) const FAILED: u8 = 1;
/// The command line makes no sense.
const MISUSED: u8 = 2;
/// `diagnose` has found something.
pub(super) const FOUND: u8 = 3;
/// Privileges or kernel support are missing.
const UNSUPPORTED: u8 = 4;

/// Says on standard error what failed, with its causes, and which code that is.
pub(super) fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        // Whoever read our output has seen enough.
        return ExitCode::SUCCESS;
    }
    print::note(&format!("tcp-trace: {}", story(error)));
    ExitCode::from(code(error))
}

/// The error with its causes, each told once: many of ours name their cause themselves.
fn story(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |story, cause| {
        let cause = cause.to_string();
        match story.as_str() {
            "" => cause,
            told if told.contains(&cause) => story,
            told => format!("{told}: {cause}"),
        }
    })
}

fn code(error: &anyhow::Error) -> u8 {
    let unsupported = error.chain().any(|cause| {
        cause.downcast_ref().is_some_and(|plan| !matches!(plan, PlanError::TooManyNamespaces))
            || cause.is::<LoadError>()
            || cause.is::<CheckError>()
            || cause.is::<NeedsRoot>()
            || cause.is::<NoStage>()
    });
    if unsupported {
        UNSUPPORTED
    } else if error.is::<Misuse>() || is_no_address(error) {
        MISUSED
    } else {
        FAILED
    }
}

/// Whether `--web.listen-address` is no address at all.
fn is_no_address(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(ListenError::Address { source, .. }) if source.kind() == io::ErrorKind::InvalidInput
    )
}

/// The words are right one by one, and make no sense together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Misuse(pub(super) String);

/// The daemon's socket belongs to root.
#[derive(Debug, thiserror::Error)]
#[error("a daemon serves on {0}, but only root may ask it; use sudo")]
pub(super) struct NeedsRoot(pub(super) String);

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let cause = io::Error::other("no such thing");
        let named = Err::<(), _>(cause).context("it failed: no such thing").unwrap_err();
        assert_eq!(story(&named), "it failed: no such thing");
        let apart = Err::<(), _>(io::Error::other("no such thing")).context("it failed");
        assert_eq!(story(&apart.unwrap_err()), "it failed: no such thing");
    }

    #[test]
    fn missing_privileges_have_a_code_of_their_own() {
        let privilege = anyhow::Error::from(PlanError::Privilege { missing: vec!["CAP_BPF"] });
        assert_eq!(code(&privilege), UNSUPPORTED);
        let wrapped = Err::<(), _>(privilege).context("while starting").unwrap_err();
        assert_eq!(code(&wrapped), UNSUPPORTED);
        assert_eq!(code(&PlanError::TooManyNamespaces.into()), FAILED);
        assert_eq!(code(&anyhow::anyhow!("anything else")), FAILED);
    }
}
