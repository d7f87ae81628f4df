//! The kernels the tests run on.

use anyhow::{Result, bail};

/// One guest: a kernel and how it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    /// As it is asked for and reported.
    pub(crate) name: &'static str,
    /// Version of the kernel, up to the second number.
    pub(crate) series: &'static str,
    /// Added to the kernel's command line.
    pub(crate) append: &'static str,
    pub(crate) cpus: u8,
    /// Whether it stands for a way to attach that no other guest has.
    pub(crate) is_thorough: bool,
    /// Whether a mirror without this kernel is an error.
    pub(crate) is_required: bool,
}

const fn plain(series: &'static str, is_thorough: bool, is_required: bool) -> Guest {
    Guest {
        name: series,
        is_thorough,
        series,
        append: "",
        cpus: 1,
        is_required,
    }
}

const fn variant(name: &'static str, append: &'static str, cpus: u8) -> Guest {
    Guest {
        name,
        series: "6.12",
        append,
        cpus,
        is_thorough: false,
        is_required: true,
    }
}

/// Debian 11 (FUSE through kprobes), 12 (through the module's types) and 13 (built in), what their
/// backports hold (from 7.2 on a connection has channels), and how a hardened machine starts one.
pub(crate) const MATRIX: [Guest; 10] = [
    plain("5.10", true, true),
    plain("6.1", true, true),
    plain("6.12", true, true),
    plain("6.16", false, false),
    plain("6.18", false, true),
    plain("7.2", true, true),
    plain("7.3", false, false),
    variant("6.12-integrity", "lockdown=integrity", 1),
    variant("6.12-confidentiality", "lockdown=confidentiality", 1),
    variant("6.12-smp", "", 2),
];

/// The guests with these names; all when none is named.
pub(crate) fn select(names: &[String]) -> Result<Vec<Guest>> {
    if names.is_empty() {
        return Ok(MATRIX.to_vec());
    }
    let known = |name: &String| MATRIX.iter().find(|guest| guest.name == name).cloned();
    let mut guests = Vec::new();
    for name in names {
        let Some(guest) = known(name) else {
            let all: Vec<_> = MATRIX.iter().map(|guest| guest.name).collect();
            bail!("no guest is called {name}; there are {}", all.join(", "));
        };
        guests.push(guest);
    }
    Ok(guests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_chosen_by_name_and_an_unknown_one_is_an_error() {
        assert_eq!(select(&[]).unwrap().len(), MATRIX.len());
        let smp = select(&["6.12-smp".to_owned()]).unwrap();
        assert_eq!(smp.iter().map(|guest| guest.cpus).collect::<Vec<_>>(), [2]);
        let error = select(&["6.13".to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with("no guest is called 6.13; there are 5.10, "));
    }
}
