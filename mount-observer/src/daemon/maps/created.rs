//! The maps of the object, made in the kernel. By `aya::maps` and not by `EbpfLoader`: that one parses
//! the whole of the kernel's BTF first, for relocations our object has none of, and loads a dozen
//! programs to find out what the kernel knows; together a third of our start.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
};

use aya::maps::{Map, MapData, MapError};
use aya_obj::{EbpfSectionKind, Object, generated::bpf_map_type};

use super::{MapsError, Sizes};

/// Maps by name, until each is handed to its owner.
pub(in crate::daemon) struct Created(BTreeMap<String, Map>);

impl Created {
    /// Makes every map that the object defines, except that of its constants.
    pub(in crate::daemon) fn new(object: &Object, sizes: Sizes) -> Result<Self, MapsError> {
        let mut maps = BTreeMap::new();
        // In order: each run makes them alike.
        let definitions: BTreeMap<_, _> = object.maps.iter().collect();
        for (name, definition) in definitions {
            if definition.section_kind() == EbpfSectionKind::Rodata {
                continue;
            }
            let mut definition = definition.clone();
            if let Some(entries) = sizes.of(name) {
                definition.set_max_entries(entries);
            }
            let map =
                create(name, definition).map_err(|error| MapsError::Create(name.clone(), error))?;
            maps.insert(name.clone(), map);
        }
        Ok(Self(maps))
    }

    /// Hands a map out.
    pub(in crate::daemon) fn take(&mut self, name: &'static str) -> Result<Map, MapsError> {
        self.0.remove(name).ok_or(MapsError::Missing(name))
    }

    /// To change what is in a map.
    pub(in crate::daemon) fn get_mut(&mut self, name: &'static str) -> Result<&mut Map, MapsError> {
        self.0.get_mut(name).ok_or(MapsError::Missing(name))
    }

    /// A descriptor of each, for programs that refer to them.
    pub(in crate::daemon) fn descriptors(&self) -> io::Result<BTreeMap<String, OwnedFd>> {
        let maps = self
            .0
            .iter()
            .filter_map(|(name, map)| Some((name, data_of(map)?)));
        maps.map(|(name, data)| Ok((name.clone(), data.fd().as_fd().try_clone_to_owned()?)))
            .collect()
    }
}

/// The types of map that our object has.
fn create(name: &str, definition: aya_obj::Map) -> Result<Map, MapError> {
    let map_type = definition.map_type();
    let kind = bpf_map_type::try_from(map_type)?;
    let data = MapData::create(definition, name, None)?;
    #[expect(clippy::wildcard_enum_match_arm, reason = "maps of 25 other types")]
    Ok(match kind {
        bpf_map_type::BPF_MAP_TYPE_ARRAY => Map::Array(data),
        bpf_map_type::BPF_MAP_TYPE_PERCPU_ARRAY => Map::PerCpuArray(data),
        bpf_map_type::BPF_MAP_TYPE_HASH => Map::HashMap(data),
        bpf_map_type::BPF_MAP_TYPE_PERCPU_HASH => Map::PerCpuHashMap(data),
        bpf_map_type::BPF_MAP_TYPE_LPM_TRIE => Map::LpmTrie(data),
        bpf_map_type::BPF_MAP_TYPE_RINGBUF => Map::RingBuf(data),
        _ => return Err(MapError::InvalidMapType { map_type }),
    })
}

fn data_of(map: &Map) -> Option<&MapData> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "maps of 25 other types")]
    match map {
        Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::HashMap(data)
        | Map::PerCpuHashMap(data)
        | Map::LpmTrie(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}
