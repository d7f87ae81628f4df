//! A reader for BTF, the kernel's type information: field offsets, functions with their prototypes,
//! and which tracepoints and helpers exist. Reads `vmlinux` in 2 ms and a module's split BTF on top
//! of it.
//!
//! The format: <https://docs.kernel.org/bpf/btf.html>. Nothing is decoded that is not asked for.

mod types;

use std::collections::{BTreeMap, BTreeSet};

use mount_observer_common::FieldPath;

/// Why BTF could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// Shorter than its own header or sections say.
    #[error("BTF is cut short")]
    Truncated,
    /// The first bytes are not BTF's, or not of this byte order.
    #[error("not BTF: magic {0:#06x}")]
    Magic(u16),
    /// A kind this reader does not know the size of.
    #[error("unknown BTF kind {kind} in type {id}")]
    Kind {
        /// The kind.
        kind: u32,
        /// The type.
        id: u32,
    },
}

/// `BTF_KIND_*`, `include/uapi/linux/btf.h`; only those that are looked into.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FWD: u32 = 7;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// What a name can stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A struct by its tag.
    Struct,
    /// An enum by its tag.
    Enum,
    /// A typedef; `btf_trace_x` is one of tracepoint `x`.
    Typedef,
    /// A function; `bpf_iter_x` is one of iterator `x`.
    Function,
}

impl Kind {
    const fn from_wire(kind: u32) -> Option<Self> {
        match kind {
            kind::STRUCT => Some(Self::Struct),
            kind::ENUM => Some(Self::Enum),
            kind::TYPEDEF => Some(Self::Typedef),
            kind::FUNC => Some(Self::Function),
            _ => None,
        }
    }
}

/// Bytes of `struct btf_header` that are looked at.
const HEADER: usize = 24;
/// `struct btf_type`.
const TYPE_HEADER: usize = 12;
/// `struct btf_member`.
const MEMBER: usize = 12;
/// Structs within structs and typedefs of typedefs; the kernel's deepest chain is far below.
const DEPTH_MAX: u32 = 32;

/// Type information of the kernel, or of the kernel and one module.
#[derive(Debug)]
pub struct Btf {
    sections: Vec<Section>,
}

/// One blob. Its types and strings are numbered after those of the blobs before it.
#[derive(Debug)]
struct Section {
    /// The module; `None` for the kernel.
    owner: Option<String>,
    bytes: Vec<u8>,
    first_id: u32,
    /// Position of each type in `bytes`.
    types: Vec<u32>,
    first_string: u32,
    strings_at: usize,
    strings_len: u32,
}

/// A type's fixed part.
#[derive(Clone, Copy, Debug)]
struct TypeHeader {
    name: u32,
    info: u32,
    /// Size or referenced type.
    reference: u32,
}

impl TypeHeader {
    fn kind(self) -> u32 {
        self.info >> 24 & 31
    }

    fn members(self) -> u32 {
        self.info & 0xffff
    }

    /// Member offsets are then split into bit size and bit offset.
    fn has_bitfields(self) -> bool {
        self.info >> 31 == 1
    }
}

