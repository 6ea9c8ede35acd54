//! Owners as objects of the API.

use super::Owner;
use crate::{
    core::{cgroup::Container, owner::Owner as Known},
    kernel::places::Whereabouts,
};

/// An owner, with where it lives as far as that is known.
pub(crate) fn owner(known: Known, at: Option<&Whereabouts>) -> Owner {
    let place = at.map(|at| &*at.place);
    Owner {
        pid: known.pid,
        comm: known.comm.text().into_owned(),
        exe: at.and_then(|at| at.exe.as_deref()).map(str::to_owned),
        cgroup: at.and_then(|at| at.cgroup.as_deref()).map(str::to_owned),
        container: place.and_then(|place| place.container.as_ref()).map(Container::text),
        unit: place.and_then(|place| place.unit.clone()),
        source: known.source.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{cgroup::place, event::Comm, owner::OwnerSource};

    const KNOWN: Known = Known { pid: 7, comm: Comm([b'x'; 16]), source: OwnerSource::Connect };

    #[test]
    fn what_is_not_known_is_not_told() {
        let bare = owner(KNOWN, None);
        assert_eq!((bare.pid, bare.source.as_str()), (7, "connect"));
        let rest = [bare.exe, bare.cgroup, bare.container, bare.unit];
        assert_eq!(rest, [None, None, None, None]);
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
        let told = owner(KNOWN, Some(&at));
        assert_eq!(told.exe.as_deref(), Some("/usr/sbin/nginx"));
        assert_eq!(told.cgroup.as_deref(), Some(path.as_str()));
        assert_eq!(told.container, Some(format!("podman://{id}")));
        assert_eq!(told.unit.as_deref(), Some("web.service"));
    }
}
