"""Terraform's own checks of every module, and for each of them a fault that it must find."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from optml_queue.broker import queue_name
from tests.deploy import terraform as terraform_program
from tests.deploy.terraform import SOURCE, TOOLS, Terraform

pytestmark = pytest.mark.deploy

MODULES = [folder.relative_to(SOURCE) for folder in terraform_program.folders(SOURCE)]


@pytest.fixture(scope="module")
def checked(terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """By module: the output of the first gate that it did not pass, else nothing."""
    tree = terraform_program.copy(tmp_path_factory.mktemp("modules") / "terraform")
    results = terraform_program.at_once(terraform.check, [tree / module for module in MODULES])
    return {str(folder.relative_to(tree)): failure for folder, failure in results}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_module_is_valid_and_behaves(module: Path, checked: dict[str, str]) -> None:
    assert not checked[str(module)], checked[str(module)]


def test_every_module_has_tests_and_no_key_pair() -> None:
    for module in MODULES:
        if module.parts[0] == "modules":
            assert list((SOURCE / module).glob("tests/*.tftest.hcl")), module
        text = "".join(path.read_text() for path in (SOURCE / module).glob("*.tf"))
        assert not re.search(r"key_name|associate_public_ip_address *= *true|port *= *22\b", text), module


def test_variables_and_outputs_are_described_and_providers_pinned() -> None:
    for module in MODULES:
        for path in (SOURCE / module).glob("*.tf"):
            for block in re.findall(r'^(?:variable|output) "\w+" \{\n(.*?)^\}', path.read_text(), re.M | re.S):
                assert "description" in block, f"{path}: {block}"
        text = "".join(path.read_text() for path in (SOURCE / module).glob("*.tf"))
        assert "required_version" in text, module
        assert "aws_" not in text or '"~> 6.25.0"' in text, module


def test_format(terraform: Terraform) -> None:
    ended = terraform(SOURCE, "fmt", "-check", "-recursive", "-diff")
    assert ended.code == 0, ended.output


def test_queues_have_the_names_that_workers_take_from() -> None:
    text = (SOURCE / "modules/queue/main.tf").read_text()
    pattern = re.search(r'class => "\$\{var\.prefix\}(.*?)\$\{class\}"', text)
    assert pattern
    assert pattern[1] + "cpu-small" == queue_name("cpu-small")


def test_state_is_locked_and_encrypted_in_the_example() -> None:
    for environment in ("dev", "prod"):
        text = (SOURCE / "envs" / environment / "backend.tf.example").read_text()
        assert re.search(r"use_lockfile = true", text)
        assert re.search(r"encrypt +=\s+true", text)


@dataclass(frozen=True)
class Fault:
    """One text of a module exchanged for another, and what the gate must then say."""

    file: str
    old: str
    new: str
    said: str


# By module. What is not valid is never tested, and two faults of one message hide each other: these stand alone.
FAULTS: list[tuple[str, list[Fault]]] = [
    (
        "queue",
        [
            Fault(
                "main.tf",
                "aws_sqs_queue.dead[each.key].arn\n    max",
                "aws_sqs_queue.dead[sort(keys(local.names))[0]].arn\n    max",
                "A queue's dead letters go to the class's own",
            ),
            Fault("main.tf", "optml-${class}", "optml_${class}", "The names are those that the package takes from"),
            Fault("main.tf", "= var.visibility_s", "= 30", "Visibility is the shared variable's"),
            Fault(
                "main.tf",
                '{ for class in var.classes : "${class}-dead" => aws_sqs_queue.dead[class] },',
                "",
                "refuses what does not come over TLS",
            ),
        ],
    ),
    (
        "queue",
        [
            Fault("main.tf", "sqs_managed_sse_enabled  ", "sqs_managed_see_enabled  ", "Unsupported argument"),
        ],
    ),
    (
        "queue",
        [
            Fault("main.tf", '"aws_sqs_queue" "dead"', '"aws_sqs_que" "dead"', "Invalid resource type"),
        ],
    ),
    (
        "workers",
        [
            Fault("main.tf", '"required"', '"optional"', "IMDSv2, one hop"),
            Fault("main.tf", "price-capacity-optimized", "lowest-price", "taken where capacity and price are best"),
            Fault(
                "main.tf",
                "node-template/resources/cpu",
                "node-template/resource/cpu",
                "knows a node of an empty group by its tags",
            ),
            Fault("main.tf", 'timeout = "0"', 'timeout = "10m"', "nobody waits for capacity"),
            Fault("variables.tf", ">= 4", ">= 3", "Missing expected failure"),
        ],
    ),
    (
        "workers",
        [
            Fault("main.tf", "hop_limit = 1", "hop_limit = 2", "IMDSv2, one hop"),
        ],
    ),
    (
        "control_plane",
        [
            Fault("variables.tf", "[1, 3, 5]", "[1, 2, 3, 5]", "Missing expected failure"),
            Fault(
                "main.tf",
                "internal                         = true",
                "internal                         = false",
                "The control plane has no public address",
            ),
            Fault(
                "main.tf",
                "  encrypted         = true",
                "  encrypted         = false",
                "Encrypted with our key, and kept",
            ),
        ],
    ),
    (
        "iam",
        [
            Fault(
                "main.tf",
                'Action = "ssm:GetParameter", Resource = local.parameter_arns.join',
                'Action = "ssm:*", Resource = local.parameter_arns.join',
                "No action is a pattern",
            ),
            Fault(
                "main.tf",
                "Resource = local.parameter_arns.join }",
                "Resource = values(local.parameter_arns) }",
                "Exactly the parameter of the join secret",
            ),
            Fault(
                "main.tf",
                'Resource = "${var.snapshot_bucket_arn}/etcd/*"',
                'Resource = "*"',
                "Only actions that know no resource have none named",
            ),
        ],
    ),
    (
        "storage",
        [
            Fault(
                "main.tf",
                "restrict_public_buckets = true",
                "restrict_public_buckets = false",
                "All four locks against the public",
            ),
        ],
    ),
    (
        "registry",
        [
            Fault("main.tf", '"IMMUTABLE"', '"MUTABLE"', "Tags never move"),
        ],
    ),
    (
        "cache",
        [
            Fault(
                "main.tf", "transit_encryption_enabled = true", "transit_encryption_enabled = false", "TLS is required"
            ),
        ],
    ),
    (
        "network",
        [
            Fault("security_groups.tf", "port = 6443 } },\n    { for", "port = 22 } },\n    { for", "never SSH"),
        ],
    ),
    (
        "bootstrap",
        [
            Fault("variables.tf", "[a-z0-9]{6}\\\\.[a-z0-9]{16}|", "", "Missing expected failure"),
        ],
    ),
]


@pytest.fixture(scope="module")
def found(terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the gates say of each of FAULTS."""
    spoilt = []
    for module, faults in FAULTS:
        folder = terraform_program.copy(tmp_path_factory.mktemp(module) / "terraform") / "modules" / module
        for fault in faults:
            text = (folder / fault.file).read_text()
            assert fault.old in text, fault
            (folder / fault.file).write_text(text.replace(fault.old, fault.new))
        spoilt.append(folder)
    return [" ".join(output.split()) for _, output in terraform_program.at_once(terraform.check, spoilt)]


