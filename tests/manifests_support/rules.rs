//! What no schema says: that names lead somewhere, that pods meet the restricted profile, that volkeep is set up as it
//! has to be. Each rule adds a line for each fault that it finds.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::VERSION;
use super::configured::{configuration, scalars};
use super::objects::{find, labels, list, measure, name, of_kind, quantity, selects, text};
use super::pods::{Pod, mounted, pods};

/// What init and sidecar may have each for itself.
const OWN: [&str; 2] = ["limits.memory", "sidecar.backup_on_shutdown"];
/// What a process takes besides its data on the way.
const BESIDES: f64 = 48.0 * 1024.0 * 1024.0;

pub fn faults(objects: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let all = pods(objects);
    selectors(objects, &all, &mut found);
    for pod in &all {
        let mut of_pod = Vec::new();
        restricted(pod, &mut of_pod);
        resources(pod, &mut of_pod);
        volumes(pod, objects, &mut of_pod);
        ports(pod, &mut of_pod);
        roles(pod, &mut of_pod);
        configured(pod, objects, &mut of_pod);
        found.extend(of_pod.into_iter().map(|fault| format!("{}: {fault}", pod.of)));
    }
    found
}

fn selectors(objects: &[Value], all: &[Pod<'_>], found: &mut Vec<String>) {
    for pod in all {
        let selector = &pod.controller["spec"]["selector"]["matchLabels"];
        if ["StatefulSet", "Deployment"].iter().any(|kind| pod.controller["kind"] == *kind)
            && !selects(selector, &pod.metadata["labels"])
        {
            found.push(format!("{}: its selector does not select its own pods", pod.of));
        }
    }
    for service in of_kind(objects, "Service") {
        let behind: Vec<_> =
            all.iter().filter(|pod| selects(&service["spec"]["selector"], &pod.metadata["labels"])).collect();
        if behind.is_empty() {
            found.push(format!("Service {} selects nothing", name(service)));
        }
        for port in list(&service["spec"], "ports") {
            let leads =
                |pod: &&Pod<'_>| !port["targetPort"].is_string() || has_port(pod, &port["targetPort"]);
            if !behind.iter().all(leads) {
                found.push(format!("Service {}: {port} leads nowhere", name(service)));
            }
        }
    }
    for kind in ["PodDisruptionBudget", "NetworkPolicy"] {
        let key = if kind == "NetworkPolicy" { "podSelector" } else { "selector" };
        for object in of_kind(objects, kind) {
            let selector = &object["spec"][key]["matchLabels"];
            if !all.iter().any(|pod| selects(selector, &pod.metadata["labels"])) {
                found.push(format!("{kind} {} selects nothing", name(object)));
            }
        }
    }
    for set in of_kind(objects, "StatefulSet") {
        let service = text(&set["spec"]["serviceName"]);
        if find(objects, "Service", service).is_none() {
            found.push(format!("StatefulSet {}: there is no Service {service}", name(set)));
        }
    }
}

fn has_port(pod: &Pod<'_>, named: &Value) -> bool {
    pod.containers().any(|container| list(container, "ports").iter().any(|port| port["name"] == *named))
}

/// The restricted profile of the pod security standards, and somewhat more.
fn restricted(pod: &Pod<'_>, found: &mut Vec<String>) {
    let spec = pod.spec;
    for key in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
        if spec[key] == true {
            found.push(format!("{key} is on"));
        }
    }
    if spec["automountServiceAccountToken"] != false {
        found.push("it has a token that it does not need".to_owned());
    }
    let whole = &spec["securityContext"];
    for volume in list(spec, "volumes") {
        let allowed = ["name", "configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"];
        let keys = volume.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
        if keys.into_iter().any(|key| !allowed.contains(&key)) {
            found.push(format!("volume {} is of a kind that is not allowed", text(&volume["name"])));
        }
    }
    for container in pod.containers() {
        let own = &container["securityContext"];
        let mut must = |holds: bool, what: &str| {
            if !holds {
                found.push(format!("{}: {what}", text(&container["name"])));
            }
        };
        let effective = |key: &str| if own[key].is_null() { &whole[key] } else { &own[key] };
        must(*effective("runAsNonRoot") == true, "may run as root");
        must(
            effective("runAsUser").as_u64().is_some_and(|user| user != 0),
            "runs as root, or as nobody knows whom",
        );
        must(effective("seccompProfile")["type"] == "RuntimeDefault", "has no seccomp profile");
        must(own["allowPrivilegeEscalation"] == false, "may gain privileges");
        must(own["privileged"].is_null(), "says something of privileged");
        must(own["capabilities"] == json!({"drop": ["ALL"]}), "keeps capabilities");
        must(own["readOnlyRootFilesystem"] == true, "may write to its image");
        must(
            list(container, "ports").iter().all(|port| port["hostPort"].is_null()),
            "takes a port of the host",
        );
    }
    // Without it a new volume belongs to root.
    if whole["fsGroup"].as_u64().is_none() || whole["fsGroup"] != whole["runAsGroup"] {
        found.push("the group of its files is not its own".to_owned());
    }
}

