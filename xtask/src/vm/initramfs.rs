//! What the guest boots into: programs, modules, and what to run.

use std::{fmt::Write as _, path::Path};

use anyhow::Result;

use super::{
    cpio::Archive,
    modules,
    programs::{self, Programs},
    unpack::Kernel,
};

/// The guest's first process.
const INIT: &[u8] = include_bytes!("init.sh");
/// root, and a user without privileges.
const USERS: &[u8] = b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
/// What init mounts on, and where programs write.
const DIRECTORIES: [&str; 6] = ["/dev", "/proc", "/sys", "/tmp", "/run", "/var"];

/// One run of the tests in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// How state changes are hooked.
    pub(super) backend: String,
    /// Tests whose names hold one of these; all, if there are none.
    pub(super) filters: Vec<String>,
}

/// What the guest is for.
#[derive(Clone, Debug)]
pub(super) enum Task {
    /// To run tests.
    Tests(Vec<Run>),
    /// To measure, with these arguments of `bench`.
    Bench(String),
    /// To be looked around in.
    Shell,
}

/// The archive for `kernel`.
pub(super) fn build(kernel: &Kernel, programs: &Programs, task: &Task) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in DIRECTORIES {
        archive.directory(Path::new(directory));
    }
    archive.program(Path::new("/init"), INIT);
    archive.file(Path::new("/etc/passwd"), USERS);
    programs::put_tools(&mut archive, matches!(task, Task::Bench(_)))?;
    programs.put(&mut archive)?;
    let mut order = String::new();
    for module in modules::of(kernel)? {
        archive.file(&Path::new("/vm/modules").join(&module.name), &module.bytes);
        order.push_str(&module.name);
        order.push('\n');
    }
    archive.file(Path::new("/vm/modules/order"), order.as_bytes());
    match task {
        Task::Tests(runs) => archive.file(Path::new("/vm/runs"), list(runs).as_bytes()),
        Task::Bench(arguments) => archive.file(Path::new("/vm/bench"), arguments.as_bytes()),
        Task::Shell => archive.file(Path::new("/vm/shell"), &[]),
    }
    Ok(archive.finish())
}

/// The runs as init reads them.
fn list(runs: &[Run]) -> String {
    runs.iter().fold(String::new(), |mut text, run| {
        let _ = writeln!(text, "{} {}", run.backend, run.filters.join(" "));
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_lines_of_a_backend_and_filters() {
        let run = |backend: &str, filters: &[&str]| Run {
            backend: backend.into(),
            filters: filters.iter().map(|&filter| filter.into()).collect(),
        };
        let runs = [run("auto", &[]), run("kprobe", &["reset::", "orderly::"])];
        assert_eq!(list(&runs), "auto \nkprobe reset:: orderly::\n");
    }
}
