"""What the admission policy of deploy/kubernetes/injection makes of a pod.

    admission.py POLICY < POD.yaml

Prints the pod as it would be admitted, or fails with the message of the rule that refuses it. It does what Kyverno does
with the parts of its language that the policy uses: labels that match, values of JMESPath between braces, a strategic
merge by kustomize, which is the code that Kyverno merges by, and conditions to deny. Anything else is an error.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jmespath
import yaml

# Beside this Python, where tests/reference/manifests puts it.
KUBECTL = Path(sys.executable).parent / "kubectl"


def main():
    policy = yaml.safe_load(Path(sys.argv[1]).read_text())
    pod = yaml.safe_load(sys.stdin)
    assert pod["kind"] == "Pod", pod["kind"]
    rules = [rule for rule in policy["spec"]["rules"] if matches(rule["match"], pod)]
    for rule in rules:
        if "mutate" in rule:
            pod = merged(pod, filled(only(rule["mutate"], "patchStrategicMerge"), pod))
    for rule in rules:
        if "validate" in rule:
            validate(rule["validate"], pod)
    yaml.safe_dump(pod, sys.stdout)


def matches(match, pod):
    resources = [only(choice, "resources") for choice in only(match, "any")]
    labels = pod["metadata"].get("labels", {})
    for one in resources:
        assert one["kinds"] == ["Pod"] and one["operations"] == ["CREATE"], one
        if only(one["selector"], "matchLabels").items() <= labels.items():
            return True
    return False


def filled(part, pod):
    if isinstance(part, dict):
        return {key: filled(value, pod) for key, value in part.items()}
    if isinstance(part, list):
        return [filled(value, pod) for value in part]
    if not isinstance(part, str):
        return part

    def value(found):
        result = jmespath.search(found.group(1), {"request": {"object": pod}})
        assert isinstance(result, str), f"{found.group(0)} is {result!r}"
        return result

    return re.sub(r"\{\{(.*?)\}\}", value, part)


def merged(pod, patch):
    with tempfile.TemporaryDirectory() as at:
        target = {"kind": "Pod"}
        patch = {"apiVersion": "v1", "kind": "Pod", **patch}
        patch["metadata"] = {**patch.get("metadata", {}), "name": "any"}
        # A pod that a controller makes may have no name yet.
        pod["metadata"].setdefault("name", "any")
        for name, content in {
            "pod.yaml": pod,
            "patch.yaml": patch,
            "kustomization.yaml": {"resources": ["pod.yaml"], "patches": [{"path": "patch.yaml", "target": target}]},
        }.items():
            Path(at, name).write_text(yaml.safe_dump(content))
        built = subprocess.run([KUBECTL, "kustomize", at], stdout=subprocess.PIPE, check=True)
        return yaml.safe_load(built.stdout)


def validate(rule, pod):
    assert rule["failureAction"] == "Enforce", rule
    for condition in only(only(rule["deny"], "conditions"), "any"):
        assert condition["operator"] == "NotEquals", condition
        if filled(condition["key"], pod) != condition["value"]:
            sys.exit(rule["message"])


def only(mapping, key):
    """The one thing in it: what this script does not know must not be passed over."""
    assert list(mapping) == [key], mapping
    return mapping[key]


if __name__ == "__main__":
    main()
