//! What was measured on: without it, figures mean nothing.

use std::{fmt, fs, thread};

use rustix::system::uname;
use serde::{Deserialize, Serialize};

/// Kernel and processors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    kernel: String,
    architecture: String,
    cpus: usize,
    cpu: String,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let name = uname();
        Self {
            kernel: format!(
                "{} {} {}",
                name.sysname().to_string_lossy(),
                name.release().to_string_lossy(),
                name.version().to_string_lossy()
            ),
            architecture: name.machine().to_string_lossy().into_owned(),
            cpus: thread::available_parallelism().map_or(0, Into::into),
            cpu: model(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, architecture, cpus, cpu } = self;
        write!(formatter, "{kernel} {architecture}, {cpus} x {cpu}")
    }
}

/// The model as x86 names it; not every architecture does.
fn model(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
    name.unwrap_or("CPU of unnamed model").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found() {
        assert_eq!(model("processor : 0\nmodel name\t: A CPU @ 2 GHz\n"), "A CPU @ 2 GHz");
        assert_eq!(model(""), "CPU of unnamed model");
    }
}
