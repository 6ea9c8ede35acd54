//! A network namespace of a test's own: nobody else's connection can be in it.

use std::{
    fs, io,
    net::SocketAddr,
    os::{
        fd::AsFd as _,
        unix::{fs::MetadataExt as _, process::CommandExt as _},
    },
    path::PathBuf,
    process::Command,
};

use super::{
    actor::{Actor, Arg},
    sock::loopback,
};

/// What a listener that says "so far, so good" is called.
pub(crate) const HOME: &str = "kt-home";

/// The namespace. It goes with the last process and socket in it.
#[derive(Debug)]
pub(crate) struct Netns {
    home: Actor,
}

impl Netns {
    /// A new one, with nothing but `lo`.
    pub(crate) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test needs root: run `cargo xtask test`, or `sudo -E cargo test -- --ignored`"
        );
        let home = Actor::start(HOME);
        home.call(libc::SYS_unshare, &[Arg::Number(libc::CLONE_NEWNET.into())]).unwrap();
        let netns = Self { home };
        netns.raise("lo");
        netns
    }

    /// The process that keeps it.
    pub(crate) fn home(&self) -> &Actor {
        &self.home
    }

    /// A process in it.
    pub(crate) fn actor(&self, name: &str) -> Actor {
        let actor = Actor::start(name);
        let path = [self.path().as_bytes(), b"\0"].concat();
        let open = [Arg::Number(libc::AT_FDCWD.into()), Arg::Bytes(&path), Arg::Number(0)];
        let fd = actor.call(libc::SYS_openat, &open).unwrap().value;
        let kind = Arg::Number(libc::CLONE_NEWNET.into());
        actor.call(libc::SYS_setns, &[Arg::Number(fd), kind]).unwrap();
        actor.call(libc::SYS_close, &[Arg::Number(fd)]).unwrap();
        actor
    }

    /// Its handle in `/proc`, as `--netns` takes it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.home.pid())
    }

    /// Its inode.
    pub(crate) fn inode(&self) -> u32 {
        u32::try_from(fs::metadata(self.path()).unwrap().ino()).unwrap()
    }

    /// What the kernel tells about it.
    pub(crate) fn proc(&self) -> PathBuf {
        format!("/proc/{}/net", self.home.pid()).into()
    }

    /// A command that runs in it.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.take_in(Command::new(program))
    }

    /// The same command, to run in it.
    pub(crate) fn take_in(&self, mut command: Command) -> Command {
        let handle = fs::File::open(self.path()).unwrap();
        // SAFETY: between fork and exec one system call is made, and nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                let kind = rustix::thread::LinkNameSpaceType::Network;
                rustix::thread::move_into_link_name_space(handle.as_fd(), Some(kind))
                    .map_err(io::Error::from)
            });
        }
        command
    }

    /// What a thread in it comes to.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let handle = fs::File::open(self.path()).unwrap();
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let kind = rustix::thread::LinkNameSpaceType::Network;
                rustix::thread::move_into_link_name_space(handle.as_fd(), Some(kind)).unwrap();
                work()
            });
            inside.join().unwrap()
        })
    }

    /// Runs `ip` in it, which must go well; what it prints.
    #[track_caller]
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let output = self.command("ip").args(arguments.split(' ')).output().expect("iproute2");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {arguments}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Writes a setting of the namespace, such as `ipv4/tcp_syn_retries`.
    pub(crate) fn set(&self, setting: &str, value: &str) {
        let path = format!("/proc/sys/net/{setting}\0");
        let flags = Arg::Number(libc::O_WRONLY.into());
        let open = [Arg::Number(libc::AT_FDCWD.into()), Arg::Bytes(path.as_bytes()), flags];
        let fd = Arg::Number(self.home.call(libc::SYS_openat, &open).unwrap().value);
        let length = Arg::Number(i64::try_from(value.len()).unwrap());
        self.home.call(libc::SYS_write, &[fd, Arg::Bytes(value.as_bytes()), length]).unwrap();
        self.home.call(libc::SYS_close, &[fd]).unwrap();
    }

    /// Opens and closes a listener, which everybody who traces the namespace must see.
    pub(crate) fn signal(&self) -> SocketAddr {
        let listener = self.home.listen(loopback(true));
        let address = listener.local();
        listener.close();
        address
    }

    /// Asks the kernel for something about an interface.
    pub(crate) fn ioctl(&self, family: i32, request: libc::c_ulong, argument: &[u8]) -> Vec<u8> {
        let arguments = [family, libc::SOCK_DGRAM, 0].map(|n| Arg::Number(n.into()));
        let fd = Arg::Number(self.home.call(libc::SYS_socket, &arguments).unwrap().value);
        let request = Arg::Number(request.cast_signed());
        let answered = self.home.call(libc::SYS_ioctl, &[fd, request, Arg::Bytes(argument)]);
        self.home.call(libc::SYS_close, &[fd]).unwrap();
        answered.unwrap().memory
    }

    /// Sends what is for nobody else through `interface`.
    pub(crate) fn route_all(&self, interface: &str) {
        let mut ip = self.command("ip");
        let done = ip.args(["route", "add", "default", "dev", interface]).status();
        assert!(done.expect("ip runs").success());
    }

    /// Brings an interface up.
    pub(crate) fn raise(&self, interface: &str) {
        let flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap();
        let request = interface_request(interface, &flags.to_ne_bytes());
        self.ioctl(libc::AF_INET, libc::SIOCSIFFLAGS, &request);
    }
}

/// A `struct ifreq`.
pub(crate) fn interface_request(interface: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 40];
    bytes[..interface.len()].copy_from_slice(interface.as_bytes());
    bytes[16..16 + value.len()].copy_from_slice(value);
    bytes
}
