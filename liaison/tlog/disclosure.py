"""What shows the fields of an entry: kept by the log whole, and handed on whole or in part.

`Sealed` is what the log keeps beside an entry: the secret and the values. `Disclosure` is what
somebody is shown: all of it, or some of the fields opened and the commitments of the rest, by which
the entry can be checked all the same. `liaison.tlog.entries.Entry.open` checks either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any, Final

from liaison.tlog import commitment
from liaison.tlog.commitment import KEY_BYTES, Opening, Value
from liaison.tlog.errors import EntryError, OpeningError, OpeningFormatError
from liaison.tlog.fields import SCHEMAS, EntryType, Kind, Schema
from liaison.tlog.text import to_base64
from liaison.values import dataclass

MAX_SEALED_BYTES: Final = 2 * 1024 * 1024
MAX_DISCLOSURE_BYTES: Final = 2 * 1024 * 1024 + 64 * 1024
"""The values, and at most a key and a commitment for each field."""

KINDS: Final[Mapping[Kind, type]] = {Kind.TEXT: str, Kind.NUMBER: int, Kind.TEXTS: tuple}
"""What the value of a field is, unless it says nothing."""
_NAMES: Final = frozenset(name for schema in SCHEMAS.values() for name in schema.sealed)
_FORMAT_ERRORS: Final = (ValueError, KeyError, TypeError, AttributeError, EntryError)


@dataclass(frozen=True, slots=True, repr=False)
class Sealed:
    """The secret of an entry and what its fields say, from `entries.seal`.

    Args:
        secret: 32 bytes, of this entry only.
        values: by name; a field that is not there says nothing.
    """

    secret: bytes
    values: Mapping[str, Value]
    _body: bytes = field(default=b"", compare=False)

    def __repr__(self) -> str:
        # Whoever holds the secret can show the values to anyone.
        return f"<Sealed with {len(self.values)} values>"

    def encode(self) -> bytes:
        """Return what is stored beside the entry: the secret, then the values in canonical JSON."""
        return self.secret + (self._body or commitment.dump(self.values))

    @classmethod
    def decode(cls, type_: EntryType, data: bytes) -> Sealed:
        """Read `encode`'s form. Nothing is verified against the entry.

        Args:
            type_: of the entry.
            data: as stored.

        Raises:
            OpeningFormatError: not the fields of such an entry.
        """
        if len(data) > MAX_SEALED_BYTES:
            raise OpeningFormatError(f"an entry's fields have at most {MAX_SEALED_BYTES} bytes")
        secret, body = data[:KEY_BYTES], data[KEY_BYTES:]
        try:
            sealed = cls(secret, _values(commitment.load(body)), body)
        except _FORMAT_ERRORS as error:
            raise OpeningFormatError(f"not the fields of an entry: {error}") from error
        if not all(fits(SCHEMAS[type_], *item) for item in sealed.values.items()):
            raise OpeningFormatError(f"an entry of type {type_} has other fields")
        return sealed

    def openings(self, type_: EntryType) -> dict[str, Opening]:
        """Return the opening of every field of the type, in the order of their names."""
        schema = SCHEMAS[type_].sealed
        keys = commitment.field_keys(self.secret, len(schema))
        return {
            name: Opening(key, self.values.get(name))
            for name, key in zip(schema, keys, strict=True)
        }

    def disclose(self, type_: EntryType, names: Iterable[str] | None = None) -> Disclosure:
        """Make what can be handed to somebody.

        Args:
            type_: of the entry.
            names: the fields to show; None for all of them.

        Raises:
            KeyError: the type has no such field.
        """
        if names is None:
            return Disclosure(whole=self)
        openings = self.openings(type_)
        opened = {name: openings.pop(name) for name in sorted(set(names))}
        hidden = {name: commitment.commit(o.key, name, o.value) for name, o in openings.items()}
        return Disclosure(MappingProxyType(opened), MappingProxyType(hidden))


@dataclass(frozen=True, slots=True, repr=False)
class Disclosure:
    """Fields of an entry, shown so that they can be checked.

    Args:
        opened: the fields that are shown, by name.
        hidden: the commitments of all others, 32 bytes each.
        whole: all fields at once; then the other two are empty.
    """

    opened: Mapping[str, Opening] = field(default_factory=dict)
    hidden: Mapping[str, bytes] = field(default_factory=dict)
    whole: Sealed | None = None

    def __repr__(self) -> str:
        shown = "all" if self.whole is not None else len(self.opened)
        return f"<Disclosure of {shown} fields>"

    def only(self, type_: EntryType, names: Iterable[str]) -> Disclosure:
        """Return the disclosure of fewer fields.

        Raises:
            KeyError: it does not show such a field.
        """
        if self.whole is not None:
            return self.whole.disclose(type_, names)
        kept = {name: self.opened[name] for name in sorted(set(names))}
        closed = {
            name: commitment.commit(opening.key, name, opening.value)
            for name, opening in self.opened.items()
            if name not in kept
        }
        return Disclosure(MappingProxyType(kept), MappingProxyType({**self.hidden, **closed}))

    def to_json(self) -> dict[str, Any]:
        """Return the form in which it stands in JSON.

        `{"secret": ..., "values": {name: value}}` where everything is shown, and else
        `{"hidden": {name: commitment}, "opened": {name: {"key": ..., "value": ...}}}`; keys and
        commitments in base64.
        """
        if self.whole is not None:
            return {"secret": to_base64(self.whole.secret), "values": dict(self.whole.values)}
        opened = {n: {"key": to_base64(o.key), "value": o.value} for n, o in self.opened.items()}
        return {"hidden": {n: to_base64(c) for n, c in self.hidden.items()}, "opened": opened}

    @classmethod
    def from_json(cls, body: object) -> Disclosure:
        """Take a disclosure out of JSON. Nothing is verified.

        Raises:
            OpeningFormatError: not a disclosure.
        """
        try:
            return _disclosure(body)
        except _FORMAT_ERRORS as error:
            raise OpeningFormatError(f"not a disclosure of an entry's fields: {error}") from error

    def encode(self) -> bytes:
        """Return `to_json` as canonical JSON."""
        return commitment.dump(self.to_json())

    @classmethod
    def decode(cls, data: bytes) -> Disclosure:
        """Read `encode`'s form. Nothing is verified.

        Raises:
            OpeningFormatError: not a disclosure.
        """
        if len(data) > MAX_DISCLOSURE_BYTES:
            raise OpeningFormatError(f"a disclosure has at most {MAX_DISCLOSURE_BYTES} bytes")
        try:
            return _disclosure(commitment.load(data))
        except _FORMAT_ERRORS as error:
            raise OpeningFormatError(f"not a disclosure of an entry's fields: {error}") from error


def verify(type_: EntryType, fields: bytes, shown: Disclosure | Sealed) -> dict[str, Value]:
    """Check what is shown of an entry, and return the values.

    Args:
        type_: of the entry.
        fields: what the entry commits to, 32 bytes.
        shown: nothing of it is believed before this.

    Raises:
        OpeningError: it is of something else, or the relay committed to a value that such a field
            can't have.
    """
    schema = SCHEMAS[type_]
    opened, hidden = _parts(type_, shown)
    if opened.keys() & hidden.keys() or opened.keys() | hidden.keys() != schema.sealed.keys():
        raise OpeningError(f"an entry of type {type_} has other fields")
    try:
        made = {name: commitment.commit(o.key, name, o.value) for name, o in opened.items()}
    except EntryError as error:
        raise OpeningError(f"no value of a field: {error.message}") from error
    made |= hidden
    if commitment.hash_fields([made[name] for name in schema.sealed]) != fields:
        raise OpeningError("what is shown of the entry does not fit it")
    for name, opening in opened.items():
        if not fits(schema, name, opening.value):
            raise OpeningError(f"the relay has committed to a {name} that is none")
    return {name: opening.value for name, opening in opened.items()}


def fits(schema: Schema, name: str, value: Value) -> bool:
    """Whether a type's field can say this."""
    kind = schema.sealed.get(name)
    return kind is not None and (value is None or isinstance(value, KINDS[kind]))


