"""Run all published test vectors of a folder: `python -m tests.vectors_runner [FOLDER]`.

Prints a line per file (per folder for many small ones) and at last `vectors: N passed, M failed`; exits 1 if one
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
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from liaison.crypto import suites
from tests import vectors
from tests.core.crypto import test_hpke, test_kem, test_suites
from tests.core.mls import test_vectors as mls
from tests.core.tlog import vector_checks as tlog

Case = Mapping[str, Any]
Check = Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class Format:
    """What the cases of one kind of file have, and what is checked of them.

    Args:
        fields: every case has at least these; or the whole file, where `cases` is given.
        checks: each raises if a case does not come out.
        cases: takes the cases out of a file that is one object.
    """

    fields: frozenset[str]
    checks: tuple[Check, ...]
    cases: Callable[[Any], list[Any]] | None = None


def _format(fields: str, *checks: Check, cases: Callable[[Any], list[Any]] | None = None) -> Format:
    return Format(frozenset(fields.split()), checks, cases)


def _one(document: Any) -> list[Any]:
    return [document]


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

TLOG: Final = (
    _format("leaves roots_by_size nodes_by_level", tlog.check_roots, cases=tlog.roots),
    _format("consistency inclusion", tlog.check_old_proof, cases=tlog.old_proofs),
    _format("leafIdx treeSize leafHash root", tlog.check_inclusion, cases=_one),
    _format("size1 size2 root1 root2", tlog.check_consistency, cases=_one),
    _format("leafIdx start end leafHash root", tlog.check_subtree_inclusion, cases=_one),
    _format("start end size root1 root2", tlog.check_subtree, cases=_one),
    _format("good bad_vkeys sigsum_checkpoint_seed17", tlog.check_note, cases=tlog.notes),
    _format("cases source", tlog.check_checkpoint, cases=lambda file: list(file["cases"])),
    _format("name proof", tlog.check_bad_proof),
    _format("log_vkey log_skey consistency_5_8_hex", tlog.check_witness, cases=_one),
    _format("vkey old new proof_of_misbehaviour", tlog.check_fork, cases=_one),
    _format("valid invalid quorum_truth_for_valid0", tlog.check_policy, cases=tlog.policies),
    _format("algorithm testGroups", tlog.check_wycheproof, cases=tlog.wycheproof),
    _format("key sig msg flags", tlog.check_edge_case),
)

FOLDERS: Final[Mapping[str, tuple[Format, ...]]] = {"mls": MLS, "tlog": TLOG}
"""The kinds of files of each folder under the vectors."""

ASIDE: Final = frozenset({"tlog/keytrans"})
"""Folders about what the product has not: verifiable random functions and prefix trees."""

DEEP: Final = 4
"""Files further below are told together, by the folder at this depth."""


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
    if isinstance(cases, dict):
        whole = next((each for each in formats if each.cases and each.fields <= cases.keys()), None)
        if whole is not None and whole.cases is not None:
            return run_cases(whole.cases(cases), [Format(frozenset(), whole.checks)])
    if not isinstance(cases, list):
        return Outcome(0, ("not a list of cases",))
    return run_cases(cases, [each for each in formats if each.cases is None])


def run_cases(cases: list[Any], formats: Iterable[Format]) -> Outcome:
    """Check every case of a list."""
    if not cases:
        return Outcome(0, ("there are no cases",))
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
    for name, check in files(folder):
        yield name, check()


def files(folder: Path) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """Give the name of every file under a folder of vectors, and what checks it."""
    for name, formats in FOLDERS.items():
        tiled = tlog.tile_folders(folder / name)
        for each in tiled:
            yield str(each.relative_to(folder)), partial(run_tiles, each)
        for group, members in _grouped(folder, name, tiled):
            yield group, partial(run_files, members, formats)


def run_tiles(folder: Path) -> Outcome:
    """Check the checkpoints and tiles of one log, which are a folder of files of their own."""
    return run_cases(list(tlog.tile_cases(folder)), [Format(frozenset(), (tlog.check_tiles,))])


def run_files(members: list[Path], formats: Iterable[Format]) -> Outcome:
    """Check files that are told together; failures name theirs."""
    if len(members) == 1:
        return run_file(members[0], formats)
    outcomes = [(file.name, run_file(file, formats)) for file in members]
    failures = [f"{file} {reason}" for file, done in outcomes for reason in done.failures]
    return Outcome(sum(done.passed for _, done in outcomes), tuple(failures))


def _grouped(folder: Path, name: str, tiled: list[Path]) -> Iterator[tuple[str, list[Path]]]:
    """Give files one by one, and the many small ones deep below together."""
    groups: dict[str, list[Path]] = {}
    for file in sorted((folder / name).glob("**/*.json")):
        parts = file.relative_to(folder).parts
        if "/".join(parts[:2]) not in ASIDE and file.parent not in tiled:
            groups.setdefault("/".join(parts[:DEEP]), []).append(file)
    yield from groups.items()


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
