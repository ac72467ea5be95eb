"""The content: the MIMI format, bounded, and its published examples."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.crypto.secret import CHUNK_SIZE
from liaison.envelope import cbor, content
from liaison.envelope.attachment import Attachment
from liaison.envelope.content import (
    Content,
    Disposition,
    Expiration,
    External,
    Multi,
    Null,
    Part,
    Semantics,
    Single,
)
from liaison.envelope.errors import ContentError, ContentTooLargeError
from liaison.model import BlobId

SALT = bytes(range(16))
HELLO = Content(SALT, content.text("Hei fra Berlin", language="nb"))

# examples/original.cbor and examples/reply.cbor of draft-ietf-mimi-content, commit 961ea5a, with
# the message ids that the draft states for them.
ORIGINAL = bytes.fromhex(
    "87505eed9406c2545547ab6f09f20a18b003f640f6f6a20178206d696d693a2f2f6578616d706c652e636f6d2f752f"
    "616c6963652d736d6974680278256d696d693a2f2f6578616d706c652e636f6d2f722f656e67696e656572696e675f"
    "7465616d85016001781e746578742f6d61726b646f776e3b76617269616e743d47464d2d4d494d4958394869206576"
    "6572796f6e652c207765206a75737420736869707065642072656c6561736520322e302e205f5f476f6f642020776f"
    "726b5f5f21"
)
ORIGINAL_ID = "017ce54837404c3696e0c747b985cb172716d0ed0a3d249ca63ace7d82a096f4"
REPLY = bytes.fromhex(
    "875011a458c73b8dd2cf404db4b378b8fe4df640f65820017ce54837404c3696e0c747b985cb172716d0ed0a3d249c"
    "a63ace7d82a096f4a201781e6d696d693a2f2f6578616d706c652e636f6d2f752f626f622d6a6f6e65730278256d69"
    "6d693a2f2f6578616d706c652e636f6d2f722f656e67696e656572696e675f7465616d85016001781e746578742f6d"
    "61726b646f776e3b76617269616e743d47464d2d4d494d4958215269676874206f6e21205f436f6e67726174756c61"
    "74696f6e735f2027616c6c21"
)
REPLY_ID = "015354973c2b65ca937bf1e035ae53a5ab80e947afa43d46920d4202e5cc0b27"
ROOM = "mimi://example.com/r/engineering_team"

texts = st.text(max_size=20)
dispositions = st.sampled_from(list(Disposition))
leaves = st.one_of(
    st.builds(Null, dispositions, texts),
    st.builds(Single, texts, st.binary(max_size=50), dispositions, texts),
    st.builds(
        External,
        media_type=texts,
        url=texts,
        size=st.integers(0, 2**64 - 1),
        algorithm=st.integers(0, 2**16 - 1),
        key=st.binary(max_size=32),
        nonce=st.binary(max_size=12),
        aad=st.binary(max_size=8),
        digest=st.binary(min_size=32, max_size=32),
        description=texts,
        filename=texts,
        expires=st.integers(0, 2**32 - 1),
        disposition=dispositions,
        language=texts,
    ),
)
trees = leaves | st.builds(
    Multi,
    st.sampled_from(list(Semantics)),
    st.lists(
        leaves
        | st.builds(
            Multi,
            st.sampled_from(list(Semantics)),
            st.lists(leaves, min_size=2, max_size=3).map(tuple),
            dispositions,
            texts,
        ),
        min_size=2,
        max_size=3,
    ).map(tuple),
    dispositions,
    texts,
)
mimi_ids = st.none() | st.binary(min_size=32, max_size=32)
contents = st.builds(
    Content,
    salt=st.binary(min_size=16, max_size=16),
    body=trees,
    topic=st.binary(max_size=10),
    replaces=mimi_ids,
    expires=st.none() | st.builds(Expiration, st.booleans(), st.integers(0, 2**32 - 1)),
    in_reply_to=mimi_ids,
    extensions=st.dictionaries(
        st.integers(-(2**53), 2**53 - 1) | st.text(min_size=1, max_size=10), texts, max_size=3
    ),
)


@given(message=contents)
def test_every_content_comes_back_from_its_bytes(message: Content) -> None:
    assert Content.decode(message.encode()) == message


@pytest.mark.parametrize(
    ("data", "sender", "expected"),
    [
        (ORIGINAL, "mimi://example.com/u/alice-smith", ORIGINAL_ID),
        (REPLY, "mimi://example.com/u/bob-jones", REPLY_ID),
    ],
    ids=["original", "reply"],
)
def test_the_drafts_examples_are_read_written_and_named_alike(
    data: bytes, sender: str, expected: str
) -> None:
    message = Content.decode(data)

    assert message.encode() == data
    assert message.extensions == {content.SENDER_URI: sender, content.ROOM_URI: ROOM}
    assert content.message_id(sender, ROOM, data, message.salt).hex() == expected


def test_the_drafts_reply_names_the_original() -> None:
    reference = Content.decode(REPLY).in_reply_to

    assert reference is not None
    assert reference.hex() == ORIGINAL_ID


def test_a_text_part_gives_its_text_and_language() -> None:
    body = Content.decode(HELLO.encode()).body

    assert isinstance(body, Single)
    assert (body.text, body.language) == ("Hei fra Berlin", "nb")


@pytest.mark.parametrize(
    "part", [Single("text/plain", b"\xff"), Single("image/png", b"png")], ids=["broken", "image"]
)
def test_what_is_no_text_gives_none(part: Single) -> None:
    assert part.text is None


def test_parts_of_a_tree_are_listed_depth_first() -> None:
    one, two, three = (content.text(word) for word in ("one", "two", "three"))
    tree = Multi(Semantics.PROCESS_ALL, (one, Multi(Semantics.SINGLE_UNIT, (two, three))))

    assert replace(HELLO, body=tree).parts() == (one, two, three)


def nested(depth: int) -> Part:
    part: Part = content.text("x")
    for _ in range(depth):
        part = Multi(Semantics.PROCESS_ALL, (part, Null()))
    return part


def wide(count: int) -> Part:
    return Multi(Semantics.PROCESS_ALL, tuple(Null() for _ in range(count)))


@pytest.mark.parametrize("body", [nested(4), wide(100)], ids=["deep", "wide"])
def test_a_tree_has_bounded_depth_and_size(body: Part) -> None:
    with pytest.raises(ContentTooLargeError):
        replace(HELLO, body=body).encode()


def test_a_content_above_the_limit_is_not_even_parsed() -> None:
    with pytest.raises(ContentTooLargeError):
        Content.decode(bytes(content.MAX_CONTENT_BYTES + 1))


def spelled(index: int, value: Any) -> bytes:
    item = cbor.decode(HELLO.encode())
    assert isinstance(item, list)
    return cbor.encode([*item[:index], value, *item[index + 1 :]])


PART = [1, "", 1, "text/plain", b"x"]
EXTERNAL = [6, "", 2, "a/b", "url", 0, 1, 1, b"", b"", b"", 1, bytes(32), "", ""]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"\xa0",
        spelled(0, bytes(15)),
        spelled(1, bytes(31)),
        spelled(2, None),
        spelled(3, [1, 2]),
        spelled(3, [True, 2**32]),
        spelled(4, "x"),
        spelled(5, None),
        spelled(5, {"": 1}),
        spelled(5, {"x" * 256: 1}),
        spelled(5, {1: "x" * 4096}),
        spelled(5, dict.fromkeys(range(33), 1)),
        spelled(6, []),
        spelled(6, [1, "", 4]),
        spelled(6, [1, "", 0, 0]),
        spelled(6, PART[:4]),
        spelled(6, [256, *PART[1:]]),
        spelled(6, [1, None, *PART[2:]]),
        spelled(6, [*PART[:4], "text"]),
        spelled(6, [1, "", 3, 0, [PART]]),
        spelled(6, [1, "", 3, 3, [PART, PART]]),
        spelled(6, EXTERNAL[:14]),
        spelled(6, [*EXTERNAL[:6], -1, *EXTERNAL[7:]]),
        spelled(6, [*EXTERNAL[:11], 2, *EXTERNAL[12:]]),
        spelled(6, [*EXTERNAL[:12], bytes(20), "", ""]),
        HELLO.encode() + b"\x00",
    ],
)
def test_a_malformed_content_is_refused(data: bytes) -> None:
    with pytest.raises(ContentError):
        Content.decode(data)


@given(data=st.binary(max_size=100))
def test_any_bytes_are_a_content_or_refused(data: bytes) -> None:
    with contextlib.suppress(ContentError, ContentTooLargeError):
        assert Content.decode(data).encode() == data


def test_an_unknown_disposition_is_read_as_unspecified() -> None:
    body = Content.decode(spelled(6, [200, *PART[1:]])).body

    assert body.disposition is Disposition.UNSPECIFIED


@given(size=st.integers(0, 2**40) | st.integers(0, 4 * CHUNK_SIZE))
def test_every_attachment_comes_back_from_its_part(size: int) -> None:
    attachment = Attachment(
        BlobId(bytes(16)), size, bytes(32), bytes(32), "map.png", "image/png", "the bridge"
    )
    message = replace(HELLO, body=attachment.as_part())

    body = Content.decode(message.encode()).body

    assert isinstance(body, External)
    assert Attachment.from_part(body) == attachment


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "https://example.org/x"},
        {"url": "00" * 16},
        {"url": "liaison-blob:00"},
        {"algorithm": 1},
        {"key": bytes(16)},
        {"digest": bytes(20)},
        {"size": 0},
        {"size": 15},
        {"size": CHUNK_SIZE + 32},
    ],
)
def test_an_external_part_of_another_kind_is_no_attachment(changes: dict[str, Any]) -> None:
    part = Attachment(BlobId(bytes(16)), 5, bytes(32), bytes(32), "f").as_part()

    with pytest.raises(ContentError):
        Attachment.from_part(replace(part, **changes))


def test_keys_of_attachments_stay_out_of_logs() -> None:
    attachment = Attachment(BlobId(bytes(16)), 5, b"\xabk" * 16, bytes(32), "f")

    assert repr(b"\xabk" * 16) not in repr(attachment)
    assert repr(b"\xabk" * 16) not in repr(attachment.as_part())


def test_text_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(ContentError, match="not Unicode"):
        content.text("\udcff")
