//! An initramfs: a cpio archive of the kind `newc`, which the kernel unpacks into its first root.

use std::{
    collections::BTreeSet,
    path::{Component, Path},
};

/// A directory's kind among the mode's bits.
const DIRECTORY: u32 = 0o040_000;
/// A plain file's.
const FILE: u32 = 0o100_000;

/// The archive, as far as it is written. Everything in it belongs to root.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// Adds a directory, and those above it.
    pub(super) fn directory(&mut self, path: &Path) {
        let mut name = String::new();
        for component in path.components() {
            let Component::Normal(part) = component else { continue };
            if !name.is_empty() {
                name.push('/');
            }
            name.push_str(&part.to_string_lossy());
            if self.directories.insert(name.clone()) {
                self.entry(&name, DIRECTORY | 0o755, &[]);
            }
        }
    }

    /// Adds a file that everybody may read, and the directories above it.
    pub(super) fn file(&mut self, path: &Path, bytes: &[u8]) {
        self.plain(path, FILE | 0o644, bytes);
    }

    /// Likewise, of a program.
    pub(super) fn program(&mut self, path: &Path, bytes: &[u8]) {
        self.plain(path, FILE | 0o755, bytes);
    }

    fn plain(&mut self, path: &Path, mode: u32, bytes: &[u8]) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        let name = path.strip_prefix("/").unwrap_or(path).to_string_lossy();
        self.entry(&name, mode, bytes);
    }

    /// The archive with its end.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, bytes: &[u8]) {
        self.entries += 1;
        let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        // Number, mode, user, group, links, time, length, device twice two, length of the name with
        // its zero, and a checksum that this kind does not have.
        let fields = [self.entries, mode, 0, 0, 1, 0, length(bytes.len()), 0, 0, 0, 0];
        let fields = fields.into_iter().chain([length(name.len() + 1), 0]);
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(bytes);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode and bytes of each entry.
    fn read(archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let (mut entries, mut at) = (Vec::new(), 0);
        while at < archive.len() {
            assert_eq!(&archive[at..at + 6], b"070701");
            let field = |number: usize| {
                let start = at + 6 + number * 8;
                let text = std::str::from_utf8(&archive[start..start + 8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (mode, length, name) = (field(1), field(6) as usize, field(11) as usize);
            let text = std::str::from_utf8(&archive[at + 110..at + 110 + name - 1]).unwrap();
            let start = (at + 110 + name).next_multiple_of(4);
            entries.push((text.to_owned(), mode, archive[start..start + length].to_vec()));
            at = (start + length).next_multiple_of(4);
        }
        entries
    }

    #[test]
    fn directories_come_before_what_is_in_them_and_once() {
        let mut archive = Archive::default();
        archive.program(Path::new("/a/b/run"), b"12345");
        archive.file(Path::new("/a/text"), b"");
        archive.directory(Path::new("/proc"));
        let expected = [
            ("a", DIRECTORY | 0o755, &b""[..]),
            ("a/b", DIRECTORY | 0o755, b""),
            ("a/b/run", FILE | 0o755, b"12345"),
            ("a/text", FILE | 0o644, b""),
            ("proc", DIRECTORY | 0o755, b""),
            ("TRAILER!!!", 0, b""),
        ];
        let expected = expected.map(|(name, mode, bytes)| (name.into(), mode, bytes.to_vec()));
        assert_eq!(read(&archive.finish()), expected);
    }
}
