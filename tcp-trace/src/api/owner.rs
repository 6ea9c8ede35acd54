//! Owners as objects of the API.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::{
    core::{
        cgroup::{Container, Place},
        diagnosis::evidence::Descriptor,
        owner::Owner as Known,
    },
    kernel::places::Whereabouts,
};

/// Whose connection it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// Name of the thread that opened it.
    pub comm: String,
    /// Path of its program, where known.
    pub exe: Option<String>,
    /// Its cgroup, where known.
    pub cgroup: Option<String>,
    /// Its container, where known.
    pub container: Option<String>,
    /// Its systemd unit, where known.
    pub unit: Option<String>,
    /// Its Kubernetes pod, where known.
    #[serde(default)]
    pub pod: Option<String>,
    /// When its process began, in nanoseconds since boot: with the pid, an identity.
    #[serde(default)]
    pub started_ns: Option<u64>,
    /// Id of its cgroup in the v2 hierarchy.
    #[serde(default)]
    pub cgroup_id: Option<u64>,
    /// How it was found: `connect`, `accept`, `listen`, `close`, `listener` or `descriptor`.
    pub source: String,
}

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// The descriptor.
    pub fd: i32,
}

/// An owner; where it lives, [`locate`] adds.
pub(crate) fn owner(known: Known) -> Owner {
    Owner {
        pid: known.pid,
        comm: known.comm.text().into_owned(),
        exe: None,
        cgroup: None,
        container: None,
        unit: None,
        pod: None,
        started_ns: known.started_ns.map(NonZeroU64::get),
        cgroup_id: known.cgroup.map(NonZeroU64::get),
        source: known.source.name().to_owned(),
    }
}

impl From<&Descriptor> for Holder {
    fn from(Descriptor { pid, comm, fd }: &Descriptor) -> Self {
        Self { pid: *pid, comm: comm.text().into_owned(), fd: *fd }
    }
}

/// Adds where it lives.
pub(crate) fn locate(owner: &mut Owner, at: &Whereabouts) {
    let Place { unit, container, pod } = &*at.place;
    owner.exe = at.exe.as_deref().map(str::to_owned);
    owner.cgroup = at.cgroup.as_deref().map(str::to_owned);
    owner.container = container.as_ref().map(Container::text);
    owner.unit.clone_from(unit);
    owner.pod.clone_from(pod);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        cgroup::place,
        event::{Comm, Task},
        owner::OwnerSource,
    };

    fn known() -> Known {
        let task = Task { pid: 7, tid: 8, comm: Comm::from_text("x") };
        Known { cgroup: NonZeroU64::new(5), ..Known::of_task(task, OwnerSource::Connect) }
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let bare = owner(known());
        assert_eq!((bare.pid, bare.source.as_str(), bare.cgroup_id), (7, "connect", Some(5)));
        let rest = [bare.exe, bare.cgroup, bare.container, bare.unit, bare.pod];
        assert_eq!(rest, [None, None, None, None, None]);
    }

    #[test]
    fn a_container_is_told_with_its_runtime() {
        let id = "a".repeat(64);
        let path = format!("/system.slice/web.service/libpod-payload-{id}");
        let at = Whereabouts {
            exe: Some("/usr/sbin/nginx".into()),
            cgroup: Some(path.as_str().into()),
            place: place(&path).into(),
        };
        let mut told = owner(known());
        locate(&mut told, &at);
        assert_eq!(told.exe.as_deref(), Some("/usr/sbin/nginx"));
        assert_eq!(told.cgroup.as_deref(), Some(path.as_str()));
        assert_eq!(told.container, Some(format!("podman://{id}")));
        assert_eq!(told.unit.as_deref(), Some("web.service"));
    }
}
