"""Agreements as people read and negotiate them: YAML, with errors that name the line.

A small, predictable part of YAML: every plain scalar is text except `true`,
`false`, `null` and decimal integers (so `NO` stays a country), and there are no
aliases, anchors or tags.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import yaml

from liaison.policy import fields
from liaison.policy.agreement import MAX_AGREEMENT_BYTES, Agreement
from liaison.policy.canonical import MAX_VALUES
from liaison.policy.errors import DocumentError, DocumentTooLargeError
from liaison.policy.fields import Node

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}
_MAX_DEPTH: Final = 32
_DEFAULT_TAGS: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))

_TITLES: Final = {
    "format": "What this document is.",
    "valid_from": "Validity, in UTC; valid_until is the last second that counts.",
    "cipher_suite": "The MLS cipher suite of every channel.",
    "labels": "Confidentiality labels: policy, the highest level allowed, the level by default.",
    "clearances": "Who is cleared for what; whoever is in no rule is cleared for nothing.",
    "status": "How fresh each party's word that it takes part must be; when overdue: warn or stop.",
    "exclusion": "How many of the others exclude a party: never, majority or all-others.",
    "duties": "What each party owes, for people; and what binds them after the end.",
    "retention_days": "How long the relay keeps what it must not lose sooner.",
    "times": "How far a message's date-time group may be from its acceptance.",
    "roles": "Names for sets of endpoints.",
    "channels": "Channel policies. Whoever is not in a list may not; an empty list is nobody.",
    "log": "From when on an unlogged message is reported; how long the log may lack its witnesses. A log"
    " that was lost has a successor: generation, and the predecessor's head.",
    "witnesses": "Whose cosignatures on the relay's log count.",
    "parties": "The parties and their anchors, from their party files. Compare fingerprints.",
    "relay": "The relay and its keys, from its public identity document.",
}


def parse(text: str) -> Agreement:
    """Read an agreement from YAML (or JSON, which is YAML too).

    Raises:
        DocumentTooLargeError: longer than an agreement may be.
        DocumentError: not such a document; the message names line and field.
    """
    return Agreement.from_node(load(text))


def load(text: str) -> Node:
    """Read YAML into nodes that know their lines.

    Raises:
        DocumentTooLargeError: longer than an agreement may be.
        DocumentError: not YAML, or a part of YAML that is not used here.
    """
    if len(text) > MAX_AGREEMENT_BYTES:
        raise DocumentTooLargeError(f"an agreement has at most {MAX_AGREEMENT_BYTES} characters")
    try:
        _check_events(yaml.parse(text, Loader=yaml.BaseLoader))
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise DocumentError(f"{line}not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # The last two for a character or a number that Python does not have.
        raise DocumentError(f"not YAML: {error}") from error
    if root is None:
        raise DocumentError("the document is empty")
    return _node(root, "")


def render(agreement: Agreement) -> str:
    """Write an agreement as YAML that `parse` reads back to the same value."""
    parts = []
    for name, value in agreement.document().items():
        if name in _TITLES:
            parts.append(f"\n# {_TITLES[name]}\n")
        parts.append(yaml.safe_dump({name: value}, sort_keys=False, allow_unicode=True, width=100))
    return "".join(parts).lstrip("\n")


def _check_events(events: Iterator[yaml.Event]) -> None:
    # Before anything is built: aliases can make a small text a huge document,
    # and deep nesting can exhaust the stack.
    depth = 0
    for count, event in enumerate(events):
        if count > 2 * MAX_VALUES:
            raise DocumentTooLargeError(f"a document has at most {MAX_VALUES} values")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise DocumentError(f"{_at(event)}aliases are not used here")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise DocumentError(f"{_at(event)}nested too deeply")


def _at(event: yaml.Event) -> str:
    return f"line {event.start_mark.line + 1}: " if event.start_mark else ""


def _node(source: yaml.Node, path: str) -> Node:
    line = source.start_mark.line + 1
    if source.tag not in _DEFAULT_TAGS:
        raise DocumentError(f"line {line}: tags are not used here")
    if isinstance(source, yaml.MappingNode):
        return Node(_children(source, path), path, line)
    if isinstance(source, yaml.SequenceNode):
        items = [_node(child, fields.at(path, i)) for i, child in enumerate(source.value)]
        return Node(items, path, line)
    return Node(_scalar(source), path, line)


def _children(source: yaml.MappingNode, path: str) -> dict[str, Node]:
    children: dict[str, Node] = {}
    for key, value in source.value:
        name = key.value
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or not name:
            raise DocumentError(f"line {line}: a field's name is not text")
        if name in children:
            raise DocumentError(f"line {line}: the field {fields.shown(name)} stands twice")
        children[name] = _node(value, fields.join(path, name))
    return children


def _scalar(source: yaml.Node) -> bool | int | str | None:
    text = str(source.value)
    if getattr(source, "style", None) is not None:  # quoted or a block: text
        return text
    if text in _WORDS or text in ("", "~"):
        return _WORDS.get(text)
    return int(text) if _INTEGER.fullmatch(text) else text
