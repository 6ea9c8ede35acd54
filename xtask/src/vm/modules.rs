//! The kernel modules that the guest loads, in an order in which each finds what it needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::unpack::Kernel;
use crate::tool::Tool;

/// Unpacks modules: the guest's `insmod` does not.
const XZ: Tool = Tool { name: "xz", install: "apt-get install xz-utils" };

/// What tests and `ss` use. Built into the kernel will do, too.
const WANTED: [&str; 9] = [
    "veth",
    "sch_ingress",
    "cls_bpf",
    "act_bpf",
    "sch_netem",
    "tun",
    "inet_diag",
    "tcp_diag",
    "dummy",
];
/// Not a module everywhere: later kernels have IPv6 built in and no longer list it, and 5.10 has no
/// MPTCP in Debian.
const WELCOME: [&str; 2] = ["ipv6", "mptcp_diag"];

/// A module, ready to be loaded.
#[derive(Debug)]
pub(super) struct Module {
    /// Its file's name, without any ending of a compression.
    pub(super) name: String,
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
}

/// Those of `kernel`.
pub(super) fn of(kernel: &Kernel) -> Result<Vec<Module>> {
    let text = |name: &str| {
        let path = kernel.modules.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let dependencies = text("modules.dep")?;
    let order = order(&dependencies, &text("modules.builtin")?)
        .with_context(|| format!("kernel {}", kernel.release))?;
    order.iter().map(|path| read(&kernel.modules.join(path))).collect()
}

fn read(path: &Path) -> Result<Module> {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(name) = file.strip_suffix(".xz") else {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        return Ok(Module { name: file, bytes });
    };
    let output = Command::new(XZ.required()?)
        .args(["--decompress", "--stdout"])
        .arg(path)
        .output()
        .context("cannot start xz")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("xz cannot unpack {}: {}", path.display(), said.trim());
    }
    Ok(Module { name: name.to_owned(), bytes: output.stdout })
}

/// Paths of the modules to load, from the texts of `modules.dep` and `modules.builtin`.
fn order<'a>(dependencies: &'a str, builtin: &str) -> Result<Vec<&'a str>> {
    let entries: BTreeMap<String, (&str, Vec<&str>)> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (name(path), (path, needs.split_ascii_whitespace().collect())))
        .collect();
    let builtin: BTreeSet<String> = builtin.lines().map(name).collect();
    let mut order = Vec::new();
    for wanted in WANTED.into_iter().chain(WELCOME) {
        match entries.get(wanted) {
            // What is named last is needed first.
            Some((path, needs)) => {
                for path in needs.iter().rev().chain([path]) {
                    if !order.contains(path) {
                        order.push(path);
                    }
                }
            }
            None if builtin.contains(wanted) || WELCOME.contains(&wanted) => {}
            None => bail!("it has no module {wanted}, neither built in nor in modules.dep"),
        }
    }
    Ok(order)
}

/// `kernel/net/sched/act_bpf.ko.xz` is `act_bpf`.
fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or_default();
    file.split('.').next().unwrap_or_default().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILTIN: &str = "kernel/net/ipv6/ipv6.ko
kernel/drivers/net/veth.ko
kernel/net/sched/sch_ingress.ko
kernel/net/sched/cls_bpf.ko
kernel/net/sched/act_bpf.ko
kernel/net/sched/sch_netem.ko
kernel/drivers/net/tun.ko
kernel/drivers/net/dummy.ko";

    #[test]
    fn what_a_module_needs_comes_first_and_once() {
        let dependencies = "kernel/net/ipv4/tcp_diag.ko.xz: kernel/net/ipv4/inet_diag.ko.xz
kernel/net/ipv4/inet_diag.ko.xz:
kernel/net/mptcp/mptcp_diag.ko.xz: kernel/net/x.ko.xz kernel/net/ipv4/inet_diag.ko.xz";
        assert_eq!(
            order(dependencies, BUILTIN).unwrap(),
            [
                "kernel/net/ipv4/inet_diag.ko.xz",
                "kernel/net/ipv4/tcp_diag.ko.xz",
                "kernel/net/x.ko.xz",
                "kernel/net/mptcp/mptcp_diag.ko.xz",
            ]
        );
    }

    #[test]
    fn a_module_that_is_nowhere_is_named() {
        let error = order("", BUILTIN).unwrap_err().to_string();
        assert!(error.contains("inet_diag"), "{error}");
    }
}
