"""Bytes of attachments over a network that breaks, from a relay that says when it is enough."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from liaison.model import BlobId, ChannelId
from liaison.wire.problems import RemoteError
from liaison_sdk.environment import Environment
from liaison_sdk.errors import ConnectionLostError

_ATTEMPTS: Final = 4
"""Connections that break in a row, without a byte between them."""
_WAITS: Final = 60
_MOST_WAIT: Final = 300.0
"""So often, and each time so many seconds, does a transfer wait for its turn."""


class Patience:
    """What of a transfer's patience is left.

    Args:
        env: the client's surroundings.
    """

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._broken = 0
        self._waits = 0

    def moved(self) -> None:
        """Begin to count anew: something came through."""
        self._broken = 0

    async def after(self, error: ConnectionLostError | RemoteError) -> None:
        """Wait until the transfer may go on.

        Raises:
            ConnectionLostError, RemoteError: the same, where waiting helps no more.
        """
        options = self._env.options
        if isinstance(error, ConnectionLostError):
            self._broken += 1
            if self._broken == _ATTEMPTS:
                raise error
            await options.sleep(options.backoff_first * 2.0 ** (self._broken - 1))
            return
        self._waits += 1
        if error.remote_code != "rate.attachments" or self._waits > _WAITS:
            raise error
        await options.sleep(min(float(error.problem.retry_after or 1), _MOST_WAIT))


async def received(env: Environment, channel: ChannelId, blob: BlobId) -> AsyncIterator[bytes]:
    """Download an attachment's ciphertext, going on where it was cut off.

    Raises:
        RemoteError, ConnectionLostError: it could not be fetched.
    """
    patience, begin = Patience(env), 0
    while True:
        try:
            async for piece in env.api.get_blob(channel, blob, begin):
                begin += len(piece)
                patience.moved()
                yield piece
        except (ConnectionLostError, RemoteError) as error:
            await patience.after(error)
        else:
            return
