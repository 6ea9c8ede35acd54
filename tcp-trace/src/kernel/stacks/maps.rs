//! `/proc/PID/maps`: which file is where in a process's memory. The parsing is pure and total.

use std::{fs::File, io::Read as _};

/// Longest file that is read: some 500,000 mappings.
const LIMIT: u64 = 64 << 20;

/// Code in a process's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    /// First address.
    pub(super) start: u64,
    /// First address behind it.
    pub(super) end: u64,
    /// Where in the file it begins.
    pub(super) offset: u64,
    /// Device and inode of the file; 0 and 0 where there is none.
    pub(super) file: (u64, u64),
    /// The file's path, or `[vdso]` and the like; empty where nothing is mapped.
    pub(super) path: String,
}

impl Mapping {
    /// Where in the file an address lies.
    pub(super) fn in_file(&self, address: u64) -> u64 {
        address.saturating_sub(self.start).saturating_add(self.offset)
    }

    /// The file's own name.
    pub(super) fn module(&self) -> Option<String> {
        let path = self.path.strip_suffix(" (deleted)").unwrap_or(&self.path);
        let name = path.rsplit('/').next().unwrap_or(path);
        (!name.is_empty()).then(|| name.to_owned())
    }
}

/// The code in the memory of process `pid`, in order of address.
pub(super) fn of(pid: u32) -> std::io::Result<Vec<Mapping>> {
    let mut text = Vec::new();
    File::open(format!("/proc/{pid}/maps"))?.take(LIMIT).read_to_end(&mut text)?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// The mapping that holds `address`.
pub(super) fn find(mappings: &[Mapping], address: u64) -> Option<&Mapping> {
    let next = mappings.partition_point(|mapping| mapping.start <= address);
    mappings.get(next.checked_sub(1)?).filter(|mapping| address < mapping.end)
}

fn parse(text: &str) -> Vec<Mapping> {
    text.lines().filter_map(line).collect()
}

/// `7f00-7f10 r-xp 00026000 fd:01 1234   /usr/lib/libc.so.6`
fn line(line: &str) -> Option<Mapping> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let mut fields = rest.splitn(5, ' ');
    let (mode, offset) = (fields.next()?, fields.next()?);
    let (device, inode) = (fields.next()?, fields.next()?);
    let path = fields.next().unwrap_or_default().trim_start();
    if mode.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (major, minor) = device.split_once(':')?;
    let device = hex(major)? << 32 | hex(minor)?;
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        offset: hex(offset)?,
        file: (device, inode.parse().ok()?),
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAPS: &str = "\
5600-5700 r--p 00000000 fd:01 11                         /srv/my shop
5700-5800 r-xp 00000100 fd:01 11                         /srv/my shop (deleted)
7f00-7f10 r-xp 00000000 00:00 0 
7fff-8000 r-xp 00000000 00:00 0                          [vdso]
";

    #[test]
    fn code_is_found_by_address() {
        let maps = parse(MAPS);
        assert_eq!(maps.len(), 3);
        let shop = find(&maps, 0x5710).unwrap();
        assert_eq!((shop.in_file(0x5710), shop.module()), (0x110, Some("my shop".to_owned())));
        assert_eq!(shop.file, (0xfd << 32 | 1, 11));
        assert_eq!(find(&maps, 0x7f00).unwrap().module(), None);
        assert_eq!(find(&maps, 0x7fff).unwrap().module().as_deref(), Some("[vdso]"));
        for nowhere in [0, 0x56ff, 0x5800, 0x8000, u64::MAX] {
            assert_eq!(find(&maps, nowhere), None, "{nowhere:x}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in ".{0,200}", cut in 0..MAPS.len()) {
            let _ = parse(&text);
            prop_assert!(parse(&MAPS[..cut]).len() <= 3);
        }
    }
}
