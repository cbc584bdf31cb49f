//! The recipes of `docs/recipes.md`, with the places of a laboratory in them and in a hurry.

use std::fs;
use std::path::Path;

use crate::support::{Lab, shell};

/// The configuration that names this script, for a lab whose directory `run` holds sockets and the like. Scripts are
/// copied to where every user can run them.
#[track_caller]
pub fn configured(lab: Lab, script: &str, places: &[(&str, &Path)], often: &str) -> Lab {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/recipes.md")).unwrap();
    let mut blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut yaml = blocks.find(|block| block.contains(script)).unwrap().to_owned();
    let bin = lab.path("bin");
    for directory in [&bin, &lab.path("run")] {
        fs::create_dir_all(directory).unwrap();
    }
    shell(
        "chmod 711 \"$1\" && cp \"$2\"/deploy/hooks/* \"$1\"/bin/ && chmod 755 \"$1\"/bin/*",
        &[lab.path("").as_os_str(), root.as_os_str()],
    );
    let url = lab.url();
    for (written, place) in places {
        replace(&mut yaml, written, place.to_str().unwrap());
    }
    replace(&mut yaml, "/usr/local/bin", bin.to_str().unwrap());
    let line = |key: &str| yaml.lines().find(|line| line.contains(key)).unwrap().to_owned();
    let (schedule, address) = (line("schedule:"), line("- url:"));
    replace(&mut yaml, &schedule, &format!("    schedule: \"{often}\""));
    replace(&mut yaml, &address, &format!("  - url: {url}"));
    lab.with_config(&yaml)
}

#[track_caller]
fn replace(yaml: &mut String, from: &str, to: &str) {
    assert!(yaml.contains(from), "no `{from}` in the recipe:\n{yaml}");
    *yaml = yaml.replace(from, to);
}