@pytest.mark.parametrize(
    ("index", "fault"),
    [
        pytest.param(index, fault, id=f"{module}: {fault.said}")
        for index, (module, faults) in enumerate(FAULTS)
        for fault in faults
    ],
)
def test_planted_fault_is_found(index: int, fault: Fault, found: list[str]) -> None:
    assert fault.said in found[index]


def test_what_is_not_pinned_is_not_installed(terraform: Terraform, tmp_path: Path) -> None:
    module = terraform_program.copy(tmp_path / "terraform") / "modules" / "bootstrap"
    lock = (SOURCE / "addons" / "addons.lock").read_text()
    assert terraform(module, "init").code == 0
    ended = terraform(module, "plan", "-no-color", "-var=kind=worker", "-var=settings={}", f"-var=addons_lock={lock}")
    assert ended.code != 0
    assert "run deploy/terraform/addons/pin first" in " ".join(ended.output.replace("│", "").split())


def checkov(tree: Path) -> subprocess.CompletedProcess[str]:
    """Checkov over all modules as the environments put them together; it asks nobody on the network."""
    options = ["--framework", "terraform", "--skip-download", "--quiet", "--compact"]
    command: list[str | Path] = [TOOLS / "checkov", "--directory", tree, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=terraform_program.LIMIT_S)


