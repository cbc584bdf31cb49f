//! Commands as people copy them: the blocks of a page of the documentation, run in a laboratory. The places that
//! pages name become those of the laboratory; nothing else is changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::lab::Lab;
use super::process::{Outcome, run};

/// A section without a block that can be run has none of these.
pub type Sections = BTreeMap<String, Vec<String>>;

/// The `sh` blocks of each section of second rank, by its heading.
#[track_caller]
pub fn sections(page: &str) -> Sections {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let mut found = Sections::new();
    let (mut heading, mut block) = (String::new(), None::<Vec<&str>>);
    for line in text.lines() {
        let bare = line.trim_start();
        match &mut block {
            Some(lines) if bare == "```" => {
                found.entry(heading.clone()).or_default().push(lines.join("\n"));
                block = None;
            }
            Some(lines) => lines.push(line),
            None if bare == "```sh" => block = Some(Vec::new()),
            None => {
                if let Some(name) = line.strip_prefix("## ") {
                    heading = name.to_owned();
                }
            }
        }
    }
    found
}

impl Lab {
    /// Runs a block by bash, which stops at the first command that fails, wherever it stands in a pipe.
    pub fn play(&self, block: &str, places: &[(&str, PathBuf)]) -> Outcome {
        for directory in ["bin", "tmp"] {
            fs::create_dir_all(self.path(directory)).unwrap();
        }
        let program = self.path("bin/volkeep");
        if !program.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_volkeep"), program).unwrap();
        }
        let mut all = places.to_vec();
        all.extend([
            ("/backups/wiki", self.repository()),
            ("/backups/damaged", self.path("damaged")),
            ("/mnt/offsite/wiki", self.path("offsite")),
            ("/srv/wiki", self.path("volume")),
            ("/tmp/", self.path("tmp/")),
            ("/old/", self.path("old/")),
        ]);
        // In two steps: a laboratory may itself lie in one of these places.
        let mut script = block.to_owned();
        for (number, (written, _)) in all.iter().enumerate() {
            script = script.replace(written, &format!("\u{1}{number}\u{1}"));
        }
        for (number, (_, place)) in all.iter().enumerate() {
            script = script.replace(&format!("\u{1}{number}\u{1}"), place.to_str().unwrap());
        }
        let path = std::env::var("PATH").unwrap();
        // The environment of the lab; the program named is not the one that is run.
        let own = self.command::<&str>(&[]);
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", &script, "page"]).current_dir(root()).env_clear();
        bash.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        bash.env("PATH", format!("{}:{path}", self.path("bin").display()));
        run(&mut bash)
    }

    /// All blocks of a section, one after another in one shell.
    #[track_caller]
    pub fn play_section(&self, page: &str, heading: &str) -> Outcome {
        let blocks = sections(page).remove(heading);
        let blocks = blocks.unwrap_or_else(|| panic!("{page} has no commands below `{heading}`"));
        self.play(&blocks.join("\n"), &[]).expect_code(0)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
