"""The quick look at a message's header sees what the patient one sees."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from liaison import codec
from liaison.codec import Reader
from liaison.errors import LiaisonError
from liaison.mls import peek
from liaison.mls.framing import ContentType, WireFormat, read_header

_LENGTHS = st.sampled_from([0, 1, 2, 3, 62, 63, 64, 65, 200, 16_383, 16_384])


def _patiently(message: bytes) -> tuple[object, ...]:
    reader = Reader(message)
    assert read_header(reader) is WireFormat.PRIVATE_MESSAGE
    group_id, epoch = reader.opaque(), reader.uint64()
    kind, data = ContentType(reader.uint8()), reader.opaque()
    reader.opaque()
    reader.opaque()
    reader.end()
    return (WireFormat.PRIVATE_MESSAGE, group_id, epoch, kind, data, None)


@given(st.tuples(_LENGTHS, _LENGTHS, _LENGTHS, _LENGTHS), st.integers(0, 2**64 - 1), st.data())
def test_a_message_is_read_alike_whatever_its_lengths(
    lengths: tuple[int, int, int, int], epoch: int, data: st.DataObject
) -> None:
    group_id, *rest = (codec.opaque(bytes(length)) for length in lengths)
    head = codec.uint16(1) + codec.uint16(WireFormat.PRIVATE_MESSAGE) + group_id
    message = head + epoch.to_bytes(8) + b"\1" + b"".join(rest)

    assert peek.parse_header(message) == _patiently(message)

    at = data.draw(st.integers(4, min(len(message) - 1, 40)))
    changed = message[:at] + data.draw(st.binary(min_size=1, max_size=1)) + message[at + 1 :]
    cut = changed[: data.draw(st.integers(4, len(changed)))]
    for other in (changed, cut):
        try:
            found = peek.parse_header(other)
        except LiaisonError:
            continue
        assert found == _patiently(other)
