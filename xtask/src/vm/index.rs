//! Finds a kernel's packages in the package index of the mirror.
//!
//! Exact versions come and go: the meta package of a suite says which one is current, and where no
//! meta package leads to a series, the newest image of that series is taken whose parts are all
//! there. (Backports have been seen with images whose modules were removed already.)

use std::{cmp::Ordering, collections::BTreeMap};

/// The package that depends on a suite's current kernel.
const META: &str = "linux-image-cloud-amd64";

/// How the packages of one kernel are called around its release.
const IMAGE: (&str, &str) = ("linux-image-", "-cloud-amd64");

/// From 6.19 on what used to be one package is several.
const PARTS: [&str; 2] = ["linux-binary-", "linux-modules-"];

/// One package of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    depends: String,
}

/// The packages of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KernelPackages {
    /// As the directory of its modules is called: `6.12.117+deb13-cloud-amd64`.
    pub(super) release: String,
    /// To download, each with its exact version.
    pub(super) packages: Vec<Package>,
}

/// Every package of index files (`Packages`), as apt downloads them, that has to do with kernels.
pub(super) fn parse(text: &str) -> Vec<Package> {
    text.split("\n\n")
        .filter_map(|stanza| {
            let value = |key: &str| {
                let line = stanza.lines().find_map(|line| line.strip_prefix(key));
                line.map(|value| value.trim().to_owned())
            };
            let name = value("Package:").filter(|name| name.starts_with("linux-"))?;
            Some(Package {
                name,
                version: value("Version:")?,
                depends: value("Depends:").unwrap_or_default(),
            })
        })
        .collect()
}

/// The packages of the current kernel of a series, `6.12`.
pub(super) fn resolve(packages: &[Package], series: &str) -> Option<KernelPackages> {
    let by_name: BTreeMap<_, _> = packages
        .iter()
        .map(|package| ((package.name.as_str(), package.version.as_str()), package))
        .collect();
    let complete = |image: &Package| -> Option<KernelPackages> {
        let release = release_of(&image.name)?;
        let mut parts = vec![image.clone()];
        for dependency in names(&image.depends) {
            if PARTS.iter().any(|part| dependency.starts_with(part)) {
                let part = by_name.get(&(dependency, image.version.as_str()))?;
                parts.push((*part).clone());
            }
        }
        Some(KernelPackages {
            release: release.to_owned() + IMAGE.1,
            packages: parts,
        })
    };
    let is_of_series = |image: &&Package| {
        release_of(&image.name).is_some_and(|release| {
            let rest = release.strip_prefix(series);
            // A release candidate is called by its series alone, and so are meta packages.
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '+']))
                && names(&image.depends).all(|name| release_of(name).is_none())
        })
    };
    let metas = packages.iter().filter(|package| package.name == META);
    let current = metas.flat_map(|meta| {
        let image = |name: &str| by_name.get(&(name, meta.version.as_str())).copied();
        names(&meta.depends).filter_map(image).collect::<Vec<_>>()
    });
    newest(current.filter(is_of_series))
        .into_iter()
        .chain(newest(packages.iter().filter(is_of_series)))
        .find_map(complete)
}

/// `6.12.117+deb13` of `linux-image-6.12.117+deb13-cloud-amd64`.
fn release_of(image: &str) -> Option<&str> {
    image.strip_prefix(IMAGE.0)?.strip_suffix(IMAGE.1)
}

fn newest<'a>(packages: impl Iterator<Item = &'a Package>) -> Vec<&'a Package> {
    let mut packages: Vec<_> = packages.collect();
    packages.sort_by(|a, b| compare(&b.version, &a.version));
    packages
}

/// The names in a `Depends` field, without versions and architectures.
fn names(depends: &str) -> impl Iterator<Item = &str> {
    depends
        .split([',', '|'])
        .filter_map(|dependency| dependency.split_ascii_whitespace().next())
}

/// Orders versions as dpkg does (deb-version(7)), which is all that their epochs, `~` and numbers
/// need.
fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let (text_a, rest_a) = split(a, |byte| !byte.is_ascii_digit());
        let (text_b, rest_b) = split(b, |byte| !byte.is_ascii_digit());
        // The end of a text sorts before every character but `~`.
        let weights = |text: &[u8]| -> Vec<u16> {
            let mut weights: Vec<_> = text.iter().map(|&byte| weight(byte)).collect();
            weights.push(1);
            weights
        };
        let order = weights(text_a).cmp(&weights(text_b));
        if order != Ordering::Equal {
            return order;
        }
        let (digits_a, after_a) = split(rest_a, |byte| byte.is_ascii_digit());
        let (digits_b, after_b) = split(rest_b, |byte| byte.is_ascii_digit());
        let order = value(digits_a).cmp(&value(digits_b));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (after_a, after_b);
    }
    Ordering::Equal
}

