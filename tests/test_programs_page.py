"""docs/programs.md names what there is."""

from __future__ import annotations

import re
from pathlib import Path

from optml_queue.driver import ActiveTrial
from optml_queue.spec.spec import RETRYABLE_REASONS
from optml_queue.trial import Reason

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "programs.md").read_text()
INTERNAL = {
    "on_report",
    "on_log",
    "on_checkpoint",
    "checkpoint_is_due",
    "on_restore",
    "on_artifact",
    "order",
    "scratch_root",
    "tidy",
    "metric",
}


def test_what_a_trial_offers_is_in_the_table_and_nothing_else() -> None:
    table = PAGE.partition("| `trial.` | is |")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    named = {name for cell in cells for name in re.findall(r"`([a-z_]+)", cell)}
    offered = {name for name in dir(ActiveTrial) if not name.startswith("_")}
    assert named == offered - INTERNAL


def test_the_reasons_are_those_that_a_spec_may_name() -> None:
    named = set(re.findall(r"\| `([a-z_]+)` \|$", PAGE, re.MULTILINE))
    assert named == set(RETRYABLE_REASONS) - {Reason.LOST}
    spec_page = (ROOT / "docs" / "spec.md").read_text()
    assert all(f"`{reason}`" in spec_page for reason in named - {Reason.OUT_OF_MEMORY})


def test_the_examples_are_there() -> None:
    for path in re.findall(r"`(examples/[a-z_-]+\.yaml)`", PAGE):
        assert (ROOT / path).is_file()
