//! Loads kernel modules: at boot, and when the kernel asks for one (`request_module`).

use std::{collections::BTreeMap, fs::File};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    kmod::{ModuleInitFlags, finit_module},
};

/// The modules of this kernel, and the table of them (`xtask/src/vm/modules.rs`).
const DIRECTORY: &str = "/guest/modules";

/// A line of the table.
struct Module<'a> {
    depends: Vec<&'a str>,
    aliases: Vec<&'a str>,
}

/// Loads a module by name or alias, after everything it needs. A name that is not in the table is
/// built into this kernel, or nothing this guest has: neither is an error of ours.
pub(crate) fn load(name: &str) -> Result<()> {
    let text = std::fs::read_to_string(format!("{DIRECTORY}/table")).context("the table")?;
    let table = parse(&text);
    for name in order(&table, &name.replace('-', "_")) {
        insert(name).with_context(|| format!("load {name}"))?;
    }
    Ok(())
}

fn insert(name: &str) -> Result<()> {
    let file = File::open(format!("{DIRECTORY}/{name}.ko"))?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn parse(table: &str) -> BTreeMap<&str, Module<'_>> {
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('\t');
            let name = fields.next()?;
            let mut words = || -> Vec<&str> {
                let field = fields.next().unwrap_or_default();
                field.split(',').filter(|word| !word.is_empty()).collect()
            };
            let (depends, aliases) = (words(), words());
            Some((name, Module { depends, aliases }))
        })
        .collect()
}

/// What to load for a name, in order.
fn order<'a>(table: &BTreeMap<&'a str, Module<'a>>, wanted: &str) -> Vec<&'a str> {
    let mut order = Vec::new();
    for (name, module) in table {
        if *name == wanted || module.aliases.contains(&wanted) {
            visit(table, name, &mut order);
        }
    }
    order
}

/// Depth first: modules cannot depend on each other in a circle.
fn visit<'a>(table: &BTreeMap<&'a str, Module<'a>>, name: &'a str, order: &mut Vec<&'a str>) {
    if order.contains(&name) {
        return;
    }
    for depends in table.get(name).map_or(&[][..], |module| &module.depends) {
        visit(table, depends, order);
    }
    order.push(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
nfs\tsunrpc,lockd\tfs_nfs,nfs4
lockd\tsunrpc,grace\t
sunrpc\t\t
grace\t\t
fuse\t\tfs_fuse,fs_fuseblk
";

    #[test]
    fn what_a_module_needs_comes_before_it_and_once() {
        let table = parse(TABLE);
        assert_eq!(order(&table, "nfs"), ["sunrpc", "grace", "lockd", "nfs"]);
        assert_eq!(order(&table, "fuse"), ["fuse"]);
    }

    #[test]
    fn the_kernels_aliases_are_names_too_and_what_is_built_in_is_none() {
        let table = parse(TABLE);
        assert_eq!(order(&table, "fs_fuseblk"), ["fuse"]);
        assert_eq!(order(&table, "overlay"), Vec::<&str>::new());
    }
}