fn resources(pod: &Pod<'_>, found: &mut Vec<String>) {
    for container in pod.containers() {
        let (requests, limits) = (&container["resources"]["requests"], &container["resources"]["limits"]);
        let mut complain = |what: String| found.push(format!("{}: {what}", text(&container["name"])));
        for (of, key) in [(requests, "cpu"), (requests, "memory"), (limits, "memory")] {
            if of[key].is_null() {
                complain(format!("{key} is not bounded"));
            } else if quantity(&of[key]).is_none_or(|amount| amount <= 0.0) {
                complain(format!("{key} is {}", of[key]));
            }
        }
        if quantity(&requests["memory"]) > quantity(&limits["memory"]) {
            complain("asks for more memory than it may have".to_owned());
        }
    }
    for claim in list(&pod.controller["spec"], "volumeClaimTemplates") {
        let size = &claim["spec"]["resources"]["requests"]["storage"];
        if quantity(size).is_none_or(|bytes| bytes < 1e6) {
            found.push(format!("a claim for {size}"));
        }
    }
}

fn volumes(pod: &Pod<'_>, objects: &[Value], found: &mut Vec<String>) {
    let mut used = BTreeSet::new();
    for container in pod.containers() {
        let mut places = BTreeSet::new();
        for mount in list(container, "volumeMounts") {
            let volume = text(&mount["name"]);
            used.insert(volume);
            if pod.volume(volume).is_none() && !pod.claimed.contains(&volume) {
                found.push(format!("{}: there is no volume {volume}", text(&container["name"])));
            }
            if !places.insert(text(&mount["mountPath"])) {
                found.push(format!("{}: two things at {}", text(&container["name"]), mount["mountPath"]));
            }
        }
    }
    for volume in list(pod.spec, "volumes") {
        if !used.contains(text(&volume["name"])) {
            found.push(format!("nobody mounts {}", volume["name"]));
        }
        let sources = list(&volume["projected"], "sources").iter();
        let named = sources
            .flat_map(|source| {
                [("ConfigMap", &source["configMap"]["name"]), ("Secret", &source["secret"]["name"])]
            })
            .chain([
                ("ConfigMap", &volume["configMap"]["name"]),
                ("Secret", &volume["secret"]["secretName"]),
            ]);
        for (kind, wanted) in named.filter(|(_, wanted)| wanted.is_string()) {
            if find(objects, kind, text(wanted)).is_none() {
                found.push(format!("there is no {kind} {}", text(wanted)));
            }
        }
        let claim = text(&volume["persistentVolumeClaim"]["claimName"]);
        if !claim.is_empty()
            && find(objects, "PersistentVolumeClaim", claim).is_none()
            && !is_made(objects, claim)
        {
            found.push(format!("there is no claim {claim}"));
        }
    }
    let account = text(&pod.spec["serviceAccountName"]);
    if !account.is_empty() && find(objects, "ServiceAccount", account).is_none() {
        found.push(format!("there is no service account {account}"));
    }
}

