//! The tools for manifests that `tests/reference/manifests` installs, and what they render.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::run;

/// One of the tools, or one of the scripts run by the Python among them.
pub fn tool(name: &str) -> Command {
    let directory = std::env::var("VOLKEEP_TEST_MANIFESTS").unwrap_or_else(|_| {
        panic!(
            "no tools for manifests: tests/run installs them, or by hand eval \"$(tests/reference/manifests)\""
        )
    });
    if let Some(script) = name.strip_suffix(".py") {
        let mut command = Command::new(Path::new(&directory).join("python"));
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/reference/{script}.py")));
        command
    } else {
        Command::new(Path::new(&directory).join(name))
    }
}

pub fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The objects that `kubectl apply -k` would bring.
#[track_caller]
pub fn kustomized(directory: &Path) -> Vec<Value> {
    documents(&run(tool("kubectl").arg("kustomize").arg(directory)).expect_code(0).stdout)
}
