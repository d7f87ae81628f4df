//! The links of one task, read and never followed: `readlink` asks procfs, not the filesystem the
//! link points into.

use rustix::fs::readlink;

use super::confine::clerk;
use crate::input::Links;

/// `AT_FDCWD`, `include/uapi/linux/fcntl.h`.
const AT_FDCWD: i32 = -100;

/// Root and base directory of a task's failed path, as far as they can be read.
pub fn of(tid: u32, dfd: i32) -> Links {
    let nothing = Links {
        tid,
        dfd,
        root: None,
        base: None,
    };
    let links = clerk::LINKS.ask(move || read(tid, dfd));
    links.unwrap_or(nothing)
}

fn read(tid: u32, dfd: i32) -> Links {
    let link = |name: &str| {
        readlink(format!("/proc/{tid}/{name}"), Vec::new())
            .ok()
            .map(std::ffi::CString::into_bytes)
    };
    let base = match dfd {
        AT_FDCWD => link("cwd"),
        _ => link(&format!("fd/{dfd}")),
    };
    Links {
        tid,
        dfd,
        root: link("root"),
        base,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_links_are_absolute_and_those_of_nobody_absent() {
        let own = read(std::process::id(), AT_FDCWD);
        assert_eq!(own.root.as_deref(), Some(&b"/"[..]));
        assert!(own.base.is_some_and(|base| base.starts_with(b"/")));
        let nobody = read(u32::MAX, 3);
        assert_eq!((nobody.root, nobody.base), (None, None));
    }
}