impl Btf {
    /// Reads the kernel's own BTF.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        let section = Section::parse(None, bytes, 1, 0)?;
        Ok(Self {
            sections: vec![section],
        })
    }

    /// Adds the BTF of a module, which refers to the kernel's.
    pub fn add_split(&mut self, module: &str, bytes: Vec<u8>) -> Result<(), BtfError> {
        let (first_id, first_string) = self.sections.last().map_or((1, 0), Section::end);
        let owner = Some(module.to_owned());
        self.sections
            .push(Section::parse(owner, bytes, first_id, first_string)?);
        Ok(())
    }

    /// Puts the BTF of a module in the place of other modules'.
    pub fn replace_split(&mut self, module: &str, bytes: Vec<u8>) -> Result<(), BtfError> {
        self.sections.truncate(1);
        self.add_split(module, bytes)
    }

    /// The type numbers of those names that exist, in one pass. Of several types of one name the
    /// first counts, so the kernel's before a module's.
    pub fn find<'a>(&self, wanted: &BTreeSet<(Kind, &'a str)>) -> BTreeMap<(Kind, &'a str), u32> {
        let names = wanted.iter().map(|&(kind, name)| ((kind, name), name));
        let wanted: BTreeMap<(Kind, &str), &'a str> = names.collect();
        let mut found = BTreeMap::new();
        for (id, header) in self.headers() {
            let Some(kind) = Kind::from_wire(header.kind()) else {
                continue;
            };
            let name = self
                .string(header.name)
                .and_then(|name| std::str::from_utf8(name).ok());
            if let Some(name) = name.and_then(|name| wanted.get(&(kind, name))) {
                found.entry((kind, *name)).or_insert(id);
            }
        }
        found
    }

    /// The module that defines a type; `None` for the kernel itself.
    pub fn owner(&self, id: u32) -> Option<String> {
        self.section(id)?.owner.clone()
    }

    /// The offset of each field by the global it goes to; those that do not exist are left out.
    /// Of several fields for one global the first counts. `structs` are found types.
    pub fn offsets(
        &self,
        fields: &[FieldPath],
        structs: &BTreeMap<(Kind, &str), u32>,
    ) -> BTreeMap<&'static str, u32> {
        let mut offsets = BTreeMap::new();
        for field in fields {
            let found = structs
                .get(&(Kind::Struct, field.type_name))
                .and_then(|&id| self.path_offset(id, field.field));
            if let Some(offset) = found {
                offsets.entry(field.global).or_insert(offset);
            }
        }
        offsets
    }

    fn headers(&self) -> impl Iterator<Item = (u32, TypeHeader)> {
        self.sections.iter().flat_map(|section| {
            (section.first_id..)
                .zip(&section.types)
                .filter_map(|(id, &at)| {
                    let at = usize::try_from(at).ok()?;
                    Some((id, section.header(at)?))
                })
        })
    }

    /// Byte offset of `a.b.c` within a struct.
    fn path_offset(&self, id: u32, path: &str) -> Option<u32> {
        let mut at = id;
        let mut bits = 0;
        for name in path.split('.') {
            let (offset, member) = self.member(self.resolve(at)?, name.as_bytes(), DEPTH_MAX)?;
            bits += offset;
            at = member;
        }
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// Bit offset and type of a member, looking into anonymous structs and unions.
    fn member(&self, id: u32, name: &[u8], depth: u32) -> Option<(u32, u32)> {
        let (section, at) = self.locate(id)?;
        let header = section.header(at)?;
        if depth == 0 || !matches!(header.kind(), kind::STRUCT | kind::UNION) {
            return None;
        }
        for index in 0..header.members() {
            let member = at + TYPE_HEADER + usize::try_from(index).ok()? * MEMBER;
            let member_name = self.string(section.word(member)?)?;
            let member_type = section.word(member + 4)?;
            let raw = section.word(member + 8)?;
            let bits = if header.has_bitfields() {
                raw & 0x00ff_ffff
            } else {
                raw
            };
            if member_name == name {
                return Some((bits, member_type));
            }
            if member_name.is_empty() {
                let inner = self.resolve(member_type)?;
                if let Some((offset, found)) = self.member(inner, name, depth - 1) {
                    return Some((bits + offset, found));
                }
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<u32> {
        for _ in 0..DEPTH_MAX {
            let (section, at) = self.locate(id)?;
            let header = section.header(at)?;
            match header.kind() {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = header.reference;
                }
                _ => return Some(id),
            }
        }
        None
    }

    fn section(&self, id: u32) -> Option<&Section> {
        self.sections.iter().rfind(|section| section.first_id <= id)
    }

    fn locate(&self, id: u32) -> Option<(&Section, usize)> {
        let section = self.section(id)?;
        let index = usize::try_from(id - section.first_id).ok()?;
        let at = section.types.get(index)?;
        Some((section, usize::try_from(*at).ok()?))
    }

    fn string(&self, offset: u32) -> Option<&[u8]> {
        let section = self
            .sections
            .iter()
            .rfind(|section| section.first_string <= offset)?;
        let at = section.strings_at + usize::try_from(offset - section.first_string).ok()?;
        let bytes = section.bytes.get(at..)?;
        bytes.split(|&byte| byte == 0).next()
    }
}

impl Section {
    fn parse(
        owner: Option<String>,
        bytes: Vec<u8>,
        first_id: u32,
        first_string: u32,
    ) -> Result<Self, BtfError> {
        let mut section = Self {
            owner,
            bytes,
            first_id,
            types: Vec::new(),
            first_string,
            strings_at: 0,
            strings_len: 0,
        };
        let magic = section.word(0).ok_or(BtfError::Truncated)? & 0xffff;
        if magic != 0xeb9f {
            return Err(BtfError::Magic(u16::try_from(magic).unwrap_or(0)));
        }
        let header = section.bytes.get(..HEADER).ok_or(BtfError::Truncated)?;
        let header_len = word(header, 4).ok_or(BtfError::Truncated)?;
        let place = |at: usize| -> Option<usize> {
            usize::try_from(header_len.checked_add(word(header, at)?)?).ok()
        };
        let types_at = place(8).ok_or(BtfError::Truncated)?;
        let types_len = word(header, 12).ok_or(BtfError::Truncated)?;
        let strings_at = place(16).ok_or(BtfError::Truncated)?;
        let strings_len = word(header, 20).ok_or(BtfError::Truncated)?;
        section.strings_at = strings_at;
        section.strings_len = strings_len;
        let types_len = usize::try_from(types_len).ok().ok_or(BtfError::Truncated)?;
        section.index(types_at, types_at.saturating_add(types_len))?;
        Ok(section)
    }

    /// Notes where each type begins.
    fn index(&mut self, mut at: usize, end: usize) -> Result<(), BtfError> {
        while at < end {
            let header = self.header(at).ok_or(BtfError::Truncated)?;
            self.types
                .push(u32::try_from(at).ok().ok_or(BtfError::Truncated)?);
            let each = match header.kind() {
                // Nothing follows a forward, a reference, a function, a float.
                2 | 7..=12 | 16 | 18 => 0,
                // One word follows an integer, a variable, a declaration tag.
                1 | 14 | 17 => {
                    at += 4;
                    0
                }
                3 => {
                    at += 12;
                    0
                }
                4 | 5 | 15 | 19 => MEMBER,
                6 | 13 => 8,
                kind => {
                    let id = self.end().0.saturating_sub(1);
                    return Err(BtfError::Kind { kind, id });
                }
            };
            let members = usize::try_from(header.members())
                .ok()
                .ok_or(BtfError::Truncated)?;
            at += TYPE_HEADER + members * each;
        }
        Ok(())
    }

    /// The first type number and string offset after this section's.
    fn end(&self) -> (u32, u32) {
        let types = u32::try_from(self.types.len()).unwrap_or(u32::MAX);
        (
            self.first_id.saturating_add(types),
            self.first_string.saturating_add(self.strings_len),
        )
    }

    fn header(&self, at: usize) -> Option<TypeHeader> {
        Some(TypeHeader {
            name: self.word(at)?,
            info: self.word(at + 4)?,
            reference: self.word(at + 8)?,
        })
    }

    fn word(&self, at: usize) -> Option<u32> {
        word(&self.bytes, at)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

#[cfg(test)]
mod tests;
