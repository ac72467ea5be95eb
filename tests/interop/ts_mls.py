"""ts-mls as a member: a Node program behind JSON lines, and its installation.

Reached: all that the tests ask for in suites 1 to 7, and external commits,
resync, PSKs, group context extensions, branching, reinitialisation, proposals
from outside, handshakes as PrivateMessage, authenticated data, GREASE. Not
reached: proposing an update (it keeps no private key for one).

The packages are installed from the lock in `node/`, checked by its hashes, into
the ignored folder `.interop_cache`.
"""

from __future__ import annotations

import base64
import fcntl
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.interop.member import Committed

HERE = Path(__file__).resolve().parent / "node"
INSTALLED = HERE.parents[2] / ".interop_cache" / "node"
FILES = ("package.json", "package-lock.json", ".npmrc")

Answer = dict[str, Any]


class InstallError(Exception):
    """The packages of ts-mls can't be installed."""


class ForeignError(Exception):
    """ts-mls refused to do something."""


def text(data: bytes) -> str:
    """Bytes as the program takes them."""
    return base64.b64encode(data).decode()


def optional_text(data: bytes | None) -> str | None:
    """Bytes or nothing as the program takes them."""
    return None if data is None else text(data)


def plain(encoded: str) -> bytes:
    """Bytes as the program gives them."""
    return base64.b64decode(encoded, validate=True)


def _is_current() -> bool:
    lock = "package-lock.json"
    return (INSTALLED / "node_modules" / ".package-lock.json").exists() and (
        (INSTALLED / lock).read_bytes() == (HERE / lock).read_bytes()
    )


