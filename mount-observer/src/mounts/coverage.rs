//! Which mounts of one namespace no path leads to any more.

use std::collections::{BTreeMap, BTreeSet};

use crate::mountinfo::Line;

/// For each line, whether it is covered: something is mounted over it, or over a directory on the
/// way to it, or over the mount it sits on.
pub(crate) fn covered(lines: &[Line]) -> Vec<bool> {
    let tree = Tree::new(lines);
    let mut hidden = BTreeMap::new();
    lines
        .iter()
        .map(|line| tree.is_rooted_over(line) || tree.is_hidden(line, &mut hidden))
        .collect()
}

struct Tree<'a> {
    by_id: BTreeMap<u32, &'a Line>,
    /// Mount points of each mount's children.
    children: BTreeMap<u32, BTreeSet<&'a [u8]>>,
}

impl<'a> Tree<'a> {
    fn new(lines: &'a [Line]) -> Self {
        let mut tree = Self {
            by_id: BTreeMap::new(),
            children: BTreeMap::new(),
        };
        for line in lines {
            tree.by_id.insert(line.mount_id, line);
            if line.mount_id != line.parent_id {
                tree.children
                    .entry(line.parent_id)
                    .or_default()
                    .insert(&line.mount_point);
            }
        }
        tree
    }

    /// Whether something is mounted on its very root.
    fn is_rooted_over(&self, line: &Line) -> bool {
        self.children
            .get(&line.mount_id)
            .is_some_and(|points| points.contains(line.mount_point.as_slice()))
    }

    /// Whether it, or a mount below it in the tree, sits under a directory that was mounted over.
    ///
    /// Climbs to the first mount whose answer is known, then hands it down; a cycle, which the kernel
    /// never shows, ends the climb.
    fn is_hidden(&self, line: &'a Line, known: &mut BTreeMap<u32, bool>) -> bool {
        let mut climb = vec![line];
        let mut seen = BTreeSet::from([line.mount_id]);
        let mut is_hidden = loop {
            let Some(top) = climb.last() else {
                break false;
            };
            if let Some(answer) = known.get(&top.mount_id) {
                break *answer;
            }
            match self.by_id.get(&top.parent_id) {
                Some(parent) if seen.insert(parent.mount_id) => climb.push(parent),
                Some(_) | None => break false,
            }
        };
        while let Some(line) = climb.pop() {
            is_hidden = is_hidden || self.is_under_sibling(line);
            known.insert(line.mount_id, is_hidden);
        }
        is_hidden
    }

    /// Whether another mount on the same parent covers a directory on the way to this one.
    fn is_under_sibling(&self, line: &Line) -> bool {
        let Some(siblings) = self.children.get(&line.parent_id) else {
            return false;
        };
        let mut path = line.mount_point.as_slice();
        while let Some(parent) = parent_path(path) {
            if siblings.contains(parent) {
                return true;
            }
            path = parent;
        }
        false
    }
}

/// `/a` for `/a/b`, `/` for `/a`, `None` for `/`.
fn parent_path(path: &[u8]) -> Option<&[u8]> {
    let slash = path.iter().rposition(|&byte| byte == b'/')?;
    match slash {
        0 if path.len() > 1 => path.get(..1),
        0 => None,
        slash => path.get(..slash),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mountinfo::parse;

    fn covered_points(text: &str) -> Vec<String> {
        let lines = parse(text.as_bytes()).lines;
        let marks = covered(&lines);
        lines
            .iter()
            .zip(marks)
            .filter(|(_, is_covered)| *is_covered)
            .map(|(line, _)| format!("{}", line.mount_id))
            .collect()
    }

    #[test]
    fn the_upper_of_two_stacked_mounts_covers_the_lower() {
        let text = "1 1 0:1 / / rw - tmpfs t rw\n\
                    2 1 0:2 / /mnt rw - fuse a rw\n\
                    3 2 0:3 / /mnt rw - fuse b rw\n\
                    4 2 0:4 / /mnt/below rw - fuse c rw\n";
        assert_eq!(covered_points(text), ["2", "4"]);
    }

    #[test]
    fn a_mount_over_a_directory_hides_what_is_mounted_below_it() {
        let text = "1 0 0:1 / / rw - tmpfs t rw\n\
                    2 1 0:2 / /mnt/a rw - fuse a rw\n\
                    3 2 0:3 / /mnt/a/b rw - fuse b rw\n\
                    4 1 0:4 / /mnt rw - fuse c rw\n\
                    5 4 0:5 / /mnt/a rw - fuse d rw\n";
        assert_eq!(covered_points(text), ["2", "3"]);
    }

    #[test]
    fn a_cycle_ends() {
        let text = "1 2 0:1 / /a rw - tmpfs t rw\n\
                    2 1 0:2 / /b rw - fuse a rw\n";
        assert_eq!(covered_points(text), Vec::<String>::new());
    }
}
