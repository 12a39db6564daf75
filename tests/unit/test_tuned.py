"""Every tuned constant says what it is, and is one of the values that its command tries."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from sencache.caching import tuned

SOURCE = ast.parse(Path(tuned.__file__).read_text(encoding="utf-8"))
CONSTANTS = [name for name in vars(tuned) if name.isupper() and name != "TRIED"]


def explained() -> set[str]:
    """Return the constants that a text of their own follows."""
    pairs = zip(SOURCE.body, SOURCE.body[1:], strict=False)
    return {
        one.targets[0].id
        for one, following in pairs
        if isinstance(one, ast.Assign) and isinstance(following, ast.Expr)
    }


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_is_explained_and_tried_beside_others(name):
    assert name in explained()
    assert getattr(tuned, name) in tuned.TRIED[name] and len(tuned.TRIED[name]) >= 3


def test_nothing_else_is_tried():
    assert set(tuned.TRIED) == set(CONSTANTS)
