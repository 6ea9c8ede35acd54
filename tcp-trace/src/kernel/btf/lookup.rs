//! Answers questions about types that [`parse`](super::parse) has seen to be whole.

use super::parse::{
    ARRAY, CONST, ENUM, ENUM64, FLOAT, FUNC_PROTO, INT, PTR, RESTRICT, Record, STRUCT, TYPE_TAG,
    TYPEDEF, UNION, VOLATILE, hash, is_named, namespace,
};
use super::{Btf, BtfError, Member, MemberKind, malformed, no_such_member};

/// Most members looked at to answer one question, some thousand times those of the kernel's largest
/// structure: only anonymous members that contain each other take more.
pub(super) const MAX_STEPS: u32 = 1 << 18;
/// Longest chain of typedefs and qualifiers, and deepest array of arrays, that is followed.
const MAX_CHAIN: u32 = 64;

/// A member of one structure or union.
struct Entry<'a> {
    /// The strings from its name on.
    name: &'a [u8],
    /// Its type, typedefs and qualifiers looked through.
    inner: Record,
    bit_offset: u64,
    /// Width of a bitfield.
    bits: Option<u32>,
}

impl Btf {
    /// The one answer of all types of that name that have one.
    pub(super) fn agree<T: PartialEq>(
        &self,
        kind: &'static str,
        name: &str,
        mut read: impl FnMut(Record) -> Result<T, BtfError>,
    ) -> Result<T, BtfError> {
        let mut answer = None;
        let mut refusal = None;
        for record in self.named(kind, name) {
            match read(record) {
                Ok(found) if answer.as_ref().is_some_and(|earlier| *earlier != found) => {
                    let name = name.into();
                    return Err(BtfError::Ambiguous { kind, name });
                }
                Ok(found) => answer = Some(found),
                // That another type of the name lacks the member says less than what is wrong here.
                Err(BtfError::NoSuchMember { .. }) if refusal.is_some() => {}
                Err(error) => refusal = Some(error),
            }
        }
        answer.ok_or_else(|| {
            let name = name.into();
            refusal.unwrap_or(BtfError::NoSuchType { kind, name })
        })
    }

