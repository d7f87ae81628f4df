//! Loads and attaches the programs. Not through `aya::Ebpf`: 0.14 sets no `attach_btf_obj_fd`, so it
//! cannot reach the functions of a module (aya-rs/aya#300, #301); it parses the kernel's BTF once more
//! for what [`Gathered`] knows already, 50 ms and 22 MB; and where FUSE is a module the programs that
//! look at it are loaded again, onto the same maps, when it comes back. Once aya does all three, this
//! file can go, and `daemon/maps/created.rs` with it.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fmt, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use aya::maps::{MapData, MapError};
use aya_obj::{Object, ParseError, generated::bpf_insn, relocation::EbpfRelocationError};
use mount_observer_common::CAST;

use super::{
    OBJECT,
    attach::{AttachError, Attached},
    globals::Globals,
    holds::Holds,
};
use crate::{
    daemon::{
        bpf::{self, ModuleBtf, Verdict},
        facts::{Gathered, fuse},
        maps::{Created, MapsError, Sizes},
        nfs::NfsMounts,
    },
    plan::{AttachPlan, Candidate, Mechanism, Probe},
};

/// Why the programs could not even be prepared.
#[derive(Debug, thiserror::Error)]
pub enum LoaderError {
    /// The object was refused.
    #[error("cannot parse the eBPF object")]
    Parse(#[from] ParseError),
    /// It names a map that is not there.
    #[error("cannot put the maps into the eBPF object")]
    Relocate(#[from] EbpfRelocationError),
    /// A map was refused.
    #[error("cannot make the maps")]
    Maps(#[from] MapsError),
    /// The map of constants was refused.
    #[error("cannot make the map of constants")]
    Constants(#[from] MapError),
    /// The kernel refused.
    #[error("cannot fill in the maps")]
    Call(#[from] io::Error),
}

/// What it takes to load programs onto the maps that are in use.
pub struct Loader {
    maps: BTreeMap<String, OwnedFd>,
    globals: Globals,
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader")
            .field("maps", &self.maps.keys())
            .finish_non_exhaustive()
    }
}

/// Programs that are attached for as long as this is kept.
#[derive(Debug, Default)]
pub struct Links {
    held: Vec<OwnedFd>,
    /// How often the module is held by them.
    pub module_users: u32,
}

/// What looks at NFS.
#[derive(Debug)]
pub struct NfsPrograms {
    /// Keeps the programs attached.
    pub links: Links,
    /// Which superblock each client belongs to.
    pub mounts: Option<NfsMounts>,
}

impl Links {
    /// Whether nothing is attached.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Detaches all, beside the caller: closing them waits until no task runs in them any more.
    pub fn let_go(&mut self) {
        let links = std::mem::take(self);
        drop(tokio::task::spawn_blocking(move || drop(links)));
    }
}

impl Loader {
    /// Makes the maps, and takes part in them.
    pub(super) fn new(
        globals: Globals,
        sizes: Sizes,
    ) -> Result<(Self, Created, Object), LoaderError> {
        let object = Object::parse(OBJECT)?;
        let created = Created::new(&object, sizes)?;
        let maps = created.descriptors()?;
        Ok((Self { maps, globals }, created, object))
    }

    /// Fits the programs to what this kernel has now.
    pub(super) fn prepare<'a>(
        &self,
        object: Object,
        found: &'a Gathered,
    ) -> Result<Prepared<'a>, LoaderError> {
        let mut globals = self.globals.clone();
        globals.set_offsets(&found.facts);
        globals.set_types(&found.cast_types);
        Prepared::new(object, &self.maps, &globals, found)
    }

    /// Loads and attaches what looks at NFS.
    pub fn attach_nfs(
        &self,
        plan: &AttachPlan,
        found: &Gathered,
    ) -> Result<(Attached, NfsPrograms), LoaderError> {
        let mut prepared = self.prepare(Object::parse(OBJECT)?, found)?;
        Ok(self.attach_nfs_of(&mut prepared, plan)?)
    }

    /// The same, from programs that are prepared already.
    pub(super) fn attach_nfs_of(
        &self,
        prepared: &mut Prepared<'_>,
        plan: &AttachPlan,
    ) -> io::Result<(Attached, NfsPrograms)> {
        let (mut attached, links) = prepared.attach_all(plan, Probe::is_nfs);
        let parts = attached.nfs_mounts.take().zip(self.maps.get("NFS_SERVERS"));
        let mounts = parts.map(|(program, servers)| {
            Ok::<_, io::Error>(NfsMounts::new(program, servers.try_clone()?))
        });
        let mounts = mounts.transpose()?;
        Ok((attached, NfsPrograms { links, mounts }))
    }

    /// Loads and attaches what looks at writes where a mount is missing.
    pub fn attach_underneath(
        &self,
        plan: &AttachPlan,
        found: &Gathered,
    ) -> Result<(Attached, Links), LoaderError> {
        let mut prepared = self.prepare(Object::parse(OBJECT)?, found)?;
        Ok(prepared.attach_all(plan, |probe| probe == Probe::ShadowWrites))
    }

    /// Loads and attaches what looks at FUSE. The look at files knows FUSE's nodes by FUSE's types.
    pub fn attach_fuse(
        &self,
        plan: &AttachPlan,
        found: &Gathered,
    ) -> Result<(Attached, Links), LoaderError> {
        let mut prepared = self.prepare(Object::parse(OBJECT)?, found)?;
        let is_concerned = |probe: Probe| probe.is_fuse() || probe == Probe::Files;
        Ok(prepared.attach_all(plan, is_concerned))
    }
}

/// The section that becomes the map of constants.
const CONSTANTS: &str = ".rodata";

/// An object whose programs can be loaded.
pub(super) struct Prepared<'a> {
    object: Object,
    found: &'a Gathered,
    modules: BTreeMap<String, ModuleBtf>,
    links: Vec<OwnedFd>,
    holds: Holds,
    /// Programs name it by its descriptor until they are loaded.
    _constants: MapData,
}

impl<'a> Prepared<'a> {
    fn new(
        mut object: Object,
        maps: &BTreeMap<String, OwnedFd>,
        globals: &Globals,
        found: &'a Gathered,
    ) -> Result<Self, LoaderError> {
        object.patch_map_data(globals.for_object().collect())?;
        let definitions = std::mem::take(&mut object.maps);
        let constants = definitions
            .get(CONSTANTS)
            .ok_or(MapError::OutOfBounds {
                index: 0,
                max_entries: 0,
            })
            .and_then(|map| Ok((MapData::create(map.clone(), CONSTANTS, None)?, map)))?;
        let (constants, mut values) = (constants.0, constants.1.data().to_vec());
        bpf::update(constants.fd().as_fd(), 0, &mut values)?;
        bpf::freeze(constants.fd().as_fd())?;
        let in_use = definitions.iter().filter_map(|(name, map)| {
            let fd = if name == CONSTANTS {
                constants.fd().as_fd().as_raw_fd()
            } else {
                maps.get(name)?.as_raw_fd()
            };
            Some((name.as_str(), fd, map))
        });
        let sections = object.functions.keys().map(|key| key.0).collect();
        object.relocate_maps(in_use, &sections)?;
        object.relocate_calls(&sections)?;
        // Not sanitized: where aya finds no bpf_probe_read_kernel it takes all such helpers for
        // missing, and puts the old bpf_probe_read in their place. Under lockdown=confidentiality that
        // one is refused, and bpf_probe_read_user is not.
        Ok(Self {
            object,
            found,
            modules: BTreeMap::new(),
            links: Vec::new(),
            holds: Holds::default(),
            _constants: constants,
        })
    }

