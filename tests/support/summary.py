"""The line that a long test leaves for the end of the run."""

from __future__ import annotations

import pytest

SUMMARY = pytest.StashKey[str]()