fn weight(byte: u8) -> u16 {
    match byte {
        b'~' => 0,
        byte if byte.is_ascii_alphabetic() => u16::from(byte),
        byte => 256 + u16::from(byte),
    }
}

fn value(digits: &[u8]) -> u64 {
    digits.iter().fold(0_u64, |value, digit| {
        value
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    })
}

fn split(bytes: &[u8], is_in: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&byte| !is_in(byte));
    bytes.split_at(end.unwrap_or(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "\
Package: bash
Version: 5

Package: linux-image-cloud-amd64
Version: 6.1.192-2
Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)

Package: linux-image-6.1.0-56-cloud-amd64
Version: 6.1.192-2
Depends: kmod, linux-base (>= 4.3~)

Package: linux-image-6.1-cloud-amd64
Version: 6.1.999-1
Depends: linux-image-6.1.0-99-cloud-amd64 (= 6.1.999-1)

Package: linux-image-6.1.0-0.deb11.52-cloud-amd64
Version: 6.1.193-1~deb11u1
Depends: kmod

Package: linux-image-7.2.9+deb13-cloud-amd64
Version: 7.2.9-1~bpo13+1
Depends: dracut | initramfs-tools, linux-binary-7.2.9+deb13-cloud-amd64 (= 7.2.9-1~bpo13+1), linux-modules-7.2.9+deb13-cloud-amd64 (= 7.2.9-1~bpo13+1)

Package: linux-binary-7.2.9+deb13-cloud-amd64
Version: 7.2.9-1~bpo13+1

Package: linux-modules-7.2.9+deb13-cloud-amd64
Version: 7.2.9-1~bpo13+1

Package: linux-image-7.2.12+deb13-cloud-amd64
Version: 7.2.12-1~bpo13+1
Depends: linux-binary-7.2.12+deb13-cloud-amd64 (= 7.2.12-1~bpo13+1), linux-modules-7.2.12+deb13-cloud-amd64 (= 7.2.12-1~bpo13+1)

Package: linux-binary-7.2.12+deb13-cloud-amd64
Version: 7.2.12-1~bpo13+1

Package: linux-image-7.3-cloud-amd64
Version: 7.3~rc7-1~exp1
Depends: kmod
";

    fn found(series: &str) -> Option<(String, Vec<String>)> {
        let kernel = resolve(&parse(INDEX), series)?;
        let names = kernel.packages.into_iter().map(|package| package.name);
        Some((kernel.release, names.collect()))
    }

    #[test]
    fn the_meta_package_of_a_suite_decides() {
        let image = "linux-image-6.1.0-56-cloud-amd64".to_owned();
        assert_eq!(
            found("6.1"),
            Some(("6.1.0-56-cloud-amd64".to_owned(), vec![image]))
        );
    }

    #[test]
    fn without_one_the_newest_whose_parts_are_all_there_is_taken() {
        let (release, packages) = found("7.2").unwrap();
        assert_eq!(release, "7.2.9+deb13-cloud-amd64");
        assert_eq!(
            packages,
            [
                "linux-image-7.2.9+deb13-cloud-amd64",
                "linux-binary-7.2.9+deb13-cloud-amd64",
                "linux-modules-7.2.9+deb13-cloud-amd64",
            ]
        );
    }

    #[test]
    fn a_series_is_no_mere_prefix_and_a_missing_one_is_none() {
        assert_eq!(found("7"), found("7.3"));
        assert!(found("7.3").is_some_and(|(release, _)| release == "7.3-cloud-amd64"));
        assert_eq!(found("6.12"), None);
        assert_eq!(found("7.20"), None);
    }

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        for (older, newer) in [
            ("6.12.9-1", "6.12.117-1"),
            ("7.3~rc7-1~exp1", "7.3-1"),
            ("7.3~rc7-1", "7.3.4-1~bpo13+1"),
            ("6.1.193-1~deb11u1", "6.1.193-1"),
            ("1.0", "1.0+b1"),
            ("1.0a", "1.0+"),
        ] {
            assert_eq!(compare(older, newer), Ordering::Less, "{older} {newer}");
            assert_eq!(compare(newer, older), Ordering::Greater, "{older} {newer}");
        }
        assert_eq!(compare("6.1.192-2", "6.1.192-2"), Ordering::Equal);
    }
}
