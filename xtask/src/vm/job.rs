//! What a guest is to do, as its init reads it (`tests/src/bin/guest/job.rs`): a line per step, its
//! words separated by tabs; a word's own backslashes, tabs and newlines are escaped.

/// Steps in their order. Later ones run though an earlier one failed.
#[derive(Clone, Debug, Default)]
pub(super) struct Job(Vec<Vec<String>>);

impl Job {
    /// Sets a variable for all programs that follow.
    pub(super) fn env(&mut self, name: &str, value: &str) {
        self.step(&["env", name, value]);
    }

    /// Loads a module, where the kernel has it as one.
    pub(super) fn module(&mut self, name: &str) {
        self.step(&["module", name]);
    }

    /// Runs a program under a name by which its output is found again.
    pub(super) fn run(&mut self, name: &str, words: &[&str]) {
        self.step(&[&["run", name], words].concat());
    }

    /// Does another job's steps after these.
    pub(super) fn append(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    fn step(&mut self, words: &[&str]) {
        self.0
            .push(words.iter().map(|&word| word.to_owned()).collect());
    }

    /// The file's text.
    pub(super) fn print(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, words| {
            let words: Vec<_> = words.iter().map(|word| escaped(word)).collect();
            text.push_str(&words.join("\t"));
            text.push('\n');
            text
        })
    }
}

fn escaped(word: &str) -> String {
    word.replace('\\', r"\\")
        .replace('\t', r"\t")
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_a_line_per_step() {
        let mut job = Job::default();
        job.env("A", "b c");
        job.module("fuse");
        job.run("host", &["/opt/host", "a\n\tb\\n"]);
        assert_eq!(
            job.print(),
            "env\tA\tb c\nmodule\tfuse\nrun\thost\t/opt/host\ta\\n\\tb\\\\n\n"
        );
    }
}
