"""docs/conformance.md lists the checks that there are."""

from __future__ import annotations

import re
from pathlib import Path

from realtalk_core.spec import STAGES
from realtalk_core.testing.checks import all_checks

DOC = Path(__file__).parents[2] / "docs" / "conformance.md"


def test_table_matches_the_code():
    rows = re.findall(r"^\| `([a-z/-]+)` \| (.+?) \| (.+) \|$", DOC.read_text("utf-8"), re.MULTILINE)
    code = [(c.id, "every stage" if c.stages == STAGES else ", ".join(c.stages), c.rule) for c in all_checks()]
    assert rows == code


def test_ids_are_well_formed_and_rules_are_sentences():
    for check in all_checks():
        assert re.fullmatch(r"[a-z]+/[a-z]+(-[a-z]+)*", check.id)
        assert check.rule.endswith(".")
        assert len(check.rule) <= 120
