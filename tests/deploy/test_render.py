"""`optml deploy render`: answers read like a spec, caps from a budget, an overlay that kustomize takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from optml_queue.cli.main import app
from optml_queue.deploy import example_text, parse_answers, render
from optml_queue.deploy.budget import Claim, most_workers
from optml_queue.errors import InputError, SpecError
from tests.deploy import invariants
from tests.deploy.manifests import Manifests
from tests.deploy.tools import kustomize

pytestmark = pytest.mark.deploy

IMAGES = "images: {worker: r.example.com/w:1, api: r.example.com/a:1}\n"
CLASS = "classes:\n  cpu: {cpu: 1, memory: 1Gi, max_workers: 3}\n"
GOOD = IMAGES + "archive: s3://bucket/optml\n" + CLASS


def problems(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_answers(text, "answers.yaml")
    return str(caught.value)


def test_the_example_renders_to_an_overlay_that_keeps_every_rule(tmp_path: Path) -> None:
    answers = tmp_path / "answers.yaml"
    printed = CliRunner().invoke(app, ["deploy", "render", "--example"])
    answers.write_text(printed.stdout)
    done = CliRunner().invoke(app, ["deploy", "render", str(answers), "--output", str(tmp_path / "cluster")])
    assert done.exit_code == 0, done.output
    manifests = Manifests.parse(kustomize(tmp_path / "cluster"))
    assert [problem for rule in invariants.RULES for problem in rule(manifests)] == []
    most = {each["metadata"]["name"]: each["spec"]["maxReplicaCount"] for each in manifests.of_kind("ScaledObject")}
    # Of 8 an hour each class has 4: 80 at 0.05, and 10 at 0.40.
    assert most == {"optml-worker-cpu-small": 80, "optml-worker-cpu-large": 10}


@pytest.mark.parametrize("trigger", ["redis", "sqs"])
def test_the_other_triggers_keep_every_rule(trigger: str, tmp_path: Path) -> None:
    sqs = 'sqs: {region: eu-west-1, prefix: p-, account: "123456789012"}'
    more = {"redis": "", "sqs": f"broker: sqs\nstore: {{cidr: 10.0.0.0/16}}\n{sqs}\n"}[trigger]
    render(parse_answers(f"{GOOD}{more}scaling: {{trigger: {trigger}}}\n", "x"), tmp_path / "c")
    manifests = Manifests.parse(kustomize(tmp_path / "c"))
    assert [problem for rule in invariants.RULES for problem in rule(manifests)] == []


def test_a_second_render_replaces_the_first_and_leaves_others_files(tmp_path: Path) -> None:
    render(parse_answers(GOOD + "aws_secret: keys\n", "x"), tmp_path)
    (tmp_path / "mine.yaml").write_text("mine: true\n")
    render(parse_answers(GOOD.replace("  cpu:", "  gpu:"), "x"), tmp_path)
    assert [path.name for path in (tmp_path / "classes").iterdir()] == ["gpu"]
    assert not (tmp_path / "aws.yaml").exists()
    assert (tmp_path / "mine.yaml").exists()


def test_an_overlay_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: []\n")
    with pytest.raises(InputError, match="choose another folder"):
        render(parse_answers(GOOD, "x"), tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "monitorin: true\n", "answers.yaml:5: monitorin: unknown key\n    did you mean 'monitoring'?"),
        (GOOD + "budget: 3\n", "answers.yaml:5: budget: is not a key of OptML\n    say of which time: budget_per_hour"),
        (GOOD.replace("max_workers", "replicas"), "answers.yaml:4: classes.cpu.replicas"),
        (GOOD.replace("1Gi", "1GB"), "classes.cpu.memory: must be an amount in Mi, Gi or Ti, got '1GB'"),
        (GOOD.replace("cpu: 1,", "cpu: 0,"), "classes.cpu.cpu: must be more than 0, got 0"),
        (GOOD.replace("  cpu:", "  CPU:"), "classes.CPU: must be at most 40 of a-z"),
        (GOOD.replace("/w:1", "/w:latest"), "images.worker: must name an image with a version or digest"),
        (GOOD.replace("s3://bucket/optml", "/data"), "archive: must be s3://BUCKET/PREFIX, got '/data'"),
        (GOOD.replace(", max_workers: 3", ""), "classes.cpu.max_workers: is missing, and no budget is given"),
        (GOOD + "budget_per_hour: 1\n", "classes.cpu.price_per_hour: is missing: a budget divides by it"),
        (GOOD + "broker: sqs\n", "sqs.region: is missing"),
        (GOOD + "broker: redis\n", "store.cidr: is missing"),
        (GOOD + "times: {lease: 10s}\n", "times.lease: must be at least three times the beat, got 10 s and 5 s"),
        (GOOD + "times: {visibility: 10m}\n", "times.visibility: must be at most a pod's time to end, 75 s"),
        (GOOD.replace("cpu: 1", "spot: true, cpu: 1") + "times: {grace: 5m}\n", "times.grace: must be at most 105 s"),
        (GOOD + "scaling: {trigger: sqs}\n", "scaling.trigger: needs broker: sqs"),
        (GOOD + "aws_roles: {api: admin}\n", "aws_roles.api: must be a role's ARN, got 'admin'"),
        (GOOD + "ingress: {host: nowhere}\n", "ingress.host: must be a host name, got 'nowhere'"),
        (IMAGES, "archive: is missing"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_to_do(text: str, said: str) -> None:
    assert said in problems(text)


def test_a_budget_that_pays_for_no_worker_is_refused() -> None:
    text = GOOD.replace("max_workers: 3", "price_per_hour: 2") + "budget_per_hour: 1\n"
    assert "not one worker at 2 an hour" in problems(text)


def test_prices_are_taken_as_written() -> None:
    assert most_workers({"a": Claim(price=0.1)}, 0.3) == {"a": 3}


@given(
    claims=st.dictionaries(
        st.sampled_from("abcd"),
        st.builds(Claim, price=st.floats(0.01, 10).map(lambda x: round(x, 2)), share=st.sampled_from([0.5, 1.0, 3.0])),
        min_size=1,
    ),
    budget=st.integers(1, 1000),
)
def test_all_classes_at_their_caps_cost_no_more_than_the_budget(claims: dict[str, Claim], budget: int) -> None:
    caps = most_workers(claims, budget)
    assert sum(caps[name] * (claim.price or 0) for name, claim in claims.items()) <= budget + 1e-6
    for name, claim in claims.items():
        part = budget * claim.share / sum(each.share for each in claims.values())
        assert (caps[name] + 1) * (claim.price or 0) > part - 1e-6, "one more would have fitted"


def test_the_example_names_every_key() -> None:
    assert parse_answers(example_text(), "example").timing.termination_s == 75