def install() -> Path:
    """Install what the lock names, unless that was done before; give the program to run.

    Raises:
        InstallError: npm is missing, or could not get the packages.
    """
    INSTALLED.mkdir(parents=True, exist_ok=True)
    # Several test processes may come here at once.
    with (INSTALLED.parent / "lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not _is_current():
            _run_npm()
        return Path(shutil.copy(HERE / "driver.mjs", INSTALLED))


def _run_npm() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise InstallError("npm is not here")
    shutil.rmtree(INSTALLED / "node_modules", ignore_errors=True)
    for name in FILES:
        shutil.copy(HERE / name, INSTALLED)
    try:
        done = subprocess.run(
            [npm, "ci", "--loglevel=error", "--prefer-offline", "--fetch-retry-mintimeout=2000"],
            cwd=INSTALLED,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    except subprocess.TimeoutExpired as error:
        raise InstallError("npm did not answer in five minutes") from error
    if done.returncode:
        raise InstallError(f"npm could not install ts-mls: {done.stderr.strip()[-400:]}")


class Node:
    """The running program; it holds any number of members."""

    def __init__(self, program: Path) -> None:
        node = shutil.which("node")
        assert node is not None
        self._process = subprocess.Popen(
            [node, str(program)],
            cwd=program.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, op: str, **arguments: object) -> Answer:
        """Make the program do one thing.

        Raises:
            ForeignError: it could not; the text says why.
        """
        pipe, answers = self._process.stdin, self._process.stdout
        assert pipe is not None
        assert answers is not None
        pipe.write(json.dumps({"op": op, **arguments}) + "\n")
        pipe.flush()
        answer: Answer = json.loads(answers.readline())
        if "error" in answer:
            raise ForeignError(answer["error"])
        done: Answer = answer["ok"]
        return done

    def close(self) -> None:
        """End the program, by ending its input."""
        self._process.communicate(timeout=30)


class TsMLS:
    """A client of ts-mls.

    Args:
        extensions: private extension types that it claims to support.
        compressed_key: give its ECDSA key the form that ts-mls makes by itself.
        private: send commits and proposals as PrivateMessage.
    """

    def __init__(
        self,
        node: Node,
        suite: int,
        name: bytes,
        *,
        extensions: tuple[int, ...] = (),
        compressed_key: bool = False,
        private: bool = False,
        tree_in_welcome: bool = False,
    ) -> None:
        self.name = name
        self._node = node
        self._wire = "private" if private else "public"
        self._tree_in_welcome = tree_in_welcome
        made = node.ask(
            "member",
            suite=suite,
            identity=text(name),
            extensions=extensions,
            compressed_key=compressed_key,
        )
        self._member: int = made["member"]
        self.signature_key = plain(made["signature_key"])

    def ask(self, op: str, **arguments: object) -> Answer:
        """Make the program do one thing with this member."""
        return self._node.ask(op, member=self._member, **arguments)

    def state(self) -> Answer:
        """Epoch, authenticator, leaf index and whether the group is active."""
        return self.ask("state")

    def key_package(self, suite: int | None = None) -> bytes:
        made = self.ask("key_package", **({} if suite is None else {"suite": suite}))
        return plain(made["key_package"])

    def create(self, group_id: bytes, extensions: dict[int, bytes] | None = None) -> None:
        listed = [{"type": kind, "data": text(data)} for kind, data in (extensions or {}).items()]
        self.ask("create", group_id=text(group_id), extensions=listed)

    def join(self, welcome: bytes, ratchet_tree: bytes | None = None) -> None:
        self.ask("join", welcome=text(welcome), tree=optional_text(ratchet_tree))

    def _sent(self, made: Answer) -> Committed:
        return Committed(
            plain(made["commit"]),
            plain(made["welcome"]) if made.get("welcome") else None,
            None if self._tree_in_welcome else plain(made["tree"]),
        )

    def commit(self, *proposals: Answer, authenticated_data: bytes = b"") -> Committed:
        made = self.ask(
            "commit",
            proposals=proposals,
            wire=self._wire,
            tree_in_welcome=self._tree_in_welcome,
            authenticated_data=text(authenticated_data),
        )
        return self._sent(made)

    def add(self, *key_packages: bytes) -> Committed:
        return self.commit(*({"kind": "add", "key_package": text(kp)} for kp in key_packages))

    def remove(self, name: bytes) -> Committed:
        return self.commit({"kind": "remove", "identity": text(name)})

    def propose(self, kind: str, **fields: object) -> bytes:
        """Propose something by reference."""
        proposal = {"kind": kind, **fields}
        return plain(self.ask("propose", proposal=proposal, wire=self._wire)["message"])

    def propose_add(self, key_package: bytes) -> bytes:
        return self.propose("add", key_package=text(key_package))

    def propose_remove(self, name: bytes) -> bytes:
        return self.propose("remove", identity=text(name))

    def receive(self, message: bytes) -> bytes | None:
        done = self.ask("receive", message=text(message))
        return plain(done["plaintext"]) if "plaintext" in done else None

    def read(self, message: bytes) -> tuple[bytes, bytes]:
        """Decrypt an application message; give plaintext and authenticated data."""
        done = self.ask("receive", message=text(message))
        return plain(done["plaintext"]), plain(done["authenticated_data"])

    def encrypt(self, plaintext: bytes, authenticated_data: bytes = b"") -> bytes:
        made = self.ask(
            "encrypt", plaintext=text(plaintext), authenticated_data=text(authenticated_data)
        )
        return plain(made["message"])

    def export(self, label: str, context: bytes, length: int) -> bytes:
        made = self.ask("export", label=label, context=text(context), length=length)
        return plain(made["secret"])

    @property
    def authenticator(self) -> bytes:
        """The epoch authenticator."""
        return plain(self.state()["authenticator"])

    def group_info(self, *, with_tree: bool = False) -> bytes:
        """Make a GroupInfo for joining from outside."""
        return plain(self.ask("group_info", with_tree=with_tree)["group_info"])

    def ratchet_tree(self) -> bytes:
        """The tree of the present epoch."""
        return plain(self.ask("group_info", with_tree=False)["tree"])

    def join_externally(
        self, group_info: bytes, ratchet_tree: bytes | None = None, *, resync: bool = False
    ) -> bytes:
        """Enter by an external commit, in place of the own old leaf if `resync`; give it."""
        made = self.ask(
            "join_externally",
            group_info=text(group_info),
            tree=optional_text(ratchet_tree),
            resync=resync,
        )
        return plain(made["commit"])
