"""Terraform for tests: the real program, and a provider that knows AWS's schema but never calls AWS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy import aws_schema

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "deploy" / "terraform"
# Terraform and the provider's protocol need an older protobuf than the package does: they have an environment apart.
TOOLS = Path(os.environ.get("DEPLOY_VENV", ROOT / ".venv-deploy")) / "bin"
CACHE = ROOT / ".cache" / "terraform"
HERE = Path(__file__).resolve().parent
LIMIT_S = 100.0


@dataclass(frozen=True)
class Ended:
    """How a command ended; `output` is what it wrote to both streams."""

    code: int
    output: str
    stdout: str


@dataclass(frozen=True)
class Terraform:
    """Terraform as a command, bound to the stub provider in `mirror`."""

    mirror: Path
    schema: Path

    def __call__(self, folder: Path, *arguments: str, **environment: str) -> Ended:
        """Run `terraform ARGUMENTS` in `folder`."""
        ended = subprocess.run(
            [TOOLS / "python", HERE / "terraform_cli.py", *arguments],
            cwd=folder,
            env={
                "PATH": f"{TOOLS}:{os.environ['PATH']}",
                "HOME": str(self.mirror),
                "AWS_SCHEMA_JSON": str(self.schema),
                "TF_CLI_CONFIG_FILE": str(self.mirror / "terraform.rc"),
                "CHECKPOINT_DISABLE": "1",
                "TF_IN_AUTOMATION": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        return Ended(ended.returncode, ended.stdout + ended.stderr, ended.stdout)

    def check(self, module: Path) -> str:
        """All gates of one folder. The output of the first that it does not pass, else nothing.

        `test` begins with what `validate` does; environments, which have no tests, are validated with all they use.
        """
        gate = "test" if list(module.glob("tests/*.tftest.hcl")) else "validate"
        for arguments in (("init", "-backend=false"), (gate,)):
            ended = self(module, *arguments, "-no-color")
            if ended.code:
                return f"terraform {arguments[0]} in {module.name}:\n{ended.output}"
        return ""


def has_schema() -> bool:
    """Whether the schema was downloaded before."""
    return (CACHE / f"aws-{aws_schema.PROVIDER_VERSION}.json").exists()


def install(folder: Path) -> Terraform:
    """Terraform with the stub provider as its only source of providers."""
    schema = json.loads(aws_schema.cached_schema(CACHE).read_text())
    texts = [path.read_text() for path in SOURCE.rglob("*.tf")] + [path.read_text() for path in SOURCE.rglob("*.hcl")]
    chosen = folder / "schema.json"
    chosen.write_text(json.dumps(aws_schema.only_named(schema, "\n".join(texts))))
    home = (
        folder / "mirror" / "registry.terraform.io" / "hashicorp" / "aws" / aws_schema.PROVIDER_VERSION / "linux_amd64"
    )
    home.mkdir(parents=True)
    program = home / f"terraform-provider-aws_v{aws_schema.PROVIDER_VERSION}"
    program.write_text(f"#!{TOOLS}/python\n{(HERE / 'stub_provider.py').read_text()}")
    program.chmod(0o755)
    (folder / "terraform.rc").write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{folder / "mirror"}"\n  }}\n}}\n'
    )
    return Terraform(folder, chosen)


def copy(target: Path) -> Path:
    """A copy of `deploy/terraform` that may be initialised, or spoilt."""
    return Path(shutil.copytree(SOURCE, target, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*")))


def outputs(terraform: Terraform, module: Path, variables: Mapping[str, object]) -> dict[str, Any]:
    """Apply a module that needs no provider; its outputs."""
    (module / "test.auto.tfvars.json").write_text(json.dumps(variables))
    for arguments in (("init",), ("apply", "-auto-approve")):
        ended = terraform(module, *arguments, "-no-color")
        assert ended.code == 0, ended.output
    told = json.loads(terraform(module, "output", "-json").stdout)
    return {name: output["value"] for name, output in told.items()}


def folders(tree: Path) -> list[Path]:
    """Every module and every environment."""
    return sorted({path.parent for pattern in ("modules/*/*.tf", "envs/*/*.tf") for path in tree.glob(pattern)})


def at_once(work: Callable[[Path], str], items: list[Path]) -> Iterator[tuple[Path, str]]:
    """`work` of every item, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        yield from zip(items, pool.map(work, items), strict=True)
