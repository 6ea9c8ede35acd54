//! Reads the types of the running kernel: its BTF, the bytes of `/sys/kernel/btf/vmlinux`.
//!
//! Pure and total. Every read is bounds-checked; chains of references, nested arrays and the search
//! through anonymous members are each limited, so that no input makes it panic or run for long.

use std::fmt;
use std::ops::Range;

mod lookup;
mod parse;
#[cfg(test)]
mod tests;

/// Why a question about the kernel's types has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// The bytes break the format.
    #[error("malformed BTF at byte {offset}: {what}")]
    Malformed {
        /// Where, from the start of the bytes.
        offset: u32,
        /// What is wrong there.
        what: &'static str,
    },
    /// A kind of type that is not known, and so neither is where the next type starts.
    #[error("unknown kind {kind} of BTF type at byte {offset}")]
    UnknownKind {
        /// Its number.
        kind: u32,
        /// Where the type starts.
        offset: u32,
    },
    /// The kernel has no such type.
    #[error("the kernel has no {kind} {name}")]
    NoSuchType {
        /// "struct", "enum", "function" or "typedef".
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The type is there, the member is not.
    #[error("{kind} {name} has no member {member}")]
    NoSuchMember {
        /// "struct" or "enum".
        kind: &'static str,
        /// Its name.
        name: String,
        /// The path up to and including the element that is missing.
        member: String,
    },
    /// The member is not made of whole bytes in one place.
    #[error("{name}.{member} is a bitfield, {bits} bits from bit {bit_offset} on")]
    Bitfield {
        /// The outermost structure.
        name: String,
        /// The path up to and including the bitfield.
        member: String,
        /// Bits from the start of the outermost structure.
        bit_offset: u64,
        /// Its width; zero where only its place is that of a bitfield.
        bits: u32,
    },
    /// Several types share the name and give different answers.
    #[error("the kernel has several {kind} {name} that differ")]
    Ambiguous {
        /// As in [`BtfError::NoSuchType`].
        kind: &'static str,
        /// Their name.
        name: String,
    },
    /// The type is there, and is not that of a function.
    #[error("{kind} {name} does not lead to a function")]
    NotAFunction {
        /// "function" or "typedef".
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

/// Where a structure keeps a member, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the start of the outermost structure.
    pub offset_bytes: u32,
    /// Its size.
    pub size_bytes: u32,
    /// Its type, typedefs and qualifiers looked through.
    pub kind: MemberKind,
}

/// What a [`Member`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// An integer, a character or a boolean.
    Int {
        /// Whether it is signed.
        signed: bool,
    },
    /// A floating-point number.
    Float,
    /// A pointer.
    Pointer,
    /// An enumeration.
    Enum,
    /// An array.
    Array {
        /// Bytes of one element, itself an array where there are several dimensions.
        element_size: u32,
        /// How many elements; zero for a flexible array.
        count: u32,
    },
    /// A structure.
    Struct,
    /// A union.
    Union,
}

/// The types of one kernel.
pub struct Btf {
    bytes: Vec<u8>,
    big_endian: bool,
    pointer_size: u32,
    strings: Range<usize>,
    /// Where each type starts; the first has id 1.
    types: Vec<u32>,
    /// Hash of the name and id of each type that can be asked for by name, sorted.
    names: Vec<(u32, u32)>,
}

impl Btf {
    /// Checks where every type starts and ends, and indexes their names.
    ///
    /// # Errors
    /// The bytes are not a whole BTF, or have a kind of type this does not know.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, BtfError> {
        Self::read(bytes.into())
    }

    /// Where a structure keeps a member: `path` names it and the members it is inside of, by dots,
    /// leaving out anonymous structures and unions.
    ///
    /// # Errors
    /// There is no such structure or member, or it is a bitfield, or structures of that name differ
    /// about it; those that lack it do not count.
    pub fn member(&self, structure: &str, path: &str) -> Result<Member, BtfError> {
        let mut steps = lookup::MAX_STEPS;
        self.agree("struct", structure, |outer| self.resolve(outer, structure, path, &mut steps))
    }

    /// Bytes of a structure.
    ///
    /// # Errors
    /// There is no such structure, or several that differ in size.
    pub fn struct_size(&self, name: &str) -> Result<u32, BtfError> {
        self.agree("struct", name, |record| Ok(record.extra))
    }

    /// Value of a variant; one above `i64::MAX` wraps.
    ///
    /// # Errors
    /// There is no such enumeration or variant, or enumerations of that name differ about it.
    pub fn enum_value(&self, name: &str, variant: &str) -> Result<i64, BtfError> {
        self.agree("enum", name, |record| self.variant(record, name, variant))
    }

    /// Whether the kernel describes a function of that name.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.named("function", name).next().is_some()
    }

    /// How many parameters a function takes; `...` counts as one.
    ///
    /// # Errors
    /// There is no such function, or several that differ in this.
    pub fn function_parameters(&self, name: &str) -> Result<usize, BtfError> {
        self.agree("function", name, |record| {
            let parameters = self.parameters(record)?;
            parameters.ok_or_else(|| not_a_function("function", name))
        })
    }

    /// Whether the kernel has a typedef of that name.
    #[must_use]
    pub fn has_typedef(&self, name: &str) -> bool {
        self.named("typedef", name).next().is_some()
    }

    /// How many parameters the function takes that a typedef points to, such as a tracepoint's
    /// `btf_trace_*`: there the first is the context it is registered with.
    ///
    /// # Errors
    /// There is no such typedef, or it is no pointer to a function.
    pub fn typedef_function_parameters(&self, name: &str) -> Result<usize, BtfError> {
        self.agree("typedef", name, |record| {
            let parameters = self.pointed_parameters(record)?;
            parameters.ok_or_else(|| not_a_function("typedef", name))
        })
    }
}

impl fmt::Debug for Btf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Btf").field("types", &self.types.len()).finish_non_exhaustive()
    }
}

const fn malformed(offset: u32, what: &'static str) -> BtfError {
    BtfError::Malformed { offset, what }
}

fn no_such_member(kind: &'static str, name: &str, member: &str) -> BtfError {
    let (name, member) = (name.into(), member.into());
    BtfError::NoSuchMember { kind, name, member }
}

fn not_a_function(kind: &'static str, name: &str) -> BtfError {
    let name = name.into();
    BtfError::NotAFunction { kind, name }
}
