//! The programs count NFS operations by numbers that are this kernel's own, and note what the kernel
//! calls them; here they get the numbers that mean the same everywhere.

use std::collections::BTreeMap;

use aya::maps::{Array, MapData};
use mount_observer_common::{NFS_NAME_BYTES, Op, Record, TotalsKey, TotalsValue};
use zerocopy::FromBytes;

use super::add;
use crate::operation::Operation;

/// What each number was found to mean.
pub(super) struct NfsNames {
    names: Array<MapData, [u8; NFS_NAME_BYTES]>,
    known: BTreeMap<u16, Op>,
}

impl NfsNames {
    pub(super) const fn new(names: Array<MapData, [u8; NFS_NAME_BYTES]>) -> Self {
        Self {
            names,
            known: BTreeMap::new(),
        }
    }

    /// Gives the operations their own numbers. What several protocols count under one name is one.
    pub(super) fn translate(&mut self, totals: &mut Vec<(TotalsKey, TotalsValue)>) {
        let mut merged: BTreeMap<TotalsKey, TotalsValue> = BTreeMap::new();
        totals.retain(|&(mut key, value)| {
            let Op::Nfs(index) = Op::from_wire(key.op) else {
                return true;
            };
            key.op = self.operation(index).to_wire();
            add(merged.entry(key).or_insert(TotalsValue::ZERO), &value);
            false
        });
        totals.extend(merged);
    }

    /// The same in one record.
    pub(super) fn translate_record(&mut self, record: &mut [u8]) {
        let Ok((record, _)) = Record::mut_from_prefix(record) else {
            return;
        };
        if let Ok(wire) = u16::try_from(record.op)
            && let Op::Nfs(index) = Op::from_wire(wire)
        {
            record.op = u32::from(self.operation(index).to_wire());
        }
    }

    fn operation(&mut self, index: u16) -> Op {
        if let Some(known) = self.known.get(&index) {
            return *known;
        }
        // A name is written before its first operation is counted.
        let name = self.names.get(&u32::from(index), 0).unwrap_or_default();
        let operation = Operation::nfs(text(&name), index).0;
        if text(&name).is_empty() {
            return operation;
        }
        self.known.insert(index, operation);
        operation
    }
}

fn text(name: &[u8; NFS_NAME_BYTES]) -> &str {
    let end = name.iter().position(|byte| *byte == 0);
    let name = name.get(..end.unwrap_or(NFS_NAME_BYTES));
    name.and_then(|name| std::str::from_utf8(name).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_its_first_nul() {
        let mut name = [0; NFS_NAME_BYTES];
        assert_eq!(text(&name), "");
        name[..7].copy_from_slice(b"GETATTR");
        assert_eq!(text(&name), "GETATTR");
        assert_eq!(text(&[b'A'; NFS_NAME_BYTES]).len(), NFS_NAME_BYTES);
        assert_eq!(text(&[0xff; NFS_NAME_BYTES]), "");
    }
}
