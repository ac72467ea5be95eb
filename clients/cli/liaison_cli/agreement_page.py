"""An agreement as a page for people: who, what, how long, and who has signed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from liaison.crypto import suites
from liaison.errors import VerificationError
from liaison.model import PartyCode
from liaison.policy import agreement_yaml, signing
from liaison.policy.agreement import Agreement
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.fields import format_duration, format_instant
from liaison.policy.who import Who
from liaison_cli.terminal import clean_line


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


def page(agreement: Agreement, signed_by: Collection[PartyCode]) -> str:
    """Return the page; a partner wrote most of it, so every line stays one line."""
    return "\n".join(map(clean_line, _lines(agreement, signed_by)))


def _lines(agreement: Agreement, signed_by: Collection[PartyCode]) -> Iterator[str]:
    yield f"{agreement.title}"
    yield f"{agreement.agreement_id} version {agreement.version}, {agreement.kind.value}"
    yield ""
    yield f"digest       {agreement.digest().hex()}"
    yield f"legal basis  {agreement.legal_basis}"
    start, end = format_instant(agreement.valid_from), format_instant(agreement.valid_until)
    yield f"valid        {start} to {end}"
    yield f"suite        {suites.suite(agreement.cipher_suite).name}"
    yield f"labels       {agreement.labels.policy} up to {agreement.labels.ceiling}"
    yield f"relay        {agreement.relay.origin}"
    for key in agreement.relay.identity_keys:
        yield f"             key {key.key_id} ({key.scheme.value})"
    for party in agreement.parties:
        yield ""
        state = "has signed" if party.code in signed_by else "has not signed"
        yield f"{party.code}  {party.name}  ({state})"
        yield from (f"  root           {root.fingerprint}" for root in party.roots)
        yield from (f"  authority key  {key.key_id}" for key in party.authority_keys)
        yield from (f"  registrar key  {key.key_id}" for key in party.registrar_keys)
    for name, people in agreement.roles.items():
        yield f"role {name}: {_people(people)}"
    for channel in agreement.channels:
        yield ""
        yield from _channel(channel)


def _channel(channel: ChannelPolicy) -> Iterator[str]:
    yield f"channel policy {channel.name}: {channel.description}"
    yield f"  create       {_people(channel.create)}"
    yield f"  add, remove  {_people(channel.add)}; {_people(channel.remove)}"
    yield f"  read         {_people(channel.read)}"
    for rule in channel.send:
        kinds = ", ".join(map(str, rule.kinds))
        yield f"  send         {_people(rule.who)}: {kinds}, {rule.lowest.name} to {rule.highest.name}"
    limits = channel.attachments
    yield f"  attachments  {limits.max_count} of at most {limits.max_bytes} bytes"
    yield f"  keys         renewed after {format_duration(channel.keys.epoch_max_age)}"


def _people(people: Who) -> str:
    return ", ".join(pattern.text for pattern in people) or "nobody"
