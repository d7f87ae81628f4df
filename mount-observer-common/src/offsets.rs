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

/// Every offset. Where several lines name the same global, the first field that exists counts:
/// 7.2 moved the queueing half of `fuse_conn` to the new `fuse_chan`.
/// Which ones a program cannot do without is the plan's business.
pub const OFFSETS: &[FieldPath] = &[
    field("OFF_REQ_LIST", "fuse_req", "list"),
    field("OFF_REQ_ARGS", "fuse_req", "args"),
    field("OFF_REQ_OPCODE", "fuse_req", "in.h.opcode"),
    field("OFF_REQ_UNIQUE", "fuse_req", "in.h.unique"),
    field("OFF_REQ_NODEID", "fuse_req", "in.h.nodeid"),
    field("OFF_REQ_PID", "fuse_req", "in.h.pid"),
    field("OFF_REQ_ERROR", "fuse_req", "out.h.error"),
    field("OFF_REQ_CREATE_TIME", "fuse_req", "create_time"),
    field("OFF_REQ_FM", "fuse_req", "fm"),
    field("OFF_REQ_CHAN", "fuse_req", "chan"),
    field("OFF_ARGS_OPCODE", "fuse_args", "opcode"),
    field("OFF_ARGS_NODEID", "fuse_args", "nodeid"),
    field("OFF_ARGS_IN", "fuse_args", "in_args"),
    field("OFF_FM_SB", "fuse_mount", "sb"),
    field("OFF_FM_FC", "fuse_mount", "fc"),
    field("OFF_SB_DEV", "super_block", "s_dev"),
    field("OFF_FUD_CONN", "fuse_dev", "fc"),
    field("OFF_FUD_CONN", "fuse_dev", "chan"),
    field("OFF_FUD_PROCESSING", "fuse_dev", "pq.processing"),
    field("OFF_FUD_IO", "fuse_dev", "pq.io"),
    field("OFF_CHAN_CONN", "fuse_chan", "conn"),
    field("OFF_FC_DEV", "fuse_conn", "dev"),
    field("OFF_CONN_CONNECTED", "fuse_chan", "connected"),
    field("OFF_CONN_CONNECTED", "fuse_conn", "connected"),
    field("OFF_CONN_WAITING", "fuse_chan", "num_waiting"),
    field("OFF_CONN_WAITING", "fuse_conn", "num_waiting"),
    field("OFF_CONN_PENDING", "fuse_chan", "iq.pending"),
    field("OFF_CONN_PENDING", "fuse_conn", "iq.pending"),
    field("OFF_CONN_BG_QUEUE", "fuse_chan", "bg_queue"),
    field("OFF_CONN_BG_QUEUE", "fuse_conn", "bg_queue"),
    field("OFF_TASK_STATE", "task_struct", "__state"),
    field("OFF_TASK_STATE", "task_struct", "state"),
    field("OFF_TASK_PID", "task_struct", "pid"),
    field("OFF_TASK_TGID", "task_struct", "tgid"),
    field("OFF_TASK_COMM", "task_struct", "comm"),
    field("OFF_TASK_EXIT_CODE", "task_struct", "exit_code"),
    field("OFF_TASK_NVCSW", "task_struct", "nvcsw"),
    field("OFF_TASK_NIVCSW", "task_struct", "nivcsw"),
    field("OFF_TASK_SIGNAL", "task_struct", "signal"),
    field("OFF_TASK_NAMEIDATA", "task_struct", "nameidata"),
    field("OFF_TASK_STACK", "task_struct", "stack"),
    field("OFF_TASK_FS", "task_struct", "fs"),
    field("OFF_TASK_FILES", "task_struct", "files"),
    field("OFF_TASK_NSPROXY", "task_struct", "nsproxy"),
    field("OFF_SIGNAL_LIVE", "signal_struct", "live"),
    field("OFF_SIGNAL_OOM_MM", "signal_struct", "oom_mm"),
    field("OFF_ND_DENTRY", "nameidata", "path.dentry"),
    field("OFF_DENTRY_SB", "dentry", "d_sb"),
    field("OFF_INODE_SB", "inode", "i_sb"),
    field("OFF_DENTRY_PARENT", "dentry", "d_parent"),
    field("OFF_DENTRY_NAME", "dentry", "d_name.name"),
    field("OFF_INODE_RDEV", "inode", "i_rdev"),
    field("OFF_INODE_NUMBER", "inode", "i_ino"),
    field("OFF_INODE_SIZE", "inode", "i_size"),
    field("OFF_FUSE_INODE_NODEID", "fuse_inode", "nodeid"),
    field("OFF_FILE_INODE", "file", "f_inode"),
    field("OFF_FILE_PRIVATE", "file", "private_data"),
    field("OFF_FILE_MODE", "file", "f_mode"),
    field("OFF_FILE_POSITION", "file", "f_pos"),
    field("OFF_FILE_PATH", "file", "f_path"),
    field("OFF_FILE_DENTRY", "file", "f_path.dentry"),
    field("OFF_FILES_FDT", "files_struct", "fdt"),
    field("OFF_FDT_MAX_FDS", "fdtable", "max_fds"),
    field("OFF_FDT_FD", "fdtable", "fd"),
    field("OFF_FS_ROOT_MNT", "fs_struct", "root.mnt"),
    field("OFF_FS_ROOT_DENTRY", "fs_struct", "root.dentry"),
    field("OFF_FS_PWD_DENTRY", "fs_struct", "pwd.dentry"),
    field("OFF_PATH_MNT", "path", "mnt"),
    field("OFF_FILENAME_NAME", "filename", "name"),
    field("OFF_MNT_ROOT", "vfsmount", "mnt_root"),
    field("OFF_MNT_SB", "vfsmount", "mnt_sb"),
    field("OFF_NSPROXY_MNT_NS", "nsproxy", "mnt_ns"),
    field("OFF_MNT_NS_INUM", "mnt_namespace", "ns.inum"),
    field("OFF_SB_LIST", "super_block", "s_list"),
    field("OFF_SB_MAGIC", "super_block", "s_magic"),
    field("OFF_SB_FS_INFO", "super_block", "s_fs_info"),
    field("OFF_NFS_CLIENT", "nfs_server", "client"),
    field("OFF_NFS_SUPER", "nfs_server", "super"),
    field("OFF_RPC_STATUS", "rpc_task", "tk_status"),
    field("OFF_RPC_CLIENT", "rpc_task", "tk_client"),
    field("OFF_RPC_PROCEDURE", "rpc_task", "tk_msg.rpc_proc"),
    field("OFF_RPC_REQUEST", "rpc_task", "tk_rqstp"),
    field("OFF_RPC_START", "rpc_task", "tk_start"),
    field("OFF_RPC_OWNER", "rpc_task", "tk_owner"),
    field("OFF_CLIENT_PROGRAM", "rpc_clnt", "cl_prog"),
    field("OFF_CLIENT_VERSION", "rpc_clnt", "cl_vers"),
    field("OFF_CLIENT_PARENT", "rpc_clnt", "cl_parent"),
    field("OFF_PROCEDURE_NUMBER", "rpc_procinfo", "p_statidx"),
    field("OFF_PROCEDURE_NAME", "rpc_procinfo", "p_name"),
    field("OFF_REGS_NR", "pt_regs", "orig_ax"),
    field("OFF_REGS_CS", "pt_regs", "cs"),
    field("OFF_REGS_ARG0", "pt_regs", "di"),
    field("OFF_REGS_ARG1", "pt_regs", "si"),
    field("OFF_REGS_ARG2", "pt_regs", "dx"),
    field("OFF_REGS_ARG3", "pt_regs", "r10"),
    field("OFF_REGS_ARG4", "pt_regs", "r8"),
];