    /// The types of that name, in their order in the file.
    pub(super) fn named<'a>(
        &'a self,
        kind: &'static str,
        name: &'a str,
    ) -> impl Iterator<Item = Record> + 'a {
        let wanted = hash(name.as_bytes());
        let first = self.names.partition_point(|&(hash, _)| hash < wanted);
        let same_hash = self.names.iter().skip(first);
        same_hash
            .take_while(move |&&(hash, _)| hash == wanted)
            .filter_map(|&(_, id)| self.by_id(id, 0).ok())
            .filter(move |record| {
                let found = self.string(record.name, record.at);
                namespace(record.kind) == Some(kind) && found.is_ok_and(|it| is_named(it, name))
            })
    }

    /// Follows a path of members from `outer` on, which is called `structure`.
    pub(super) fn resolve(
        &self,
        outer: Record,
        structure: &str,
        path: &str,
        steps: &mut u32,
    ) -> Result<Member, BtfError> {
        let (mut here, mut bit_offset, mut walked) = (outer, 0_u64, 0);
        for element in path.split('.') {
            walked += element.len();
            let so_far = path.get(..walked).unwrap_or(path);
            let found = self.find(here, element, steps)?;
            let found = found.ok_or_else(|| no_such_member("struct", structure, so_far))?;
            here = found.inner;
            bit_offset = bit_offset.saturating_add(found.bit_offset);
            if found.bits.is_some() || bit_offset % 8 != 0 {
                return Err(BtfError::Bitfield {
                    name: structure.into(),
                    member: so_far.into(),
                    bit_offset,
                    bits: found.bits.unwrap_or(0),
                });
            }
            walked += 1;
        }
        let (size_bytes, kind) = self.measure(here, MAX_CHAIN)?;
        let end = (bit_offset / 8).saturating_add(size_bytes.into());
        match u32::try_from(bit_offset / 8) {
            Ok(offset_bytes) if end <= outer.extra.into() => {
                Ok(Member { offset_bytes, size_bytes, kind })
            }
            _ => Err(malformed(outer.at, "structure ends before its member")),
        }
    }

    /// The member of that name of a structure or union, or of an anonymous one inside.
    fn find(
        &self,
        outer: Record,
        name: &str,
        steps: &mut u32,
    ) -> Result<Option<Entry<'_>>, BtfError> {
        let mut pending = vec![(outer, 0_u64)];
        while let Some((record, base)) = pending.pop() {
            if !matches!(record.kind, STRUCT | UNION) {
                continue;
            }
            for index in 0..record.entries {
                let left = steps.checked_sub(1);
                *steps = left.ok_or(malformed(record.at, "anonymous members without an end"))?;
                let mut entry = self.entry(record, index)?;
                entry.bit_offset = entry.bit_offset.saturating_add(base);
                if is_named(entry.name, name) {
                    return Ok(Some(entry));
                }
                if entry.name.first() == Some(&0) {
                    pending.push((entry.inner, entry.bit_offset));
                }
            }
        }
        Ok(None)
    }

    /// The member at `index` of a structure or union.
    fn entry(&self, outer: Record, index: u32) -> Result<Entry<'_>, BtfError> {
        let at = outer.entry(index, 12);
        let name = self.string(self.u32(at)?, at)?;
        let inner = self.strip(self.u32(at + 4)?, at)?;
        let place = self.u32(at + 8)?;
        let (start, bits) = match (outer.flag, place >> 24) {
            (true, 0) => (place, None),
            (true, bits) => (place & 0xff_ffff, Some(bits)),
            // Before members told their own width, a bitfield's type was an integer narrower than
            // its bytes.
            (false, _) => self.narrow(inner, place)?,
        };
        Ok(Entry { name, inner, bit_offset: start.into(), bits })
    }

    /// Start and width of a member at `place`, by its type.
    fn narrow(&self, inner: Record, place: u32) -> Result<(u32, Option<u32>), BtfError> {
        if inner.kind != INT {
            return Ok((place, None));
        }
        let encoding = self.u32(inner.entry(0, 0))?;
        let (skipped, bits) = (encoding >> 16 & 0xff, encoding & 0xff);
        let whole = skipped == 0 && u64::from(bits) == u64::from(inner.extra) * 8;
        Ok((place.saturating_add(skipped), (!whole).then_some(bits)))
    }

    /// Size of a value of that type and what it is.
    fn measure(&self, record: Record, depth: u32) -> Result<(u32, MemberKind), BtfError> {
        let kind = match record.kind {
            INT => {
                let signed = self.u32(record.entry(0, 0))? >> 24 & 1 == 1;
                MemberKind::Int { signed }
            }
            FLOAT => MemberKind::Float,
            PTR => return Ok((self.pointer_size, MemberKind::Pointer)),
            ENUM | ENUM64 => MemberKind::Enum,
            STRUCT => MemberKind::Struct,
            UNION => MemberKind::Union,
            ARRAY => return self.measure_array(record, depth),
            _ => return Err(malformed(record.at, "member of a type that has no size")),
        };
        Ok((record.extra, kind))
    }

    fn measure_array(&self, array: Record, depth: u32) -> Result<(u32, MemberKind), BtfError> {
        let at = array.entry(0, 0);
        let depth = depth.checked_sub(1);
        let depth = depth.ok_or(malformed(at, "arrays without an end"))?;
        let element = self.strip(self.u32(at)?, at)?;
        let (element_size, _) = self.measure(element, depth)?;
        let count = self.u32(at + 8)?;
        let size = element_size.checked_mul(count);
        let size = size.ok_or(malformed(at, "array too long"))?;
        let kind = MemberKind::Array { element_size, count };
        Ok((size, kind))
    }

    /// Value of the variant of an enumeration.
    pub(super) fn variant(
        &self,
        record: Record,
        name: &str,
        variant: &str,
    ) -> Result<i64, BtfError> {
        let width = if record.kind == ENUM64 { 12 } else { 8 };
        for index in 0..record.entries {
            let at = record.entry(index, width);
            if !is_named(self.string(self.u32(at)?, at)?, variant) {
                continue;
            }
            let low = self.u32(at + 4)?;
            return Ok(match (record.kind, record.flag) {
                (ENUM64, _) => (u64::from(self.u32(at + 8)?) << 32 | u64::from(low)).cast_signed(),
                (_, true) => low.cast_signed().into(),
                (_, false) => low.into(),
            });
        }
        Err(no_such_member("enum", name, variant))
    }

    /// The number of parameters of the function type that `referrer` refers to, if it does.
    pub(super) fn parameters(&self, referrer: Record) -> Result<Option<usize>, BtfError> {
        let prototype = self.strip(referrer.extra, referrer.at)?;
        Ok((prototype.kind == FUNC_PROTO).then_some(prototype.entries as usize))
    }

    /// The same behind a pointer.
    pub(super) fn pointed_parameters(&self, referrer: Record) -> Result<Option<usize>, BtfError> {
        let pointer = self.strip(referrer.extra, referrer.at)?;
        match pointer.kind {
            PTR => self.parameters(pointer),
            _ => Ok(None),
        }
    }

    /// The type behind typedefs and qualifiers.
    fn strip(&self, id: u32, referrer: u32) -> Result<Record, BtfError> {
        let mut record = self.by_id(id, referrer)?;
        for _ in 0..MAX_CHAIN {
            match record.kind {
                TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => {
                    record = self.by_id(record.extra, record.at)?;
                }
                _ => return Ok(record),
            }
        }
        Err(malformed(record.at, "type references without an end"))
    }

    /// The type with that id, which something at `referrer` refers to.
    fn by_id(&self, id: u32, referrer: u32) -> Result<Record, BtfError> {
        let Some(index) = id.checked_sub(1) else {
            return Ok(Record::void(referrer));
        };
        let at = self.types.get(index as usize);
        self.record(*at.ok_or(malformed(referrer, "reference to a type that is not there"))?)
    }
}
