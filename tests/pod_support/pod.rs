//! The life of one pod: volumes, init containers in order, sidecars and app, and how it ends. What the kubelet does by
//! itself and a test has to look at, such as trying a failed init container again, a test asks for.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::container::{Place, create, list, only_known, text};
use super::engine::{Site, await_some, docker, docker_ok};
use super::objects::Objects;
use crate::support::{Outcome, run, shell};

#[derive(Debug)]
pub struct Pod<'a> {
    site: &'a Site,
    objects: Objects,
    pub name: String,
    spec: Value,
    dir: PathBuf,
}

/// An init container that ended with something else than 0.
#[derive(Debug)]
pub struct Failed {
    pub container: String,
    pub code: i32,
    pub log: String,
    /// What stands in the pod's status for people to see.
    pub message: String,
}

impl<'a> Pod<'a> {
    /// A pod of a StatefulSet, Deployment, Job or CronJob, with claims that `claims` has: those of the templates and
    /// those named in it. A claim is a directory of the site, so whoever names the same has the same volume.
    pub fn new(site: &'a Site, objects: &Objects, workload: &Value, name: &str, claim: &str) -> Self {
        let template = match workload["kind"].as_str() {
            Some("CronJob") => &workload["spec"]["jobTemplate"]["spec"]["template"],
            _ => &workload["spec"]["template"],
        };
        let mut spec = template["spec"].clone();
        only_known(
            "the pod",
            &spec,
            &[
                "serviceAccountName",
                "automountServiceAccountToken",
                "enableServiceLinks",
                "terminationGracePeriodSeconds",
                "securityContext",
                "initContainers",
                "containers",
                "volumes",
                "affinity",
                "restartPolicy",
            ],
        );
        for template in list(&workload["spec"], "volumeClaimTemplates") {
            let name = text(&template["metadata"], "name");
            let claim = serde_json::json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
            match spec["volumes"].as_array_mut() {
                Some(volumes) => volumes.push(claim),
                None => spec["volumes"] = Value::Array(vec![claim]),
            }
        }
        let pod = Self {
            site,
            objects: objects.clone(),
            name: name.to_owned(),
            spec,
            dir: site.path(&format!("pods/{name}")),
        };
        pod.make_volumes(&site.path(&format!("claims/{claim}")));
        let network = pod.container("network");
        let image = "debian:trixie-slim";
        docker_ok(&[
            "run",
            "--detach",
            "--name",
            &network,
            "--network",
            &site.name,
            image,
            "sleep",
            "infinity",
        ]);
        pod
    }

    fn make_volumes(&self, claim: &Path) {
        let volumes = self.dir.join("volumes");
        fs::create_dir_all(&volumes).unwrap();
        let group = self.spec["securityContext"]["fsGroup"].as_u64().map(|group| group as u32);
        for volume in list(&self.spec, "volumes") {
            let path = volumes.join(text(volume, "name"));
            if volume["persistentVolumeClaim"].is_object() {
                fs::create_dir_all(claim).unwrap();
                give_to_group(claim, group);
                std::os::unix::fs::symlink(claim, &path).unwrap();
            } else if volume["emptyDir"].is_object() {
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
                give_to_group(&path, group);
            } else {
                let (kind, source, name) = match volume["secret"].is_object() {
                    true => ("Secret", &volume["secret"], "secretName"),
                    false => ("ConfigMap", &volume["configMap"], "name"),
                };
                only_known("a volume", source, &[name, "defaultMode"]);
                let mode = source["defaultMode"].as_u64().unwrap_or(0o644) as u32;
                self.write_files(&path, &self.objects.files(kind, text(source, name)), mode, group);
            }
        }
    }

