//! Which packages hold the newest cloud kernel of a line, from the archive's own lists.

use std::collections::BTreeSet;

use super::line::Line;

/// What a kernel's packages may be called, before its release. Up to 6.18 all is in the image
/// package; later it is a stub, and the kernel, its modules and their indices lie in three others.
const PREFIXES: [&str; 4] = ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"];
/// The flavour for virtual machines.
const FLAVOUR: &str = "-cloud-amd64";

/// A kernel in the archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// What `uname -r` says.
    pub(super) release: String,
    /// All of its packages.
    pub(super) packages: Vec<String>,
}

/// The newest of `line` among the packages in `lists`, which are texts of `Packages` files.
pub(super) fn newest(line: &Line, lists: &[String]) -> Option<Choice> {
    let names: BTreeSet<&str> = lists
        .iter()
        .flat_map(|list| list.lines().filter_map(|line| line.strip_prefix("Package: ")))
        .collect();
    let releases = names.iter().filter_map(|name| {
        // These two have the kernel itself.
        let rest = PREFIXES[..2].iter().find_map(|prefix| name.strip_prefix(prefix))?;
        is_of(line, rest).then_some(rest)
    });
    let release = releases.max_by_key(|release| numbers(release))?;
    let packages = PREFIXES.iter().map(|prefix| format!("{prefix}{release}"));
    let packages = packages.filter(|name| names.contains(name.as_str())).collect();
    Some(Choice { release: release.to_owned(), packages })
}

/// Whether `release` is one of `line`: `5.10.0-46-cloud-amd64` or `6.12.94+deb13.1-cloud-amd64`.
/// Rebuilds for an older Debian, `6.1.0-0.deb11.48`, are not, nor are metapackages.
fn is_of(line: &Line, release: &str) -> bool {
    let Some(patch) = release
        .strip_suffix(FLAVOUR)
        .and_then(|rest| rest.strip_prefix(line.name))
        .and_then(|rest| rest.strip_prefix('.'))
    else {
        return false;
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((patch, build)) = patch.split_once('-') {
        return is_number(patch) && is_number(build);
    }
    let Some((patch, debian)) = patch.split_once("+deb") else { return false };
    is_number(patch) && debian.split('.').all(is_number)
}

/// Every number in it, for comparison.
fn numbers(release: &str) -> Vec<u64> {
    let version = release.strip_suffix(FLAVOUR).unwrap_or(release);
    let parts = version.split(|character: char| !character.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::line::parse, *};

    fn lists(names: &[&str]) -> Vec<String> {
        let stanzas = names.iter().map(|name| format!("Package: {name}\nVersion: 1\n"));
        vec![stanzas.collect::<Vec<_>>().join("\n")]
    }

    fn chosen(line: &str, names: &[&str]) -> Option<(String, usize)> {
        let choice = newest(parse(line).unwrap(), &lists(names))?;
        Some((choice.release, choice.packages.len()))
    }

    #[test]
    fn the_newest_is_the_one_with_the_highest_numbers() {
        let names = [
            "linux-image-5.10.0-9-cloud-amd64",
            "linux-image-5.10.0-46-cloud-amd64",
            "linux-image-5.10.0-46-cloud-amd64-dbg",
            "linux-image-5.10.0-47-cloud-amd64-unsigned",
            "linux-image-5.10.0-48-amd64",
            "linux-image-5.100.0-1-cloud-amd64",
        ];
        assert_eq!(chosen("5.10", &names), Some(("5.10.0-46-cloud-amd64".into(), 1)));
    }

    #[test]
    fn neither_metapackages_nor_rebuilds_are_meant() {
        let names = [
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.1.0-0.deb11.52-cloud-amd64",
            "linux-image-6.12.1+deb13-cloud-amd64",
        ];
        assert_eq!(chosen("6.1", &names), None);
    }

    #[test]
    fn a_rebuild_with_a_point_is_newer() {
        let names = [
            "linux-image-6.12.115+deb13-cloud-amd64",
            "linux-image-6.12.115+deb13.1-cloud-amd64",
            "linux-image-6.12.94+deb13-cloud-amd64",
        ];
        assert_eq!(chosen("6.12", &names), Some(("6.12.115+deb13.1-cloud-amd64".into(), 1)));
    }

    #[test]
    fn a_kernel_in_several_packages_is_fetched_whole() {
        let names = [
            "linux-base-7.2.13+deb14-cloud-amd64",
            "linux-binary-7.2.12+deb13-cloud-amd64",
            "linux-binary-7.2.13+deb14-cloud-amd64",
            "linux-image-7.2.13+deb14-cloud-amd64",
            "linux-modules-7.2.13+deb14-cloud-amd64",
        ];
        assert_eq!(chosen("7.2", &names), Some(("7.2.13+deb14-cloud-amd64".into(), 4)));
    }
}
