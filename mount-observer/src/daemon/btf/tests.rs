use mount_observer_common::OFFSETS;

use super::*;

/// Writes BTF the way the kernel does.
#[derive(Default)]
struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
    first_string: u32,
}

impl Blob {
    fn new() -> Self {
        Self {
            strings: vec![0],
            ..Self::default()
        }
    }

    fn split(base: &Self) -> Self {
        Self {
            first_string: u32::try_from(base.strings.len()).unwrap(),
            ..Self::default()
        }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.first_string + u32::try_from(self.strings.len()).unwrap();
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        at
    }

    fn words(&mut self, words: &[u32]) {
        self.types
            .extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    fn add(&mut self, name: &str, kind: u32, reference: u32) {
        let name = self.name(name);
        self.words(&[name, kind << 24, reference]);
    }

    /// A struct of members by name, type and bit offset.
    fn add_struct(&mut self, name: &str, members: &[(&str, u32, u32)]) {
        let name = self.name(name);
        let count = u32::try_from(members.len()).unwrap();
        self.words(&[name, kind::STRUCT << 24 | count, 64]);
        for &(member, member_type, bits) in members {
            let member = self.name(member);
            self.words(&[member, member_type, bits]);
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let types = u32::try_from(self.types.len()).unwrap();
        let strings = u32::try_from(self.strings.len()).unwrap();
        let mut bytes = Vec::new();
        for word in [0x0001_eb9f, 24, 0, types, types, strings] {
            bytes.extend(u32::to_ne_bytes(word));
        }
        bytes.extend(&self.types);
        bytes.extend(&self.strings);
        bytes
    }
}

/// 1 int, 2 struct inner, 3 anonymous struct, 4 typedef of inner, 5 struct outer.
fn base() -> Blob {
    let mut blob = Blob::new();
    let name = blob.name("int");
    blob.words(&[name, 1 << 24, 4, 32]);
    blob.add_struct("inner", &[("x", 1, 0), ("y", 1, 32)]);
    blob.add_struct("", &[("hidden", 1, 64)]);
    blob.add("inner_t", kind::TYPEDEF, 2);
    blob.add_struct("outer", &[("first", 1, 0), ("", 3, 64), ("in", 4, 256)]);
    blob.add("btf_trace_fuse_request_send", kind::TYPEDEF, 1);
    blob.add("bpf_iter_task", kind::FUNC, 1);
    blob
}

fn offset(btf: &Btf, type_name: &'static str, field: &'static str) -> Option<u32> {
    let path = FieldPath {
        global: "OFF",
        type_name,
        field,
    };
    btf.offsets(&[path], &structs(btf)).get("OFF").copied()
}

fn structs(btf: &Btf) -> BTreeMap<(Kind, &'static str), u32> {
    let names = ["outer", "module_type"];
    btf.find(&names.map(|name| (Kind::Struct, name)).into())
}

#[test]
fn fields_are_found_through_typedefs_and_anonymous_members() {
    let btf = Btf::parse(base().bytes()).unwrap();
    assert_eq!(offset(&btf, "outer", "in.y"), Some(36));
    assert_eq!(offset(&btf, "outer", "hidden"), Some(16));
    assert_eq!(offset(&btf, "outer", "absent"), None);
    assert_eq!(offset(&btf, "absent", "first"), None);
}

#[test]
fn a_modules_types_build_on_the_kernels() {
    let base = base();
    let mut split = Blob::split(&base);
    split.add_struct("module_type", &[("own", 1, 0), ("base", 2, 128)]);
    let mut btf = Btf::parse(base.bytes()).unwrap();
    btf.add_split("fuse", split.bytes()).unwrap();
    assert_eq!(offset(&btf, "module_type", "base.y"), Some(20));
    assert_eq!(offset(&btf, "outer", "in.y"), Some(36));
    let structs = structs(&btf);
    let owner = |name| btf.owner(structs[&(Kind::Struct, name)]);
    assert_eq!(owner("module_type"), Some("fuse".to_owned()));
    assert_eq!(owner("outer"), None);
}

#[test]
fn only_what_is_wanted_is_found_and_by_its_kind() {
    let btf = Btf::parse(base().bytes()).unwrap();
    let wanted = [
        (Kind::Typedef, "btf_trace_fuse_request_send"),
        (Kind::Function, "bpf_iter_task"),
        (Kind::Function, "btf_trace_fuse_request_send"),
        (Kind::Function, "bpf_iter_file"),
    ];
    let found = btf.find(&wanted.into());
    let found: Vec<_> = found.keys().map(|(_, name)| *name).collect();
    assert_eq!(found, ["btf_trace_fuse_request_send", "bpf_iter_task"]);
}

#[test]
fn a_prototype_is_told_as_c_writes_it() {
    let mut blob = base();
    blob.add("", kind::CONST, 2);
    blob.add("", kind::PTR, 8);
    blob.add("", kind::PTR, 1);
    blob.add("", kind::PTR, 10);
    blob.words(&[0, kind::FUNC_PROTO << 24 | 3, 0, 0, 9, 0, 11, 0, 4]);
    blob.add("ask", kind::FUNC, 12);
    let btf = Btf::parse(blob.bytes()).unwrap();
    let ask = btf.function(13).unwrap();
    assert_eq!(
        ask.parameters,
        ["const struct inner *", "int **", "inner_t"]
    );
    assert_eq!(ask.result, "void");
    assert_eq!(btf.function(1), None);
}

#[test]
fn the_values_of_an_enum_are_listed() {
    let mut blob = base();
    let (name, first, second) = (blob.name("e"), blob.name("E_ONE"), blob.name("OTHER"));
    blob.words(&[name, kind::ENUM << 24 | 2, 4, first, 1, second, 2]);
    let btf = Btf::parse(blob.bytes()).unwrap();
    assert_eq!(btf.enumerators(8, "E_"), ["ONE"]);
    assert_eq!(btf.enumerators(1, "E_"), <[&str; 0]>::default());
}

#[test]
fn of_two_fields_for_one_global_the_first_that_exists_counts() {
    let btf = Btf::parse(base().bytes()).unwrap();
    let path = |field| FieldPath {
        global: "OFF",
        type_name: "outer",
        field,
    };
    let paths = [path("absent"), path("hidden"), path("first")];
    let offsets = btf.offsets(&paths, &structs(&btf));
    assert_eq!(offsets, [("OFF", 16)].into());
}

#[test]
fn every_prefix_of_a_blob_is_refused_or_read_without_a_panic() {
    let bytes = base().bytes();
    for len in 0..bytes.len() {
        let cut = bytes.get(..len).unwrap().to_vec();
        if let Ok(btf) = Btf::parse(cut) {
            // Cut within the strings: what is left must still be readable.
            let wanted = OFFSETS.iter().map(|path| (Kind::Struct, path.type_name));
            let structs = btf.find(&wanted.collect());
            let _offsets = btf.offsets(OFFSETS, &structs);
            let _functions: Vec<_> = (0..20).map(|id| btf.function(id)).collect();
        }
    }
    assert_eq!(
        Btf::parse(vec![1, 2, 3, 4]).unwrap_err(),
        BtfError::Magic(0x0201)
    );
}

#[test]
fn an_unknown_kind_is_refused() {
    let mut blob = base();
    blob.add("future", 31, 0);
    assert_eq!(
        Btf::parse(blob.bytes()).unwrap_err(),
        BtfError::Kind { kind: 31, id: 8 }
    );
}
