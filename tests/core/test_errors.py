"""Errors say what happened, what was left alone, and carry a stable code."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest

import liaison
from liaison.errors import LiaisonError

SKIPPED = ("liaison.relay.__main__", "liaison.storage.migrate")


def every_error() -> list[type[LiaisonError]]:
    for module in pkgutil.walk_packages(liaison.__path__, "liaison."):
        if not module.name.startswith(SKIPPED):
            importlib.import_module(module.name)
    found: list[type[LiaisonError]] = []
    waiting: list[type[LiaisonError]] = [LiaisonError]
    while waiting:
        kind = waiting.pop()
        # Other distributions' errors may be loaded too: they have tests of their own, and
        # may mean the relay's code by the same word.
        if kind not in found and kind.__module__.startswith("liaison."):
            found.append(kind)
        waiting += kind.__subclasses__()
    return found


@pytest.mark.parametrize("kind", every_error(), ids=lambda k: f"{k.__module__}.{k.__name__}")
def test_every_error_has_a_code_and_a_sentence(kind: type[LiaisonError]) -> None:
    assert re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", kind.code)
    assert (kind.__doc__ or "").strip().partition("\n")[0].endswith(".")


def test_no_two_errors_outside_one_family_share_a_code() -> None:
    by_code: dict[str, type[LiaisonError]] = {}
    for kind in every_error():
        other = by_code.setdefault(kind.code, kind)
        assert issubclass(kind, other) or issubclass(other, kind), (kind, other)


def test_an_error_without_words_says_its_sentence() -> None:
    assert LiaisonError().message == "something in liaison went wrong"
    assert str(LiaisonError("the disk is full", hint="free some")) == "the disk is full"
