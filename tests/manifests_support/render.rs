//! Runs kustomize, Helm and the admission policy, by the tools that `tests/reference/manifests` installs.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

pub use crate::support::manifests::{documents, tool};

use crate::support::manifests::kustomized;
use crate::support::{Outcome, run};

/// What is rendered together, and by what name it is spoken of.
#[derive(Debug, Clone)]
pub struct Rendered {
    pub name: String,
    pub objects: Vec<Value>,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

pub fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The objects that `kubectl apply -k` would bring.
pub fn kustomize(directory: &str) -> Rendered {
    Rendered {
        name: directory.to_owned(),
        objects: kustomized(&root().join("deploy/kubernetes").join(directory)),
    }
}

/// All directories that can be applied as they are. Components are no such.
pub fn overlays() -> Vec<String> {
    let base = root().join("deploy/kubernetes");
    let mut found: Vec<String> = files_below(&base)
        .into_iter()
        .filter(|path| path.ends_with("kustomization.yaml"))
        .filter(|path| {
            let parsed: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            parsed["kind"] == "Kustomization"
        })
        .map(|path| path.parent().unwrap().strip_prefix(&base).unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    found
}

pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// What Helm would install from a chart on a version of Kubernetes.
pub fn try_helm(chart: &str, kubernetes: &str, values: &Value) -> Outcome {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("values.json");
    std::fs::write(&file, values.to_string()).unwrap();
    run(tool("charts.py").arg("render").arg(root().join(chart)).args(["wiki", kubernetes]).arg(&file))
}

pub fn helm(name: &str, chart: &str, values: &Value) -> Rendered {
    let rendered = try_helm(chart, "1.32", values).expect_code(0);
    Rendered { name: format!("{chart} with {name}"), objects: documents(&rendered.stdout) }
}

/// What the admission policy makes of a pod.
pub fn admitted(pod: &Value) -> Outcome {
    use std::io::Write;
    let mut command = tool("admission.py");
    command.arg(root().join("deploy/kubernetes/injection/policy.yaml"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(pod.to_string().as_bytes()).unwrap();
    Outcome::of(&command, child.wait_with_output().unwrap())
}

/// All of it held against the schemas of a version of Kubernetes, unknown fields refused.
pub fn validate(version: &str, all: &[&Rendered]) -> Outcome {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = tool("kubernetes-validate");
    command.args(["--strict", "-k", version]);
    for (number, rendered) in all.iter().enumerate() {
        let file = scratch.path().join(format!("{number}-{}.yaml", rendered.name.replace(['/', ' '], "-")));
        let text: String = rendered.objects.iter().map(|object| format!("---\n{object}\n")).collect();
        std::fs::write(&file, text).unwrap();
        command.arg(file);
    }
    run(&mut command)
}
