//! What to do about a condition. The observer itself never does any of it.

use crate::{
    alert::State,
    snapshot::{Mount, ServerStatus},
    watched::{Service, Watched},
};

/// Advice for the person who reads the alert.
pub fn of(kind: State, superblock: &Watched) -> String {
    match (kind, superblock.service) {
        (State::Dead, _) => dead(superblock),
        (State::Hung | State::Stuck, Service::Fuse) => stalled(superblock),
        (State::Hung | State::Stuck, Service::Virtiofs) => {
            "Look at virtiofsd on the host. Waiting processes are freed only when it answers."
                .to_owned()
        }
        (State::Hung | State::Stuck, Service::Kernel) => {
            let point = mount_point(superblock);
            format!(
                "Look at the server and the network in between. `umount -l {point}` hides the mount \
                 but does not free the processes that wait; SIGKILL frees those in a killable wait."
            )
        }
        (State::Erroring, _) => {
            "Look at the server's own log and at what it depends on: it answers, but with errors."
                .to_owned()
        }
        (State::Slow, _) => "Look at the load of the server and of its backend.".to_owned(),
        (State::Ok | State::Unknown, _) => String::new(),
    }
}

fn dead(superblock: &Watched) -> String {
    let point = mount_point(superblock);
    format!(
        "The mount cannot recover: unmount it (`umount {point}`, or `umount -l {point}` while \
         something has it open) and mount it again. What was not written back is lost."
    )
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

/// The mount point of the label, as one word of a shell.
fn mount_point(superblock: &Watched) -> String {
    let mounted = &superblock.mounted;
    let labelled = |mount: &&Mount| mount.mount_point == mounted.mountpoint;
    let escaped = mounted.mounts.iter().find(labelled);
    shell_quoted(escaped.map_or(&mounted.mountpoint, |mount| &mount.mount_point_escaped))
}

/// A path, escaped as `text::escaped` does, as one word of a shell. Bytes that cannot stand in a
/// line need `$'...'`, which bash, zsh and ksh know.
fn shell_quoted(escaped: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !escaped.is_empty() && escaped.chars().all(is_plain) {
        escaped.to_owned()
    } else if escaped.contains('\\') {
        format!("$'{}'", escaped.replace('\'', r"\'"))
    } else {
        format!("'{}'", escaped.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_quote_and_a_space_stays_one_word() {
        assert_eq!(shell_quoted("/mnt/a"), "/mnt/a");
        assert_eq!(shell_quoted("/mnt/it's a"), r"'/mnt/it'\''s a'");
        assert_eq!(shell_quoted("/mnt/$(x)"), "'/mnt/$(x)'");
        assert_eq!(shell_quoted(r"/mnt/x\x0a'\xff"), r"$'/mnt/x\x0a\'\xff'");
    }
}
