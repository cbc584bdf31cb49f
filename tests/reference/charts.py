"""Helm, from its bindings for Python, which know no `template`.

    charts.py lint CHART
    charts.py render CHART RELEASE KUBERNETES [VALUES.json]

`lint` fails when Helm has anything against the chart but that it has no icon. `render` prints what would be installed
on that version of Kubernetes, an object of JSON a document: the chart is installed into a cluster that is nothing but a
few answers on loopback. Charts that it depends on by file:// are brought along.
"""

import asyncio
import json
import os
import re
import shutil
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import helm_sdkpy
import yaml

# What a cluster says that it knows: group and version, then kind and name of each resource with a namespace.
KNOWN = {
    "api/v1": {
        "ConfigMap": "configmaps",
        "PersistentVolumeClaim": "persistentvolumeclaims",
        "Secret": "secrets",
        "Service": "services",
        "ServiceAccount": "serviceaccounts",
    },
    "apis/apps/v1": {"Deployment": "deployments", "StatefulSet": "statefulsets"},
    "apis/batch/v1": {"CronJob": "cronjobs", "Job": "jobs"},
    "apis/networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies"},
    "apis/policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
}


def main():
    words = sys.argv[1:]
    if words[:1] == ["lint"] and len(words) == 2:
        lint(words[1])
    elif words[:1] == ["render"] and len(words) in (4, 5):
        values = json.loads(Path(words[4]).read_text()) if len(words) == 5 else {}
        for one in yaml.safe_load_all(render(*words[1:4], values)):
            print(f"---\n{json.dumps(one)}")
    else:
        sys.exit(__doc__)


def lint(chart):
    with tempfile.TemporaryDirectory() as at:
        config = configuration(at, "http://127.0.0.1:1")
        found = asyncio.run(helm_sdkpy.Lint(config).run(complete(chart, at)))
    # Severities: 1 is for information, such as a missing icon.
    worse = [message for message in found["Messages"] or [] if message["Severity"] > 1]
    if found["Errors"] or worse or found["TotalChartsLinted"] != 1:
        sys.exit(f"{chart}: {json.dumps(found)}")


def render(chart, release, kubernetes, values):
    server = ThreadingHTTPServer(("127.0.0.1", 0), cluster(kubernetes))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as at:
        config = configuration(at, f"http://127.0.0.1:{server.server_port}")
        action = helm_sdkpy.Install(config).run(release, complete(chart, at), values=values, wait=False)
        try:
            installed = asyncio.run(action)
        except helm_sdkpy.HelmError as error:
            sys.exit(str(error))
    return installed["manifest"]


def complete(chart, at):
    """A copy of the chart as `helm dependency build` would leave it."""
    copy = shutil.copytree(chart, Path(at, "chart", Path(chart).name))
    for one in yaml.safe_load(Path(chart, "Chart.yaml").read_text()).get("dependencies", []):
        source = Path(chart, one["repository"].removeprefix("file://"))
        shutil.copytree(source, Path(copy, "charts", one["name"]))
    return str(copy)


def configuration(at, address):
    """Nothing of the user's own Helm or cluster has a part in it."""
    for name in ("CACHE", "CONFIG", "DATA"):
        os.environ[f"HELM_{name}_HOME"] = at
    named = {"name": "stand-in"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{**named, "cluster": {"server": address}}],
        "users": [{**named, "user": {}}],
        "contexts": [{**named, "context": {"cluster": "stand-in", "user": "stand-in"}}],
        "current-context": "stand-in",
    }
    path = Path(at, "config.json")
    path.write_text(json.dumps(config))
    return helm_sdkpy.Configuration(namespace="default", kubeconfig=str(path))


def cluster(kubernetes):
    major, minor = kubernetes.split(".")[:2]

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, body, status=200):
            body = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def body(self):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def do_GET(self):
            path = self.path.split("?")[0].strip("/")
            if path == "version":
                self.answer({"major": major, "minor": minor, "gitVersion": f"v{major}.{minor}.0"})
            elif path == "api":
                self.answer({"kind": "APIVersions", "versions": ["v1"]})
            elif path == "apis":
                self.answer({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups()})
            elif path in KNOWN:
                self.answer(resources(path))
            elif re.search(r"/(secrets|configmaps)$", path):
                self.answer({"kind": "List", "apiVersion": "v1", "items": []})
            else:
                self.answer({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}, 404)

        def echo(self):
            body = self.body()
            if "json" in self.headers.get("Content-Type", ""):
                kept = json.loads(body)
            else:
                # Helm's own record of the release, which is not read again.
                kept = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "release"}}
            self.answer(kept, 201 if self.command == "POST" else 200)

        do_POST = do_PUT = do_PATCH = echo

    return Answers


def groups():
    for_discovery = []
    for path in KNOWN:
        if path.startswith("apis/"):
            _, group, version = path.split("/")
            one = {"groupVersion": f"{group}/{version}", "version": version}
            for_discovery.append({"name": group, "versions": [one], "preferredVersion": one})
    return for_discovery


def resources(path):
    listed = [
        {"name": name, "singularName": kind.lower(), "kind": kind, "namespaced": True, "verbs": ["create", "get", "patch"]}
        for kind, name in KNOWN[path].items()
    ]
    group = path.removeprefix("apis/").removeprefix("api/")
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": listed}


if __name__ == "__main__":
    main()
