"""A node in a folder: scripts as they are rendered into user-data, and stubs in place of the system's programs."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.deploy import terraform as terraform_program
from tests.deploy.terraform import Terraform

LOCK = "\n".join(
    f"{name} 1 https://example.test/{name} {'0' * 64}"
    for name in ("kubernetes-apt-key", "containerd", "ecr-credential-provider", "amazon-ssm-agent")
)
SETTINGS = {
    "OPTML_CLUSTER": "optml",
    "OPTML_REGION": "us-east-1",
    "OPTML_NODE": "control-0",
    "OPTML_API_HOST": "api.test",
    "OPTML_KUBERNETES_VERSION": "1.37.1",
    "OPTML_POD_CIDR": "10.244.0.0/16",
    "OPTML_ISSUER_URL": "https://issuer.test",
    "OPTML_ISSUER_BUCKET": "issuer",
    "OPTML_SNAPSHOT_BUCKET": "snapshots",
    "OPTML_ELECTION_TABLE": "election",
    "OPTML_STATE_VOLUME": "vol-1",
    "OPTML_JOIN_KEY": "alias/join",
    "OPTML_CSI_ROLE": "arn:aws:iam::111122223333:role/csi",
}
LIMIT_S = 60.0
# Every program that a script may start and that is not part of any shell's company; each notes how it was called.
STUBS = [
    "apt-get",
    "apt-mark",
    "aws",
    "crictl",
    "curl",
    "dpkg",
    "helm",
    "kubeadm",
    "kubectl",
    "mkfs.ext4",
    "modprobe",
    "mount",
    "mountpoint",
    "blkid",
    "swapoff",
    "sysctl",
    "systemctl",
    "sleep",
]


@dataclass(frozen=True)
class Ended:
    """How a script ended, and all that it wrote."""

    code: int
    output: str


@dataclass(frozen=True)
class Node:
    """The folder that is a node's root."""

    root: Path

    def stub(self, name: str, script: str = "") -> None:
        """Let program `name` note its arguments, then do `script` (bash)."""
        program = self.root / "stubs" / name
        program.write_text(f'#!/bin/bash\nprintf "%s\\n" "{name} $*" >>"{self.root}/calls"\n{script}\n')
        program.chmod(0o755)

    def run(self, script: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Ended:
        """Run one of the node's scripts."""
        places = f"{self.root}/stubs:{self.root}/usr/local/sbin"
        ended = subprocess.run(
            ["bash", self.root / "usr/local/sbin" / script, *arguments],
            env={
                "PATH": f"{places}:{os.environ['PATH']}",
                "HOME": str(self.root),
                "TMPDIR": str(self.root / "tmp"),
                "OPTML_ROOT": str(self.root),
                "OPTML_TRIES": "3",
                **(environment or {}),
            },
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        return Ended(ended.returncode, ended.stdout + ended.stderr)

    def calls(self, beginning: str = "") -> list[str]:
        """How programs were called so far, in order."""
        calls = self.root / "calls"
        return [line for line in calls.read_text().splitlines() if line.startswith(beginning)] if calls.exists() else []

    def path(self, name: str) -> Path:
        return self.root / name.removeprefix("/")

    def has_kept(self, secret: str) -> list[Path]:
        """Files of the node that hold `secret`, but for what tests put there themselves."""
        files = (path for path in self.root.rglob("*") if path.is_file() and "stubs" not in path.parts)
        return [path for path in files if secret in path.read_text(errors="replace")]


def rendered(terraform: Terraform, folder: Path, kind: str) -> str:
    """The user-data of a node of this kind."""
    module = terraform_program.copy(folder / "terraform") / "modules" / "bootstrap"
    variables = {"kind": kind, "settings": SETTINGS, "addons_lock": LOCK}
    return str(terraform_program.outputs(terraform, module, variables)["user_data"])


def unpack(user_data: str, root: Path) -> Node:
    """The node that cloud-init would make of this user-data."""
    for folder in ("stubs", "tmp", "etc/apt/sources.list.d", "etc/default", "etc/modules-load.d", "etc/sysctl.d"):
        (root / folder).mkdir(parents=True)
    for file in yaml.safe_load(user_data)["write_files"]:
        path = root / file["path"].removeprefix("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(file["content"]))
        path.chmod(int(file["permissions"], 8))
    node = Node(root)
    for name in STUBS:
        node.stub(name)
    return node
