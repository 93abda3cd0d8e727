"""docs/operations.md keeps step with the manifests: every alert has its runbook, every Secret its line."""

from __future__ import annotations

import pytest
import yaml

from tests.deploy.manifests import SECRETS
from tests.deploy.tools import ROOT

pytestmark = pytest.mark.deploy

PAGE = (ROOT / "docs" / "operations.md").read_text()


def test_every_alert_has_a_runbook_where_it_says() -> None:
    (rules,) = yaml.safe_load_all((ROOT / "deploy/k8s/components/monitoring/rules.yaml").read_text())
    for rule in rules["spec"]["groups"][0]["rules"]:
        assert f"\n### {rule['alert']}\n" in PAGE
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_every_secret_is_described(name: str) -> None:
    assert f"`{name}`" in PAGE
    for key in SECRETS[name] or ():
        assert f"`{key}`" in PAGE