def _parts(
    type_: EntryType, shown: Disclosure | Sealed
) -> tuple[Mapping[str, Opening], Mapping[str, bytes]]:
    """Give what is opened and what is hidden; whether that is the type's is not checked."""
    if isinstance(shown, Disclosure) and shown.whole is None:
        return shown.opened, shown.hidden
    whole = shown if isinstance(shown, Sealed) else shown.whole
    if whole is None or not whole.values.keys() <= SCHEMAS[type_].sealed.keys():
        raise OpeningError(f"an entry of type {type_} has other fields")
    return whole.openings(type_), {}


def _values(body: Mapping[str, Any]) -> Mapping[str, Value]:
    values = {name: commitment.decode_value(value) for name, value in body.items()}
    for value in values.values():
        if value is None:
            raise ValueError("a field that says nothing is left out")
        commitment.encode_value(value)
    return MappingProxyType(values)


def _disclosure(body: Any) -> Disclosure:
    if body.keys() == {"secret", "values"}:
        return Disclosure(
            whole=Sealed(commitment.read_key(body["secret"]), _values(body["values"]))
        )
    if body.keys() != {"hidden", "opened"}:
        raise ValueError("other members")
    if not body["opened"].keys() | body["hidden"].keys() <= _NAMES:
        raise ValueError("no type of entry has such a field")
    opened = {name: commitment.read_opening(each) for name, each in body["opened"].items()}
    hidden = {name: commitment.decode_hash(each) for name, each in body["hidden"].items()}
    return Disclosure(MappingProxyType(opened), MappingProxyType(hidden))
