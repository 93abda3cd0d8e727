"""Dockerfiles: hadolint, what the reference's checklist asks for, and that the gates bite."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.tools import ROOT, tool

pytestmark = pytest.mark.deploy

NAMES = ("Dockerfile.worker", "Dockerfile.api")


def hadolint(text: str) -> str:
    return subprocess.run([tool("hadolint"), "-"], input=text, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("name", NAMES)
def test_hadolint_has_nothing_to_say(name: str) -> None:
    assert hadolint((ROOT / name).read_text()) == ""


def test_hadolint_bites() -> None:
    text = (ROOT / "Dockerfile.worker").read_text()
    assert "DL3025" in hadolint(
        text.replace('CMD ["optml", "worker", "--processes", "1", "--no-control"]', "CMD optml")
    )


def problems(text: str) -> list[str]:
    """What an image breaks of the rules that hadolint does not know."""
    last = text[text.rindex("\nFROM ") :]
    rules = {
        "runs as another user": re.search(r"^USER 10001:10001$", last, re.M),
        "is not below tini": 'ENTRYPOINT ["/usr/bin/tini", "--"]' in last,
        "installs what no hash pins": "--require-hashes" in text,
        "installs the source before the libraries": text.index("libraries.lock") < text.index("COPY optml_queue"),
        "writes outside of /tmp": all(f"{name}=/tmp" in last for name in ("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR")),
        "has no labels": "org.opencontainers.image.version" in last,
        "has no health check": "HEALTHCHECK" in last,
        "holds a secret": not re.search(r"(?i)^(ARG|ENV).*(password|secret|token)", text, re.M),
        "fixes its base": "FROM ${BASE_IMAGE}\n" in text,
    }
    return [said for said, holds in rules.items() if not holds]


@pytest.mark.parametrize("name", NAMES)
def test_the_rules_hold(name: str) -> None:
    assert problems((ROOT / name).read_text()) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("USER 10001:10001", "USER root", "runs as another user"),
        (" --require-hashes", "", "installs what no hash pins"),
        ("ARG VERSION=", "ARG TOKEN=x\nARG VERSION=", "holds a secret"),
        ("HOME=/tmp", "HOME=/root", "writes outside of /tmp"),
    ],
)
def test_the_rules_bite(old: str, new: str, said: str) -> None:
    assert said in problems((ROOT / "Dockerfile.worker").read_text().replace(old, new))


def test_the_api_image_is_locked_without_tensorflow_and_the_workers_with_it() -> None:
    locks = {name: (ROOT / "deploy" / "images" / f"{name}.lock").read_text() for name in ("api", "cpu", "cuda")}
    assert "\ntensorflow==" not in locks["api"]
    assert "\nfastapi==" in locks["api"]
    assert "\nflower==" in locks["api"]
    assert "\ntensorflow==" in locks["cpu"]
    assert "\nnvidia-cudnn" in locks["cuda"]


def test_the_api_imports_no_tensorflow() -> None:
    code = "import sys, optml_queue.api.app; print([name for name in sys.modules if name.startswith('tensorflow')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_context_holds_what_the_images_copy_and_no_more() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", "".join((ROOT / name).read_text() for name in NAMES), re.M)
    for source in " ".join(copied).replace("${LIBRARIES}", "requirements.lock").split():
        assert any(Path(source).match(pattern) or source.startswith(pattern) for pattern in allowed), source
