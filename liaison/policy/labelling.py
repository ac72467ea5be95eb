"""Labels on messages: the part that the relay judges, and the whole inside.

The header carries policy, classification and categories in the open, and a
salted digest of the full label, which travels in the content. Whoever can read
checks that the two agree, so that nobody can show the relay one label and the
reader another.
"""

from __future__ import annotations

from liaison.envelope import cbor
from liaison.envelope.content import LABEL, Content
from liaison.envelope.header import Header, HeaderLabel
from liaison.errors import VerificationError
from liaison.labels import Label, label_digest


class LabelMismatchError(VerificationError):
    """The label inside the message is not the one on its header."""

    code = "label.mismatch"


def encode_label(label: Label) -> bytes:
    """Return the full label as it travels in the content's extension `LABEL`."""
    pairs: list[cbor.Item] = [[tag, value] for tag, value in label.categories]
    return cbor.encode([label.policy, label.classification, pairs])


def header_label(label: Label, salt: bytes) -> HeaderLabel:
    """Return what the header says of a label.

    Args:
        label: the full label.
        salt: the content's salt, 16 bytes.
    """
    digest = label_digest(encode_label(label), salt)
    return HeaderLabel(label.policy, label.classification, label.categories, digest)


def label_of(header: Header) -> Label:
    """Return the label that a header claims."""
    return Label(header.label.policy, header.label.classification, header.label.categories)


def check_label(header: Header, content: Content) -> Label:
    """Check that header and content carry the same label, and return it.

    Raises:
        LabelMismatchError: they do not, or the content has none.
    """
    inside = content.extensions.get(LABEL)
    if not isinstance(inside, bytes) or label_digest(inside, content.salt) != header.label.digest:
        raise LabelMismatchError
    label = label_of(header)
    if encode_label(label) != inside:
        raise LabelMismatchError
    return label