/// A helper that not every kernel has: the global that says whether the programs may call it (1, the
/// default) or not (0), and its name in the kernel's `enum bpf_func_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelperSwitch {
    /// Name of the `static` in the eBPF object, a `u32`.
    pub global: &'static str,
    /// The enumerator.
    pub helper: &'static str,
}

/// Every such helper. Where one is missing, the verifier removes the branch that calls it and the
/// programs do without: with `bpf_probe_read_kernel`, or by leaving a fact unknown.
pub const HELPER_SWITCHES: [HelperSwitch; 2] = [
    HelperSwitch {
        global: "HAS_CURRENT_TASK_BTF",
        helper: "BPF_FUNC_get_current_task_btf",
    },
    HelperSwitch {
        global: "HAS_TASK_PT_REGS",
        helper: "BPF_FUNC_task_pt_regs",
    },
];

/// The kernel function that gives an address a type (`bpf_rdonly_cast`, `kernel/bpf/helpers.c`, 6.2), and
/// what a program calls in its place: no helper has this number, and the loader puts in the one that the
/// function has in the running kernel.
pub const CAST: (&str, u32) = ("bpf_rdonly_cast", 0x6b66_0001);

/// Numbers of types in the kernel's BTF, for [`CAST`]: the global each goes to, and the struct. Of several
/// structs for one global the first that exists counts.
pub const CAST_TYPES: [(&str, &str); 4] = [
    ("TYPE_FUSE_DEV", "fuse_dev"),
    ("TYPE_FUSE_INODE", "fuse_inode"),
    ("TYPE_CONNECTION", "fuse_chan"),
    ("TYPE_CONNECTION", "fuse_conn"),
];

/// The global that says whether `bpf_probe_read_kernel` may be called (1, the default); 0 under
/// `lockdown=confidentiality`, where whatever it would have read is zero.
pub const MAY_READ_KERNEL: &str = "MAY_READ_KERNEL";