/// Whether a StatefulSet makes this claim for one of its pods.
fn is_made(objects: &[Value], claim: &str) -> bool {
    of_kind(objects, "StatefulSet").any(|set| {
        let replicas = set["spec"]["replicas"].as_u64().unwrap_or(1);
        list(&set["spec"], "volumeClaimTemplates").iter().any(|template| {
            (0..replicas).any(|number| claim == format!("{}-{}-{number}", name(template), name(set)))
        })
    })
}

fn ports(pod: &Pod<'_>, found: &mut Vec<String>) {
    let mut numbers = BTreeSet::new();
    for container in pod.containers() {
        for port in list(container, "ports") {
            if !numbers.insert(port["containerPort"].to_string()) {
                found.push(format!("two containers want port {}", port["containerPort"]));
            }
        }
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let port = &container[probe]["httpGet"]["port"];
            if port.is_string() && !list(container, "ports").iter().any(|own| own["name"] == *port) {
                found.push(format!("{}: {probe} asks at {port}", text(&container["name"])));
            }
        }
    }
    let scraped = &pod.metadata["annotations"]["prometheus.io/port"];
    if scraped.is_string() && !numbers.contains(text(scraped)) {
        found.push(format!("Prometheus is sent to {scraped}"));
    }
}

/// Which containers there are, in which order, and how they begin and end.
fn roles(pod: &Pod<'_>, found: &mut Vec<String>) {
    let mut complain = |what: &str| found.push(what.to_owned());
    for container in pod.ours() {
        let tag = text(&container["image"]).trim_start_matches("volkeep:").trim_end_matches("-toolbox");
        if tag != VERSION {
            complain("not the image of this version");
        }
        if container["readinessProbe"].is_object() {
            complain("the app is cut off when backups are too old");
        }
    }
    let Some(init) = pod.container("volkeep-init") else {
        if pod.ours().next().is_none() {
            complain("volkeep has no part in it");
        }
        return;
    };
    if pod.init_containers().first() != Some(init) || init["args"] != json!(["init"]) {
        complain("init is not the first thing to run");
    }
    if !init["restartPolicy"].is_null() {
        complain("init is restarted when it has ended");
    }
    let Some(sidecar) = pod.container("volkeep-sidecar") else {
        return complain("no sidecar");
    };
    if sidecar["args"] != json!(["sidecar"]) {
        complain("the sidecar is none");
    }
    if pod.init_containers().contains(sidecar) {
        if pod.init_containers().get(1) != Some(sidecar) || sidecar["restartPolicy"] != "Always" {
            complain("the sidecar is not a native one right after init");
        }
    } else if !sidecar["restartPolicy"].is_null() {
        complain("an ordinary container has no restartPolicy");
    }
    if sidecar["livenessProbe"]["httpGet"]["path"] != "/healthz" {
        complain("nobody notices when the sidecar hangs");
    }
    let spec = &pod.controller["spec"];
    if spec["replicas"].as_u64().is_some_and(|replicas| replicas > 1) {
        complain("several pods for one repository");
    }
    if pod.controller["kind"] == "Deployment" && spec["strategy"] != json!({"type": "Recreate"}) {
        complain("two pods may have the volume at once");
    }
}

fn configured(pod: &Pod<'_>, objects: &[Value], found: &mut Vec<String>) {
    let mut seen: Option<Vec<(String, String)>> = None;
    for container in pod.ours() {
        let own = text(&container["name"]).to_owned();
        let config = match configuration(pod, container, objects) {
            Ok(config) => config,
            Err(reason) => {
                found.push(format!("{own}: {reason}"));
                continue;
            }
        };
        let mut all = Vec::new();
        scalars(&config, "", &mut all);
        files(pod, container, objects, &all, found);
        memory(container, &config, found);
        if container["args"] != json!(["repository", "init"]) {
            places(pod, container, &config, found);
        }
        if container["args"] == json!(["sidecar"]) {
            end(pod, container, &config, found);
        }
        all.retain(|(path, _)| !OWN.contains(&path.as_str()));
        if let Some(other) = &seen {
            let differ: Vec<_> = all.iter().filter(|one| !other.contains(one)).collect();
            if !differ.is_empty() {
                found.push(format!("init and sidecar do not agree: {differ:?}"));
            }
        }
        seen = Some(all);
    }
}

