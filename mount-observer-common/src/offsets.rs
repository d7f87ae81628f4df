//! Struct offsets the programs need, resolved from the running kernel's BTF and injected into
//! frozen `.rodata` before load: the verifier then accepts them as constants of typed loads.

/// Value of an offset global whose field does not exist on this kernel.
pub const ABSENT: u32 = u32::MAX;

/// One offset: the global it goes to, and the field it is the byte offset of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldPath {
    /// Name of the `static` in the eBPF object.
    pub global: &'static str,
    /// Struct tag.
    pub type_name: &'static str,
    /// Members from the outside in, joined with dots.
    pub field: &'static str,
}

const fn field(global: &'static str, type_name: &'static str, path: &'static str) -> FieldPath {
    FieldPath {
        global,
        type_name,
        field: path,
    }
}

/// Every offset. Which ones a program cannot do without is the plan's business.
pub const OFFSETS: &[FieldPath] = &[
    field("OFF_REQ_OPCODE", "fuse_req", "in.h.opcode"),
    field("OFF_REQ_UNIQUE", "fuse_req", "in.h.unique"),
    field("OFF_REQ_NODEID", "fuse_req", "in.h.nodeid"),
    field("OFF_REQ_PID", "fuse_req", "in.h.pid"),
    field("OFF_REQ_ERROR", "fuse_req", "out.h.error"),
    field("OFF_REQ_FM", "fuse_req", "fm"),
    field("OFF_REQ_CHAN", "fuse_req", "chan"),
    field("OFF_REQ_LIST", "fuse_req", "list"),
    field("OFF_REQ_CREATE_TIME", "fuse_req", "create_time"),
    field("OFF_FM_SB", "fuse_mount", "sb"),
    field("OFF_FM_FC", "fuse_mount", "fc"),
    field("OFF_SB_DEV", "super_block", "s_dev"),
];
