//! What a type is, in C: prototypes, sizes and enumerators.

use super::{Btf, DEPTH_MAX, MEMBER, Section, TYPE_HEADER, TypeHeader, kind};
use crate::plan::Function;

/// `struct btf_param`, and `struct btf_enum`.
const PAIR: usize = 8;

impl Btf {
    /// A function's prototype; `None` when the type is no function.
    pub fn function(&self, id: u32) -> Option<Function> {
        let (_, _, function) = self.typed(id)?;
        let (section, at, prototype) = self.typed(function.reference)?;
        if function.kind() != kind::FUNC || prototype.kind() != kind::FUNC_PROTO {
            return None;
        }
        let parameters = pairs(section, at, prototype, PAIR)
            .map(|(_, parameter)| self.type_name(parameter, DEPTH_MAX))
            .collect::<Option<Vec<_>>>()?;
        Some(Function {
            module: self.owner(id),
            parameters,
            result: self.type_name(prototype.reference, DEPTH_MAX)?,
        })
    }

    /// What follows `prefix` in the names of an enum's values.
    pub fn enumerators(&self, id: u32, prefix: &str) -> Vec<&str> {
        let Some((section, at, header)) = self.typed(id) else {
            return Vec::new();
        };
        let bytes = match header.kind() {
            kind::ENUM => PAIR,
            kind::ENUM64 => MEMBER,
            _ => return Vec::new(),
        };
        pairs(section, at, header, bytes)
            .filter_map(|(name, _)| std::str::from_utf8(self.string(name)?).ok())
            .filter_map(|name| name.strip_prefix(prefix))
            .collect()
    }

    /// Bytes of a struct or union.
    pub fn size_of(&self, id: u32) -> Option<u32> {
        let (_, _, header) = self.typed(id)?;
        matches!(header.kind(), kind::STRUCT | kind::UNION).then_some(header.reference)
    }

    fn typed(&self, id: u32) -> Option<(&Section, usize, TypeHeader)> {
        let (section, at) = self.locate(id)?;
        Some((section, at, section.header(at)?))
    }

    /// A type as C writes it, as far as parameters need it; 0 is `void`.
    fn type_name(&self, id: u32, depth: u32) -> Option<String> {
        if id == 0 {
            return Some("void".to_owned());
        }
        let depth = depth.checked_sub(1)?;
        let (_, _, header) = self.typed(id)?;
        let own = || String::from_utf8(self.string(header.name)?.to_vec()).ok();
        let inner = || self.type_name(header.reference, depth);
        match header.kind() {
            kind::INT | kind::TYPEDEF => own(),
            kind::UNION => Some(format!("union {}", own()?)),
            kind::ENUM | kind::ENUM64 => Some(format!("enum {}", own()?)),
            kind::FWD if header.has_bitfields() => Some(format!("union {}", own()?)),
            kind::STRUCT | kind::FWD => Some(format!("struct {}", own()?)),
            kind::PTR => {
                let pointed = inner()?;
                let space = if pointed.ends_with('*') { "" } else { " " };
                Some(format!("{pointed}{space}*"))
            }
            kind::CONST => inner().map(|inner| {
                if inner.ends_with('*') {
                    format!("{inner}const")
                } else {
                    format!("const {inner}")
                }
            }),
            kind::VOLATILE => Some(format!("volatile {}", inner()?)),
            kind::RESTRICT | kind::TYPE_TAG => inner(),
            kind::ARRAY => Some("array".to_owned()),
            kind::FUNC_PROTO => Some("function".to_owned()),
            other => Some(format!("kind {other}")),
        }
    }
}

/// The first two words of each part that follows a type.
fn pairs(
    section: &Section,
    at: usize,
    header: TypeHeader,
    bytes: usize,
) -> impl Iterator<Item = (u32, u32)> {
    let count = usize::try_from(header.members()).unwrap_or(0);
    (0..count).filter_map(move |index| {
        let at = at + TYPE_HEADER + index * bytes;
        Some((section.word(at)?, section.word(at + 4)?))
    })
}
