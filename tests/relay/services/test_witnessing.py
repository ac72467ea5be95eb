from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from liaison.crypto.signing import SigningKey
from liaison.errors import LiaisonError
from liaison.relay import asking, witnessing
from liaison.relay.asking import Answer, Asked, Subject, WitnessUnreachableError
from liaison.relay.errors import LogRefusedError
from liaison.relay.witnessing import Cosigning
from liaison.tlog import merkle
from liaison.tlog import witness as tlog_witness
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import ForkError, ShrunkError, WitnessBehindError
from liaison.tlog.note import Note
from liaison.tlog.policy import Policy
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.tlog.witness import SIZE_TYPE, AddCheckpoint
from tests.support import witness
from tests.support.databases import copied
from tests.support.logrig import ORIGIN, SECONDS, LogRig, Policies, new_signer, opened, policy_of
from tests.support.signed_log import SignedLog
from tests.support.witness import RunningWitness


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(asking, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(witnessing, "MOMENT", 0.01)


# --- with witnesses that run ------------------------------------------------------------


@dataclass
class Scene:
    """A log that publishes by itself, and two witnesses."""

    rig: LogRig
    policies: Policies
    one: RunningWitness
    two: RunningWitness
    steps: list[str]

    async def until_cosigned(self, size: int) -> Note:
        """Wait until a quorum has cosigned so many entries, and return the checkpoint."""
        row = await self.rig.until_cosigned(size)
        assert row.cosigned is not None
        return Note.decode(row.cosigned)


@asynccontextmanager
async def scene(
    url: str,
    folder: Path,
    signer: SigningKey,
    one: RunningWitness,
    two: RunningWitness,
    quorum: int,
) -> AsyncIterator[Scene]:
    steps: list[str] = []
    policies = Policies(policy_of([(w.name, w.key.public) for w in (one, two)], quorum))
    urls = {one.name: one.url, two.name: two.url}
    async with opened(url, folder, signer, policies=policies, urls=urls, step=steps.append) as rig:
        running = asyncio.create_task(rig.publisher.run())
        try:
            yield Scene(rig, policies, one, two, steps)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def signer() -> SigningKey:
    return new_signer()


@pytest.fixture
def witnesses(tmp_path: Path, signer: SigningKey) -> tuple[RunningWitness, RunningWitness]:
    key = VerifierKey.of(ORIGIN, SignatureType.ED25519, signer)
    one, two = (witness.new(f"w{n}.example", [key], folder=tmp_path) for n in (1, 2))
    return one, two


async def test_a_checkpoint_counts_when_all_that_are_needed_have_cosigned_it(
    database_url: str,
    tmp_path: Path,
    signer: SigningKey,
    witnesses: tuple[RunningWitness, RunningWitness],
) -> None:
    one, two = witnesses
    async with (
        witness.running(one),
        witness.running(two),
        scene(database_url, tmp_path / "log", signer, one, two, 2) as found,
    ):
        for size in (3, 4, 300):
            await found.rig.act(size - (await found.rig.row()).size if size > 3 else 3)
            note = await found.until_cosigned(size)
            checkpoint = Checkpoint.parse(note.text)
            signed = note.verify([one.key.public, two.key.public])
            tree = found.rig.store.tree(checkpoint.size)

            assert {each.key.name for each in signed} == {one.name, two.name}
            assert checkpoint.root == await asyncio.to_thread(tree.root)
        assert (one.refused, two.refused) == ([], [])


async def test_nothing_counts_while_a_needed_witness_is_away_and_it_does_when_it_is_back(
    database_url: str,
    tmp_path: Path,
    signer: SigningKey,
    witnesses: tuple[RunningWitness, RunningWitness],
) -> None:
    one, two = witnesses
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(witness.running(one))
        first = await stack.enter_async_context(AsyncExitStack())
        await first.enter_async_context(witness.running(two))
        found = await stack.enter_async_context(
            scene(database_url, tmp_path / "log", signer, one, two, 2)
        )
        await found.rig.act(3)
        await found.until_cosigned(3)
        await first.aclose()

        await found.rig.act(4)
        await found.rig.publisher.publish()
        assert (await found.rig.shown()).size == 7
        assert (await found.rig.row()).cosigned_size == 3

        await stack.enter_async_context(witness.running(two))
        await found.until_cosigned(7)


async def test_nobody_waits_for_a_witness_that_is_not_needed(
    database_url: str,
    tmp_path: Path,
    signer: SigningKey,
    witnesses: tuple[RunningWitness, RunningWitness],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Whoever did wait for it would not be done when the test gives up.
    monkeypatch.setattr(asking, "PATIENCE", 100 * SECONDS)
    one, two = witnesses

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(listen, "127.0.0.1", 0)
    two.url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    async with (
        witness.running(one),
        scene(database_url, tmp_path / "log", signer, one, two, 1) as found,
    ):
        for size in range(1, 6):
            await found.rig.act()
            await found.until_cosigned(size)
    silent.close()


async def test_after_a_start_nothing_is_signed_before_witnesses_have_said_what_they_saw(
    database_url: str,
    tmp_path: Path,
    signer: SigningKey,
    witnesses: tuple[RunningWitness, RunningWitness],
) -> None:
    one, two = witnesses
    async with witness.running(one), witness.running(two):
        pass
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(witness.running(one))
        two.url = f"http://127.0.0.1:{two.port}"
        found = await stack.enter_async_context(
            scene(database_url, tmp_path / "log", signer, one, two, 2)
        )
        await found.rig.act(3)
        await found.rig.publisher.publish()
        assert "signed" not in found.steps

        await stack.enter_async_context(witness.running(two))
        await found.until_cosigned(3)


async def test_where_everything_was_restored_the_witness_still_knows_more(
    database_url: str,
    tmp_path: Path,
    signer: SigningKey,
    witnesses: tuple[RunningWitness, RunningWitness],
) -> None:
    one, two = witnesses
    folder, backup = tmp_path / "log", tmp_path / "backup"
    async with witness.running(one), witness.running(two):
        async with scene(database_url, folder, signer, one, two, 2) as found:
            await found.rig.act(3)
            await found.until_cosigned(3)
        old = await asyncio.to_thread(copied, database_url, tmp_path)
        await asyncio.to_thread(shutil.copytree, folder, backup)
        async with scene(database_url, folder, signer, one, two, 2) as found:
            await found.rig.act(3)
            await found.until_cosigned(6)

        async with scene(old, backup, signer, one, two, 2) as found:
            # Witnesses are asked from the start on, and may have answered already.
            with contextlib.suppress(LogRefusedError):
                await found.rig.act(1, "other")
            await found.rig.until_refused()
            with pytest.raises(LogRefusedError, match=r"has [34] entries and a witness has seen 6"):
                await found.rig.act()

            assert "signed" not in found.steps
            assert (await found.rig.shown()).size == 3


async def test_a_copy_that_went_on_while_its_witnesses_were_away_is_found_when_they_are_back(
    database_url: str,
    tmp_path: Path,
    signer: SigningKey,
    witnesses: tuple[RunningWitness, RunningWitness],
) -> None:
    one, two = witnesses
    folder, backup = tmp_path / "log", tmp_path / "backup"
    async with witness.running(one), witness.running(two):
        async with scene(database_url, folder, signer, one, two, 2) as found:
            await found.rig.act(3)
            await found.until_cosigned(3)
        old = await asyncio.to_thread(copied, database_url, tmp_path)
        await asyncio.to_thread(shutil.copytree, folder, backup)
        async with scene(database_url, folder, signer, one, two, 2) as found:
            await found.rig.act(3)
            await found.until_cosigned(6)
    one.url, two.url = (f"http://127.0.0.1:{each.port}" for each in (one, two))

    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(scene(old, backup, signer, one, two, 2))
        # More than they have seen: the number alone tells nothing.
        await found.rig.act(300, "other")
        await found.rig.publisher.publish()
        assert (await found.rig.row()).size > 6
        for each in (one, two):
            await stack.enter_async_context(witness.running(each))
        await found.rig.until_refused()

        with pytest.raises(LogRefusedError, match="a witness has seen other first 6 entries"):
            await found.rig.act()
        assert "signed" not in found.steps


async def test_a_log_whose_files_are_lost_goes_on_when_the_witnesses_show_what_they_saw(
    database_url: str,
    tmp_path: Path,
    signer: SigningKey,
    witnesses: tuple[RunningWitness, RunningWitness],
) -> None:
    one, two = witnesses
    folder = tmp_path / "log"
    async with witness.running(one), witness.running(two):
        async with scene(database_url, folder, signer, one, two, 2) as found:
            await found.rig.act(3)
            await found.until_cosigned(3)
        await asyncio.to_thread(shutil.rmtree, folder)
        async with scene(database_url, folder, signer, one, two, 2) as found:
            await found.rig.act(2)
            note = await found.until_cosigned(5)
            tree = found.rig.store.tree(5)

            assert Checkpoint.parse(note.text).root == await asyncio.to_thread(tree.root)
            assert found.rig.recorder.refused == {}


# --- one log's rounds, with witnesses that say what a test wants ---------------------------


Reply = Callable[[AddCheckpoint], Awaitable[Answer]]
NOTHING = Answer(404, "text/plain", b"")


@dataclass
class Honest:
    """A witness in memory."""

    key: VerifierKey
    signer: SigningKey
    log_key: VerifierKey
    latest: Checkpoint | None = None
    note: Note | None = None

    async def __call__(self, request: AddCheckpoint) -> Answer:
        try:
            self.latest = tlog_witness.judge(request, [self.log_key], self.latest)
            self.note = request.note
        except WitnessBehindError as error:
            return Answer(409, SIZE_TYPE, tlog_witness.encode_size(error.size))
        except LiaisonError as error:
            return Answer(tlog_witness.STATUS[type(error)], "text/plain", b"")
        body = tlog_witness.cosign(request, [(self.key, self.signer)], 1_790_000_000)
        return Answer(200, "text/plain", body)


@dataclass
class Round:
    """A log in memory, its rounds, and what came of them."""

    log: SignedLog = field(default_factory=lambda: SignedLog(ORIGIN))
    replies: dict[str, Reply] = field(default_factory=dict)
    shown: dict[str, Note] = field(default_factory=dict)
    kept: list[Note] = field(default_factory=list)
    refused: list[tuple[LiaisonError, Mapping[str, bytes]]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)
    posted: asyncio.Event = field(default_factory=asyncio.Event)
    policy: Policy | None = None

    def witness(self, name: str) -> Honest:
        signer = new_signer()
        made = Honest(
            VerifierKey.of(name, SignatureType.COSIGNATURE_ED25519, signer), signer, self.log.key
        )
        self.replies[name] = made
        return made

    def cosigning(self, threshold: int, known: int = 0) -> Cosigning:
        keys = [(name, w.key) for name, w in self.replies.items() if isinstance(w, Honest)]
        self.policy = policy_of(keys, threshold)
        subject = Subject(
            self.log.key, self._post, self._prove, self._size, self._root, self._refuse
        )
        urls = {name: f"https://{name}" for name, _ in keys}
        return Cosigning(subject, self._policy, urls, self._keep, known)

    async def _policy(self) -> Policy | None:
        return self.policy

    async def _post(self, url: str, body: bytes) -> Answer:
        name, what = url.removeprefix("https://").split("/")
        if what == tlog_witness.SHOW:
            return self._show(name, Note.decode(body))
        self.asked.append(name)
        self.posted.set()
        return await self.replies[name](AddCheckpoint.decode(body))

    def _show(self, name: str, asked: Note) -> Answer:
        tlog_witness.signed_by_log(asked, [self.log.key])
        self.looked.append(name)
        witness = self.replies[name]
        note = self.shown.get(name, witness.note if isinstance(witness, Honest) else None)
        return NOTHING if note is None else Answer(200, "text/plain", note.encode())

    async def _root(self, size: int) -> bytes | None:
        hashes = merkle.hash_leaves(self.log.entries[:size])
        return merkle.root_of(hashes) if len(hashes) == size else None

    async def _prove(self, old: int, new: int) -> tuple[bytes, ...]:
        hashes = merkle.hash_leaves(self.log.entries[:new])

        def read(node: merkle.Node) -> bytes:
            width = 1 << node.level
            return merkle.root_of(hashes[node.index * width : (node.index + 1) * width])

        return tuple(merkle.prove_consistency(old, new, read))

    async def _size(self) -> int:
        return len(self.log.entries)

    async def _keep(self, _checkpoint: Checkpoint, note: Note) -> None:
        self.kept.append(note)
        self.news.set()

    async def _refuse(self, error: LiaisonError, evidence: Mapping[str, bytes]) -> None:
        self.refused.append((error, evidence))
        self.news.set()

    async def until_problem(self, cosigning: Cosigning, name: str, code: str) -> None:
        """Wait until a witness has this problem."""
        while cosigning.witnesses.get(name, Asked()).problem != code:
            # It may be the last time that it is asked.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await self.until_asked()

    async def until_looked(self, times: int) -> None:
        """Wait until what witnesses show was asked for so many times more."""
        times += len(self.looked)
        while len(self.looked) < times:
            await self.until_asked()

    async def until_asked(self) -> None:
        """Wait until some witness is asked."""
        self.posted.clear()
        await self.posted.wait()

    @asynccontextmanager
    async def running(self, cosigning: Cosigning) -> AsyncIterator[None]:
        task = asyncio.create_task(cosigning.run())
        try:
            async with asyncio.timeout(SECONDS):
                yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until_kept(self, size: int, signatures: int) -> Note:
        while True:
            for note in self.kept:
                enough = len(note.signatures) == signatures + 1
                if enough and Checkpoint.parse(note.text).size == size:
                    return note
            self.news.clear()
            await self.news.wait()


async def fail(_request: AddCheckpoint) -> Answer:
    raise WitnessUnreachableError


async def test_a_quorum_is_kept_at_once_and_again_when_the_others_have_cosigned() -> None:
    found = Round()
    found.witness("one")
    two = found.witness("two")
    free = asyncio.Event()

    async def late(request: AddCheckpoint) -> Answer:
        await free.wait()
        return await two(request)

    cosigning = found.cosigning(1)
    found.replies["two"] = late
    found.log.grow(5)
    async with found.running(cosigning):
        cosigning.offer(found.log.note())
        await found.until_kept(5, 1)
        free.set()
        # Late for the first round, it takes part in the next.
        found.log.grow(1)
        cosigning.offer(found.log.note())
        await found.until_kept(6, 2)


async def test_the_newest_checkpoint_is_asked_about_and_none_in_between() -> None:
    found = Round()
    found.witness("one")
    cosigning = found.cosigning(1)
    found.log.grow(1)
    cosigning.offer(found.log.note())
    for _ in range(10):
        found.log.grow(1)
        cosigning.offer(found.log.note())
    async with found.running(cosigning):
        await found.until_kept(11, 1)

    assert found.asked == ["one"]


async def test_a_log_without_news_is_cosigned_anew_from_time_to_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(witnessing, "FRESH", 0.01)
    found = Round()
    found.witness("one")
    cosigning = found.cosigning(1)
    found.log.grow(3)
    async with found.running(cosigning):
        cosigning.offer(found.log.note())
        while len(found.kept) < 3:
            found.news.clear()
            await found.news.wait()

    assert {Checkpoint.parse(note.text).size for note in found.kept} == {3}
    assert found.refused == []


async def test_a_witness_that_knows_another_size_gets_the_proof_from_there() -> None:
    found = Round()
    one = found.witness("one")
    found.log.grow(3)
    await one(AddCheckpoint(0, (), found.log.note()))
    found.log.grow(4)
    for known in (0, 5, 7):
        cosigning = found.cosigning(1, known)
        one.latest = Checkpoint.parse(found.log.note(3).text)
        found.kept.clear()
        async with found.running(cosigning):
            cosigning.offer(found.log.note())
            await found.until_kept(7, 1)


# --- witnesses that say that they have seen more, or other -----------------------------------


async def test_a_witness_that_shows_more_than_there_is_has_the_log_refused() -> None:
    found = Round()
    one = found.witness("one")
    found.log.grow(9)
    await one(AddCheckpoint(0, (), found.log.note()))
    signed = found.log.note()
    found.log.entries = found.log.entries[:5]
    cosigning = found.cosigning(1)
    async with found.running(cosigning):
        cosigning.offer(found.log.note())
        await found.news.wait()

    ((error, evidence),) = found.refused
    assert isinstance(error, ShrunkError)
    assert AddCheckpoint.decode(evidence["request"]).checkpoint.size == 5
    assert evidence["answer"] == b"9\n"
    assert Note.decode(evidence["shown"]) == signed
    assert not cosigning.confirmed.is_set()


@pytest.mark.parametrize("known", [0, 3])
@pytest.mark.parametrize("grown", [3, 8])
async def test_a_witness_that_shows_another_history_has_the_log_refused(
    known: int, grown: int
) -> None:
    found = Round()
    one = found.witness("one")
    found.log.grow(3)
    asked = found.log.note()
    await one(AddCheckpoint(0, (), found.log.forked([b"other"] * 3).note()))
    # As after a start without witnesses: what was recorded since hides nothing.
    found.log.grow(grown - 3)
    cosigning = found.cosigning(1, known=known)
    async with found.running(cosigning):
        cosigning.offer(asked)
        await found.news.wait()

    ((error, _),) = found.refused
    assert isinstance(error, ForkError)
    assert found.kept == []


async def test_a_database_that_went_on_from_an_old_copy_is_another_history() -> None:
    found = Round()
    one = found.witness("one")
    found.log.grow(3)
    asked = found.log.note()
    true = found.log.forked(found.log.entries)
    true.grow(3, "true")
    await one(AddCheckpoint(0, (), true.note()))
    # While the witness was away it grew beyond what was signed before.
    found.log.grow(6, "other")
    cosigning = found.cosigning(1)
    async with found.running(cosigning):
        cosigning.offer(asked)
        await found.news.wait()

    ((error, _),) = found.refused
    assert isinstance(error, ForkError)


async def test_proof_counts_although_a_quorum_has_confirmed_the_log() -> None:
    found = Round()
    found.witness("one")
    two = found.witness("two")
    cosigning, free = found.cosigning(1), asyncio.Event()
    other = found.log.forked([b"other"] * 9)
    await two(AddCheckpoint(0, (), other.note()))

    async def late(request: AddCheckpoint) -> Answer:
        await free.wait()
        return await two(request)

    found.replies["two"], found.shown["two"] = late, other.note()
    found.log.grow(3)
    async with found.running(cosigning):
        cosigning.offer(found.log.note())
        await found.until_kept(3, 1)
        free.set()
        while not found.refused:
            found.news.clear()
            await found.news.wait()

    ((error, _),) = found.refused
    assert isinstance(error, ShrunkError)


LIES = {
    "more": Answer(409, SIZE_TYPE, b"999\n"),
    "other": Answer(422, "text/plain", b""),
    "other root": Answer(409, SIZE_TYPE, b"3\n"),
    "other root, no size": Answer(409, "text/plain", b""),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_a_word_without_proof_refuses_nothing_and_the_log_waits_for_the_witness(
    lie: Answer,
) -> None:
    found = Round()
    one = found.witness("one")
    found.log.grow(3)
    cosigning = found.cosigning(1, known=3)
    stranger = SignedLog(ORIGIN, [b"other"] * 9)
    another = SignedLog("relay.example/log/another", [b"other"] * 9, found.log.signer)
    words = (found.log.note(2), stranger.note(), another.note(), None)

    async def lies(_request: AddCheckpoint) -> Answer:
        return lie

    async with found.running(cosigning):
        cosigning.offer(found.log.note())
        for shown in words:
            found.replies["one"], found.shown = lies, {} if shown is None else {"one": shown}
            # When it is asked for again, what it has shown was looked at.
            await found.until_looked(2)
        assert cosigning.witnesses["one"].problem == "log.witness_unproven"
        assert not cosigning.confirmed.is_set()

        found.replies["one"] = one
        await found.until_kept(3, 1)

    assert found.refused == []
    assert cosigning.confirmed.is_set()
    assert cosigning.witnesses["one"].problem == ""


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_a_witness_that_no_quorum_needs_delays_nothing_by_its_word(lie: Answer) -> None:
    found = Round()
    for name in ("one", "two", "three"):
        found.witness(name)
    cosigning, told = found.cosigning(2, known=3), asyncio.Event()
    honest = found.replies["one"]

    async def lies(_request: AddCheckpoint) -> Answer:
        told.set()
        return lie

    async def later(request: AddCheckpoint) -> Answer:
        await told.wait()
        return await honest(request)

    found.replies |= {"three": lies, "one": later}
    found.log.grow(3)
    async with found.running(cosigning):
        cosigning.offer(found.log.note())
        await found.until_kept(3, 2)

    assert found.refused == []
    assert cosigning.witnesses["three"].problem


async def test_a_newer_checkpoint_of_the_same_database_confirms_the_log_if_it_is_shown() -> None:
    found = Round()
    one = found.witness("one")
    found.log.grow(3)
    asked = found.log.note()
    # Another node has published more.
    found.log.grow(4)
    await one(AddCheckpoint(0, (), found.log.note()))
    cosigning = found.cosigning(1)
    async with found.running(cosigning):
        cosigning.offer(asked)
        await cosigning.confirmed.wait()

    assert found.refused == []


async def test_nothing_is_to_be_shown_where_another_node_is_only_quicker() -> None:
    found = Round()
    one = found.witness("one")
    found.log.grow(3)
    cosigning = found.cosigning(1)
    async with found.running(cosigning):
        cosigning.offer(found.log.note())
        await found.until_kept(3, 1)
        found.log.grow(4)
        await one(found.log.request(3))
        cosigning.offer(found.log.note(5))
        await found.until_problem(cosigning, "one", "log.witness_refused")
        found.log.grow(1)
        cosigning.offer(found.log.note())
        await found.until_kept(8, 1)

    assert found.refused == []
    assert found.looked == []


async def test_a_witness_that_shows_nothing_confirms_what_was_signed_by_the_other_node() -> None:
    found = Round()
    one = found.witness("one")
    found.log.grow(3)
    asked = found.log.note()
    found.log.grow(4)
    await one(AddCheckpoint(0, (), found.log.note()))
    one.note = None
    cosigning = found.cosigning(1)
    async with found.running(cosigning):
        cosigning.offer(asked)
        await found.until_problem(cosigning, "one", "log.witness_refused")
        assert not cosigning.confirmed.is_set()

        cosigning.offer(found.log.note())
        await found.until_kept(7, 1)

    assert found.refused == []


async def test_answers_that_are_none_are_asked_for_again() -> None:
    found = Round()
    one, other = found.witness("one"), found.witness("other")
    cosigning = found.cosigning(1)
    cosigning.urls = {"one": "https://one"}

    async def by_another(request: AddCheckpoint) -> Answer:
        return await other(request)

    async def nonsense(_request: AddCheckpoint) -> Answer:
        return Answer(200, "text/plain", b"cosigned, believe me\n")

    async def bug(_request: AddCheckpoint) -> Answer:
        raise ZeroDivisionError

    replies: list[Reply] = [fail, by_another, nonsense, bug]

    async def reply(request: AddCheckpoint) -> Answer:
        return await (replies.pop(0) if replies else one)(request)

    found.replies["one"] = reply
    found.log.grow(3)
    async with found.running(cosigning):
        cosigning.offer(found.log.note())
        note = await found.until_kept(3, 1)

    assert {each.key for each in note.verify([one.key, other.key])} == {one.key}
    assert found.asked == ["one"] * 5


async def test_a_new_version_of_the_agreement_may_name_other_witnesses() -> None:
    found = Round()
    found.witness("one")
    cosigning = found.cosigning(1)

    async def meanwhile(_request: AddCheckpoint) -> Answer:
        found.policy = Policy()
        raise WitnessUnreachableError

    found.replies["one"] = meanwhile
    found.log.grow(3)
    async with found.running(cosigning):
        cosigning.offer(found.log.note())
        await found.until_kept(3, 0)