    fn write_files(&self, path: &Path, files: &[(String, String)], mode: u32, group: Option<u32>) {
        fs::create_dir(path).unwrap();
        for (name, text) in files {
            let file = path.join(name);
            fs::write(&file, text).unwrap();
            // With a group, whoever is in it may read.
            let mode = if group.is_some() { mode | 0o440 } else { mode };
            chown(&file, Some(0), group).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    /// Up to the app: each init container to its end, each native sidecar until it has started.
    pub fn start(&self) -> Result<(), Failed> {
        for container in list(&self.spec, "initContainers") {
            let name = text(container, "name");
            if container["restartPolicy"] == "Always" {
                self.launch(container);
                self.await_probe(container, "startupProbe");
            } else {
                self.run_to_end(container)?;
            }
            assert!(self.exists(name));
        }
        for container in list(&self.spec, "containers") {
            self.launch(container);
        }
        for container in list(&self.spec, "containers") {
            self.await_probe(container, "startupProbe");
        }
        Ok(())
    }

    #[track_caller]
    pub fn start_well(&self) {
        self.start().unwrap_or_else(|failed| panic!("{failed:?}"));
    }

    /// One try of one init container, or of the one container of a Job.
    pub fn run_to_end(&self, container: &Value) -> Result<(), Failed> {
        let name = text(container, "name");
        self.launch(container);
        let code: i32 = docker_ok(&["wait", &self.container(name)]).parse().unwrap();
        match code {
            0 => Ok(()),
            code => Err(Failed {
                container: name.to_owned(),
                code,
                log: self.log(name),
                message: fs::read_to_string(self.termination_log(name)).unwrap(),
            }),
        }
    }

    /// What the one container of a Job says, at its end.
    pub fn run_job(&self) -> Result<String, Failed> {
        let [container] = list(&self.spec, "containers") else { panic!("a Job has one container") };
        self.run_to_end(container)?;
        Ok(self.log(text(container, "name")))
    }

    /// A new container under the name, as after each end of the one before.
    pub fn launch(&self, container: &Value) {
        let name = text(container, "name");
        let own = self.container(name);
        let _ = docker(&["rm", "--force", &own]);
        let log = self.termination_log(name);
        fs::write(&log, "").unwrap();
        fs::set_permissions(&log, fs::Permissions::from_mode(0o666)).unwrap();
        let network = self.container("network");
        let volumes = self.dir.join("volumes");
        let place = Place {
            name: &own,
            pod: &self.name,
            network: &network,
            volumes: &volumes,
            termination_log: &log,
        };
        docker_ok(&create(&self.spec, container, &place, &self.objects));
        docker_ok(&["start", &own]);
    }

    /// SIGKILL, and what the kubelet does then: a new container, and no init container is run.
    pub fn kill_and_restart(&self, name: &str) {
        docker_ok(&["kill", "--signal", "KILL", &self.container(name)]);
        docker_ok(&["wait", &self.container(name)]);
        let container = self.described(name).clone();
        self.launch(&container);
        self.await_probe(&container, "startupProbe");
    }

    /// As a deletion in order: the app ends, then the native sidecars in reverse, all within the grace period.
    pub fn delete(self) {
        let grace = self.spec["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
        let stop = |container: &Value| {
            let name = self.container(text(container, "name"));
            docker_ok(&["stop", "--time", &grace.to_string(), &name]);
        };
        // TERM goes to all containers at once; so that none waits for another they are told in parallel.
        std::thread::scope(|scope| {
            for container in list(&self.spec, "containers") {
                scope.spawn(move || stop(container));
            }
        });
        for container in list(&self.spec, "initContainers").iter().rev() {
            if container["restartPolicy"] == "Always" {
                stop(container);
            }
        }
        self.remove();
    }

    /// The node has lost its power: nothing ends in order.
    pub fn lose(self) {
        self.remove();
    }

    fn remove(&self) {
        let all = list(&self.spec, "containers").iter().chain(list(&self.spec, "initContainers"));
        for container in all {
            let _ = docker(&["rm", "--force", &self.container(text(container, "name"))]);
        }
        docker_ok(&["rm", "--force", &self.container("network")]);
        fs::remove_dir_all(&self.dir).unwrap();
    }

    /// As `kubectl exec`.
    pub fn exec(&self, name: &str, command: &[&str]) -> Outcome {
        let own = self.container(name);
        let mut all = vec!["exec", own.as_str()];
        all.extend(command);
        docker(&all)
    }

    pub fn log(&self, name: &str) -> String {
        let outcome = docker(&["logs", &self.container(name)]);
        outcome.stdout + &outcome.stderr
    }

    /// In the network of the pod, where each container is `localhost`.
    pub fn curl(&self, arguments: &[&str]) -> Outcome {
        let process = docker_ok(&["inspect", "--format", "{{.State.Pid}}", &self.container("network")]);
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &process, "curl", "-sS", "--fail", "--max-time", "20"]);
        command.args(["--noproxy", "*"]).args(arguments);
        run(&mut command)
    }

    pub fn probe(&self, name: &str, kind: &str) -> bool {
        let container = self.described(name);
        let probe = &container[kind];
        let get = &probe["httpGet"];
        only_known("a probe", get, &["path", "port"]);
        let port = match &get["port"] {
            Value::String(name) => list(container, "ports")
                .iter()
                .find(|port| port["name"] == name.as_str())
                .map(|port| port["containerPort"].clone())
                .unwrap(),
            number => number.clone(),
        };
        self.curl(&["--output", "/dev/null", &format!("http://localhost:{port}{}", text(get, "path"))]).code
            == 0
    }

    fn await_probe(&self, container: &Value, kind: &str) {
        let name = text(container, "name");
        if container[kind].is_null() {
            return;
        }
        await_some(&format!("{name} of {}, by its {kind}", self.name), || {
            assert!(self.is_running(name), "{name} has ended: {}", self.log(name));
            self.probe(name, kind).then_some(())
        });
    }

    pub fn is_running(&self, name: &str) -> bool {
        docker(&["inspect", "--format", "{{.State.Running}}", &self.container(name)]).stdout.trim() == "true"
    }

    pub fn exists(&self, name: &str) -> bool {
        docker(&["inspect", &self.container(name)]).code == 0
    }

    /// Killed for want of memory, at any time.
    pub fn was_too_large(&self, name: &str) -> bool {
        docker_ok(&["inspect", "--format", "{{.State.OOMKilled}}", &self.container(name)]) == "true"
    }

    pub fn container(&self, name: &str) -> String {
        self.site.container(&format!("{}-{name}", self.name))
    }

    #[track_caller]
    pub fn described(&self, name: &str) -> &Value {
        list(&self.spec, "initContainers")
            .iter()
            .chain(list(&self.spec, "containers"))
            .find(|container| container["name"] == name)
            .unwrap_or_else(|| panic!("no container {name} in {}", self.name))
    }

    fn termination_log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.termination-log"))
    }
}

/// What the kubelet does with `fsGroup` and `OnRootMismatch`: all of a volume whose root does not have it yet.
fn give_to_group(path: &Path, group: Option<u32>) {
    use std::os::unix::fs::MetadataExt;
    let Some(group) = group else { return };
    let root = fs::metadata(path).unwrap();
    if root.gid() == group && root.mode() & 0o2070 == 0o2070 {
        return;
    }
    let script = "chgrp -R -h \"$2\" \"$1\"; chmod -R g+rwX \"$1\"; find \"$1\" -type d -exec chmod g+s {} +";
    shell(script, &[path.as_os_str(), group.to_string().as_ref()]);
}
