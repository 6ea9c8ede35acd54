//! A program as gcc makes it, with the C library of the host. A guest has neither.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use super::{functions, stack_of};
use crate::{daemon::Daemon, netns::Netns, program::open_directory};

/// A C program, compiled as usual: the C library's `connect()` has no frame of its own there, and the
/// program's functions have.
const SHOP: &str = r"
#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#define APART __attribute__((noinline, noclone))
APART int open_pool(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect(fd, (struct sockaddr *)&to, sizeof to) ? -1 : fd;
}
APART int buy(int port) { return open_pool(port) + 1; }
APART int refund(int port) { return open_pool(port) + 1; }
static void *idle(void *unused) { pause(); return unused; }
int main(int count, char **words) {
    pthread_t thread;
    if (count > 2) pthread_create(&thread, 0, idle, 0);
    int port = atoi(words[1]);
    int sum = buy(port) + refund(port);
    pause();
    return sum;
}
";

/// A program that ends with the test.
struct Shop(Child);

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Compiles it.
fn shop(directory: &tempfile::TempDir) -> PathBuf {
    let (source, shop) = (directory.path().join("shop.c"), directory.path().join("shop"));
    fs::write(&source, SHOP).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-fno-omit-frame-pointer", "-pthread", "-o"]).arg(&shop).arg(&source);
    assert!(gcc.status().expect("apt-get install gcc libc6-dev").success());
    shop
}

#[test]
#[ignore = "needs root"]
fn whoever_calls_the_c_library_is_not_left_out() {
    let directory = open_directory();
    let shop = shop(&directory);
    let netns = Netns::new();
    let daemon = Daemon::start(&[&netns], &["--stacks=shop"]);
    let listener = netns.within(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let at = listener.local_addr().unwrap();
    // With a second thread the library takes another way to the system call.
    for threads in [&[][..], &["two"][..]] {
        let mut command = netns.take_in(Command::new(&shop));
        let child = command.arg(at.port().to_string()).args(threads);
        let _shop = Shop(child.stdout(Stdio::null()).spawn().unwrap());
        for name in ["buy", "refund"] {
            let (_, from) = listener.accept().unwrap();
            let stack = stack_of(&daemon, from, at);
            let named = functions(&stack);
            assert!(named[0].contains("connect"), "{stack:#?}");
            assert_eq!(named[1..4], ["open_pool", name, "main"], "{stack:#?}");
            assert_eq!(stack.headline, format!("open_pool ← {name} ← main"));
            assert_eq!(stack.frames[1].module.as_deref(), Some("shop"));
        }
    }
}
