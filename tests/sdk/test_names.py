"""File names of strangers."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison_sdk.names import safe_name, unique_names


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("map.tif", "map.tif"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("..", "attachment"),
        ("", "attachment"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("a\x00b\x1b.txt", "a_b_.txt"),
        ("x\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe", "x_gpj.exe"),
        ("con: 1?.txt", "con_ 1_.txt"),
        ("Überblick æøå.pdf", "Überblick æøå.pdf"),
        ("a" * 400 + ".pdf", "a" * 197 + ".pdf"),
    ],
)
def test_a_strangers_file_name_is_made_harmless(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@given(name=st.text())
def test_every_name_stays_in_its_folder_and_is_shown_whole(name: str) -> None:
    safe = safe_name(name)

    assert safe not in {"", ".", ".."}
    assert not set(safe) & set("/\\\0")
    assert not safe.startswith((".", "-", "~", " "))
    assert len(safe.encode()) <= 201
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs"} for c in safe)
    assert safe_name(safe) == safe


@given(names=st.lists(st.sampled_from(["a", "A", "a.txt", "a-2.txt", "A.TXT", ""]), max_size=8))
def test_no_two_names_are_one(names: list[str]) -> None:
    unique = unique_names(names)

    assert len({name.casefold() for name in unique}) == len(names)
