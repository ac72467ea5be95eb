"""What a log says of a party, compared with its office's books. Pure.

Both ways: an entry that is not the office's doing, and what the office has signed and no entry
tells of.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from liaison.errors import LiaisonError
from liaison.model import PartyCode
from liaison.policy import revocation
from liaison.policy.canonical import from_base64
from liaison.policy.revocation import RevocationList
from liaison.tlog.commitment import Value
from liaison.tlog.entries import Entry
from liaison.tlog.fields import EntryType
from liaison.values import dataclass
from liaison_sdk.log_checks import Proven
from liaison_sdk.registrar.state import OfficeState, Said, WatchAlarm, WatchedLog

PATIENCE: Final = 3600
"""Seconds in which what was signed here should have been brought to the relay, and be in the log."""
_MOST_TEXT: Final = 200
"""Characters of what an entry says that are kept and shown."""


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """What a log says about one of the party's keys, or of what it has signed.

    Args:
        index: where.
        time_ms: when, Unix milliseconds by the relay's clock.
        act: `certificate`, `known`, `revocations`, `revoked`, `key_packages` or `signature`; of a
            statement, exclusion or version the step: `withdrawn`, `proposed`, ...
        subject: the device, list or agreement that it is about; `statement` or `exclusion`.
        serial: of a certificate, or the id of the key that signed; may be empty.
        problem: why it is not the party's own doing; empty where it is.
    """

    index: int
    time_ms: int
    act: str
    subject: str
    serial: str
    problem: str


def compare(
    state: OfficeState,
    party: PartyCode,
    known: WatchedLog,
    entries: Sequence[tuple[int, Entry]],
    opened: Mapping[int, Proven],
    now: int,
) -> tuple[list[KeyEvent], list[WatchAlarm], tuple[str, ...]]:
    """Compare every new entry about keys, and about what parties have signed, with the books.

    Args:
        state: the books.
        party: whose they are.
        known: how far the log was watched before.
        entries: the new ones.
        opened: those that the relay shows.
        now: Unix seconds.

    Returns:
        What is about the party, what is wrong, and which of its statements need not be looked for
        any more.
    """
    events, alarms, said = [], [], set(known.said)
    for index, entry in entries:
        if entry.type not in (EntryType.KEY, EntryType.POLICY):
            continue
        shown = opened.get(index)
        values = None if shown is None else shown.values
        if values is None or "party" not in values:
            # Of others' keys the relay shows whose they are, so that it can't hide ours there.
            what = "key" if entry.type is EntryType.KEY else "act"
            text = f"the relay does not show whose {what} this entry is about"
            alarms.append(WatchAlarm(index, text, now))
        elif values["party"] == str(party):
            event = _event(state, known, entry.type, (index, entry.time), values)
            events.append(event)
            said.add(_hex(values.get("digest")))
            if event.problem:
                text = f"{event.act} {event.subject}: {event.problem}"
                alarms.append(WatchAlarm(index, text, now))
    late = [one for one in state.said if _is_missing(one, known.agreement, said, now)]
    alarms += [WatchAlarm(-1, _missing_text(one.what, one.at), now) for one in late]
    own = {one.digest for one in state.said if one.agreement == known.agreement}
    return events, alarms, tuple(sorted(own & (said | {one.digest for one in late})))


def compare_lists(
    state: OfficeState, known: WatchedLog, events: Sequence[KeyEvent], now: int
) -> tuple[list[WatchAlarm], int | None]:
    """Look for the newest revocation list: a relay that sits on it keeps a stolen device in.

    Args:
        state: the books.
        known: how far the log was watched before.
        events: what is new in it about the party.
        now: Unix seconds.

    Returns:
        What is wrong, and which list need not be looked for any more.
    """
    if state.revocations is None:
        return [], known.listed
    newest = revocation.read(state.revocations)
    listed = known.listed
    if listed is None:
        listed = _listed_before(newest, known, events)
    if listed is None:
        return [], None
    found = (int(e.subject) for e in events if e.act == "revocations" and not e.problem)
    listed = max([listed, *found])
    if newest.number <= listed or now - newest.issued_at <= PATIENCE:
        return [], listed
    what = f"revocation list {newest.number}"
    return [WatchAlarm(-1, _missing_text(what, newest.issued_at), now)], newest.number


def _listed_before(
    newest: RevocationList, known: WatchedLog, events: Sequence[KeyEvent]
) -> int | None:
    """Return which list a log need not have that is watched for the first time; None for: yet unknown."""
    if known.size:
        # Earlier programs did not note what they had seen.
        return newest.number
    if not events:
        return None
    # The log does not tell what there was before it, or before the party came in; and the clocks of
    # office and relay differ.
    is_before = newest.issued_at - PATIENCE <= events[0].time_ms // 1000
    return newest.number if is_before else 0


def _is_missing(one: Said, agreement_id: str, said: Collection[str], now: int) -> bool:
    return one.agreement == agreement_id and one.digest not in said and now - one.at > PATIENCE


def _missing_text(what: str, signed_at: int) -> str:
    at = datetime.fromtimestamp(signed_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"what this office signed at {at} ({what}) is not in the log"


def _event(
    state: OfficeState,
    known: WatchedLog,
    type_: EntryType,
    place: tuple[int, int],
    values: Mapping[str, Value],
) -> KeyEvent:
    index, time_ms = place
    if type_ is EntryType.KEY:
        act, subject = str(values.get("act") or ""), str(values.get("subject") or "")
        problem = _problem(state, act, subject, values)
    else:
        act, subject = str(values.get("step") or ""), str(values.get("document") or "")
        problem = _policy_problem(state, known, act, subject, _hex(values.get("digest")))
    # An entry has room for half a megabyte in each field, and the books are kept whole.
    act, subject, serial = (
        text[:_MOST_TEXT] for text in (act or "?", subject, str(values.get("serial") or ""))
    )
    return KeyEvent(index, time_ms, act, subject, serial, problem)


def _problem(state: OfficeState, act: str, subject: str, values: Mapping[str, Value]) -> str:
    """Return why an entry is not the party's own doing, or nothing."""
    digest, serial = _hex(values.get("digest")), str(values.get("serial") or "")
    match act:
        case "certificate" | "known":
            return _certificate_problem(state, subject, serial, digest)
        case "revocations":
            return _list_problem(state, subject, digest)
        case "revoked":
            if any(c.serial == serial and str(c.device) == subject for c in state.certificates):
                return ""
            return "this office never issued the certificate that was revoked"
        case "signature":
            return "" if digest in state.signed else "this office did not sign that version"
        case "key_packages":
            if any(str(c.device) == subject for c in state.certificates):
                return ""
            return "this office never certified such a device"
    return "this program does not know such an act, or the relay does not show it"


