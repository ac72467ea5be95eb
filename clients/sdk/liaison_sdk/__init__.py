"""Liaison's client library for asyncio programs.

`Client` is the way in; `liaison_sdk.enrol.enrol` makes the device that it opens.
Errors are in `liaison_sdk.errors`; what the relay refuses is
`liaison.wire.problems.RemoteError`.

The names here are loaded when they are first used, so that a program which
needs a part of the library does not wait for the rest.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liaison.envelope.header import Kind, MessageRef
    from liaison.envelope.receipt import Answer, Status
    from liaison.model import ChannelId, DeviceId, EndpointId, MessageId, Precedence
    from liaison_sdk.account import Account
    from liaison_sdk.agreements import AgreementStanding, HistoryEntry, HistoryKind, PartyStanding
    from liaison_sdk.attachments import OutgoingFile, Progress
    from liaison_sdk.channel import Channel, Member
    from liaison_sdk.client import Client
    from liaison_sdk.directory import DirectoryEntry
    from liaison_sdk.drafts import DraftView, SignatureView
    from liaison_sdk.environment import Options
    from liaison_sdk.events import Event, EventKind
    from liaison_sdk.log_status import LogStatus
    from liaison_sdk.message import Attachment, Message, ReceiptView, Sent
    from liaison_sdk.store.channels import ChannelState
    from liaison_sdk.store.messages import MessageState

__all__ = [
    "Account",
    "AgreementStanding",
    "Answer",
    "Attachment",
    "Channel",
    "ChannelId",
    "ChannelState",
    "Client",
    "DeviceId",
    "DirectoryEntry",
    "DraftView",
    "EndpointId",
    "Event",
    "EventKind",
    "HistoryEntry",
    "HistoryKind",
    "Kind",
    "LogStatus",
    "Member",
    "Message",
    "MessageId",
    "MessageRef",
    "MessageState",
    "Options",
    "OutgoingFile",
    "PartyStanding",
    "Precedence",
    "Progress",
    "ReceiptView",
    "Sent",
    "SignatureView",
    "Status",
]

_HOMES = {
    "Account": "liaison_sdk.account",
    "AgreementStanding": "liaison_sdk.agreements",
    "Answer": "liaison.envelope.receipt",
    "Attachment": "liaison_sdk.message",
    "Channel": "liaison_sdk.channel",
    "ChannelId": "liaison.model",
    "ChannelState": "liaison_sdk.store.channels",
    "Client": "liaison_sdk.client",
    "DeviceId": "liaison.model",
    "DirectoryEntry": "liaison_sdk.directory",
    "DraftView": "liaison_sdk.drafts",
    "EndpointId": "liaison.model",
    "Event": "liaison_sdk.events",
    "EventKind": "liaison_sdk.events",
    "HistoryEntry": "liaison_sdk.agreements",
    "HistoryKind": "liaison_sdk.agreements",
    "Kind": "liaison.envelope.header",
    "LogStatus": "liaison_sdk.log_status",
    "Member": "liaison_sdk.channel",
    "Message": "liaison_sdk.message",
    "MessageId": "liaison.model",
    "MessageRef": "liaison.envelope.header",
    "MessageState": "liaison_sdk.store.messages",
    "Options": "liaison_sdk.environment",
    "OutgoingFile": "liaison_sdk.attachments",
    "PartyStanding": "liaison_sdk.agreements",
    "Precedence": "liaison.model",
    "Progress": "liaison_sdk.attachments",
    "ReceiptView": "liaison_sdk.message",
    "Sent": "liaison_sdk.message",
    "SignatureView": "liaison_sdk.drafts",
    "Status": "liaison.envelope.receipt",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
