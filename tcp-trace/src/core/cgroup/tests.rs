//! Paths as hosts really have them.

use proptest::prelude::*;

use super::*;

const ID: &str = "4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c";
const UID: &str = "0f3a6f2e-7a55-4a4b-9c37-2b1f0a9d8e7c";
const STATIC_UID: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90";

/// Path (`ID`, `UID`, `U_D`, `STATIC` stand for the constants), unit, container, pod.
type Case = (&'static str, Option<&'static str>, Option<&'static str>, Option<&'static str>);

fn filled(text: &str) -> String {
    text.replace("U_D", &UID.replace('-', "_"))
        .replace("UID", UID)
        .replace("STATIC", STATIC_UID)
        .replace("ID", ID)
}

fn judge(cases: &[Case]) {
    for (path, unit, container, pod) in cases {
        let found = place(&filled(path));
        let text = found.container.as_ref().map(Container::text);
        let wanted = (unit.map(filled), container.map(filled), pod.map(filled));
        assert_eq!((found.unit, text, found.pod), wanted, "{path}");
    }
}

#[test]
fn systemd_units() {
    judge(&[
        ("/", None, None, None),
        ("", None, None, None),
        ("/init.scope", Some("init.scope"), None, None),
        ("/system.slice", None, None, None),
        ("/system.slice/nginx.service", Some("nginx.service"), None, None),
        ("/system.slice/nginx.service (deleted)", Some("nginx.service"), None, None),
        ("/system.slice/_cpu.service", Some("cpu.service"), None, None),
        (
            r"/system.slice/system-postgresql.slice/postgresql@15-main.service",
            Some("postgresql@15-main.service"),
            None,
            None,
        ),
        (
            r"/system.slice/system-getty.slice/getty@tty1.service",
            Some("getty@tty1.service"),
            None,
            None,
        ),
        (
            r"/system.slice/system-systemd\x2dfsck.slice/systemd-fsck@dev-disk-by\x2duuid-7.service",
            Some(r"systemd-fsck@dev-disk-by\x2duuid-7.service"),
            None,
            None,
        ),
        ("/user.slice/user-1000.slice/session-2.scope", Some("session-2.scope"), None, None),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox@5.service",
            Some("app-firefox@5.service"),
            None,
            None,
        ),
        (
            r"/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Terminal.slice/vte-spawn-d7c1.scope",
            Some("vte-spawn-d7c1.scope"),
            None,
            None,
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/init.scope",
            Some("init.scope"),
            None,
            None,
        ),
        ("/system.slice/systemd-udevd.service/udev", Some("systemd-udevd.service"), None, None),
    ]);
}

#[test]
fn docker_podman_and_nerdctl() {
    judge(&[
        ("/docker/ID", None, Some("docker://ID"), None),
        ("/docker/ID/system.slice/nginx.service", Some("nginx.service"), Some("docker://ID"), None),
        ("/system.slice/docker-ID.scope", None, Some("docker://ID"), None),
        ("/system.slice/docker.service", Some("docker.service"), None, None),
        ("/system.slice:docker:ID", None, Some("docker://ID"), None),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
            Some("user@1000.service"),
            Some("docker://ID"),
            None,
        ),
        ("/actions_job/ID", None, Some("ID"), None),
        ("/ecs/0123456789abcdef0123456789abcdef/ID", None, Some("ID"), None),
        ("/machine.slice/libpod-ID.scope", None, Some("podman://ID"), None),
        ("/machine.slice/libpod-ID.scope/container", None, Some("podman://ID"), None),
        ("/machine.slice/libpod-conmon-ID.scope", Some("libpod-conmon-ID.scope"), None, None),
        ("/libpod_parent/libpod-ID", None, Some("podman://ID"), None),
        (
            "/system.slice/web.service/libpod-payload-ID",
            Some("web.service"),
            Some("podman://ID"),
            None,
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            Some("user@1000.service"),
            Some("podman://ID"),
            None,
        ),
        ("/system.slice/nerdctl-ID.scope", None, Some("nerdctl://ID"), None),
        ("/default/ID", None, Some("ID"), None),
        ("/system.slice/docker-0123456789ab.scope", Some("docker-0123456789ab.scope"), None, None),
    ]);
}

