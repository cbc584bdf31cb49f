//! One container of a pod: what its manifest says, as the engine is told it.

use std::path::Path;

use serde_json::{Map, Value};

use super::objects::Objects;

/// All of Kubernetes that is understood here. Anything else in a manifest stops the test.
const KNOWN: [&str; 14] = [
    "name",
    "image",
    "imagePullPolicy",
    "command",
    "args",
    "env",
    "ports",
    "startupProbe",
    "livenessProbe",
    "readinessProbe",
    "securityContext",
    "resources",
    "volumeMounts",
    "restartPolicy",
];

#[track_caller]
pub fn only_known(what: &str, object: &Value, known: &[&str]) {
    let empty = Map::new();
    for key in object.as_object().unwrap_or(&empty).keys() {
        assert!(known.contains(&key.as_str()), "{what} has `{key}`, which these tests do not know");
    }
}

/// Where things of the pod are on this machine.
#[derive(Debug)]
pub struct Place<'a> {
    /// As the engine knows the container.
    pub name: &'a str,
    /// As the pod is called.
    pub pod: &'a str,
    /// The container whose network is that of the pod.
    pub network: &'a str,
    /// A directory with one of each volume's name.
    pub volumes: &'a Path,
    pub termination_log: &'a Path,
}

/// The arguments of `docker create`.
#[track_caller]
pub fn create(pod: &Value, container: &Value, place: &Place<'_>, objects: &Objects) -> Vec<String> {
    let name = container["name"].as_str().unwrap();
    only_known(&format!("container {name}"), container, &KNOWN);
    let mut said: Vec<String> = ["create", "--name", place.name].map(str::to_owned).to_vec();
    said.push(format!("--network=container:{}", place.network));
    said.push(format!("--volume={}:/dev/termination-log", place.termination_log.display()));
    said.extend(security(pod, container));
    said.extend(memory(container));
    for variable in list(container, "env") {
        said.push(format!("--env={}={}", text(variable, "name"), value_of(variable, place, objects)));
    }
    for mount in list(container, "volumeMounts") {
        only_known("a volume mount", mount, &["name", "mountPath", "subPath", "readOnly"]);
        said.push(volume(mount, place.volumes));
    }
    let words =
        |key: &str| list(container, key).iter().map(|word| word.as_str().unwrap().to_owned()).collect();
    let (mut command, arguments): (Vec<String>, Vec<String>) = (words("command"), words("args"));
    if !command.is_empty() {
        said.push(format!("--entrypoint={}", command.remove(0)));
    }
    said.push(text(container, "image").to_owned());
    said.extend(command);
    said.extend(arguments);
    said
}

fn security(pod: &Value, container: &Value) -> Vec<String> {
    let (whole, own) = (&pod["securityContext"], &container["securityContext"]);
    only_known(
        "the pod's security context",
        whole,
        &["runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy", "seccompProfile"],
    );
    only_known(
        "a security context",
        own,
        &[
            "allowPrivilegeEscalation",
            "readOnlyRootFilesystem",
            "capabilities",
            "runAsUser",
            "runAsGroup",
            "runAsNonRoot",
            "privileged",
            "seccompProfile",
        ],
    );
    let number = |key: &str| own[key].as_u64().or(whole[key].as_u64());
    let mut said = Vec::new();
    if let Some(user) = number("runAsUser") {
        said.push(format!("--user={user}:{}", number("runAsGroup").unwrap_or(0)));
    }
    if let Some(group) = number("fsGroup") {
        said.push(format!("--group-add={group}"));
    }
    if own["allowPrivilegeEscalation"] == false {
        said.push("--security-opt=no-new-privileges".to_owned());
    }
    if own["readOnlyRootFilesystem"] == true {
        said.push("--read-only".to_owned());
    }
    assert_ne!(own["privileged"], true);
    for (key, flag) in [("drop", "--cap-drop"), ("add", "--cap-add")] {
        for capability in list(&own["capabilities"], key) {
            said.push(format!("{flag}={}", capability.as_str().unwrap()));
        }
    }
    said
}

fn memory(container: &Value) -> Vec<String> {
    match container["resources"]["limits"]["memory"].as_str() {
        None => Vec::new(),
        // No swap: so it is with Kubernetes.
        Some(limit) => {
            let limit = bytes(limit);
            vec![format!("--memory={limit}"), format!("--memory-swap={limit}")]
        }
    }
}

pub fn bytes(quantity: &str) -> u64 {
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30)];
    let (number, shift) = units
        .iter()
        .find_map(|(unit, shift)| Some((quantity.strip_suffix(unit)?, *shift)))
        .unwrap_or((quantity, 0));
    number.parse::<u64>().unwrap_or_else(|_| panic!("`{quantity}` is no size that these tests know")) << shift
}

fn value_of(variable: &Value, place: &Place<'_>, objects: &Objects) -> String {
    only_known("a variable", variable, &["name", "value", "valueFrom"]);
    if let Some(value) = variable["value"].as_str() {
        return value.to_owned();
    }
    let from = &variable["valueFrom"];
    only_known("valueFrom", from, &["fieldRef", "secretKeyRef", "configMapKeyRef"]);
    match from["fieldRef"]["fieldPath"].as_str() {
        Some("metadata.name") => return place.pod.to_owned(),
        Some("metadata.namespace") => return "default".to_owned(),
        Some(other) => panic!("the field {other} is not known to these tests"),
        None => {}
    }
    let (kind, reference) = match from["secretKeyRef"].is_object() {
        true => ("Secret", &from["secretKeyRef"]),
        false => ("ConfigMap", &from["configMapKeyRef"]),
    };
    let key = text(reference, "key");
    let files = objects.files(kind, text(reference, "name"));
    files.into_iter().find(|(name, _)| name == key).unwrap_or_else(|| panic!("no key {key}")).1
}

/// A directory that is not there yet is made as the kubelet makes it: root's, with the mode of the volume. The mount is
/// that directory, whatever is there under its name later.
fn volume(mount: &Value, volumes: &Path) -> String {
    let mut source = volumes.join(text(mount, "name"));
    assert!(source.is_dir(), "there is no volume {}", source.display());
    if let Some(below) = mount["subPath"].as_str() {
        let mode = std::fs::metadata(&source).unwrap().permissions();
        source.push(below);
        if !source.is_dir() {
            std::fs::create_dir(&source).unwrap();
            std::fs::set_permissions(&source, mode).unwrap();
        }
    }
    let mode = if mount["readOnly"] == true { ":ro" } else { "" };
    format!("--volume={}:{}{mode}", source.display(), text(mount, "mountPath"))
}

pub fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object[key].as_array().map_or(&[], Vec::as_slice)
}

#[track_caller]
pub fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_else(|| panic!("no `{key}` in {object}"))
}
