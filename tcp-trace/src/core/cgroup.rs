//! What a cgroup's path tells: the systemd unit, the container and the pod.
//!
//! Nothing in the kernel says so; it is how systemd, container runtimes and the kubelet name the
//! cgroups that they make, with the `systemd` driver (scopes and slices) and with the `cgroupfs`
//! driver (plain directories). A process may name a cgroup of its own likewise: this is a hint for
//! people, never a proof.

/// Longest name of one cgroup (`NAME_MAX`): the bound on all that a [`Place`] holds.
pub const NAME_LIMIT: usize = 255;

/// What a path tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// The innermost `.service` or `.scope` that is not a container's own, as `systemctl` takes it.
    pub unit: Option<String>,
    /// The innermost container.
    pub container: Option<Container>,
    /// The uid of the Kubernetes pod, with dashes where the kubelet gave it some.
    pub pod: Option<String>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Container {
    /// Who runs it; `None` where the path does not say (the kubelet's `cgroupfs` driver).
    pub runtime: Option<Runtime>,
    /// 64 hexadecimal digits, or a name (LXC, nspawn).
    pub id: String,
}

impl Container {
    /// As Kubernetes writes it: `containerd://<id>`; the bare id where the runtime is unknown.
    #[must_use]
    pub fn text(&self) -> String {
        match self.runtime {
            Some(runtime) => format!("{}://{}", runtime.name(), self.id),
            None => self.id.clone(),
        }
    }
}

/// Who runs a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Runtime {
    /// Docker.
    Docker,
    /// containerd behind Kubernetes' interface.
    Containerd,
    /// containerd, driven by nerdctl.
    Nerdctl,
    /// CRI-O.
    Crio,
    /// Podman.
    Podman,
    /// LXC, Incus or LXD.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
}

impl Runtime {
    /// Name in the API, as in a pod's `containerID` where Kubernetes knows the runtime.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Nerdctl => "nerdctl",
            Self::Crio => "cri-o",
            Self::Podman => "podman",
            Self::Lxc => "lxc",
            Self::Nspawn => "nspawn",
        }
    }
}

/// What stands before the id in a container's cgroup. `libpod-payload` is that of `--cgroups=split`.
const PREFIXES: [(&str, Runtime); 6] = [
    ("docker", Runtime::Docker),
    ("cri-containerd", Runtime::Containerd),
    ("nerdctl", Runtime::Nerdctl),
    ("crio", Runtime::Crio),
    ("libpod", Runtime::Podman),
    ("libpod-payload", Runtime::Podman),
];

/// Reads the path of a cgroup v2 (or of v1's `name=systemd` hierarchy), as `/proc/PID/cgroup` has
/// it. Any text is a path; one that follows no convention tells nothing.
#[must_use]
pub fn place(path: &str) -> Place {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let mut place = Place::default();
    let mut parent = "";
    for name in path.split('/').filter(|name| !name.is_empty() && name.len() <= NAME_LIMIT) {
        // systemd puts an underscore before a name that the kernel could take for its own.
        let name = name.strip_prefix('_').unwrap_or(name);
        step(&mut place, parent, name);
        parent = name;
    }
    place
}

/// One cgroup on the way inwards: what lies deeper wins.
fn step(place: &mut Place, parent: &str, name: &str) {
    // `SLICE:PREFIX:ID`: a systemd-style name, handed to a runtime with the `cgroupfs` driver.
    if let Some((slice, (prefix, id))) =
        name.split_once(':').and_then(|(slice, rest)| Some((slice, rest.split_once(':')?)))
    {
        place.pod = pod(slice).or(place.pod.take());
        if is_id(id) {
            place.container = Some(container(runtime_of(prefix), id));
        }
        return;
    }
    if let Some(uid) = pod(name) {
        place.pod = Some(uid);
        // What runs in a pod is its own container, not the one that the kubelet may run in (kind).
        place.container = None;
    } else if let Some(found) = container_in(parent, name) {
        let is_unit = found.runtime == Some(Runtime::Nspawn) && name.ends_with(".service");
        place.container = Some(found);
        if is_unit {
            place.unit = Some(name.to_owned());
        }
    } else if [".service", ".scope"].iter().any(|kind| name.ends_with(kind)) {
        place.unit = Some(name.to_owned());
    }
}

fn container(runtime: Option<Runtime>, id: &str) -> Container {
    Container { runtime, id: id.to_owned() }
}

fn runtime_of(prefix: &str) -> Option<Runtime> {
    PREFIXES.iter().find(|(known, _)| *known == prefix).map(|(_, runtime)| *runtime)
}

fn container_in(parent: &str, name: &str) -> Option<Container> {
    let stem = name.strip_suffix(".scope").unwrap_or(name);
    if is_id(name) {
        // `/docker/ID`, and the bare ids of the kubelet, of nerdctl and of ECS.
        return Some(container((parent == "docker").then_some(Runtime::Docker), name));
    }
    if let Some((prefix, id)) = stem.rsplit_once('-')
        && is_id(id)
    {
        // `crio-conmon-ID` and `libpod-conmon-ID` are the containers' minders, outside of them.
        return runtime_of(prefix).map(|runtime| container(Some(runtime), id));
    }
    machine(parent, name, stem)
}

/// Containers that go by a name.
fn machine(parent: &str, name: &str, stem: &str) -> Option<Container> {
    let lxc = name.strip_prefix("lxc.payload.").or((parent == "lxc").then_some(name));
    if let Some(id) = lxc.filter(|id| !id.is_empty()) {
        return Some(container(Some(Runtime::Lxc), id));
    }
    let instance = name.strip_prefix("systemd-nspawn@").and_then(|n| n.strip_suffix(".service"));
    let id = match instance {
        Some(instance) => unescape(instance),
        None if stem.len() < name.len() => unescape(stem.strip_prefix("machine-")?),
        None => return None,
    };
    // libvirt's virtual machines are registered likewise, and are no containers.
    let is_vm = id.starts_with("qemu-");
    (!is_vm && !id.is_empty()).then(|| container(Some(Runtime::Nspawn), &id))
}

/// The uid in `podUID` or in `kubepods-burstable-podUID.slice`, where dashes became underscores.
fn pod(name: &str) -> Option<String> {
    let uid = match name.strip_suffix(".slice") {
        // A guaranteed pod is in no class of its own: `kubepods-podUID.slice`.
        Some(stem) => stem.rsplit_once("-pod")?.1.replace('_', "-"),
        None => name.strip_prefix("pod")?.to_owned(),
    };
    is_uid(&uid).then_some(uid)
}

/// A UUID, or the 32 digits of a pod that the kubelet runs from a file.
fn is_uid(text: &str) -> bool {
    let digits: Vec<_> = text.split('-').map(str::len).collect();
    (digits == [8, 4, 4, 4, 12] || digits == [32])
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Takes back systemd's escapes: `\x2d` is a dash. What is no escape, or no UTF-8 afterwards, stays.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend(before.as_bytes());
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let (Some(byte), Some(behind)) = (byte, after.get(2..)) {
            bytes.push(byte);
            rest = behind;
        } else {
            bytes.extend(b"\\x");
            rest = after;
        }
    }
    bytes.extend(rest.as_bytes());
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests;
