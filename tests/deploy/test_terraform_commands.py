"""From Terraform's outputs to a kubeconfig and to the answers of a deployment, with stubs for terraform and aws."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.deploy.terraform import SOURCE

pytestmark = pytest.mark.deploy

CLUSTER = {
    "api_host": "api.elb.test",
    "region": "eu-central-1",
    "kubeconfig_parameter": "/optml-dev/kubeconfig",
    "session_instance": "i-1",
}
ANSWERS = {
    "broker": "sqs",
    "sqs": {"region": "eu-central-1", "prefix": "dev-", "account": "011122223333"},
    "store": "store.test:6379",
    "cidr": "10.40.0.0/16",
    "archive": "s3://optml-archive/experiments",
    "registry": {"worker": "r.test/optml/worker", "api": "r.test/optml/api"},
    "queues": {"gpu": "https://sqs.test/dev-optml-gpu"},
    "classes": {"gpu": {"cpu": 4, "memory_gib": 16, "gpu": 1, "spot": True, "most": 8}},
    "roles": {"worker": "arn:aws:iam::011122223333:role/w"},
    "visibility_s": 30,
}
KUBECONFIG = "clusters:\n- cluster:\n    server: https://api.elb.test:6443\n  name: optml\n"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    (tmp_path / "cluster").write_text(json.dumps(CLUSTER))
    (tmp_path / "answers").write_text(json.dumps(ANSWERS))
    for name, script in {
        "terraform": f'[ -d "${{1#-chdir=}}" ] || exit 1; cat "{tmp_path}/$4"',
        "aws": f'[[ $* == *"-decryption --name /optml-dev/kubeconfig "* ]] || exit 1; cat "{tmp_path}/kubeconfig"',
    }.items():
        (programs / name).write_text(f"#!/bin/bash\n{script}\n")
        (programs / name).chmod(0o755)

    def command(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{programs}:{os.environ['PATH']}"}
        return subprocess.run(
            [sys.executable, SOURCE / name, *arguments], env=environment, capture_output=True, text=True, timeout=30
        )

    return command


def test_a_kubeconfig_is_private_and_checks_the_control_planes_name(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "written"
    ended = run("kubeconfig", "dev", target)
    assert ended.returncode == 0, ended.stderr
    assert yaml.safe_load(target.read_text())["clusters"][0]["cluster"] == {
        "server": "https://127.0.0.1:6443",
        "tls-server-name": "api.elb.test",
    }
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert "host=api.elb.test,portNumber=6443" in ended.stdout


@pytest.mark.parametrize("content", ["", "<html>"])
def test_what_is_no_kubeconfig_is_not_written(content: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(content)
    ended = run("kubeconfig", "dev", tmp_path / "written")
    assert ended.returncode == 1
    assert "holds is no kubeconfig" in ended.stderr
    assert not list(tmp_path.glob("written*"))


def test_answers_are_those_of_deploy_render(run: Run) -> None:
    ended = run("answers", "dev", "0.1.0")
    assert ended.returncode == 0, ended.stderr
    assert yaml.safe_load(ended.stdout) == {
        "images": {"worker": "r.test/optml/worker:0.1.0", "api": "r.test/optml/api:0.1.0"},
        "broker": "sqs",
        "store": {"secret": "optml-store", "cidr": "10.40.0.0/16"},
        # An account's id is a text: it may begin with 0.
        "sqs": {"region": "eu-central-1", "prefix": "dev-", "account": "011122223333"},
        "archive": "s3://optml-archive/experiments",
        "aws_roles": {"worker": "arn:aws:iam::011122223333:role/w"},
        "times": {"visibility": "30s"},
        "classes": {
            "gpu": {
                "cpu": 3.5,
                "memory": "12807Mi",
                "gpu": 1,
                "spot": True,
                "max_workers": 8,
                "node_selector": {"optml.dev/class": "gpu"},
            }
        },
    }


@pytest.mark.parametrize(("name", "arguments"), [("kubeconfig", ["nowhere", "x"]), ("answers", ["nowhere", "1"])])
def test_an_environment_that_is_not_there(name: str, arguments: list[str], run: Run) -> None:
    ended = run(name, *arguments)
    assert ended.returncode == 1
    assert "there is no environment nowhere" in ended.stderr
    assert "Traceback" not in ended.stderr
