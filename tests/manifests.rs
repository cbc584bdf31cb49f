//! What is shipped for Kubernetes, rendered and held against the schemas of several versions, against the restricted
//! profile, and against what volkeep itself says to the configuration in it. No cluster has a part in it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod manifests_support;
mod support;

use std::process::Command;
use std::sync::OnceLock;

use manifests_support::VERSION;
use manifests_support::configured::configuration;
use manifests_support::objects::{find, list, name, of_kind, text};
use manifests_support::pods::pods;
use manifests_support::render::{
    Rendered, admitted, documents, files_below, helm, kustomize, overlays, read, root, tool, try_helm,
    validate,
};
use manifests_support::rules::faults;
use serde_json::{Value, json};
use support::run;

/// Old enough to be in use, and new enough to be there.
const KUBERNETES: [&str; 3] = ["1.29", "1.32", "1.35"];
/// The last one before native sidecars.
const OLDER: &str = "1.27";

#[test]
fn every_file_in_deploy_can_be_parsed() {
    let mut seen = 0;
    for path in files_below(&root().join("deploy")) {
        let within = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        // Those of charts are templates of YAML, and parsed when they are rendered.
        if within.contains("/templates/") {
            continue;
        }
        if within.ends_with(".yaml") || within.ends_with(".yml") {
            assert!(!documents(&read(&within)).is_empty(), "{within} is empty");
            seen += 1;
        } else if within.ends_with(".json") {
            let parsed: Result<Value, _> = serde_json::from_str(&read(&within));
            assert!(parsed.is_ok(), "{within}: {parsed:?}");
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} files");
}

#[test]
fn one_version_is_everywhere() {
    let mut seen = 0;
    for directory in ["deploy/kubernetes", "deploy/helm"] {
        for path in files_below(&root().join(directory)) {
            let content = std::fs::read_to_string(&path).unwrap();
            for (_, tag) in
                content.match_indices("volkeep:").map(|(at, word)| content.split_at(at + word.len()))
            {
                if tag.starts_with(|sign: char| sign.is_ascii_digit()) {
                    assert!(tag.starts_with(VERSION), "{} has another version", path.display());
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 5, "only {seen} images");
    let chart: Value = serde_saphyr::from_str(&read("deploy/helm/volkeep/Chart.yaml")).unwrap();
    assert_eq!((text(&chart["version"]), text(&chart["appVersion"])), (VERSION, VERSION));
}

#[test]
#[ignore = "needs the tools for manifests: tests/run"]
fn the_schemas_of_three_versions_accept_everything() {
    let mut all = everything();
    // These two are without a part of what the rules below look at.
    for (name, own) in [
        ("no sidecar", json!({"sidecar": {"enabled": false}})),
        ("a configuration of one's own", json!({"existingConfigMap": "mine"})),
    ] {
        let mut values = least();
        merge(&mut values, &own);
        all.push(helm(name, "deploy/helm/volkeep", &values));
    }
    for version in KUBERNETES {
        let outcome = validate(version, &all.iter().collect::<Vec<_>>()).expect_code(0);
        let passed = format!("{}{}", outcome.stdout, outcome.stderr).matches(" passed ").count();
        let there: usize = all.iter().map(|rendered| rendered.objects.len()).sum();
        assert_eq!(passed, there, "not all was looked at by {version}");
    }
    let older = kustomize("without-native-sidecars");
    validate(OLDER, &[&older]).expect_code(0);
}

#[test]
#[ignore = "needs the tools for manifests: tests/run"]
fn the_schemas_refuse_what_they_do_not_know() {
    // What is new since then.
    validate(OLDER, &[&statefulset()]).expect_code(1).says(&["restartPolicy"]);
    let mut misspelt = statefulset();
    *at(&mut misspelt, "StatefulSet", "/spec/template/spec/terminationGracePeriod") = json!(60);
    validate(KUBERNETES[0], &[&misspelt]).expect_code(1).says(&["terminationGracePeriod"]);
}

#[test]
#[ignore = "needs the tools for manifests: tests/run"]
fn everything_hangs_together() {
    for rendered in everything() {
        let found = faults(&rendered.objects);
        assert!(found.is_empty(), "{}:\n{}", rendered.name, found.join("\n"));
        assert!(
            pods(&rendered.objects).iter().any(|pod| pod.ours().next().is_some()),
            "{} has nothing of volkeep",
            rendered.name
        );
    }
}

#[test]
#[ignore = "needs the tools for manifests: tests/run"]
fn what_does_not_hang_together_is_found() {
    let template = "/spec/template";
    let pod = "/spec/template/spec";
    let init = "/spec/template/spec/initContainers/0";
    let sidecar = "/spec/template/spec/initContainers/1";
    let app = "/spec/template/spec/containers/0";
    for (below, path, value, fault) in [
        (template, "metadata/labels", json!({"a": "b"}), "does not select its own pods"),
        (pod, "hostNetwork", json!(true), "hostNetwork is on"),
        (pod, "automountServiceAccountToken", json!(true), "a token"),
        (pod, "securityContext/runAsUser", json!(0), "runs as root"),
        (pod, "securityContext/runAsNonRoot", Value::Null, "may run as root"),
        (pod, "securityContext/seccompProfile", Value::Null, "no seccomp profile"),
        (pod, "securityContext/fsGroup", json!(2000), "the group of its files"),
        (init, "securityContext/runAsUser", json!(0), "volkeep-init: runs as root"),
        (app, "securityContext/allowPrivilegeEscalation", Value::Null, "wiki: may gain privileges"),
        (app, "securityContext/capabilities/drop", json!(["KILL"]), "wiki: keeps capabilities"),
        (app, "securityContext/capabilities/add", json!(["CHOWN"]), "wiki: keeps capabilities"),
        (app, "securityContext/privileged", json!(true), "wiki: says something of privileged"),
        (app, "securityContext/readOnlyRootFilesystem", json!(false), "wiki: may write to its image"),
        (app, "ports/0/hostPort", json!(80), "wiki: takes a port of the host"),
        (app, "resources/limits", Value::Null, "wiki: memory is not bounded"),
        (app, "resources/requests/cpu", json!("1 core"), "wiki: cpu is"),
        (app, "resources/requests/memory", json!("1Gi"), "wiki: asks for more memory"),
        (app, "volumeMounts/0/name", json!("dta"), "there is no volume dta"),
        (app, "volumeMounts/1/mountPath", json!("/data"), "wiki: two things at"),
        (app, "volumeMounts/0/subPath", Value::Null, "the app sees another part"),
        (app, "livenessProbe/httpGet/port", json!("htp"), "wiki: livenessProbe asks at"),
        (pod, "volumes/0/configMap/name", json!("volkep"), "there is no ConfigMap volkep"),
        (pod, "volumes/1/secret/secretName", json!("keys"), "there is no Secret keys"),
        (pod, "serviceAccountName", json!("other"), "there is no service account other"),
        (pod, "volumes/3/hostPath", json!({"path": "/"}), "volume tmp is of a kind that is not allowed"),
        (template, "metadata/annotations/prometheus.io~1port", json!("1"), "Prometheus is sent"),
        (init, "image", json!("volkeep:0.0.9"), "not the image of this version"),
        (init, "args", json!(["wait"]), "init is not the first thing"),
        (init, "restartPolicy", json!("Always"), "init is restarted"),
        (init, "volumeMounts/0/subPath", json!("data"), "not on one volume"),
        (init, "volumeMounts/2/mountPath", json!("/run/keys"), "nothing brings"),
        (init, "env/1/value", json!("100MiB"), "do not fit into"),
        (init, "env/1/name", json!("VOLKEEP_LIMIT_MEMORY"), "VOLKEEP_LIMIT_MEMORY"),
        (init, "env/1/name", json!("VOLKEEP_BACKUP_MAX_SHRINK"), "is not usable"),
        (sidecar, "env/1", json!({"name": "VOLKEEP_IDENTITY", "value": "blog"}), "do not agree"),
        (sidecar, "restartPolicy", Value::Null, "not a native one"),
        (sidecar, "livenessProbe/httpGet/path", json!("/readyz"), "when the sidecar hangs"),
        (
            sidecar,
            "readinessProbe",
            json!({"httpGet": {"path": "/readyz", "port": 9188}}),
            "the app is cut off",
        ),
        (sidecar, "ports/0/containerPort", json!(9189), "does not listen where"),
        (pod, "terminationGracePeriodSeconds", json!(20), "seconds to end"),
        ("/spec", "replicas", json!(2), "several pods for one repository"),
        ("/spec", "serviceName", json!("none"), "there is no Service none"),
        ("/spec", "volumeClaimTemplates/0/spec/resources/requests/storage", json!("ten"), "a claim for"),
    ] {
        let mut changed = with_secrets(statefulset());
        *at(&mut changed, "StatefulSet", &format!("{below}/{path}")) = value.clone();
        let found = faults(&changed.objects).join("\n");
        assert!(found.contains(fault), "{below}/{path} as {value} was not found:\n{found}");
    }
    for (kind, path, value, fault) in [
        ("Service", "/spec/selector", json!({"a": "b"}), "Service wiki selects nothing"),
        ("Service", "/spec/ports/0/targetPort", json!("web"), "leads nowhere"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels", json!({"a": "b"}), "selects nothing"),
        ("NetworkPolicy", "/spec/podSelector/matchLabels", json!({"a": "b"}), "selects nothing"),
        ("ConfigMap", "/data/config.yaml", json!("volume: { pth: /data }"), "did you mean `path`"),
        ("Secret", "/stringData", json!({"id": "x"}), "nothing brings /run/secrets/volkeep/access-key-id"),
    ] {
        let mut changed = with_secrets(statefulset());
        *at(&mut changed, kind, path) = value;
        let found = faults(&changed.objects).join("\n");
        assert!(found.contains(fault), "{kind}{path} was not found:\n{found}");
    }
}

#[test]
#[ignore = "needs the tools for manifests: tests/run"]
fn the_ordinary_sidecar_is_the_native_one_elsewhere() {
    let (native, ordinary) = (statefulset(), kustomize("without-native-sidecars"));
    let (native, ordinary) = (&pods(&native.objects)[0], &pods(&ordinary.objects)[0]);
    assert_eq!(native.init_containers().len(), ordinary.init_containers().len() + 1);
    let mut moved = ordinary.container("volkeep-sidecar").unwrap().clone();
    assert_eq!(
        moved["env"].as_array_mut().unwrap().pop().unwrap()["name"],
        "VOLKEEP_SIDECAR_BACKUP_ON_SHUTDOWN"
    );
    moved["restartPolicy"] = json!("Always");
    assert_eq!(&moved, native.container("volkeep-sidecar").unwrap());
}

#[test]
#[ignore = "needs the tools for manifests: tests/run"]
fn each_of_several_replicas_has_a_repository_of_its_own() {
    let mut rendered = with_secrets(statefulset());
    for number in 0..2 {
        let place = format!("/spec/template/spec/initContainers/{number}/env");
        let variables = at(&mut rendered, "StatefulSet", &place).as_array_mut().unwrap();
        for mut variable in
            block("deploy/kubernetes/README.md", "## Several replicas").as_array().unwrap().clone()
        {
            // As Kubernetes would fill it in.
            variable["value"] = json!(text(&variable["value"]).replace("$(POD_NAME)", "wiki-1"));
            assert!(variables.iter().all(|other| other["name"] != variable["name"]));
            variables.push(variable);
        }
    }
    assert_eq!(faults(&rendered.objects), Vec::<String>::new());
    let objects = &rendered.objects;
    let pod = &pods(objects)[0];
    let config = configuration(pod, pod.container("volkeep-init").unwrap(), objects).unwrap();
    assert_eq!(config["volume"]["identity"], "wiki-1");
    assert!(text(&config["repositories"][0]["url"]).contains("/wiki-1?"), "{config}");
}

#[test]
#[ignore = "needs the tools for manifests: tests/run"]
fn by_web_identity_no_keys_are_left() {
    let rendered = kustomize("web-identity");
    for pod in pods(&rendered.objects) {
        assert!(list(pod.spec, "volumes").iter().all(|volume| volume["secret"].is_null()), "{:?}", pod.spec);
        let mut roles: Vec<&str> = pod
            .ours()
            .flat_map(|container| list(container, "env"))
            .filter(|variable| variable["name"] == "AWS_ROLE_ARN")
            .map(|variable| text(&variable["value"]))
            .collect();
        assert_eq!(roles.len(), 2);
        roles.dedup();
        assert_eq!(roles.len(), 2, "init and sidecar have the same role");
    }
    // But for the keys it is the configuration of the other.
    let map = |of: &Rendered| {
        text(&find(&of.objects, "ConfigMap", "volkeep").unwrap()["data"]["config.yaml"]).to_owned()
    };
    let mut plain: Value = serde_saphyr::from_str(&map(&statefulset())).unwrap();
    let own: Value = serde_saphyr::from_str(&map(&rendered)).unwrap();
    plain["repositories"] = own["repositories"].clone();
    assert_eq!(plain, own);
}

#[test]
#[ignore = "needs the tools for manifests: tests/run"]
fn the_policy_adds_volkeep_to_pods_that_ask_for_it_and_to_no_others() {
    let pod = pod_of_the_example();
    let through = admitted(&pod).expect_code(0);
    let after = &documents(&through.stdout)[0];
    let names: Vec<&str> =
        list(&after["spec"], "initContainers").iter().map(|one| text(&one["name"])).collect();
    assert_eq!(names, ["volkeep-init", "volkeep-sidecar", "migrate"]);

    let mut plain = pod.clone();
    plain["metadata"]["labels"] = json!({"app": "shop"});
    let through = admitted(&plain).expect_code(0);
    assert_eq!(documents(&through.stdout)[0], plain);

    // Without annotations the names are those that the policy says.
    let mut bare = pod.clone();
    bare["metadata"].as_object_mut().unwrap().remove("annotations");
    let through = admitted(&bare).expect_code(0);
    let after = &documents(&through.stdout)[0];
    let secret = &list(&after["spec"], "volumes")[1]["secret"]["secretName"];
    assert_eq!(
        (text(&list(&after["spec"], "initContainers")[0]["volumeMounts"][0]["name"]), text(secret)),
        ("data", "volkeep-init")
    );

    // Somebody else's order, as when another webhook sorts them anew.
    let mut turned = pod;
    let own = [
        json!({"name": "volkeep-sidecar"}),
        json!({"name": "volkeep-init"}),
        json!({"name": "volkeep-other"}),
    ];
    turned["spec"]["initContainers"] = json!(own);
    let refused = admitted(&turned).expect_code(1);
    assert!(refused.stderr.contains("This pod asks for volkeep"), "{refused}");
}

#[test]
#[ignore = "needs the tools for manifests: tests/run"]
fn helm_has_nothing_against_the_charts() {
    for chart in ["deploy/helm/volkeep", "tests/charts/notes"] {
        run(tool("charts.py").arg("lint").arg(root().join(chart))).expect_code(0);
    }
    // And says so when it has.
    let scratch = tempfile::tempdir().unwrap();
    let broken = scratch.path().join("volkeep");
    run(Command::new("cp").arg("-r").arg(root().join("deploy/helm/volkeep")).arg(&broken)).expect_code(0);
    std::fs::write(broken.join("templates/service.yaml"), "{{ .Values.service.port ").unwrap();
    run(tool("charts.py").arg("lint").arg(&broken)).expect_code(1).says(&["templates/"]);
}

#[test]
#[ignore = "needs the tools for manifests: tests/run"]
fn the_chart_refuses_values_that_cannot_be() {
    for (bad, says) in [
        (json!({"sidecr": {"native": false}}), "sidecr"),
        (json!({"app": {"image": 7}}), "/app/image"),
        (json!({"replicas": 2}), "/replicas"),
        (json!({"kind": "DaemonSet"}), "/kind"),
        (json!({"volume": {"layout": "flat"}}), "/volume/layout"),
        (json!({"config": {"volume": {"path": "/data"}}}), "/config/volume/path"),
        (json!({"config": {"repositories": []}}), "/config/repositories"),
        (json!({"init": {"memory": "64Mi"}}), "/init/memory"),
        (json!({"terminationGracePeriodSeconds": 25}), "has to be more than config.sidecar.grace"),
        (
            json!({"terminationGracePeriodSeconds": 110, "config": {"sidecar": {"grace": "2m"}}}),
            "has to be more",
        ),
        (json!({"webIdentity": {"enabled": true}}), "webIdentity needs"),
    ] {
        let mut values = least();
        merge(&mut values, &bad);
        try_helm("deploy/helm/volkeep", "1.32", &values).expect_code(1).says(&[says]);
    }
    for missing in ["app", "config"] {
        let mut values = least();
        values.as_object_mut().unwrap().remove(missing);
        try_helm("deploy/helm/volkeep", "1.32", &values).expect_code(1).says(&["has to be given"]);
    }
    try_helm("deploy/helm/volkeep", "1.26", &least()).expect_code(1).says(&["kubeversion"]);
}

#[test]
#[ignore = "needs the tools for manifests: tests/run"]
fn as_a_library_the_chart_brings_its_configuration_and_nothing_else() {
    let rendered = helm("its own values", "tests/charts/notes", &json!({}));
    let mut kinds: Vec<&str> = rendered.objects.iter().map(|object| text(&object["kind"])).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["ConfigMap", "Service", "StatefulSet"]);
    let restarted = |values: &Value| {
        let rendered = helm("a change", "tests/charts/notes", values);
        let set = of_kind(&rendered.objects, "StatefulSet").next().unwrap().clone();
        text(&set["spec"]["template"]["metadata"]["annotations"]["checksum/volkeep"]).to_owned()
    };
    let changed = json!({"volkeep": {"config": {"backup": {"max_shrink": "10%"}}}});
    assert_ne!(restarted(&changed), restarted(&json!({})), "a new configuration makes no new pod");
}

#[test]
#[ignore = "needs the tools for manifests: tests/run"]
fn hadolint_has_nothing_against_the_images() {
    let scratch = tempfile::tempdir().unwrap();
    let bad = scratch.path().join("Dockerfile");
    std::fs::write(&bad, "FROM debian\nRUN cd /tmp && sudo true\n").unwrap();
    run(tool("hadolint").arg(&bad)).expect_code(1).says(&["DL3006", "DL3004"]);
    let listed = run(Command::new("git").args(["ls-files"]).current_dir(root())).expect_code(0).stdout;
    let mut seen = 0;
    for file in listed.lines() {
        let base = file.rsplit('/').next().unwrap();
        let is_one = base == "Dockerfile" || base.starts_with("Dockerfile.") || base.ends_with(".Dockerfile");
        if is_one && !base.ends_with(".dockerignore") {
            run(tool("hadolint").arg(file).current_dir(root())).expect_code(0);
            seen += 1;
        }
    }
    assert!(seen > 0, "there is no image");
}

/// All that is shipped, as it comes out of the tools, each with what it rests on.
fn everything() -> Vec<Rendered> {
    let names = overlays();
    assert!(names.len() > 5, "{names:?}");
    let mut all: Vec<Rendered> = names.iter().map(|name| kustomize(name)).collect();
    for rendered in &mut all {
        if rendered.name == "jobs" {
            // They work on what the others brought.
            rendered.objects.extend(statefulset().objects);
        }
        if find(&rendered.objects, "StatefulSet", "wiki").is_some() {
            *rendered = with_secrets(rendered.clone());
        }
        if rendered.name == "injection/example" {
            rendered.objects.retain(|object| object["kind"] != "Deployment" && object["kind"] != "Service");
            let mut pod = documents(&admitted(&pod_of_the_example()).expect_code(0).stdout).remove(0);
            pod["metadata"]["name"] = json!("shop");
            rendered.objects.push(pod);
        }
    }
    for (name, own) in [
        ("the least there must be", json!({})),
        ("the values of its README", block("deploy/helm/volkeep/README.md", "## By itself")),
        (
            "a Deployment",
            json!({"kind": "Deployment", "volume": {"layout": "mount-point", "storageClassName": "fast"}}),
        ),
        ("an ordinary sidecar", json!({"sidecar": {"native": false}})),
        ("a claim that is there", json!({"volume": {"existingClaim": "old", "name": "files"}})),
        (
            "web identity",
            json!({
                "init": {"secretName": ""},
                "sidecar": {"secretName": ""},
                "webIdentity": {"enabled": true, "initRoleArn": "arn:a", "sidecarRoleArn": "arn:b", "region": "eu-central-1"},
                "config": {"repositories": [{"url": "s3://backups/wiki?region=eu-central-1"}]},
            }),
        ),
        (
            "all there is",
            json!({
                "fullnameOverride": "pages",
                "image": {"tag": format!("{VERSION}-toolbox"), "pullPolicy": "Always"},
                "imagePullSecrets": [{"name": "registry"}],
                "createRepository": true,
                "app": {
                    "name": "pages",
                    "args": ["serve"],
                    "env": [{"name": "A", "value": "b"}],
                    "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
                    "volumeMounts": [{"name": "more", "mountPath": "/more"}],
                },
                "sidecar": {"env": [{"name": "TZ", "value": "Europe/Berlin"}], "volumeMounts": [{"name": "more", "mountPath": "/more"}]},
                "volumes": [{"name": "more", "emptyDir": {}}],
                "initContainers": [],
                "podLabels": {"team": "web"},
                "podAnnotations": {"note": "yes"},
                "nodeSelector": {"disk": "ssd"},
                "tolerations": [{"key": "spot", "operator": "Exists"}],
                "priorityClassName": "high",
                "serviceAccount": {"annotations": {"a": "b"}},
                "service": {"type": "NodePort", "annotations": {"a": "b"}},
                "podDisruptionBudget": {"maxUnavailable": "100%"},
                "terminationGracePeriodSeconds": 90,
                "volume": {"annotations": {"a": "b"}},
            }),
        ),
    ] {
        let mut values = least();
        merge(&mut values, &own);
        let mut rendered = helm(name, "deploy/helm/volkeep", &values);
        rendered.objects.extend(secrets(["wiki-init", "wiki-sidecar"]));
        if text(&values["volume"]["existingClaim"]) == "old" {
            rendered.objects.push(json!({
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "old"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }));
        }
        all.push(rendered);
    }
    let mut library = helm("its own values", "tests/charts/notes", &json!({}));
    library.objects.extend(secrets(["notes-init", "notes-sidecar"]));
    all.push(library);
    all
}

/// What the chart cannot do without.
fn least() -> Value {
    json!({
        "app": {"image": "rclone/rclone:1.75"},
        "config": {"repositories": [{
            "url": "s3://backups/wiki?region=eu-central-1",
            "s3": {
                "access_key_id_file": "/run/secrets/volkeep/access-key-id",
                "secret_access_key_file": "/run/secrets/volkeep/secret-access-key",
            },
        }]},
        "init": {"secretName": "wiki-init"},
        "sidecar": {"secretName": "wiki-sidecar"},
    })
}

fn secrets(names: [&str; 2]) -> Vec<Value> {
    names
        .map(|name| {
            json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name},
                "stringData": {"access-key-id": "id", "secret-access-key": "secret"},
            })
        })
        .to_vec()
}

/// The one that most of the others rest on.
fn statefulset() -> Rendered {
    static BUILT: OnceLock<Rendered> = OnceLock::new();
    BUILT.get_or_init(|| kustomize("statefulset")).clone()
}

/// The first block of YAML behind a heading.
fn block(page: &str, heading: &str) -> Value {
    let page = read(page);
    let (_, below) = page.split_once(heading).unwrap_or_else(|| panic!("there is no {heading}"));
    let (_, block) = below.split_once("```yaml\n").unwrap();
    serde_saphyr::from_str(block.split("```").next().unwrap()).unwrap()
}

fn with_secrets(mut rendered: Rendered) -> Rendered {
    rendered.objects.extend(documents(&read("deploy/kubernetes/statefulset/secrets.example.yaml")));
    rendered
}

/// The pod that the Deployment of the example asks for.
fn pod_of_the_example() -> Value {
    let rendered = kustomize("injection/example");
    let pods = pods(&rendered.objects);
    assert_eq!(pods.len(), 1);
    let mut metadata = pods[0].metadata.clone();
    metadata["name"] = json!("any");
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pods[0].spec})
}

/// A place in the only object of a kind, made if it is not there.
fn at<'r>(rendered: &'r mut Rendered, kind: &str, path: &str) -> &'r mut Value {
    let object = rendered.objects.iter_mut().find(|object| object["kind"] == kind).unwrap();
    assert!(!name(object).is_empty());
    let (parent, key) = path.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("there is no {path} in {kind}"));
    match key.parse::<usize>() {
        Ok(number) => &mut parent[number],
        Err(_) => &mut parent[key.replace("~1", "/")],
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
