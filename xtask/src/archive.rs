//! Debian's archive, asked through apt but beside the system's own lists and cache, which stay as
//! they are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::tool::{Tool, words};

/// Fetches packages, and checks whose they are.
const APT: Tool = Tool { name: "apt-get", install: "a Debian system, which has it" };
/// What a host's own release may be called.
const RELEASES: [&str; 8] =
    ["bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable"];
/// Signs every suite that is asked for.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where a suite lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Archive {
    /// Releases and backports.
    Main,
    /// Security updates.
    Security,
}

/// A suite of Debian, and where it lies.
pub(crate) type Suite = (Archive, &'static str);

/// Where this host's own sources say the archive is: so mirrors and proxies are those of the host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bases {
    main: String,
    security: String,
}

impl Bases {
    /// As the host's sources have them.
    pub(crate) fn find() -> Result<Self> {
        let output = run(Command::new(APT.required()?).args(["update", "--print-uris"]))?;
        Self::parse(&output).context(
            "apt's sources on this host name no Debian archive (no URI of /dists/<release>/ among \
             what `apt-get update --print-uris` prints); put one into /etc/apt/sources.list.d",
        )
    }

    /// From the URIs that `apt-get update` would fetch. Others' archives may have suites of the same
    /// names; Debian's alone has one of updates beside the release.
    fn parse(uris: &str) -> Option<Self> {
        let suite = |line: &'_ str| -> Option<(String, String)> {
            let (uri, _) = line.strip_prefix('\'')?.split_once("/InRelease'")?;
            let (base, suite) = uri.split_once("/dists/")?;
            Some((base.to_owned(), suite.to_owned()))
        };
        let suites: Vec<_> = uris.lines().filter_map(suite).collect();
        let base = |ending: &str| {
            let is_it = |suite: &str| {
                suite.strip_suffix(ending).is_some_and(|release| RELEASES.contains(&release))
            };
            suites.iter().find(|(_, suite)| is_it(suite)).map(|(base, _)| base.clone())
        };
        let main = base("-updates").or_else(|| base(""))?;
        // Mirrors of both have them side by side.
        let beside = || format!("{}-security", main.trim_end_matches('/'));
        let security = base("-security").or_else(|| base("/updates")).unwrap_or_else(beside);
        Some(Self { main, security })
    }

    fn of(&self, archive: Archive) -> &str {
        match archive {
            Archive::Main => &self.main,
            Archive::Security => &self.security,
        }
    }

    /// The lines of a `sources.list` for `suites`.
    fn sources(&self, suites: &[Suite], keyring: Option<&str>) -> String {
        let signed = keyring.map(|keyring| format!(" signed-by={keyring}")).unwrap_or_default();
        let source = |(archive, suite): &Suite| {
            let base = self.of(*archive);
            format!("deb [arch=amd64 target=Packages{signed}] {base} {suite} main\n")
        };
        suites.iter().map(source).collect()
    }
}

/// apt with a directory of its own.
#[derive(Debug)]
pub(crate) struct Apt {
    directory: PathBuf,
    sources: String,
}

impl Apt {
    /// One that knows `suites`.
    pub(crate) fn new(directory: PathBuf, bases: &Bases, suites: &[Suite]) -> Result<Self> {
        let keyring = Path::new(KEYRING).exists().then_some(KEYRING);
        let apt = Self { sources: bases.sources(suites, keyring), directory };
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = apt.directory.join(part);
            fs::create_dir_all(&part)
                .with_context(|| format!("cannot create {}", part.display()))?;
        }
        for (name, text) in
            [("sources.list", &*apt.sources), ("status", ""), ("apt.conf", &apt.configuration())]
        {
            let path = apt.directory.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(apt)
    }

