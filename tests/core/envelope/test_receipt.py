"""Receipts: what happened to a message, and what its reader answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.envelope import cbor, content
from liaison.envelope.content import Content
from liaison.envelope.errors import ContentError
from liaison.envelope.header import MessageRef
from liaison.envelope.receipt import Answer, Receipt, Status
from liaison.model import DeviceId, MessageId

REF = MessageRef(DeviceId.parse("nor/defatt-berlin#d1"), MessageId(bytes(range(16))))
PLAIN = Receipt(REF, Status.DECRYPTED, 1_795_000_000)
COMPLY = Receipt(REF, Status.ACKNOWLEDGED, 1_795_000_000, Answer.WILL_COMPLY, note="by 1800Z")


@st.composite
def receipts(draw: st.DrawFn) -> Receipt:
    status = draw(st.sampled_from(list(Status)))
    return Receipt(
        REF,
        status,
        draw(st.integers(0, 2**37)),
        draw(st.sampled_from(list(Answer))) if status is Status.ACKNOWLEDGED else None,
        draw(st.text(min_size=1, max_size=50)) if status is Status.FAILED else "",
        draw(st.text(max_size=50)),
    )


@given(receipt=receipts())
def test_every_receipt_comes_back_from_its_content(receipt: Receipt) -> None:
    message = Content(bytes(16), receipt.as_part())

    assert Receipt.from_content(Content.decode(message.encode())) == receipt


def test_another_content_is_no_receipt() -> None:
    with pytest.raises(ContentError):
        Receipt.from_content(Content(bytes(16), content.text("roger")))


@pytest.mark.parametrize(
    "fields",
    [
        {"status": Status.ACKNOWLEDGED},
        {"status": Status.DISPLAYED, "answer": Answer.ROGER},
        {"status": Status.FAILED},
        {"status": Status.DELIVERED, "code": "mls.key_used"},
        {"status": Status.DELIVERED, "at": -1},
        {"status": Status.DELIVERED, "note": "x" * 1001},
        {"status": Status.FAILED, "code": "x" * 101},
    ],
)
def test_a_receipt_that_contradicts_itself_is_not_made(fields: dict[str, Any]) -> None:
    with pytest.raises(ContentError):
        Receipt(**{"ref": REF, "at": 1, **fields})


def spelled(receipt: Receipt, **changes: Any) -> bytes:
    item = cbor.decode(receipt.encode())
    assert isinstance(item, dict)
    for key, value in changes.items():
        item[int(key.removeprefix("k"))] = value
    return cbor.encode(item)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xa0",
        spelled(PLAIN, k0=2),
        spelled(PLAIN, k1="nor/defatt-berlin"),
        spelled(PLAIN, k2=bytes(15)),
        spelled(PLAIN, k2="x"),
        spelled(PLAIN, k3="eaten"),
        spelled(PLAIN, k3=1),
        spelled(PLAIN, k4="now"),
        spelled(PLAIN, k4=True),
        spelled(PLAIN, k5="roger"),
        spelled(PLAIN, k8=1),
        spelled(COMPLY, k5="maybe"),
        spelled(COMPLY, k5=None),
        spelled(COMPLY, k7=7),
        spelled(COMPLY, k7=""),
        spelled(PLAIN, k5=None),
        spelled(PLAIN, k0=True),
        bytes(10_000),
    ],
)
def test_a_malformed_receipt_is_refused(data: bytes) -> None:
    with pytest.raises(ContentError):
        Receipt.decode(data)