    /// Loads a program that only answers questions.
    pub(super) fn load_asked(&mut self, program: &'static str) -> Result<OwnedFd, AttachError> {
        self.load(program, None, Verdict::RAW_TRACEPOINT, 0)
    }

    /// Loads and attaches what serves these probes.
    pub(super) fn attach_all(
        &mut self,
        plan: &AttachPlan,
        is_asked_for: impl Fn(Probe) -> bool,
    ) -> (Attached, Links) {
        let mut attached = Attached::default();
        for planned in &plan.probes {
            if is_asked_for(planned.probe) {
                attached.attach(planned, |candidate| self.attach(candidate));
            }
        }
        let links = Links {
            held: std::mem::take(&mut self.links),
            module_users: std::mem::take(&mut self.holds).count(),
        };
        (attached, links)
    }

    fn attach(&mut self, candidate: &Candidate) -> Result<OwnedFd, AttachError> {
        let target = candidate.target;
        let name = CString::new(target).map_err(io::Error::other)?;
        let (verdict, type_name) = match candidate.mechanism {
            Mechanism::TpBtf => (Verdict::TRACEPOINT, Some(format!("btf_trace_{target}"))),
            Mechanism::RawTracepoint | Mechanism::TestRun => (Verdict::RAW_TRACEPOINT, None),
            Mechanism::KProbe => (Verdict::KPROBE, None),
            Mechanism::FEntry => (Verdict::FENTRY, Some(target.to_owned())),
            Mechanism::FExit => (Verdict::FEXIT, Some(target.to_owned())),
            Mechanism::Iterator => (Verdict::ITERATOR, Some(format!("bpf_iter_{target}"))),
        };
        let btf_id = match type_name {
            Some(name) => *(self.found.btf_ids)
                .get(&name)
                .ok_or(AttachError::Undescribed(target))?,
            None => 0,
        };
        let module = candidate.module.as_deref();
        let users = module_users();
        let program = self.load(candidate.program, module, verdict, btf_id)?;
        let is_held_by_load = module_users() > users;
        let link = match candidate.mechanism {
            Mechanism::TpBtf | Mechanism::FEntry | Mechanism::FExit => {
                Some(bpf::attach_traced(program.as_fd())?)
            }
            Mechanism::KProbe => Some(bpf::attach_kprobe(program.as_fd(), &name)?),
            Mechanism::RawTracepoint => Some(bpf::open_raw_tracepoint(program.as_fd(), &name)?),
            Mechanism::Iterator | Mechanism::TestRun => None,
        };
        self.links.extend(link);
        if candidate.module.is_some() {
            self.holds.on_function(target, is_held_by_load);
        } else if candidate.mechanism == Mechanism::RawTracepoint && self.is_in_module(target) {
            self.holds.on_tracepoint();
        }
        Ok(program)
    }

