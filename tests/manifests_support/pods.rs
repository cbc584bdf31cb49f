//! The pods that a set of objects would make.

use serde_json::Value;

use super::objects::{list, name, of_kind, text};

/// A pod, as the template of its controller describes it.
#[derive(Debug)]
pub struct Pod<'o> {
    /// Such as `StatefulSet/wiki`.
    pub of: String,
    pub controller: &'o Value,
    pub metadata: &'o Value,
    pub spec: &'o Value,
    /// Names of volumes that come from claims of the controller.
    pub claimed: Vec<&'o str>,
}

pub fn pods(objects: &[Value]) -> Vec<Pod<'_>> {
    let mut found = Vec::new();
    for kind in ["StatefulSet", "Deployment", "Job", "CronJob", "Pod"] {
        for controller in of_kind(objects, kind) {
            let template = match kind {
                "Pod" => controller,
                "CronJob" => &controller["spec"]["jobTemplate"]["spec"]["template"],
                _ => &controller["spec"]["template"],
            };
            found.push(Pod {
                of: format!("{kind}/{}", name(controller)),
                controller,
                metadata: &template["metadata"],
                spec: &template["spec"],
                claimed: list(&controller["spec"], "volumeClaimTemplates").iter().map(name).collect(),
            });
        }
    }
    found
}

impl<'o> Pod<'o> {
    pub fn init_containers(&self) -> &'o [Value] {
        list(self.spec, "initContainers")
    }

    pub fn containers(&self) -> impl Iterator<Item = &'o Value> {
        self.init_containers().iter().chain(list(self.spec, "containers"))
    }

    pub fn container(&self, named: &str) -> Option<&'o Value> {
        self.containers().find(|container| container["name"] == named)
    }

    /// Those that run volkeep.
    pub fn ours(&self) -> impl Iterator<Item = &'o Value> {
        self.containers().filter(|container| text(&container["image"]).starts_with("volkeep:"))
    }

    pub fn volume(&self, named: &str) -> Option<&'o Value> {
        list(self.spec, "volumes").iter().find(|volume| volume["name"] == named)
    }
}

/// What of the volume a container sees at a path, and the volume's name.
pub fn mounted<'o>(container: &'o Value, path: &str) -> Option<&'o Value> {
    let under = |mount: &&Value| {
        let at = text(&mount["mountPath"]);
        path == at || path.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'))
    };
    list(container, "volumeMounts").iter().filter(under).max_by_key(|mount| text(&mount["mountPath"]).len())
}
