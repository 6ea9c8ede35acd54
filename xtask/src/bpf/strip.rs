//! The removal of DWARF, which the loader does not read and which is nine tenths of the object.
//!
//! Done here, because rustc's own `strip` option does not reach bpf-linker and a system's `strip`
//! may not know the machine. Everything the loader and the kernel read stays: programs, maps,
//! `.rodata`, the licence, BTF with its extension, symbols and relocations.

use anyhow::{Context as _, Result};
use object::{
    build::elf::{Builder, Section, SectionData},
    elf::SHT_STRTAB,
};

use super::recipe::STRIPPED;

/// `object` without its debug sections, their relocations and their symbols.
pub(crate) fn debug(object: &[u8]) -> Result<Vec<u8>> {
    let mut elf = Builder::read(object).context("bpf-linker's output is not an ELF file")?;
    let debug: Vec<_> = elf
        .sections
        .iter()
        .filter(|section| section.name.starts_with(STRIPPED.as_bytes()))
        .map(Section::id)
        .collect();
    for section in &mut elf.sections {
        let relocates = matches!(section.data, SectionData::Relocation(_));
        let target = section.sh_info_section.filter(|_| relocates);
        section.delete = debug.contains(&target.unwrap_or(section.id()));
    }
    for symbol in &mut elf.symbols {
        symbol.delete = symbol.section.is_some_and(|section| debug.contains(&section));
    }
    if !elf.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        // LLVM keeps sections' names among the symbols'; the writer wants a place of their own.
        let names = elf.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    let mut stripped = Vec::new();
    elf.write(&mut stripped).context("cannot write the object without its debug sections")?;
    Ok(stripped)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::checkout::Checkout;

    #[test]
    fn the_blessed_object_keeps_what_loaders_read_and_nothing_of_dwarf() {
        let object = fs::read(Checkout::own().object()).unwrap();
        let elf = Builder::read(object.as_slice()).unwrap();
        let names: Vec<_> = elf.sections.iter().map(|section| section.name.to_string()).collect();
        for kept in [".BTF", ".BTF.ext", ".symtab", ".rodata", "maps", "license"] {
            assert!(names.iter().any(|name| name == kept), "{kept} is missing from {names:?}");
        }
        assert!(!names.iter().any(|name| name.contains(STRIPPED)), "{names:?}");
        assert_eq!(debug(&object).unwrap(), object, "there was something left to strip");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(debug(b"not an object").is_err());
    }
}
