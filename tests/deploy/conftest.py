"""What the checks of deployment files share."""

from __future__ import annotations

import shutil

import pytest

from tests.deploy import terraform as terraform_program
from tests.deploy.node import rendered
from tests.deploy.terraform import TOOLS, Terraform


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """Terraform with a provider that knows AWS's schema."""
    if not (TOOLS / "python").exists():
        pytest.skip(f"{TOOLS.parent} is missing: make deploy-venv")
    if not terraform_program.has_schema() and not shutil.which("npm"):
        pytest.skip("the schema of AWS's provider is downloaded with npm, which is missing")
    return terraform_program.install(tmp_path_factory.mktemp("terraform"))


@pytest.fixture(scope="session")
def user_data(terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """By kind of node: its user-data, as Terraform renders it."""
    return {kind: rendered(terraform, tmp_path_factory.mktemp(kind), kind) for kind in ("control-plane", "worker")}
