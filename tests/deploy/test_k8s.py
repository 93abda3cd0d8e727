"""The overlays as kustomize renders them: strict schemas, rules beyond schemas, and a planted fault for each."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from optml_queue.deploy import load_answers, render
from tests.deploy import invariants
from tests.deploy.manifests import Manifests
from tests.deploy.tools import ROOT, kustomize, tool

pytestmark = pytest.mark.deploy

OVERLAYS = ROOT / "deploy" / "k8s" / "overlays"
NAMES = ("local", "aws", "bare-metal")


@cache
def rendered(name: str) -> str:
    return kustomize(OVERLAYS / name)


def schema_problems(text: str) -> list[str]:
    check = [str(tool("python")), str(Path(__file__).with_name("schema_check.py"))]
    done = subprocess.run(check, input=text, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def planted(name: str, plant: Callable[[Manifests], Any]) -> Manifests:
    """An overlay with a fault."""
    manifests = Manifests(copy.deepcopy(Manifests.parse(rendered(name)).documents))
    plant(manifests)
    return Manifests(manifests.documents)


def test_every_overlay_passes_strict_schemas() -> None:
    assert schema_problems("---\n".join(rendered(name) for name in NAMES)) == []


def test_schemas_bite() -> None:
    def plant(manifests: Manifests) -> None:
        worker = manifests.of_component("worker")[0]
        worker.pod["terminationGracePeriod"] = 30
        manifests.named("ConfigMap", worker.container["envFrom"][0]["configMapRef"]["name"])["data"]["X"] = 1
        manifests.of_kind("ScaledObject")[0]["spec"]["pollInterval"] = 5
        manifests.of_kind("PrometheusRule")[0]["spec"]["groups"][0]["rules"][0]["expression"] = "1"
        manifests.of_kind("ServiceMonitor")[0]["spec"]["endpoints"][0]["every"] = "1s"
        manifests.documents.append({"apiVersion": "example.com/v1", "kind": "Odd", "metadata": {"name": "odd"}})

    found = " ".join(schema_problems(yaml.safe_dump_all(planted("aws", plant).documents)))
    for said in ("terminationGracePeriod", "data.X", "pollInterval", "rules.expression", "endpoints.every", "Odd/odd"):
        assert said in found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rule", invariants.RULES, ids=lambda rule: rule.__name__)
def test_every_rule_holds(name: str, rule: Callable[[Manifests], Any]) -> None:
    assert list(rule(Manifests.parse(rendered(name)))) == []


def worker(manifests: Manifests) -> Any:
    return manifests.of_component("worker")[0]


def configuration(manifests: Manifests) -> Any:
    return manifests.named("ConfigMap", worker(manifests).container["envFrom"][0]["configMapRef"]["name"])["data"]


FAULTS: dict[str, tuple[Any, Callable[[Manifests], Any], str]] = {
    "selector": (
        invariants.selectors_select,
        lambda m: worker(m).spec["selector"]["matchLabels"].update({"optml.dev/class": "other"}),
        "selects other pods",
    ),
    "service": (
        invariants.selectors_select,
        lambda m: m.named("Service", "optml-api")["spec"]["selector"].update(x="y"),
        "Service optml-api: selects no pod",
    ),
    "secret": (
        invariants.references_exist,
        lambda m: m.of_kind("TriggerAuthentication")[0]["spec"]["secretTargetRef"][0].update(key="tokens"),
        "no Secret optml-viewer with tokens",
    ),
    "target": (
        invariants.references_exist,
        lambda m: m.of_kind("ScaledObject")[0]["spec"]["scaleTargetRef"].update(name="optml-worker"),
        "scales what is not there",
    ),
    "limit": (
        invariants.requests_fit,
        lambda m: worker(m).container["resources"]["requests"].update(memory="999Gi"),
        "requests more memory",
    ),
    "quota": (
        invariants.requests_fit,
        lambda m: m.of_kind("ResourceQuota")[0]["spec"]["hard"].update({"requests.cpu": "5"}),
        "too little cpu",
    ),
    "termination": (
        invariants.times_in_order,
        lambda m: worker(m).pod.update(terminationGracePeriodSeconds=30),
        "killed before it can hand its trial back",
    ),
    "lease": (invariants.times_in_order, lambda m: configuration(m).update(OPTML_LEASE_S="5"), "three times the beat"),
    "visibility": (
        invariants.times_in_order,
        lambda m: configuration(m).update(OPTML_VISIBILITY_S="3600"),
        "at most a pod's time to end",
    ),
    "class": (
        invariants.classes_agree,
        lambda m: m.of_kind("ScaledObject")[0]["spec"]["triggers"][0]["metadata"].update(url="http://x/backlog/gpu"),
        "is scaled by",
    ),
    "replicas": (invariants.scaled_by_one, lambda m: worker(m).spec.update(replicas=0), "has replicas"),
    "fallback": (
        invariants.scaled_by_one,
        lambda m: m.of_kind("ScaledObject")[0]["spec"]["fallback"].update(behavior="static"),
        "ends workers when nobody answers",
    ),
    "setting": (
        invariants.settings_known,
        lambda m: configuration(m).update(OPTML_LEASES_S="5"),
        "did you mean OPTML_LEASE_S",
    ),
    "command": (invariants.commands_exist, lambda m: worker(m).container.update(args=["optml", "work"]), "no 'work'"),
    "option": (
        invariants.commands_exist,
        lambda m: worker(m).container["args"].append("--fast"),
        "No such option: --fast",
    ),
    "probe": (invariants.probes_exist, lambda m: worker(m).container.pop("livenessProbe"), "no liveness"),
    "path": (
        invariants.probes_exist,
        lambda m: m.of_component("api")[0].container["livenessProbe"]["httpGet"].update(path="/health"),
        "nothing answers /health",
    ),
    "root": (
        invariants.pods_restricted,
        lambda m: worker(m).container["securityContext"].update(readOnlyRootFilesystem=False),
        "can write its root",
    ),
    "links": (invariants.pods_restricted, lambda m: worker(m).pod.pop("enableServiceLinks"), "Services' variables"),
    "latest": (
        invariants.pods_restricted,
        lambda m: worker(m).container.update(image="r.example.com/optml-worker:latest"),
        "image without a version",
    ),
    "password": (
        invariants.no_secrets_told,
        lambda m: configuration(m).update(OPTML_STORE_URL="redis://:hunter22@store:6379/0"),
        "looks like a secret",
    ),
    "metadata": (
        invariants.network_closed,
        lambda m: m.named("NetworkPolicy", "cloud")["spec"]["egress"][0]["to"][0]["ipBlock"].pop("except"),
        "machine's credentials",
    ),
    "namespace": (
        invariants.network_closed,
        lambda m: m.of_kind("Namespace")[0]["metadata"]["labels"].clear(),
        "takes any pod",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_rule_bites(fault: str) -> None:
    rule, plant, said = FAULTS[fault]
    assert said in " ".join(rule(planted("local", plant)))


def test_no_rule_is_without_a_fault() -> None:
    assert {rule for rule, _, _ in FAULTS.values()} == set(invariants.RULES)


@pytest.mark.parametrize("name", NAMES)
def test_the_overlays_are_what_their_answers_give(name: str, tmp_path: Path) -> None:
    answers = load_answers(OVERLAYS / name / "answers.yaml")
    output = tmp_path / "deploy" / "k8s" / "overlays" / name
    written = render(answers, output, tmp_path / "deploy" / "k8s")
    kept = {path.relative_to(OVERLAYS / name) for path in (OVERLAYS / name).rglob("*.yaml")} - {Path("answers.yaml")}
    assert {path.relative_to(output) for path in written} == kept
    for path in written:
        assert path.read_text() == (OVERLAYS / name / path.relative_to(output)).read_text()


def test_checkov_finds_nothing_unexplained_and_bites(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / f"{name}.yaml").write_text(rendered(name))
    for name in ("Dockerfile.api", "Dockerfile.worker"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    bad = planted("local", lambda m: worker(m).container["securityContext"].update(privileged=True))
    (tmp_path / "planted.yaml").write_text(yaml.safe_dump_all([worker(bad).document]))
    (tmp_path / "Dockerfile.planted").write_text("FROM debian:bookworm-slim\nADD x /x\n")
    command = [
        str(tool("checkov")),
        "-d",
        str(tmp_path),
        "--framework",
        "kubernetes",
        "dockerfile",
        "--compact",
        "--quiet",
    ]
    options = ["--skip-download", "--config-file", str(ROOT / "deploy" / "checkov.yaml"), "-o", "json"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    reports = yaml.safe_load(done.stdout)
    failed = [check for report in reports for check in report["results"]["failed_checks"]]
    elsewhere = [f"{check['check_id']} {check['resource']}" for check in failed if "planted" not in check["file_path"]]
    assert elsewhere == []
    assert {"CKV_K8S_16", "CKV_DOCKER_4"} <= {check["check_id"] for check in failed}
