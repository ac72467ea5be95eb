"""Run all published test vectors of a folder: `python -m tests.vectors_runner [FOLDER]`.

Prints a line per file and at last `vectors: N passed, M failed`; exits 1 if one
failed or none was found. What a file is about is told by the fields of its
cases, not by its name, so other files of the same formats may stand beside the
published ones. The checks are the tests' own functions; a case that is checked
by several counts once. A format that is not known here counts as failed: what
was not checked must not look as if it had been.
"""

# ruff: noqa: T201 - a program prints

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from liaison.crypto import suites
from tests import vectors
from tests.core.crypto import test_hpke, test_kem, test_suites
from tests.core.mls import test_vectors as mls

Case = Mapping[str, Any]
Check = Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class Format:
    """What the cases of one kind of file have, and what is checked of them.

    Args:
        fields: every case has at least these.
        checks: each raises if a case does not come out.
    """

    fields: frozenset[str]
    checks: tuple[Check, ...]


def _format(fields: str, *checks: Check) -> Format:
    return Format(frozenset(fields.split()), checks)


def _with_suite(check: Callable[[Any, suites.CipherSuite], object]) -> Check:
    return lambda case: check(case, suites.suite(case["cipher_suite"]))


def _hpke(case: Any) -> None:
    """Check the KEM, the key schedule, or both: what of them any suite uses."""
    kem, schedule = case["kem_id"] in test_kem.BY_ID, case["kdf_id"] in test_hpke.KDFS
    assert kem or schedule, "neither KEM nor KDF is in any suite"
    if kem:
        test_kem.test_the_working_groups_keys_and_secrets_come_out(Path(), case)
    if schedule:
        test_hpke.test_the_working_groups_messages_open_and_exports_agree(Path(), case)


MLS: Final = (
    _format("n_leaves n_nodes root left right parent sibling", mls.test_tree_math),
    _format("vlbytes_header length", mls.test_length_headers),
    _format("mls_welcome group_secrets private_message", mls.test_messages_round_trip),
    _format(
        "ref_hash expand_with_label sign_with_label encrypt_with_label",
        lambda case: test_suites.test_the_published_derivations_come_out(Path(), case),
        lambda case: test_suites.test_the_published_signatures_hold_and_ours_do(Path(), case),
        lambda case: test_suites.test_the_published_ciphertexts_open_and_ours_do(Path(), case),
    ),
    _format("initial_init_secret epochs", _with_suite(mls.test_key_schedule)),
    _format("psks psk_secret", _with_suite(mls.test_psk_secret)),
    _format("encryption_secret sender_data leaves", _with_suite(mls.test_secret_tree)),
    _format("authenticated_content confirmation_key", _with_suite(mls.test_transcript_hashes)),
    _format("membership_key commit_priv commit_pub", _with_suite(mls.test_message_protection)),
    _format("init_priv key_package signer_pub welcome", _with_suite(mls.test_welcome)),
    _format("proposal tree_before tree_after", _with_suite(mls.test_tree_operations)),
    _format("tree resolutions tree_hashes", _with_suite(mls.test_tree_validation)),
    _format("leaves_private ratchet_tree update_paths", _with_suite(mls.test_treekem)),
    _format("initial_epoch_authenticator external_psks epochs", mls.follow),
    _format("kem_id kdf_id aead_id skRm", _hpke),
)

FOLDERS: Final[Mapping[str, tuple[Format, ...]]] = {"mls": MLS}
"""The kinds of files of each folder under the vectors."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many cases of a file came out, and what is to be said of those that did not."""

    passed: int
    failures: tuple[str, ...] = ()


def run_file(file: Path, formats: Iterable[Format]) -> Outcome:
    """Check every case of a file."""
    try:
        cases = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        return Outcome(0, (f"not readable as JSON: {error}",))
    if not isinstance(cases, list) or not cases:
        return Outcome(0, ("not a list of cases",))
    failures = [
        f"case {number}: {reason}"
        for number, case in enumerate(cases)
        if (reason := _failure(case, formats)) is not None
    ]
    return Outcome(len(cases) - len(failures), tuple(failures))


def _failure(case: Any, formats: Iterable[Format]) -> str | None:
    fields = case.keys() if isinstance(case, dict) else set()
    known = next((each for each in formats if each.fields <= fields), None)
    if known is None:
        return "of no known format"
    try:
        for check in known.checks:
            check(case)
    except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:  # noqa: BLE001 - whatever it is, the case has failed and the others go on
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {last.name}:{last.lineno} {error}".rstrip()
    return None


def run(folder: Path) -> Iterator[tuple[str, Outcome]]:
    """Check every file under a folder of vectors; give its name and outcome."""
    for name, formats in FOLDERS.items():
        for file in sorted((folder / name).glob("**/*.json")):
            yield str(file.relative_to(folder)), run_file(file, formats)


def main(arguments: list[str]) -> int:
    """Run the vectors and print what came out; give the exit status."""
    if not __debug__:
        print("vectors: the checks are asserts; run without -O", file=sys.stderr)
        return 2
    folder = Path(arguments[0]) if arguments else vectors.locate()
    passed = failed = 0
    for name, outcome in run(folder):
        passed, failed = passed + outcome.passed, failed + len(outcome.failures)
        print(f"{name}: {outcome.passed} passed, {len(outcome.failures)} failed", flush=True)
        for failure in outcome.failures:
            print(f"  {name} {failure}", file=sys.stderr)
    if not passed and not failed:
        print(f"vectors: there are none at {folder}; set LIAISON_VECTORS", file=sys.stderr)
    print(f"vectors: {passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
