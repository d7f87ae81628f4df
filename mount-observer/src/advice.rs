//! What to do about a condition. The observer itself never does any of it.

use crate::{
    alert::AlertKind,
    snapshot::{self, Mount, ServerStatus},
    text::shell_quoted,
    watched::{Service, Watched},
};

/// Advice for the person who reads the alert.
pub fn of(kind: AlertKind, superblock: &Watched) -> String {
    match (kind, superblock.service) {
        (AlertKind::Dead, _) => dead(superblock),
        (AlertKind::Hung | AlertKind::Stuck, Service::Fuse) => stalled(superblock),
        (AlertKind::Hung | AlertKind::Stuck, Service::Virtiofs) => {
            "Look at virtiofsd on the host. Waiting processes are freed only when it answers."
                .to_owned()
        }
        (AlertKind::Hung | AlertKind::Stuck, Service::Kernel) => {
            let (hide, place) = (command("umount -l", superblock), place(superblock));
            format!(
                "Look at the server and the network in between. {hide} hides the mount{place} but \
                 does not free the processes that wait; SIGKILL frees those in a killable wait."
            )
        }
        (AlertKind::Erroring, Service::Kernel) if superblock.has_causes() => {
            "It passes on what a FUSE mount below it answers: look at that one.".to_owned()
        }
        (AlertKind::Erroring, _) => {
            "Look at the server's own log and at what it depends on: it answers, but with errors."
                .to_owned()
        }
        (AlertKind::Slow, _) => "Look at the load of the server and of its backend.".to_owned(),
        (AlertKind::Missing | AlertKind::ShadowWrites | AlertKind::Recovery, _) => String::new(),
    }
}

fn dead(superblock: &Watched) -> String {
    let (unmount, place) = (command("umount", superblock), place(superblock));
    let how = if place.is_empty() {
        let detach = command("umount -l", superblock);
        format!(" ({unmount}, or {detach} while something has it open) and mount it again.")
    } else {
        format!("{place}: {unmount} (`-l` while something has it open). Mount it again there.")
    };
    format!("The mount cannot recover: unmount it{how} What was not written back is lost.")
}

fn stalled(superblock: &Watched) -> String {
    // fusectl names a connection by its device number in decimal (`fuse_ctl_add_conn`).
    let abort = format!("/sys/fs/fuse/connections/{}/abort", superblock.id.dev.0);
    let pids: Vec<_> = superblock.connection.server_pids().collect();
    let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
    let pids = pids.join(" ");
    let resume = if superblock.connection.status() == ServerStatus::Stopped {
        format!("`kill -CONT {pids}` lets the server go on. ")
    } else {
        String::new()
    };
    let kill = if pids.is_empty() {
        String::new()
    } else {
        format!(" or kill the server (`kill -9 {pids}`)")
    };
    format!(
        "{resume}`umount -l` does not free the processes that wait. To free them, abort the \
         connection (`echo 1 > {abort}`){kill}: their calls fail with ECONNABORTED, and what was \
         not written back is lost."
    )
}

/// Where a command has to run that is not for the observer's own namespace.
fn place(superblock: &Watched) -> String {
    match snapshot::namespace_elsewhere(&superblock.mounted.mounts) {
        Some(namespace) => {
            format!(" in mount namespace {namespace} (`umount` here would hit another mount)")
        }
        None => String::new(),
    }
}

/// A command on the mount point. Where the superblock is mounted in other namespaces only, the
/// same path leads to another mount here, which may be a healthy one.
fn command(command: &str, superblock: &Watched) -> String {
    let point = mount_point(superblock);
    match snapshot::namespace_elsewhere(&superblock.mounted.mounts) {
        // No process of the namespace is known at this place.
        Some(namespace) => format!(
            "`nsenter --mount=/proc/PID/ns/mnt {command} {point}`, with a PID that \
             `lsns {namespace}` lists"
        ),
        None => format!("`{command} {point}`"),
    }
}

/// The mount point of the label, as one word of a shell.
fn mount_point(superblock: &Watched) -> String {
    let mounted = &superblock.mounted;
    let labelled = |mount: &&Mount| mount.mount_point == mounted.mountpoint;
    let escaped = mounted.mounts.iter().find(labelled);
    shell_quoted(escaped.map_or(&mounted.mountpoint, |mount| &mount.mount_point_escaped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mounts::Mounts, scope::Scope, superblock::SuperblockId, time::Mono};

    fn dead_in(mnt_ns: u32, is_own: bool) -> String {
        let table = b"30 1 0:52 / /mnt/a\\040b rw - fuse.sshfs box:/srv rw\n";
        let scope = Scope::new(&crate::config::Scope::default()).unwrap();
        let mut mounts = Mounts::default();
        mounts.update(mnt_ns, is_own, Mono(0), table);
        let mounted = mounts.superblocks(&scope).0.pop().unwrap();
        let id = SuperblockId {
            dev: mounted.dev,
            epoch: 0,
        };
        of(AlertKind::Dead, &Watched::new(id, mounted, Mono(0)))
    }

    #[test]
    fn what_is_mounted_here_is_unmounted_here() {
        let advice = dead_in(1, true);
        assert!(
            advice.contains("unmount it (`umount '/mnt/a b'`, or"),
            "{advice}"
        );
    }

    #[test]
    fn what_is_mounted_elsewhere_is_never_unmounted_here() {
        let advice = dead_in(4_026_532_001, false);
        assert!(
            advice.contains(
                "unmount it in mount namespace 4026532001 (`umount` here would hit another mount): \
                 `nsenter --mount=/proc/PID/ns/mnt umount '/mnt/a b'`, with a PID that \
                 `lsns 4026532001` lists"
            ),
            "{advice}"
        );
        assert!(!advice.contains("`umount '"), "{advice}");
    }
}