def test_checkov_finds_nothing_unexplained(terraform: Terraform) -> None:
    ended = checkov(SOURCE)
    assert ended.returncode == 0, ended.stdout
    for path in SOURCE.rglob("*.tf"):
        for skipped in re.findall(r"checkov:skip=(.*)", path.read_text()):
            assert re.fullmatch(r"CKV2?_AWS_\d+: .{15,}", skipped), f"{path}: a check is skipped for a reason"


def test_checkov_finds_a_planted_fault(terraform: Terraform, tmp_path: Path) -> None:
    module = tmp_path / "queue"
    shutil.copytree(SOURCE / "modules" / "queue", module)
    text = (module / "main.tf").read_text()
    (module / "main.tf").write_text(re.sub(r" +sqs_managed_sse_enabled += true\n", "", text))
    ended = checkov(module)
    assert ended.returncode == 1
    assert "CKV_AWS_27" in ended.stdout


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def pin(tmp_path: Path) -> Run:
    """The command, with a `curl` that finds what is in its own folder."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "curl").write_text(
        '#!/bin/bash\n[[ " $* " == *"--proto =https"* ]] || exit 90\n'
        'while [ $# -gt 1 ]; do [ "$1" != --output ] || out=$2; shift; done\n'
        'cat "$(dirname "$0")/../web/${1##*/}" >"$out"\n'
    )
    (programs / "curl").chmod(0o755)
    (tmp_path / "web").mkdir()

    def run(lock: Path) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)}
        return subprocess.run(
            [SOURCE / "addons" / "pin", lock], env=environment, capture_output=True, text=True, timeout=30
        )

    return run


def test_pin_writes_down_what_it_downloaded(pin: Run, tmp_path: Path) -> None:
    (tmp_path / "web" / "keda.yaml").write_text("keda")
    kept = "f" * 64
    lock = tmp_path / "addons.lock"
    lock.write_text(
        f"# kept\nkeda 2 https://example.test/keda.yaml -\ncalico 3 https://example.test/calico.yaml {kept}\n"
    )
    ended = pin(lock)
    assert ended.returncode == 0, ended.stderr
    assert lock.read_text().splitlines() == [
        "# kept",
        # printf keda | sha256sum
        "keda 2 https://example.test/keda.yaml 308c477e9c541a4df316e7b2e7d02b5e7348c25f5910f7e82b582f7a4c8d9b85",
        f"calico 3 https://example.test/calico.yaml {kept}",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("keda 2 https://example.test/missing.yaml -", "nothing was found at https://example.test/missing.yaml"),
        ("keda 2 http://example.test/keda.yaml -", "a line is"),
        ("keda 2 https://example.test/keda.yaml abc", "a line is"),
    ],
)
def test_pin_leaves_unpinned_what_it_cannot_check(line: str, said: str, pin: Run, tmp_path: Path) -> None:
    (tmp_path / "web" / "keda.yaml").write_text("keda")
    lock = tmp_path / "addons.lock"
    lock.write_text(line + "\n")
    ended = pin(lock)
    assert ended.returncode == 1
    assert said in ended.stderr
    assert lock.read_text() == line + "\n"
