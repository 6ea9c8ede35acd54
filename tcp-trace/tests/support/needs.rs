//! Least kernels. A test that asks for more than the running kernel has is absent there, and says
//! so in a file that whoever runs the tests must read: nothing is left out silently.

use std::{env, fs::OpenOptions, io::Write as _, thread};

/// Names the file, to which a line is added for each absence: test, least kernel and reason,
/// between tabs.
const ABSENCES: &str = "TCP_TRACE_TEST_ABSENCES";

/// Whether the running kernel is `minimum` or later, which is the first with `what`. A test returns
/// at once where it is not.
///
/// # Panics
/// Where it is not, and nobody asked for a list of what is absent.
#[must_use]
pub(crate) fn kernel(minimum: (u32, u32), what: &str) -> bool {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let running = version(&release).unwrap_or_else(|| panic!("{release:?} is no kernel's release"));
    if running >= minimum {
        return true;
    }
    let (major, minor) = minimum;
    let Some(path) = env::var_os(ABSENCES) else {
        panic!(
            "this test needs a kernel {major}.{minor}, for {what}, and this is {release}; name a \
             file for what is absent in {ABSENCES}, as `cargo xtask vm` does"
        );
    };
    let thread = thread::current();
    let test = thread.name().expect("a test runs in a thread of its name");
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(file, "{test}\t{major}.{minor}\t{what}").unwrap();
    false
}

/// Whether the running kernel is `version` or later.
pub(crate) fn is_at_least(version: (u32, u32)) -> bool {
    let name = rustix::system::uname();
    self::version(&name.release().to_string_lossy()).unwrap() >= version
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
