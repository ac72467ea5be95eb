"""Entries that are dated otherwise than their witnesses' times allow: told by both verifiers."""

from __future__ import annotations

import html
import io
from dataclasses import astuple
from pathlib import Path
from zipfile import ZipFile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liaison.audit import layout, verify_alone
from liaison.audit.bundle import BundleWriter
from liaison.audit.dates import TOLERANCE, Misdated
from liaison.audit.verify import verify
from liaison.relay import export_extras
from liaison.tlog import entries, merkle
from liaison.tlog.fields import EntryType
from tests.core.audit.support import REFUSED, AuditedLog
from tests.core.tlog.support import NOW

HOUR = 3600
SIZE = 6
"""Entries of a log, and a checkpoint of all but the last of them and one of all."""


def dated(times: list[int]) -> AuditedLog:
    """Return a log of entries that are dated so many ms after `NOW`."""
    log = AuditedLog()
    for time in times:
        entry, sealed = entries.seal(
            EntryType.REFUSED, 1000 * NOW + time, REFUSED, log.rng.randbytes
        )
        log.made.append(entry)
        log.data.append(entry.encode())
        log.sealed.append(sealed)
    return log


def bundled(
    log: AuditedLog,
    cosigned: dict[int, dict[str, int]],
    first: int = 0,
    *,
    with_report: bool = False,
) -> bytes:
    """Return a bundle with checkpoints that witnesses cosigned so many seconds after `NOW`."""
    notes = []
    for size, at in cosigned.items():
        note = log.checkpoint(size, NOW + at["nor"], "nor")
        notes.append(note.signed_by(*log.witnesses["deu"], NOW + at["deu"]).encode())
    out, facts = io.BytesIO(), log.facts(first)
    writer = BundleWriter(
        facts,
        out.write,
        policy=log.policy,
        notes=notes,
        before=merkle.CompactRange().extend(merkle.hash_leaves(log.data[:first])),
        spool=io.BytesIO,
        derived=with_report,
    )
    writer.add((log.data[n], log.shown(n)) for n in range(first, facts.end))
    if with_report:
        writer.attach(layout.REPORT, export_extras.report(facts, writer))
    writer.finish(log.key, log.signer)
    return out.getvalue()


def found(bundle: bytes) -> tuple[Misdated, ...]:
    """Return what both verifiers tell."""
    ours = verify(io.BytesIO(bundle)).misdated
    alone = verify_alone.verify(io.BytesIO(bundle)).misdated

    assert [astuple(each) for each in ours] == [
        (a.witness, a.is_late, a.checkpoints, a.size, a.cosigned_at, a.entry, a.time) for a in alone
    ]
    assert [each.seconds for each in ours] == [each.seconds for each in alone]
    assert [each.told() for each in ours] == [each.told() for each in alone]
    return ours


def both(seconds: int) -> dict[str, int]:
    return {"nor": seconds, "deu": seconds}


def test_times_that_agree_are_not_spoken_of() -> None:
    log = dated([0, 0, 1000, 2000, 3000, 4000])

    assert found(bundled(log, {5: both(3), 6: both(4)})) == ()


@pytest.mark.parametrize(("ahead", "told"), [(TOLERANCE, 0), (TOLERANCE + 1, 2)])
def test_an_entry_is_not_dated_after_a_cosignature_that_covers_it(ahead: int, told: int) -> None:
    log = dated([0, 0, 0, 0, 1000 * ahead, 1000 * ahead])

    misdated = found(bundled(log, {5: both(0), 6: both(ahead)}))

    assert [(m.witness, m.is_late, m.size, m.entry, m.seconds) for m in misdated] == [
        (name, True, 5, 4, ahead) for name in ("deu", "nor")
    ][:told]


