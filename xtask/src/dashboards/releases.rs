//! The Prometheus servers that are asked: an old one that many still run, and a new one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    archive::{Apt, Archive, Bases, Suite, run},
    checkout::Checkout,
};

/// A release of Prometheus, and where Debian keeps it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Release {
    /// Its version's beginning.
    pub(super) name: &'static str,
    /// Suites that have or had it.
    suites: &'static [Suite],
    /// Whether it goes through trouble, too.
    pub(super) in_trouble: bool,
}

/// Both.
pub(super) const ALL: [Release; 2] = [
    Release { name: "2.42", suites: &[(Archive::Main, "bookworm")], in_trouble: false },
    Release {
        name: "3.5",
        suites: &[(Archive::Main, "forky"), (Archive::Main, "sid")],
        in_trouble: true,
    },
];

/// The package.
const PACKAGE: &str = "prometheus";

impl Release {
    /// The server; fetched once, unpacked beside the system's own.
    pub(super) fn server(&self, checkout: &Checkout) -> Result<PathBuf> {
        let home = checkout.root().join("target/prometheus").join(self.name);
        let server = home.join("root/usr/bin/prometheus");
        if !server.is_file() {
            self.fetch(&home).with_context(|| format!("cannot fetch Prometheus {}", self.name))?;
        }
        let version = run(Command::new(&server).arg("--version"))?;
        if !version.contains(&format!("version {}.", self.name)) {
            bail!(
                "{} is not {}: {}; remove it, and it is fetched again",
                server.display(),
                self.name,
                version.lines().next().unwrap_or_default()
            );
        }
        Ok(server)
    }

    fn fetch(&self, home: &Path) -> Result<()> {
        let apt = Apt::new(home.join("apt"), &Bases::find()?, self.suites)?;
        // A suite that is gone does no harm while another has it.
        let updated = apt.update();
        let version = self.version(&apt.lists()?);
        let Some(version) = version else {
            updated?;
            bail!("none of these has it:\n{}", apt.sources());
        };
        let root = home.join("root");
        for package in apt.download(&[format!("{PACKAGE}={version}")])? {
            fs::create_dir_all(&root)
                .with_context(|| format!("cannot create {}", root.display()))?;
            run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&root))?;
        }
        Ok(())
    }

    /// The full version of the first list that has it.
    fn version(&self, lists: &[String]) -> Option<String> {
        let stanzas = lists.iter().flat_map(|list| list.split("\n\n"));
        let ours = stanzas.filter(|stanza| {
            stanza.lines().any(|line| line.strip_prefix("Package: ") == Some(PACKAGE))
        });
        let mut versions = ours
            .filter_map(|stanza| stanza.lines().find_map(|line| line.strip_prefix("Version: ")));
        versions.find(|version| version.starts_with(&format!("{}.", self.name))).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_chosen_by_its_beginning() {
        let lists = [
            "Package: prometheus-node-exporter\nVersion: 2.42.1\n\nPackage: prometheus\nVersion: 2.53.3+ds1-2\n".to_owned(),
            "Package: prometheus\nArchitecture: amd64\nVersion: 2.42.0+ds-5+b5\n".to_owned(),
        ];
        assert_eq!(ALL[0].version(&lists).as_deref(), Some("2.42.0+ds-5+b5"));
        assert_eq!(ALL[1].version(&lists), None);
    }
}