    /// Read after the host's own, whose hooks must not run for lists that are not the host's.
    fn configuration(&self) -> String {
        let here = self.directory.display();
        format!(
            "#clear APT::Update::Pre-Invoke;\n\
             #clear APT::Update::Post-Invoke;\n\
             #clear APT::Update::Post-Invoke-Success;\n\
             Dir::Etc::SourceList \"{here}/sources.list\";\n\
             Dir::Etc::SourceParts \"/dev/null\";\n\
             Dir::State \"{here}\";\n\
             Dir::State::Lists \"{here}/lists\";\n\
             Dir::State::status \"{here}/status\";\n\
             Dir::Cache \"{here}/cache\";\n\
             Acquire::GzipIndexes \"false\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::Retries \"3\";\n\
             Acquire::Check-Valid-Until \"false\";\n\
             APT::Architecture \"amd64\";\n\
             APT::Sandbox::User \"root\";\n"
        )
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(APT.required()?);
        command.arg("-q").arg("-c").arg(self.directory.join("apt.conf")).args(arguments);
        Ok(command)
    }

    /// The suites, as a `sources.list` has them.
    pub(crate) fn sources(&self) -> &str {
        &self.sources
    }

    /// Fetches the lists of all suites.
    pub(crate) fn update(&self) -> Result<()> {
        run(&mut self.command(&["update"])?).map(drop)
    }

    /// The `Packages` files of all suites that could be had.
    pub(crate) fn lists(&self) -> Result<Vec<String>> {
        let lists = self.directory.join("lists");
        let tried = || format!("cannot read {}", lists.display());
        let mut texts = Vec::new();
        for entry in fs::read_dir(&lists).with_context(tried)? {
            let path = entry.with_context(tried)?.path();
            if path.to_string_lossy().ends_with("_Packages") {
                texts.push(fs::read_to_string(path).with_context(tried)?);
            }
        }
        Ok(texts)
    }

    /// Fetches packages; the files.
    pub(crate) fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        let directory = self.directory.join("packages");
        let tried = || format!("cannot use {}", directory.display());
        // What an interrupted download left is not to be unpacked.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).with_context(tried)?;
        let names: Vec<_> = packages.iter().map(String::as_str).collect();
        run(self.command(&["download"])?.args(names).current_dir(&directory))?;
        let entries = fs::read_dir(&directory).with_context(tried)?;
        entries.map(|entry| Ok(entry.with_context(tried)?.path())).collect()
    }
}

/// Runs to the end; its output.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let words = words(command);
    let output = command
        .stdin(Stdio::null())
        .env("LC_ALL", "C.UTF-8")
        .output()
        .with_context(|| format!("cannot start {words}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{words} failed ({}):\n{}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const URIS: &str = "'http://other.example/linux/debian/dists/bookworm/InRelease' other 0 
'http://other.example/apt/dists/bookworm-tools/InRelease' other 0 
'http://mirror.example/debian/dists/bookworm/InRelease' mirror 0 
'http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' mirror 0 
'http://mirror.example/debian/dists/bookworm-updates/InRelease' mirror 0 
'https://security.example/debian-security/dists/bookworm-security/InRelease' mirror 0 ";

    #[test]
    fn the_hosts_own_sources_are_used() {
        let bases = Bases::parse(URIS).unwrap();
        let sources = bases.sources(
            &[(Archive::Security, "trixie-security"), (Archive::Main, "trixie")],
            Some("/k.gpg"),
        );
        assert_eq!(
            sources,
            "deb [arch=amd64 target=Packages signed-by=/k.gpg] \
             https://security.example/debian-security trixie-security main\n\
             deb [arch=amd64 target=Packages signed-by=/k.gpg] http://mirror.example/debian trixie \
             main\n"
        );
    }

    #[test]
    fn security_updates_are_looked_for_beside_the_archive() {
        let main_only = URIS.lines().take(5).collect::<Vec<_>>().join("\n");
        let bases = Bases::parse(&main_only).unwrap();
        assert_eq!(bases.security, "http://mirror.example/debian-security");
        assert_eq!(Bases::parse(URIS.lines().nth(1).unwrap()), None);
    }
}