@pytest.mark.parametrize(("behind", "told"), [(TOLERANCE, 0), (TOLERANCE + 1, 2)])
def test_an_entry_is_not_dated_before_a_cosignature_that_does_not_cover_it(
    behind: int, told: int
) -> None:
    log = dated([0, 0, 0, 0, 0, 0])

    misdated = found(bundled(log, {5: both(behind), 6: both(behind)}))

    assert [(m.witness, m.is_late, m.size, m.entry, m.seconds) for m in misdated] == [
        (name, False, 5, 5, behind) for name in ("deu", "nor")
    ][:told]


def test_the_worst_of_several_checkpoints_is_told_and_how_many_they_are() -> None:
    log = dated([hour * 3_600_000 for hour in range(SIZE)])

    misdated = found(
        bundled(log, {size: {"nor": 0, "deu": 3600 * (size - 1)} for size in (4, 5, 6)})
    )

    assert [(m.witness, m.checkpoints, m.entry, m.seconds) for m in misdated] == [
        ("nor", 3, 5, 5 * 3600)
    ]


def test_the_report_in_a_bundle_tells_of_dates_what_the_verifiers_do() -> None:
    pytest.importorskip("pygal", reason="the extra report is not installed")
    log = dated([0, 0, 0, 0, 1000 * HOUR, 1000 * HOUR])
    bundle = bundled(log, {5: {"nor": 0, "deu": HOUR}, 6: both(3 * HOUR)}, with_report=True)

    with ZipFile(io.BytesIO(bundle)) as archive:
        page = html.unescape(archive.read(layout.REPORT).decode())
    (misdated,) = found(bundle)
    assert misdated.told().startswith("entry 4 is dated ")
    assert f"E{misdated.told()[1:]}." in page
    assert page.count(" is dated ") == 1


def test_of_entries_that_are_not_in_the_range_nothing_is_told() -> None:
    log = dated([0] * 300)

    assert found(bundled(log, {256: both(0), 300: both(0)}, 256)) == ()
    assert [m.entry for m in found(bundled(log, {256: both(900), 300: both(900)}, 256))] == [
        256
    ] * 2


@settings(max_examples=60, deadline=None)
@given(
    times=st.lists(st.integers(0, 2000), min_size=SIZE, max_size=SIZE).map(sorted),
    cosigned=st.dictionaries(
        st.integers(1, SIZE - 1),
        st.fixed_dictionaries({"nor": st.integers(-1000, 2**40), "deu": st.integers(0, 2000)}),
        max_size=3,
    ),
    last=st.integers(0, 2000),
)
def test_whatever_the_times_both_verifiers_tell_the_same_and_what_is_true(
    times: list[int], cosigned: dict[int, dict[str, int]], last: int
) -> None:
    seconds = {**dict(sorted(cosigned.items())), SIZE: both(last)}
    misdated = found(bundled(dated([1000 * time for time in times]), seconds))

    for name in ("nor", "deu"):
        late = [
            (time - at[name], size)
            for size, at in seconds.items()
            for time in times[:size][-1:]
            if time > at[name] + TOLERANCE
        ]
        early = [
            (at[name] - time, size)
            for size, at in seconds.items()
            for time in times[size : size + 1]
            if time < at[name] - TOLERANCE
        ]
        for is_late, expected in ((True, late), (False, early)):
            told = [m for m in misdated if (m.witness, m.is_late) == (name, is_late)]
            assert [(m.checkpoints, m.seconds) for m in told] == (
                [(len(expected), max(expected)[0])] if expected else []
            )


def test_verify_py_says_it_and_the_bundle_is_whole_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bundle"
    file.write_bytes(bundled(dated([0, 0, 0, 0, 900_000, 900_000]), {5: both(0), 6: both(2000)}))

    assert verify_alone.main([str(file)]) == 0

    out = capsys.readouterr().out.splitlines()
    assert [line for line in out if line.startswith("times ")] == [
        f"times        entry 4 is dated {verify_alone.iso(1000 * NOW + 900_000)}, 900 s after {name}"
        f" had cosigned 5 entries at {verify_alone.iso(1000 * NOW)}"
        for name in ("deu", "nor")
    ]
    assert out[-1] == "whole, and signed"
