//! `cargo xtask bench`: what the observer costs, measured and written down.

use std::{fs, process::Stdio};

use anyhow::{Context, Result, bail};

use crate::steps;

/// The page of figures.
const PAGE: &str = "docs/PERFORMANCE.md";

/// The tables lie between these lines; what surrounds them is written by hand.
const BEGIN: &str = "<!-- tables: cargo xtask bench -->";
const END: &str = "<!-- end of tables -->";

/// Measure what the observer costs the observed; needs root and an otherwise idle machine.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds per table.
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Write the tables into docs/PERFORMANCE.md.
    #[arg(long)]
    write: bool,
}

/// Measures, prints, and writes when asked to.
pub(crate) fn run(args: Args) -> Result<()> {
    // What the daemon itself takes is measured on the command.
    let build = ["build", "--release", "--quiet", "--package=mount-observer"];
    steps::run(&mut steps::cargo(&build)?)?;
    let rounds = args.rounds.to_string();
    let mut cargo = steps::cargo(&[
        "run",
        "--release",
        "--quiet",
        "--package",
        "mount-observer-tests",
        "--features",
        "bench",
        "--bin",
        "bench",
        "--",
        "--rounds",
        &rounds,
    ])?;
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the benchmark ended with {}", output.status);
    }
    let tables = String::from_utf8(output.stdout)?;
    print!("{tables}");
    if args.write {
        let path = steps::workspace_root()?.join(PAGE);
        let page = fs::read_to_string(&path).context("cannot read docs/PERFORMANCE.md")?;
        fs::write(&path, replace(&page, &tables)?).context("cannot write docs/PERFORMANCE.md")?;
    }
    Ok(())
}

/// The page with its tables replaced.
fn replace(page: &str, tables: &str) -> Result<String> {
    let (before, rest) = page
        .split_once(BEGIN)
        .context("the page has no place for the tables")?;
    let (_, after) = rest
        .split_once(END)
        .context("the page's tables have no end")?;
    Ok(format!(
        "{before}{BEGIN}\n{}\n\n{END}{after}",
        tables.trim_end()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_between_the_marks_is_replaced() {
        let page = format!("above\n{BEGIN}\nold\n{END}\nbelow\n");
        let expected = format!("above\n{BEGIN}\n\nnew\n\n{END}\nbelow\n");
        assert_eq!(replace(&page, "\nnew\n").unwrap(), expected);
        assert_eq!(replace(&expected, "\nnew\n").unwrap(), expected);
        assert!(replace("no marks", "new").is_err());
    }
}