#[test]
fn kubernetes() {
    judge(&[
        ("/kubepods/burstable/podUID/ID", None, Some("ID"), Some("UID")),
        ("/kubepods/besteffort/podUID/ID", None, Some("ID"), Some("UID")),
        ("/kubepods/podUID/ID", None, Some("ID"), Some("UID")),
        ("/kubepods/burstable/podSTATIC/ID", None, Some("ID"), Some("STATIC")),
        ("/kubepods/burstable/podUID/crio-ID", None, Some("cri-o://ID"), Some("UID")),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice/cri-containerd-ID.scope",
            None,
            Some("containerd://ID"),
            Some("UID"),
        ),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_D.slice/docker-ID.scope",
            None,
            Some("docker://ID"),
            Some("UID"),
        ),
        (
            "/kubepods.slice/kubepods-podU_D.slice/crio-ID.scope/container",
            None,
            Some("cri-o://ID"),
            Some("UID"),
        ),
        (
            "/kubepods.slice/kubepods-podU_D.slice/crio-conmon-ID.scope",
            Some("crio-conmon-ID.scope"),
            None,
            Some("UID"),
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podSTATIC.slice/cri-containerd-ID.scope",
            None,
            Some("containerd://ID"),
            Some("STATIC"),
        ),
        (
            "/system.slice/containerd.service/kubepods-burstable-podU_D.slice:cri-containerd:ID",
            Some("containerd.service"),
            Some("containerd://ID"),
            Some("UID"),
        ),
        // kind: a node is a container, a pod in it has containers of its own.
        ("/docker/ID/kubelet/kubepods/besteffort/podUID/ID", None, Some("ID"), Some("UID")),
        (
            "/docker/ID/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podU_D.slice/cri-containerd-ID.scope",
            None,
            Some("containerd://ID"),
            Some("UID"),
        ),
        ("/docker/ID/kubelet/kubepods/besteffort/podUID", None, None, Some("UID")),
        ("/kubepods/burstable/podium/x", None, None, None),
    ]);
}

#[test]
fn machines() {
    judge(&[
        ("/lxc.payload.web", None, Some("lxc://web"), None),
        ("/lxc.payload.web/system.slice/ssh.service", Some("ssh.service"), Some("lxc://web"), None),
        ("/lxc.monitor.web", None, None, None),
        ("/lxc/101/ns/init.scope", Some("init.scope"), Some("lxc://101"), None),
        (r"/machine.slice/machine-my\x2dbox.scope/payload", None, Some("nspawn://my-box"), None),
        (
            "/machine.slice/systemd-nspawn@debian.service/payload",
            Some("systemd-nspawn@debian.service"),
            Some("nspawn://debian"),
            None,
        ),
        (
            r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator",
            Some(r"machine-qemu\x2d1\x2dvm.scope"),
            None,
            None,
        ),
        (r"/machine.slice/machine-a\x2.scope", None, Some(r"nspawn://a\x2"), None),
        (r"/machine.slice/machine-a\xff.scope", None, Some(r"nspawn://a\xff"), None),
    ]);
}

fn longest(place: &Place) -> usize {
    let id = place.container.as_ref().map_or(0, |container| container.id.len());
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    id.max(text(&place.unit)).max(text(&place.pod))
}

proptest! {
    #[test]
    fn any_text_is_a_path_and_what_it_tells_is_bounded(path in any::<String>()) {
        prop_assert!(longest(&place(&path)) <= NAME_LIMIT);
    }

    #[test]
    fn likewise_of_what_looks_like_one(parts in prop::collection::vec(
        prop_oneof![
            r"[a-z@:._\\x-]{0,12}\.(service|scope|slice)",
            "(docker|crio|libpod|cri-containerd|nerdctl)[-:]?[0-9a-f]{62,66}(.scope)?",
            r"(machine-|lxc.payload.|systemd-nspawn@)[a-zé\\x0-9]{0,300}(.scope|.service)?",
            "(kubepods-|x-)?pod[0-9a-f_-]{30,38}(.slice)?(:[a-z]{0,9}:[0-9a-f]{64})?",
        ], 0..8)) {
        let path = format!("/{}", parts.join("/"));
        let place = place(&path);
        prop_assert!(longest(&place) <= NAME_LIMIT);
        if let Some(unit) = &place.unit {
            prop_assert!(path.contains(unit.as_str()));
        }
    }
}