    fn is_in_module(&self, tracepoint: &str) -> bool {
        let owner = self.found.facts.tracepoints.get(tracepoint);
        owner.is_some_and(Option::is_some)
    }

    fn load(
        &mut self,
        name: &'static str,
        module: Option<&str>,
        verdict: Verdict,
        btf_id: u32,
    ) -> Result<OwnedFd, AttachError> {
        if let Some(module) = module
            && !self.modules.contains_key(module)
        {
            let btf = ModuleBtf::of(module)
                .map_err(|error| AttachError::Module(module.to_owned(), error))?;
            self.modules.insert(module.to_owned(), btf);
        }
        let module = module.and_then(|module| self.modules.get(module));
        let cast = self.found.btf_ids.get(CAST.0).copied();
        let program = self.object.programs.get(name).ok_or(AttachError::Missing)?;
        let function = self
            .object
            .functions
            .get_mut(&program.function_key())
            .ok_or(AttachError::Missing)?;
        put_in_cast(&mut function.instructions, cast)?;
        Ok(bpf::load(
            name,
            &mut function.instructions,
            &program.license,
            verdict,
            (module, btf_id),
        )?)
    }
}

/// Makes calls of [`CAST`]'s place-holder calls of the kernel's function, by its number in BTF.
fn put_in_cast(instructions: &mut [bpf_insn], number: Option<u32>) -> Result<(), AttachError> {
    let (name, place_holder) = CAST;
    let is_cast = |instruction: &bpf_insn| {
        instruction.code == CALL && instruction.imm.cast_unsigned() == place_holder
    };
    for call in instructions.iter_mut().filter(|call| is_cast(call)) {
        call.set_src_reg(PSEUDO_KFUNC_CALL);
        call.imm = number.ok_or(AttachError::Undescribed(name))?.cast_signed();
    }
    Ok(())
}

/// `BPF_JMP | BPF_CALL`, `include/uapi/linux/bpf.h`.
const CALL: u8 = 0x85;
/// `BPF_PSEUDO_KFUNC_CALL`.
const PSEUDO_KFUNC_CALL: u8 = 2;

fn module_users() -> u32 {
    let loaded = fuse::loaded();
    loaded.and_then(|module| module.users).unwrap_or(0)
}
