"""Every decoder that a stranger's bytes reach, with good inputs to start from.

`weight` is how many of a thousand inputs a decoder gets; slow ones get fewer.
What may come out is a value or one of `ERRORS`: pydantic's refusal is the
relay's 422 and stands beside our own errors for bodies of HTTP requests.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import pydantic

from liaison import codec
from liaison.audit import verify_alone
from liaison.audit.errors import BundleInvalidError
from liaison.audit.events import Event
from liaison.audit.manifest import Manifest
from liaison.audit.verify import verify
from liaison.crypto import suites
from liaison.crypto.secret import random_bytes
from liaison.crypto.x509 import Certificate, Root
from liaison.envelope import cbor, content
from liaison.envelope.content import Content, Multi, Null, Semantics
from liaison.envelope.header import Header, MessageRef
from liaison.envelope.receipt import Answer, Receipt, Status
from liaison.errors import LiaisonError
from liaison.labels import (
    Label,
    builtin,
    compile_policy,
    received,
    spif_xml,
    stanag4774,
    stanag4778,
)
from liaison.labels import clearance as clearances
from liaison.labels.clearance import ConfidentialityClearance
from liaison.labels.stanag4778 import BindingInformation, DataReference, MetadataBinding
from liaison.mls import framing, group, peek, snapshot, welcome
from liaison.mls.key_packages import KeyPackageBundle
from liaison.mls.proposals import Add, Remove
from liaison.mls.public_group import PublicGroup, welcome_recipients
from liaison.mls.tree import RatchetTree
from liaison.mls.validation.leaf import validate_key_package
from liaison.model import ChannelId, DeviceId, EndpointId, Epoch, MessageId, Precedence, Seq
from liaison.policy import agreement_yaml, canonical, dsse, enrolment, revocation, statement
from liaison.policy.agreement import Agreement
from liaison.policy.enrolment import Code
from liaison.policy.fields import parse_duration, parse_instant
from liaison.policy.party import Party
from liaison.policy.relay_identity import RelayIdentity
from liaison.tlog import entries, merkle, sequencer, tiles, witness
from liaison.tlog.disclosure import Disclosure, Sealed
from liaison.tlog.entries import Entry
from liaison.tlog.fields import EntryType
from liaison.tlog.policy import Policy
from liaison.tlog.proof import TlogProof
from liaison.tlog.sequencer import State
from liaison.tlog.tiles import Tile, TileTree
from liaison.tlog.vkey import VerifierKey
from liaison.tlog.witness import AddCheckpoint
from liaison.trust.binding import ChannelBinding
from liaison.wire import frames, v1
from liaison.wire.problems import Problem
from tests.core.audit.support import AuditedLog
from tests.core.mls.support import NOW, World
from tests.core.policy import documents
from tests.core.tlog.support import Log

ERRORS: Final = (LiaisonError, pydantic.ValidationError)


@dataclass(frozen=True, slots=True)
class Decoder:
    """One decoder: what it is called, good inputs, and how to run it."""

    name: str
    seeds: tuple[bytes, ...]
    run: Callable[[bytes], object]
    weight: int = 40


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    # Latin-1 gives every byte a character, so nothing is lost before the parser sees it.
    return lambda data: parse(data.decode("latin-1"))


def _utf8(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parse(data.decode("utf-8", "replace"))


# --- MLS ----------------------------------------------------------------------------------------


def _mls() -> list[Decoder]:
    world = World(members=4)
    first, reader = world[0], world[2]
    bundle = world.client(b"new").key_package(last_resort=True)
    staged = first.commit(Add(bundle.package), Remove(3), authenticated_data=b"header")
    assert staged.welcome is not None
    proposal = world[1].propose_update()
    message = first.encrypt(b"text", b"header")
    seeds = (
        staged.commit,
        staged.welcome,
        staged.group_info,
        bundle.key_package,
        proposal,
        message,
    )
    tree, info = world.relay.ratchet_tree(), world.group_info
    epoch = snapshot.snapshot_epoch(reader.group)
    ratchets = snapshot.snapshot_ratchets(reader.group)
    known = {"validator": world.validator, "now": NOW}

    def join(data: bytes) -> object:
        return welcome.join(data, [bundle], ratchet_tree=staged.ratchet_tree, **known)  # type: ignore[arg-type]  # both by name

    return [
        Decoder("mls message", seeds, framing.decode_message, 120),
        Decoder("mls message, at a member", seeds, lambda d: group.process(reader.group, d, **known), 60),  # type: ignore[arg-type]  # both by name
        Decoder("mls message, at the relay", seeds, lambda d: world.relay.apply(d, **known), 60),  # type: ignore[arg-type]  # both by name
        Decoder("mls message header", seeds, peek.parse_header, 40),
        Decoder("welcome", (staged.welcome,), join, 10),
        Decoder("welcome recipients", (staged.welcome,), welcome_recipients, 20),
        Decoder("group secrets", (_group_secrets(world, staged.welcome, bundle),), lambda d: codec.decode(welcome.GroupSecrets.read, d), 20),
        Decoder("key package", (bundle.key_package,), lambda d: validate_key_package(d, **known), 20),  # type: ignore[arg-type]  # both by name
        Decoder("key package bundle", (bundle.encode(),), KeyPackageBundle.decode, 30),
        Decoder("ratchet tree", (tree,), lambda d: RatchetTree.decode(world.suite, d), 30),
        Decoder(
            "group info, with a tree",
            (info,),
            lambda d: PublicGroup.from_group_info(d, tree, **known),  # type: ignore[arg-type]  # both by name
            10,
        ),
        Decoder(
            "ratchet tree, with a group info",
            (tree,),
            lambda d: PublicGroup.from_group_info(info, d, **known),  # type: ignore[arg-type]  # both by name
            10,
        ),
        Decoder("public snapshot", (world.relay.snapshot(),), PublicGroup.restore, 20),
        Decoder("epoch snapshot", (epoch,), lambda d: snapshot.restore(d, ratchets), 15),
        Decoder("ratchet snapshot", (ratchets,), lambda d: snapshot.restore(epoch, d), 15),
    ]  # fmt: skip


def _group_secrets(world: World, message: bytes, bundle: KeyPackageBundle) -> bytes:
    body = framing.decode_welcome(message)
    suite = suites.suite(world.suite.code)
    return welcome.open_secrets(suite, body, body.secrets[0], bundle.init_private).encode()


# --- wire ---------------------------------------------------------------------------------------


def _wire() -> list[Decoder]:
    channel, message = ChannelId(bytes(16)), MessageId(bytes(range(16)))
    problem = Problem(code="policy.refused", status=403, detail="no", rule="clearance")
    client = (
        frames.Hello(True, limit=10, state_version=1, version=1),
        frames.Send(1, channel=channel, message_id=message, state_version=1, payload=b"x" * 40),
        frames.Ack(7),
        frames.Credit(7),
    )
    relay = (
        frames.Ready(1, state_version=1),
        frames.Accepted(1, duplicate=False, seq=Seq(1), time_ms=1, digest=bytes(32), log_index=1),
        frames.Refused(1, problem=problem),
        frames.Deliver(
            1,
            kind=next(iter(frames.ItemKind)),
            precedence=Precedence.FLASH,
            channel=channel,
            seq=Seq(1),
            epoch=Epoch(1),
            time_ms=1,
            payload=b"x" * 40,
        ),
        frames.CaughtUp(1),
        frames.Notice("text"),
    )
    bodies: Sequence[type[v1.Body]] = [
        found
        for found in vars(v1).values()
        if isinstance(found, type) and issubclass(found, v1.Body) and found is not v1.Body
    ]

    def body(data: bytes) -> None:
        # The first byte says which; each refuses the others' bodies.
        kind = bodies[data[0] % len(bodies)] if data else bodies[0]
        kind.model_validate_json(data[1:])

    return [
        Decoder(
            "frames of clients",
            tuple(frames.encode(each) for each in client),
            frames.decode_client,
            60,
        ),
        Decoder(
            "frames of relays",
            tuple(frames.encode(each) for each in relay),
            frames.decode_relay,
            60,
        ),
        Decoder("problems", (problem.encode(),), Problem.decode, 30),
        Decoder("bodies", tuple(_bodies(bodies)), body, 30),
    ]


SAMPLES: Final[tuple[Any, ...]] = (
    "AAAA",
    "A" * 43 + "=",
    "A" * 22 + "==",
    "00" * 16,
    "nor/x#d1",
    1,
    True,
    [],
    {},
    None,
)
"""Values of which one suits nearly every field of a body."""


def _bodies(kinds: Sequence[type[v1.Body]]) -> Iterator[bytes]:
    """Make a good body of each kind, as far as `SAMPLES` go."""
    for number, kind in enumerate(kinds):
        chosen = dict.fromkeys(kind.model_fields, 0)
        for _ in SAMPLES:
            made = {name: SAMPLES[at] for name, at in chosen.items() if at < len(SAMPLES)}
            try:
                kind.model_validate_json(json.dumps(made))
            except pydantic.ValidationError as error:
                for name in {each["loc"][0] for each in error.errors() if each["loc"]}:
                    chosen[str(name)] = chosen.get(str(name), 0) + 1
            else:
                yield bytes((number,)) + json.dumps(made).encode()
                break


# --- envelope -----------------------------------------------------------------------------------


def _envelope() -> list[Decoder]:
    ref = MessageRef(DeviceId.parse("nor/defatt-berlin#d1"), MessageId(bytes(range(16))))
    party = EndpointId.parse("deu/lno-j3")
    plain = documents.header()
    full = replace(plain, to=(party,), expires=documents.NOW + 3600, in_reply_to=ref)
    text = content.text("Hei fra Berlin", language="nb")
    several = Multi(Semantics.CHOOSE_ONE, (text, Null()))
    receipt = Receipt(ref, Status.ACKNOWLEDGED, NOW, Answer.WILL_COMPLY, note="by 1800Z")
    part = Content(bytes(16), receipt.as_part()).encode()
    contents = (Content(bytes(16), text).encode(), Content(bytes(16), several).encode(), part)
    headers = (plain.encode(), full.encode())
    return [
        Decoder("header", headers, Header.decode, 50),
        Decoder("content", contents, Content.decode, 50),
        Decoder("receipt", contents, lambda d: Receipt.from_content(Content.decode(d)), 30),
        Decoder("cbor", (*headers, *contents), cbor.decode, 40),
        Decoder("cbor, loosely", (*headers, *contents), cbor.decode_loosely, 40),
    ]


# --- labels -------------------------------------------------------------------------------------


def _labels() -> list[Decoder]:
    demo = builtin.DEMO
    short = Label.of(demo.policy_id, "CLOSED", [("Releasable To", "NOR")])
    label = demo.expand(short, created=NOW, review=NOW)
    said = label.sensitivity
    held = ConfidentialityClearance(said.policy, (said.classification,), said.categories)
    bound = BindingInformation((MetadataBinding((label,), (DataReference("a.txt"),)),))
    labels = (stanag4774.write(label), stanag4778.write(bound))
    clearance = clearances.write(held)
    policies = tuple(spif_xml.write(each.spif) for each in (demo, builtin.TLP))
    parsed = clearances.parse(clearance)
    return [
        Decoder("stanag 4774 label", labels[:1], stanag4774.parse, 40),
        Decoder("stanag 4778 binding", labels[1:], stanag4778.parse, 30),
        Decoder("clearance", (clearance,), clearances.parse, 30),
        Decoder("label policy", policies, lambda d: compile_policy(spif_xml.parse(d)), 20),
        Decoder(
            "label, decided on",
            labels,
            lambda d: received.decide_received(demo, parsed, received.read_labels(d), now=NOW),
            20,
        ),
    ]


# --- trust and policy ---------------------------------------------------------------------------


def _policy() -> list[Decoder]:
    world = documents.world()
    nation, device = world.party("NOR"), world.device("nor/defatt-berlin#d1")
    agreement = documents.agreement()
    signed = world.agreement("NOR", "DEU", relay=documents.relay())
    code = Code.generate(random_bytes)
    request = enrolment.seal_request(code, list(device.keys.values()), random_bytes)
    revoked = world.revoke("NOR", device)
    yaml = agreement_yaml.render(agreement).encode()
    payload = canonical.encode(agreement.document())
    ders = (nation.party.roots[0].der, next(iter(device.chains.values()))[0])
    binding = ChannelBinding.of(ChannelId(bytes(16)), agreement, agreement.channels[0].name)
    return [
        Decoder("x509", ders, Certificate.parse, 40),
        Decoder("x509 root", ders, Root.parse, 20),
        Decoder("dsse", (signed, revoked), dsse.Envelope.decode, 30),
        Decoder("canonical json", (payload, signed), canonical.decode, 30),
        Decoder("canonical json, strictly", (payload,), canonical.decode_canonical, 20),
        Decoder("base64", (b"AAECAwQ=",), _text(canonical.from_base64), 20),
        Decoder("agreement", (payload,), Agreement.from_payload, 10),
        Decoder("agreement, yaml", (yaml,), _utf8(agreement_yaml.parse), 1),
        Decoder("party", (nation.document,), Party.parse, 10),
        Decoder("relay identity", (documents.relay().encode(),), RelayIdentity.parse, 15),
        Decoder("revocations", (revoked,), revocation.read, 15),
        Decoder("removal", (statement.encode_removal(revoked),), statement.read_removal, 20),
        Decoder("binding", (binding.encode(),), ChannelBinding.decode, 20),
        Decoder("enrolment code", (str(code).encode(),), _text(Code.parse), 30),
        Decoder("enrolment request", (request.data,), lambda d: enrolment.open_request(code, d), 20),
        Decoder("enrolment request, inside", (_inside(code, request.data),), lambda d: _request(code, d), 15),
        Decoder("instant", (b"2026-11-22T10:00:00Z",), _text(parse_instant), 20),
        Decoder("duration", (b"12h",), _text(parse_duration), 20),
        Decoder("device id", (b"nor/defatt-berlin#d1",), _text(DeviceId.parse), 20),
    ]  # fmt: skip


def _inside(code: Code, data: bytes) -> bytes:
    return enrolment._open(code, enrolment._REQUEST, b"", data)


def _request(code: Code, payload: bytes) -> object:
    """Open a request that somebody who has the code made of other things."""
    return enrolment.open_request(
        code, enrolment._seal(code, enrolment._REQUEST, b"", payload, random_bytes)
    )


# --- the transparency log -------------------------------------------------------------------------


def _tlog() -> list[Decoder]:
    log = Log()
    log.append(*(b"entry %d" % n for n in range(5)))
    cosigned, leaf = log.cosigned("nor", "deu"), merkle.hash_leaf(b"entry 2")
    tree = TileTree(5, log.tiles.__getitem__)
    proof = TlogProof(2, tuple(tree.prove_inclusion(2)), cosigned.encode(), b"extra")
    request = AddCheckpoint(3, tuple(tree.prove_consistency(3)), log.signed())
    answer = witness.encode_signatures(cosigned.signatures[1:2])
    sealed = [
        entries.seal(EntryType.ADMIN, 1, {"act": "started"}, bytes),
        entries.seal(EntryType.DELIVERED, 1, {"last": 7}, bytes, channel=bytes(16)),
    ]
    shown = [sealed[1][1].disclose(EntryType.DELIVERED, names) for names in (None, ["last"])]
    witnesses = [key for key, _ in log.witnesses.values()]

    def verify(data: bytes) -> object:
        return log.policy.verify(data, required=["nor"])

    def judge(data: bytes) -> object:
        return witness.judge(AddCheckpoint.decode(data), [log.key], log.checkpoint(3))

    bundle = Tile(None, 0, 5)
    return [
        Decoder("log checkpoint", (cosigned.encode(),), verify, 20),
        Decoder("log proof", (proof.encode(),), lambda d: TlogProof.decode(d).verify(leaf, log.policy), 20),
        Decoder("log witness request", (request.encode(),), judge, 20),
        Decoder("log witness answer", (answer,), lambda d: witness.accept(log.signed(), d, witnesses), 20),
        Decoder("log witness size", (b"5\n",), witness.decode_size, 5),
        Decoder("log policy", (log.policy.encode(),), Policy.parse, 20),
        Decoder("log verifier key", tuple(str(k).encode() for k in witnesses), _utf8(VerifierKey.parse), 10),
        Decoder("log entry", tuple(e.encode() for e, _ in sealed), Entry.decode, 30),
        Decoder("log sealed fields", (sealed[1][1].encode(),), lambda d: Sealed.decode(EntryType.DELIVERED, d), 20),
        Decoder("log disclosure", tuple(s.encode() for s in shown), lambda d: sealed[1][0].open(Disclosure.decode(d)), 20),
        Decoder("log entry bundle", (log.tiles[bundle],), lambda d: tiles.decode_entries(bundle, d), 10),
        Decoder("log tile path", (b"tile/entries/x001/234.p/5",), _utf8(Tile.parse), 10),
        Decoder("log state", (sequencer.append(State(), [sealed[0][0]]).state.encode(),), State.decode, 10),
    ]  # fmt: skip


def _audit() -> list[Decoder]:
    log = AuditedLog()
    log.grow(4)
    bundle = log.bundle((2,))
    with zipfile.ZipFile(io.BytesIO(bundle)) as opened:
        manifest, events = opened.read("manifest.json"), opened.read("events.jsonl")
        openings = opened.read("openings.jsonl").splitlines()
    entry = log.made[0]

    def alone(run: Callable[[bytes], object]) -> Callable[[bytes], object]:
        def converted(data: bytes) -> object:
            try:
                return verify_alone.parsed("it", lambda: run(data))
            except verify_alone.InvalidError as error:
                raise BundleInvalidError(error.reason) from error

        return converted

    def shown(data: bytes) -> object:
        return verify_alone.open_entry(data, 0, entry.type.value, entry.fields)

    return [
        Decoder("bundle", (bundle,), lambda d: verify(io.BytesIO(d)), 5),
        Decoder("bundle for verify.py", (bundle,), alone(lambda d: verify_alone.verify(io.BytesIO(d))), 5),
        Decoder("manifest for verify.py", (manifest,), alone(verify_alone.parse_manifest), 10),
        Decoder("entry for verify.py", (log.data[0],), alone(verify_alone.parse_entry), 20),
        Decoder("opening for verify.py", tuple(openings), alone(shown), 20),
        Decoder("note for verify.py", (log.checkpoint(4).encode(),), alone(verify_alone.Note), 10),
        Decoder("policy for verify.py", (log.policy.encode(),), alone(verify_alone.Policy), 5),
        Decoder("bundle manifest", (manifest,), Manifest.decode, 10),
        Decoder("bundle event", tuple(events.splitlines(keepends=True)), Event.decode, 20),
    ]  # fmt: skip


@cache
def decoders() -> tuple[Decoder, ...]:
    """Give all decoders; the seeds are made once."""
    return (*_mls(), *_wire(), *_envelope(), *_labels(), *_policy(), *_tlog(), *_audit())