/// Every file that the configuration or the environment names is a key of what is mounted there.
fn files(
    pod: &Pod<'_>,
    container: &Value,
    objects: &[Value],
    config: &[(String, String)],
    found: &mut Vec<String>,
) {
    let named =
        config.iter().filter(|(path, _)| path.ends_with("_file")).map(|(_, file)| file.trim_matches('"'));
    let variables = list(container, "env").iter().filter(|one| text(&one["name"]).ends_with("_FILE"));
    for file in named.chain(variables.map(|variable| text(&variable["value"]))) {
        let key = file.rsplit('/').next().unwrap_or_default();
        let there = mounted(container, file).and_then(|mount| pod.volume(text(&mount["name"]))).is_some_and(
            |volume| {
                let secret = find(objects, "Secret", text(&volume["secret"]["secretName"]));
                let tokens = list(&volume["projected"], "sources");
                secret.is_some_and(|secret| {
                    secret["stringData"][key].is_string() || secret["data"][key].is_string()
                }) || tokens.iter().any(|token| token["serviceAccountToken"]["path"] == key)
            },
        );
        if !there {
            found.push(format!("{}: nothing brings {file}", text(&container["name"])));
        }
    }
}

fn memory(container: &Value, config: &Value, found: &mut Vec<String>) {
    let limit = quantity(&container["resources"]["limits"]["memory"]);
    let data = measure(text(&config["limits"]["memory"]));
    if !matches!((limit, data), (Some(limit), Some(data)) if data + BESIDES <= limit) {
        found.push(format!("{}: {data:?} of data do not fit into {limit:?}", text(&container["name"])));
    }
}

/// Data and state are on one volume, and the app sees the data and, where they lie apart, nothing else of it.
fn places(pod: &Pod<'_>, container: &Value, config: &Value, found: &mut Vec<String>) {
    let (data, state) = (text(&config["volume"]["path"]), text(&config["volume"]["state_dir"]));
    let mut complain = |what: &str| found.push(format!("{}: {what}", text(&container["name"])));
    let Some(mount) = mounted(container, data) else {
        return complain("the data is not on a volume");
    };
    if mounted(container, state) != Some(mount) || !mount["subPath"].is_null() || mount["readOnly"] == true {
        return complain("data and state are not on one volume that can be written");
    }
    let within = data.strip_prefix(text(&mount["mountPath"])).unwrap_or_default().trim_start_matches('/');
    for app in pod.containers().filter(|one| !text(&one["image"]).starts_with("volkeep:")) {
        for other in list(app, "volumeMounts").iter().filter(|other| other["name"] == mount["name"]) {
            if text(&other["subPath"]) != within {
                complain("the app sees another part of the volume");
            }
        }
    }
}

fn end(pod: &Pod<'_>, container: &Value, config: &Value, found: &mut Vec<String>) {
    let grace = measure(text(&config["sidecar"]["grace"]));
    // What a pod has that says nothing.
    let whole = pod.spec["terminationGracePeriodSeconds"].as_f64().unwrap_or(30.0);
    if grace.is_none_or(|grace| grace >= whole) {
        found.push(format!("the sidecar wants {grace:?} of {whole} seconds to end"));
    }
    let native = pod.init_containers().contains(container);
    if config["sidecar"]["backup_on_shutdown"] == true && !native {
        found.push("a last backup of an app that is still writing".to_owned());
    }
    let port =
        text(&config["sidecar"]["listen"]).strip_prefix("0.0.0.0:").and_then(|port| port.parse::<u64>().ok());
    let open =
        |wanted| list(container, "ports").iter().any(|one| one["containerPort"].as_u64() == Some(wanted));
    if !port.is_some_and(open) {
        found.push("the sidecar does not listen where it is asked".to_owned());
    }
    if labels(&pod.metadata["annotations"]).get("prometheus.io/scrape").is_none_or(|scrape| scrape != "true")
    {
        found.push("Prometheus does not find it".to_owned());
    }
}
