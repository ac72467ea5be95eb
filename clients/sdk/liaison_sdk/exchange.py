"""One request to the relay and its answer: JSON out, a checked body or an error back."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from liaison.wire import v1
from liaison.wire.problems import Problem, RemoteError
from liaison_sdk.errors import RelayBrokenError

if TYPE_CHECKING:
    from liaison_sdk.transport import Answer, Transport

_B = TypeVar("_B", bound=BaseModel)


async def call(
    transport: Transport, kind: type[_B], method: str, path: str, body: v1.Body | None = None
) -> _B:
    """Ask without a session; return the answer's body.

    Raises:
        RemoteError: the relay refused.
        RelayBrokenError: the answer is not of this kind.
        ConnectionLostError: no answer came.
    """
    return parse(kind, await send(transport, method, path, body))


async def send(transport: Transport, method: str, path: str, body: v1.Body | None) -> bytes:
    """Ask without a session; return the answer's bytes. Raises what `call` does."""
    headers, data = encoded(body)
    return await checked(await transport.request(method, path, headers=headers, body=data))


def encoded(body: v1.Body | None) -> tuple[dict[str, str], bytes | None]:
    """Return headers and bytes of a request's body."""
    if body is None:
        return {}, None
    return {"Content-Type": "application/json"}, body.model_dump_json().encode()


def parse(kind: type[_B], data: bytes) -> _B:
    """Read an answer's body.

    Raises:
        RelayBrokenError: it is not of this kind.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError as e:
        raise RelayBrokenError(f"the relay's answer is not a {kind.__name__}") from e


async def checked(answer: Answer) -> bytes:
    """Return the whole body of an answer, and close it.

    Raises:
        RemoteError: the relay refused.
    """
    try:
        data = await answer.read()
    finally:
        answer.close()
    if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        raise problem(answer.status, data)
    return data


def problem(status: int, data: bytes) -> RemoteError:
    """Return the error that a refusal's body describes."""
    return RemoteError(Problem.decode(data, status))
