//! A tree of directories is as good as cgroup2fs, save for its handles.

use std::{fs, os::unix::fs::MetadataExt as _, time::Duration};

use super::*;

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn the_mount_is_found_whole_rather_than_in_part() {
    let hybrid = "\
        25 20 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        26 25 0:23 /sub /run/part rw,nosuid shared:4 - cgroup2 cgroup2 rw\n\
        27 25 0:23 / /sys/fs/cgroup/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw\n\
        28 25 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    assert_eq!(mount_point(hybrid), Some("/sys/fs/cgroup/unified".into()));
    let spaced = "26 25 0:23 /../.. /my\\040cgroups rw - cgroup2 none rw";
    assert_eq!(mount_point(spaced), Some("/my cgroups".into()));
    for none in ["", "x - cgroup2", "1 2 3 / /x rw - cgroup c rw", " - - -"] {
        assert_eq!(mount_point(none), None, "{none:?}");
    }
}

#[test]
fn where_handles_are_refused_the_tree_is_walked_but_not_at_every_miss() {
    let root = tempfile::tempdir().unwrap();
    let service = root.path().join("system.slice/nginx.service");
    fs::create_dir_all(&service).unwrap();
    fs::write(root.path().join("cgroup.procs"), "").unwrap();
    let mut cgroups = Cgroups::walking(root.path());
    let start = Instant::now();

    let found = cgroups.find(inode(&service), start).unwrap();
    assert_eq!(found.path, "/system.slice/nginx.service");
    assert_eq!(found.place.unit.as_deref(), Some("nginx.service"));
    assert_eq!(cgroups.find(inode(root.path()), start).unwrap().path, "/");
    assert_eq!(cgroups.find(0, start), None);

    let late = root.path().join("late.scope");
    fs::create_dir(&late).unwrap();
    assert_eq!(cgroups.find(inode(&late), start + Duration::from_millis(10)), None);
    let found = cgroups.find(inode(&late), start + Duration::from_mins(1)).unwrap();
    assert_eq!(found.path, "/late.scope");

    // What was found once is remembered.
    let gone = inode(&service);
    fs::remove_dir_all(root.path().join("system.slice")).unwrap();
    assert!(cgroups.find(gone, start).is_some());
}

#[test]
fn without_a_mount_nothing_is_known() {
    let mut cgroups = Cgroups::at(None);
    assert_eq!(cgroups.find(1, Instant::now()), None);
    let mut cgroups = Cgroups::at(Some("/nowhere".into()));
    assert_eq!(cgroups.find(1, Instant::now()), None);
}

#[test]
fn what_lies_outside_of_the_mount_has_no_path() {
    let at = Path::new("/sys/fs/cgroup");
    assert_eq!(below(at, Path::new("/sys/fs/cgroup")).as_deref(), Some("/"));
    assert_eq!(below(at, Path::new("/sys/fs/cgroup/a/b (deleted)")).as_deref(), Some("/a/b"));
    assert_eq!(below(at, Path::new("(unreachable)/a")), None);
}

/// A mount of cgroup2fs: the host's own, else one that lasts as long as this value.
struct Mounted {
    at: PathBuf,
    own: Option<tempfile::TempDir>,
}

impl Mounted {
    fn get() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let probe = |at: &PathBuf| {
            let probe = at.join(format!("tcp-trace-probe-{}", std::process::id()));
            fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe)).is_ok()
        };
        if let Some(at) = mount_point(&mounts).filter(probe) {
            return Self { at, own: None };
        }
        let own = tempfile::tempdir().unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", own.path(), "cgroup2", flags, None).unwrap();
        Self { at: own.path().to_owned(), own: Some(own) }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(own) = &self.own {
            let _ = rustix::mount::unmount(own.path(), rustix::mount::UnmountFlags::DETACH);
        }
    }
}

/// Removed again, also where the test fails.
struct Made(PathBuf);

impl Drop for Made {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_real_cgroup_is_found_by_its_handle_and_gone_once_removed() {
    if !rustix::process::geteuid().is_root() {
        println!("left out: only root may make a cgroup");
        return;
    }
    let mounted = Mounted::get();
    let name = format!("tcp-trace-test-{}.service", std::process::id());
    let made = Made(mounted.at.join(&name));
    fs::create_dir(&made.0).unwrap();
    let id = inode(&made.0);
    let now = Instant::now();

    let mut cgroups = Cgroups::at(Some(mounted.at.clone()));
    let found = cgroups.find(id, now).unwrap();
    assert_eq!(found.path, format!("/{name}"));
    assert_eq!(found.place.unit.as_deref(), Some(name.as_str()));
    assert_eq!(cgroups.find(inode(&mounted.at), now).unwrap().path, "/");
    let tree = cgroups.tree.as_mut().unwrap();
    assert!(tree.walked.is_none(), "handles work on every kernel from 5.5 on");
    assert_eq!(Walked::default().find(&tree.at, id, now), Some(format!("/{name}")));

    drop(made);
    assert!(cgroups.find(id, now).is_some(), "remembered");
    let mut afresh = Cgroups::at(Some(mounted.at.clone()));
    assert_eq!(afresh.find(id, now), None);
    assert_eq!(afresh.known.get(&id), Some(&None), "and never asked for again");
    assert!(afresh.tree.as_ref().unwrap().walked.is_none());
}
