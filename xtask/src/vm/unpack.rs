//! A kernel on disk: fetched once, unpacked beside the system's own, and used again without network.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{
    line::Line,
    packages::{self, Choice},
};
use crate::{
    archive::{Apt, Bases, run},
    tool::Tool,
};

/// Unpacks packages.
const DPKG_DEB: Tool = Tool { name: "dpkg-deb", install: "a Debian system, which has it" };
/// Says which module needs which; packages leave that to the machine they are installed on.
const DEPMOD: Tool = Tool { name: "depmod", install: "apt-get install kmod" };

/// A kernel, unpacked.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    /// Its line.
    pub(super) line: &'static Line,
    /// What `uname -r` says.
    pub(super) release: String,
    /// The kernel itself.
    pub(super) image: PathBuf,
    /// The directory of its modules.
    pub(super) modules: PathBuf,
}

impl Kernel {
    /// The kernel of `line` in the cache at `cache`; fetched if there is none, or if `refresh`.
    pub(super) fn find(cache: &Path, line: &'static Line, refresh: bool) -> Result<Self> {
        let home = cache.join("kernels").join(line.name);
        let cached = fs::read_to_string(home.join("newest")).ok();
        let kernel = match cached {
            Some(release) if !refresh => Self::at(line, release, &home)?,
            _ => fetch(cache, line, &home)
                .with_context(|| format!("cannot fetch a kernel {}", line.name))?,
        };
        Ok(kernel)
    }

    /// What was unpacked there.
    fn at(line: &'static Line, release: String, home: &Path) -> Result<Self> {
        let root = home.join(&release);
        let modules = root.join("lib/modules").join(&release);
        let images =
            [root.join("boot").join(format!("vmlinuz-{release}")), modules.join("vmlinuz")];
        let Some(image) = images.iter().find(|image| image.is_file()).cloned() else {
            bail!(
                "no kernel was unpacked: neither {} nor {}",
                images[0].display(),
                images[1].display()
            )
        };
        let index = modules.join("modules.dep");
        if !index.is_file() {
            bail!("{} is missing; fetch it again with --refresh", index.display());
        }
        Ok(Self { line, release, image, modules })
    }
}

fn fetch(cache: &Path, line: &'static Line, home: &Path) -> Result<Kernel> {
    let apt = Apt::new(cache.join("apt").join(line.name), &Bases::find()?, line.suites)?;
    let choice = newest(&apt, line)?;
    if !home.join(&choice.release).exists() {
        let packages = apt.download(&choice.packages)?;
        // Under its name only when it is whole.
        let partial = home.join("partial");
        let _ = fs::remove_dir_all(&partial);
        unpack(&packages, &partial, &choice.release)?;
        fs::rename(&partial, home.join(&choice.release))
            .with_context(|| format!("cannot rename {}", partial.display()))?;
        for package in packages {
            let _ = fs::remove_file(package);
        }
    }
    let kernel = Kernel::at(line, choice.release.clone(), home)?;
    let newest = home.join("newest");
    fs::write(&newest, choice.release)
        .with_context(|| format!("cannot write {}", newest.display()))?;
    Ok(kernel)
}

/// The newest kernel of `line`. A suite that is gone does no harm while another has one.
fn newest(apt: &Apt, line: &Line) -> Result<Choice> {
    let updated = apt.update();
    if let Some(choice) = packages::newest(line, &apt.lists()?) {
        return Ok(choice);
    }
    let sources = apt.sources();
    updated.with_context(|| format!("no list of kernels {} in\n{sources}", line.name))?;
    bail!(
        "none of these has a cloud kernel {} any more:\n{sources}\nname a suite that has one in \
         xtask/src/vm/line.rs",
        line.name
    )
}

fn unpack(packages: &[PathBuf], root: &Path, release: &str) -> Result<()> {
    let tried = || format!("cannot unpack into {}", root.display());
    fs::create_dir_all(root.join("usr/lib")).with_context(tried)?;
    // Newer packages hold usr/lib alone, and depmod looks into lib.
    symlink("usr/lib", root.join("lib")).with_context(tried)?;
    for package in packages {
        // Older ones hold lib, which must not become a directory in the link's place.
        let mut tar = Command::new(DPKG_DEB.required()?);
        let archive = tempfile::NamedTempFile::new().with_context(tried)?;
        tar.arg("--fsys-tarfile").arg(package);
        tar.stdout(archive.reopen().with_context(tried)?);
        let status = tar.status().with_context(tried)?;
        if !status.success() {
            bail!("dpkg-deb --fsys-tarfile {} failed ({status})", package.display());
        }
        run(Command::new("tar")
            .args(["--extract", "--keep-directory-symlink", "--no-same-owner", "--file"])
            .arg(archive.path())
            .arg("--directory")
            .arg(root))?;
    }
    run(Command::new(DEPMOD.required()?).arg("-b").arg(root).arg(release))?;
    Ok(())
}
