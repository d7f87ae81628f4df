//! Manual pages and shell completion, from the definitions of the command line.

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;

const NAME: &str = "mount-observer";

/// The page of the program, or of one of its commands: `mount-observer-status(1)`.
pub(crate) fn man_page(command: Option<&str>) -> anyhow::Result<String> {
    let mut program = Cli::command();
    program.build();
    let page = match command {
        None => program,
        Some(name) => {
            let mut commands = program.get_subcommands();
            let found = commands.find(|known| known.get_name() == name && !known.is_hide_set());
            let known = program
                .get_subcommands()
                .filter(|known| !known.is_hide_set());
            let known: Vec<_> = known.map(clap::Command::get_name).collect();
            let found = found.with_context(|| {
                format!(
                    "there is no command {name:?}; there are {}",
                    known.join(", ")
                )
            })?;
            found.clone()
        }
    };
    let mut text = Vec::new();
    Man::new(page)
        .render(&mut text)
        .context("cannot write the page")?;
    String::from_utf8(text).context("the page is no text")
}

/// The script that a shell completes the command line by.
pub(crate) fn completion(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options_and_examples() {
        let program = man_page(None).unwrap();
        let command = Cli::command();
        for command in command
            .get_subcommands()
            .filter(|known| !known.is_hide_set())
        {
            let name = command.get_name();
            assert!(
                program.contains(&format!("mount\\-observer\\-{name}(1)")),
                "{name}"
            );
            let page = man_page(Some(name)).unwrap();
            assert!(
                page.contains(&format!(".TH mount-observer-{name} 1")),
                "{name}: {page}"
            );
        }
        let status = man_page(Some("status")).unwrap();
        assert!(
            status.contains("\\-\\-nagios") && status.contains("jq"),
            "{status}"
        );
        let error = man_page(Some("hand")).unwrap_err().to_string();
        assert!(
            error.contains("\"hand\"") && error.contains("status"),
            "{error}"
        );
    }

    #[test]
    fn each_shell_completes_commands_and_options() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completion(shell);
            assert!(
                script.contains("explain") && script.contains("nagios"),
                "{shell}"
            );
        }
    }
}
