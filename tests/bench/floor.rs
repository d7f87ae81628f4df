//! Empty programs on the very hooks of the observer's: what attaching alone costs there.

use std::{
    ffi::CString,
    os::fd::{AsFd, OwnedFd},
};

use anyhow::{Context, Result};
use aya_obj::generated::bpf_insn;
use mount_observer::{
    daemon::{
        bpf::{self, ModuleBtf, Verdict},
        facts::Gathered,
        kernel::Attachment,
    },
    plan::Mechanism,
};

/// Programs and what keeps them attached.
pub(crate) type Links = Vec<OwnedFd>;

/// Attaches one for each program of the observer that runs when something happens.
pub(crate) fn attach(attachments: &[Attachment], found: &Gathered) -> Result<Links> {
    let mut links = Links::new();
    for attachment in attachments {
        let verdict = match attachment.mechanism {
            // What a typed tracepoint program costs more is spent when it is loaded.
            Mechanism::TpBtf | Mechanism::RawTracepoint => Verdict::RAW_TRACEPOINT,
            Mechanism::FEntry => Verdict::FENTRY,
            Mechanism::FExit => Verdict::FEXIT,
            Mechanism::KProbe => Verdict::KPROBE,
            Mechanism::Iterator | Mechanism::TestRun => continue,
        };
        let pair = attach_one(attachment, verdict, found);
        let (program, link) = pair.with_context(|| format!("nothing on {}", attachment.target))?;
        links.extend([program, link]);
    }
    Ok(links)
}

fn attach_one(
    attachment: &Attachment,
    verdict: Verdict,
    found: &Gathered,
) -> Result<(OwnedFd, OwnedFd)> {
    let target = CString::new(attachment.target)?;
    let is_traced = [Verdict::FENTRY, Verdict::FEXIT].contains(&verdict);
    let id = if is_traced {
        let id = found.btf_ids.get(attachment.target);
        *id.context("a function without a type")?
    } else {
        0
    };
    let module = match &attachment.module {
        Some(module) if is_traced => Some(ModuleBtf::of(module)?),
        _ => None,
    };
    let program = bpf::load(
        "nothing",
        &mut nothing(),
        c"GPL",
        verdict,
        (module.as_ref(), id),
    )?;
    let link = match attachment.mechanism {
        Mechanism::KProbe => bpf::attach_kprobe(program.as_fd(), &target)?,
        Mechanism::TpBtf | Mechanism::RawTracepoint => {
            bpf::open_raw_tracepoint(program.as_fd(), &target)?
        }
        Mechanism::FEntry | Mechanism::FExit | Mechanism::Iterator | Mechanism::TestRun => {
            bpf::attach_traced(program.as_fd())?
        }
    };
    Ok((program, link))
}

/// `r0 = 0; exit` (`Documentation/bpf/standardization/instruction-set.rst`).
fn nothing() -> [bpf_insn; 2] {
    let instruction = |code| bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(0, 0),
        off: 0,
        imm: 0,
    };
    [instruction(0xb7), instruction(0x95)]
}
