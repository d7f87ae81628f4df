//! Wire types as rows of bytes. A row is stored with its size: fields are only ever added at the end, so
//! a row of another version is cut, or filled with zeroes, to today's.

use std::collections::BTreeMap;

use mount_observer_common::{
    FileRow, HolderRow, InFlight, PathRecord, QueuedRow, Record, RiskRecord, RowKind, TaskRow,
    TotalsKey, TotalsValue, TraceRecord,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::input::{InFlightReading, TotalsReading};

/// Bytes of the longest record; what is shorter is filled up to it where sizes differ.
const RECORD_MAX_BYTES: usize = 512;

/// Bytes of one row of `TOTALS`: key and value.
pub(super) const TOTALS_ROW: usize = size_of::<TotalsKey>() + size_of::<TotalsValue>();
/// Bytes of one row of `IN_FLIGHT`: address and entry.
pub(super) const IN_FLIGHT_ROW: usize = 8 + size_of::<InFlight>();

/// Sizes of the types that records and rows of iterators begin with, as this version knows them.
pub(super) fn sizes() -> BTreeMap<String, u32> {
    let all = [
        ("Record", size_of::<Record>()),
        ("PathRecord", size_of::<PathRecord>()),
        ("RiskRecord", size_of::<RiskRecord>()),
        ("TraceRecord", size_of::<TraceRecord>()),
        ("HolderRow", size_of::<HolderRow>()),
        ("QueuedRow", size_of::<QueuedRow>()),
        ("TaskRow", size_of::<TaskRow>()),
        ("FileRow", size_of::<FileRow>()),
    ];
    let all = all.into_iter();
    all.map(|(name, size)| (name.to_owned(), u32::try_from(size).unwrap_or(u32::MAX)))
        .collect()
}

/// The rows of a reading of `TOTALS` at these places.
pub(super) fn totals_rows<'a>(rows: impl Iterator<Item = &'a (TotalsKey, TotalsValue)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in rows {
        bytes.extend_from_slice(key.as_bytes());
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes
}

/// Reads them back.
pub(super) fn totals(bytes: &[u8], row_size: u32) -> Option<TotalsReading> {
    let rows = rows::<TOTALS_ROW>(bytes, row_size)?;
    let read = |row: [u8; TOTALS_ROW]| {
        let (key, rest) = TotalsKey::read_from_prefix(&row).ok()?;
        let (value, _) = TotalsValue::read_from_prefix(rest).ok()?;
        Some((key, value))
    };
    rows.map(read).collect()
}

/// The rows of a reading of `IN_FLIGHT`.
pub(super) fn in_flight_rows(reading: &InFlightReading) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(reading.len() * IN_FLIGHT_ROW);
    for (address, entry) in reading {
        bytes.extend_from_slice(&address.to_le_bytes());
        bytes.extend_from_slice(entry.as_bytes());
    }
    bytes
}

/// Reads them back.
pub(super) fn in_flight(bytes: &[u8], row_size: u32) -> Option<InFlightReading> {
    let rows = rows::<IN_FLIGHT_ROW>(bytes, row_size)?;
    let read = |row: [u8; IN_FLIGHT_ROW]| {
        let (address, rest) = row.split_first_chunk::<8>()?;
        let (entry, _) = InFlight::read_from_prefix(rest).ok()?;
        Some((u64::from_le_bytes(*address), entry))
    };
    rows.map(read).collect()
}

/// Rows of `row_size` bytes as rows of `SIZE`; `None` when the bytes are no whole number of rows.
fn rows<const SIZE: usize>(
    bytes: &[u8],
    row_size: u32,
) -> Option<impl Iterator<Item = [u8; SIZE]> + '_> {
    let row_size = usize::try_from(row_size).ok().filter(|size| *size > 0)?;
    let rows = bytes.chunks_exact(row_size);
    rows.remainder().is_empty().then(|| {
        rows.map(|row| {
            let mut whole = [0; SIZE];
            for (to, from) in whole.iter_mut().zip(row) {
                *to = *from;
            }
            whole
        })
    })
}

/// A record of a version whose types were shorter, so that this one reads zeroes where it has nothing.
pub(super) fn widened_record(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() < RECORD_MAX_BYTES {
        bytes.resize(RECORD_MAX_BYTES, 0);
    }
    bytes
}

/// Rows of iterators of such a version. A row of a file is followed by a path: it stays as it is.
pub(super) fn widened_rows(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((row, tail)) = split_row(rest) {
        let kind = row.first_chunk().copied().map_or(0, u32::from_le_bytes);
        let known = known_size(kind).filter(|size| *size > row.len());
        let size = known.unwrap_or(row.len());
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(row.get(8..).unwrap_or_default());
        out.resize(out.len() + size - row.len(), 0);
        rest = tail;
    }
    out.extend_from_slice(rest);
    out
}

fn split_row(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let size = bytes.get(4..)?.first_chunk().copied();
    let size = size.map(u32::from_le_bytes)?;
    let size = usize::try_from(size).ok().filter(|size| *size >= 8)?;
    bytes.split_at_checked(size)
}

fn known_size(kind: u32) -> Option<usize> {
    #[expect(
        clippy::as_conversions,
        reason = "the discriminant of a repr(u32) enum"
    )]
    let kinds = [
        (RowKind::Holder as u32, size_of::<HolderRow>()),
        (RowKind::Queued as u32, size_of::<QueuedRow>()),
        (RowKind::Task as u32, size_of::<TaskRow>()),
    ];
    let found = kinds.into_iter().find(|(known, _)| *known == kind);
    found.map(|(_, size)| size)
}

#[cfg(test)]
mod tests {
    use mount_observer_common::COMM_BYTES;
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn rows_of_an_earlier_version_are_filled_with_zeroes() {
        let entry = InFlight {
            start_ns: 1,
            unique: 2,
            nodeid: 3,
            dev: 4,
            opcode: 5,
            tgid: 6,
            tid: 7,
            comm: [9; COMM_BYTES],
            ..InFlight::new_zeroed()
        };
        let bytes = in_flight_rows(&vec![(77, entry)]);
        let size = u32::try_from(IN_FLIGHT_ROW).unwrap();
        assert_eq!(in_flight(&bytes, size), Some(vec![(77, entry)]));
        let earlier = in_flight(&bytes[..40], 40).unwrap();
        assert_eq!(earlier[0].1.start_ns, 1);
        assert_eq!(earlier[0].1.comm, [0; COMM_BYTES]);
        let later = [bytes, vec![1; 8]].concat();
        assert_eq!(in_flight(&later, size + 8), Some(vec![(77, entry)]));
        assert_eq!(in_flight(&later, size), None);
        assert_eq!(in_flight(&later, 0), None);
    }
}