def _policy_problem(
    state: OfficeState, known: WatchedLog, step: str, document: str, digest: str
) -> str:
    if document == "agreement":
        return "" if digest in state.signed else "this office did not sign that version"
    if document not in ("statement", "exclusion"):
        return "this program does not know such a document, or the relay does not show it"
    if step == "excluded":
        # The others' decision, which they have signed.
        return ""
    if any((one.agreement, one.digest) == (known.agreement, digest) for one in state.said):
        return ""
    if not state.said_whole and not known.size:
        # Perhaps signed before this office noted all that it signs.
        return ""
    return f"this office did not sign that {document}"


def _certificate_problem(state: OfficeState, subject: str, serial: str, digest: str) -> str:
    for issued in state.certificates:
        if (str(issued.device), issued.serial) == (subject, serial):
            if issued.digest in ("", digest):
                return ""
            return "this office issued another certificate of that serial number"
    return "this office did not issue the certificate"


def _list_problem(state: OfficeState, subject: str, digest: str) -> str:
    lists = dict(state.lists)
    number = int(subject) if subject.isascii() and subject.isdigit() else 0
    if number in lists:
        return "" if lists[number] == digest else "this office signed another list of that number"
    if state.revocations is not None and 0 < number < min(lists, default=2**63):
        # Signed before this office noted what its lists say.
        return ""
    return "this office did not sign the list"


def _hex(digest: Value) -> str:
    try:
        return from_base64(digest).hex() if isinstance(digest, str) else ""
    except LiaisonError:
        return ""
