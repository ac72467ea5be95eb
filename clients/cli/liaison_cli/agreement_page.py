"""An agreement as a page for people: who, what, how long, and who has signed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, Final

from liaison import words
from liaison.crypto import suites
from liaison.errors import VerificationError
from liaison.model import PartyCode
from liaison.policy import agreement_yaml, lifecycle, signing
from liaison.policy.agreement import Agreement
from liaison.policy.agreement_rules import ExclusionRule, Overdue
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.channel_rules import AnswerTimes, Quotas, ReleaseRule
from liaison.policy.fields import format_duration, format_instant
from liaison.policy.lifecycle import Participation
from liaison.policy.party import Party
from liaison.policy.who import Who
from liaison_cli.terminal import clean_line

if TYPE_CHECKING:
    from liaison_sdk.agreements import AgreementStanding, PartyStanding

_EXCLUSION: Final = {
    ExclusionRule.NEVER: "nobody excludes another party",
    ExclusionRule.MAJORITY: "the majority of the others excludes a party",
    ExclusionRule.ALL_OTHERS: "all others together exclude a party",
}


class BadSignatureError(VerificationError):
    """The document carries a signature that does not hold."""

    code = "cli.agreement_signature"


class Draft:
    """An agreement as it stands in a file, signed by none, some or all of its parties.

    Args:
        agreement: what the file says.
        signed_by: whose signature on it holds, by the keys that it embeds.
        envelope: the signed file; None for YAML.
    """

    def __init__(
        self, agreement: Agreement, signed_by: Collection[PartyCode], envelope: bytes | None
    ) -> None:
        self.agreement = agreement
        self.signed_by = sorted(signed_by)
        self.envelope = envelope

    @classmethod
    def parse(cls, data: bytes) -> Draft:
        """Read YAML, or a signed envelope.

        Raises:
            DocumentError: neither, or a field is wrong.
            BadSignatureError: a signature under a party's key does not hold.
        """
        if not data.lstrip().startswith(b"{"):
            return cls(agreement_yaml.parse(data.decode("utf-8", "replace")), (), None)
        envelope, agreement = signing.read(data)
        signed = signing.signers(data)
        present = {signature.key_id for signature in envelope.signatures}
        for party in agreement.parties:
            claims = any(key.key_id in present for key in party.authority_keys)
            if claims and party.code not in signed:
                raise BadSignatureError(
                    f"the signature of {party.code} on {agreement.agreement_id} does not hold",
                    hint="the file was changed after it was signed: ask for it again",
                )
        return cls(agreement, signed, data)

    @property
    def complete(self) -> bool:
        """Whether every party has signed."""
        return set(self.signed_by) == set(self.agreement.codes)

    def record(self) -> dict[str, Any]:
        """Return what programs are told of it."""
        agreement = self.agreement
        return {
            "id": agreement.agreement_id,
            "version": agreement.version,
            "digest": agreement.digest().hex(),
            "parties": [str(code) for code in agreement.codes],
            "signed_by": [str(code) for code in self.signed_by],
            "complete": self.complete,
        }

    def verdict(self) -> str:
        """Return one line for people."""
        agreement = self.agreement
        missing = [str(c) for c in agreement.codes if c not in self.signed_by]
        state = "signed by all parties" if self.complete else f"not signed by {', '.join(missing)}"
        return f"{agreement.agreement_id} version {agreement.version}: sound, {state}"


def page(
    agreement: Agreement,
    signed_by: Collection[PartyCode],
    standing: AgreementStanding | None = None,
) -> str:
    """Return the page; a partner wrote most of it, so every line stays one line.

    Args:
        agreement: what was agreed.
        signed_by: whose signature on it holds.
        standing: how the parties take part now, where that is known.
    """
    return "\n".join(map(clean_line, _lines(agreement, signed_by, standing)))


def _lines(
    agreement: Agreement, signed_by: Collection[PartyCode], standing: AgreementStanding | None
) -> Iterator[str]:
    yield f"{agreement.title}"
    phase = f", {standing.phase.value}" if standing is not None else ""
    yield f"{agreement.agreement_id} version {agreement.version}, {agreement.kind.value}{phase}"
    yield ""
    yield from _terms(agreement)
    for party in agreement.parties:
        yield ""
        yield from _party(agreement, party, has_signed=party.code in signed_by)
        for one in standing.parties if standing is not None else ():
            if one.party == party.code:
                yield from _standing(one)
    if agreement.residual_duties:
        yield ""
        yield f"after the end: {agreement.residual_duties}"
    yield ""
    yield from _people_of(agreement)
    for channel in agreement.channels:
        yield ""
        yield from _channel(channel)


def _terms(agreement: Agreement) -> Iterator[str]:
    yield f"digest       {agreement.digest().hex()}"
    if agreement.previous is not None:
        yield f"follows      {agreement.previous.hex()}"
    yield f"legal basis  {agreement.legal_basis}"
    start, end = format_instant(agreement.valid_from), format_instant(agreement.valid_until)
    yield f"valid        {start} to {end}"
    yield f"suite        {suites.suite(agreement.cipher_suite).name}"
    labels = agreement.labels
    where = ", as it stands in the agreement" if labels.spif is not None else ""
    yield f"labels       {labels.policy}{where}: up to {labels.ceiling}, else {labels.default}"
    status = agreement.status
    late = "nothing is sent" if status.overdue is Overdue.STOP else "a warning"
    yield f"status       each party's word at least every {format_duration(status.max_age)}; then {late}"
    yield f"exclusion    {_EXCLUSION[agreement.exclusion]}"
    ahead, behind = map(format_duration, (agreement.times.ahead, agreement.times.behind))
    yield f"DTG          {ahead} ahead of acceptance at most, {behind} behind"
    yield f"retention    {words.count(agreement.retention_days, 'day')}"
    yield f"relay        {agreement.relay.origin}"
    for key in agreement.relay.identity_keys:
        yield f"             key {key.key_id} ({key.scheme.value})"
    late, grace = map(format_duration, (agreement.log.report_after, agreement.log.grace))
    yield f"log          an unlogged message is reported after {late};"
    yield f"             without its witnesses members come in for {grace}"
    if agreement.log.predecessor is not None:
        before = agreement.log.predecessor
        first = words.entries(before.size)
        yield f"             generation {agreement.log.generation}; follows the first {first} of"
        yield f"             {before.origin}, root {before.root.hex()}"
    for key in agreement.relay.log_keys:
        yield f"             key {key.key_id} ({key.scheme.value})"
    if not agreement.witnesses:
        yield "             nobody witnesses it: it counts by the relay's word"
    for witness in agreement.witnesses:
        yield f"witness      {witness.party} {witness.name} {witness.key.key_id}"


def _party(agreement: Agreement, party: Party, *, has_signed: bool) -> Iterator[str]:
    yield f"{party.code}  {party.name}  ({'has signed' if has_signed else 'has not signed'})"
    yield from (f"  root           {root.fingerprint}" for root in party.roots)
    yield from (f"  authority key  {key.key_id}" for key in party.authority_keys)
    yield from (f"  registrar key  {key.key_id}" for key in party.registrar_keys)
    if party.code in agreement.duties:
        yield f"  duties         {agreement.duties[party.code]}"


def _standing(party: PartyStanding) -> Iterator[str]:
    reason = f": {party.reason}" if party.reason else ""
    yield f"  standing       {lifecycle.in_words(party.state)}{reason}"
    if party.state in {Participation.ACTIVE, Participation.SUSPENDED}:
        late = ", and is overdue" if party.is_overdue else ""
        until = format_instant(int(party.fresh_until.timestamp()))
        yield f"                 its word holds until {until}{late}"


def _people_of(agreement: Agreement) -> Iterator[str]:
    for name, people in agreement.roles.items():
        yield f"role {name}: {_people(people)}"
    for rule in agreement.clearances:
        categories = ", ".join(f"{tag}={value}" for tag, value in rule.categories)
        level = f"{rule.highest} // {categories}" if categories else rule.highest
        yield f"cleared for {level}: {_people(rule.who)}"
    if not agreement.clearances:
        yield "cleared: nobody, for anything"


def _channel(channel: ChannelPolicy) -> Iterator[str]:
    yield f"channel policy {channel.name}: {channel.description}"
    yield f"  create       {_people(channel.create)}"
    yield f"  add, remove  {_people(channel.add)}; {_people(channel.remove)}"
    yield f"  read         {_people(channel.read)}"
    for guest in channel.guests:
        until = format_instant(guest.until)
        yield f"  guests       {_people(guest.who)} until {until}, invited by {_people(guest.invited_by)}"
    yield f"  acknowledge  {_people(channel.acknowledge)}"
    for rule in channel.send:
        kinds = ", ".join(map(str, rule.kinds))
        yield f"  send         {_people(rule.who)}: {kinds}, {rule.lowest.name} to {rule.highest.name}"
        yield f"               to {_people(rule.to)}; for information {_people(rule.copy)}"
    if channel.release is not None:
        yield from _release(channel.release)
    for level, times in channel.answers.items():
        yield f"  answers      {level.name}: {_answers(times)}"
    if channel.languages:
        yield f"  languages    {', '.join(channel.languages)}"
    for watch in channel.watch:
        said = watch.document()
        days, begins, ends = (said[name] for name in ("days", "begins", "ends"))
        names = ", ".join(map(str, days)) if isinstance(days, list) else ""
        yield f"  manned       {_people(watch.who)}: {names}, {begins} to {ends} UTC"
    if channel.quotas is not None:
        yield f"  each party   {_quotas(channel.quotas)}"
    devices = words.count(channel.max_members, "device")
    yield f"  size         {devices}, messages of {channel.max_message_bytes} bytes"
    limits = channel.attachments
    types = ", ".join(limits.media_types) or "no type"
    yield f"  attachments  {limits.max_count} of at most {limits.max_bytes} bytes: {types}"
    if channel.max_expiry:
        yield f"  expiry       after {format_duration(channel.max_expiry)} at most"
    yield f"  retention    {words.count(channel.retention_days, 'day')}"
    keys = channel.keys
    yield (
        f"  keys         renewed after {format_duration(keys.epoch_max_age)}; a device that has not"
        f" renewed its own for {format_duration(keys.unseen_max_age)} is removed"
    )


def _quotas(quotas: Quotas) -> str:
    devices = words.count(quotas.devices, "device")
    others = words.count(
        quotas.administrators, "endpoint that adds or removes", "endpoints that add or remove"
    )
    return f"{devices} at most, {others} others"


def _release(rule: ReleaseRule) -> Iterator[str]:
    kinds = ", ".join(map(str, rule.kinds))
    persons = words.count(rule.persons, "person signs", "persons sign")
    yield f"  release      {persons}: {kinds}, {rule.lowest.name} and above"
    if rule.review:
        yield f"               reviewed by {_people(rule.review)}"
    yield f"               released by {_people(rule.release)}"


def _answers(times: AnswerTimes) -> str:
    wanted = (("acknowledge", times.acknowledge), ("reply", times.reply))
    return ", ".join(f"{deed} within {format_duration(time)}" for deed, time in wanted if time)


def _people(people: Who) -> str:
    return ", ".join(pattern.text for pattern in people) or "nobody"
