"""The HTTP API as an OpenAPI document, made of what the relay itself goes by.

`python -m liaison.relay.openapi` prints it; `docs/protocol/openapi.yaml` is that
output, and a test compares the two. Schemas are those of the bodies' models, so
the document can't promise what the relay does not check.

Source: OpenAPI Specification 3.1.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

import yaml
from aiohttp import web
from pydantic.json_schema import models_json_schema

from liaison.errors import LiaisonError
from liaison.relay.operations import OPERATIONS, STREAM, Operation, Raw, Who
from liaison.relay.routes import TABLES
from liaison.relay.services.pages import MOST
from liaison.relay.settings import Settings
from liaison.wire import v1
from liaison.wire.problems import CONTENT_TYPE, URN, Problem

VERSION: Final = "1"
EVERY: Final = (
    "malformed",
    "malformed.host",
    "malformed.encoding",
    "request.origin",
    "rate.exceeded",
    "internal",
    "unavailable",
)
"""Refusals that every request may meet."""
WITH_SESSION: Final = (
    "session.unauthenticated",
    "session.expired",
    "session.wrong_principal",
    "device.revoked",
    "device.unknown",
    "party.unknown",
    "rate.connections",
)
WITH_BODY: Final = ("oversize", "rate.bodies")

_FAMILIES: Final = {
    400: "Malformed: the same request never succeeds.",
    401: "No session, or it has ended.",
    403: "Policy, rights or revocation forbid it.",
    404: "No such thing, or none that the caller may know of.",
    409: "The state is another than the request was made for.",
    413: "Larger than allowed.",
    422: "A signature, certificate or proof does not hold.",
    429: "A rate or a limit is exceeded.",
    500: "The relay failed; its log says where.",
    503: "Nothing was decided; the same request may succeed later.",
}
BASE64URL: Final = "base64url"
"""The format of bytes: RFC 4648 §5 without padding, in the one canonical spelling."""
_DIGEST: Final = {"type": "string", "pattern": "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$"}
"""32 bytes of it: the last digit carries no bits that decode to nothing."""
_DIGEST_HEADER: Final = {"Liaison-Digest": {"schema": {"$ref": "#/components/schemas/Digest"}}}
_HEX: Final = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_NUMBER: Final = {"type": "integer", "minimum": 0, "maximum": (1 << 64) - 1}
_PARAMETERS: Final[dict[str, Any]] = {
    "lookup": _HEX,
    "channel": _HEX,
    "blob": _HEX,
    "message": _HEX,
    "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "epoch": _NUMBER,
    "generation": _NUMBER,
    "version": _NUMBER,
    "id": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"},
    "agreement": {"type": "string", "minLength": 1, "maxLength": 200},
    "code": {"type": "string", "pattern": "^[A-Z0-9][A-Z0-9-]{1,63}$"},
    "after": {"type": "string", "minLength": 1, "maxLength": 256},
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST},
    "tile": {"type": "string", "pattern": "^[0-9a-z][0-9a-z/.]{0,99}$"},
}


def document() -> dict[str, Any]:
    """Return the whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for method, path, summary in routes():
        operation = OPERATIONS[method, path]
        described = _operation(method, path, summary, operation)
        paths.setdefault(path, {})[method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Liaison relay",
            "version": VERSION,
            "summary": "Everything that clients ask a relay, but for the frames of its stream.",
            "description": (
                "docs/protocol/wire.md tells the story: how a session is opened, what the"
                " stream's frames are, what codes mean. Bytes are base64url without padding."
                " A GET takes HEAD too, but for attachments and the stream."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "https://relay.example:8443"}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "session": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of `POST /v1/session`.",
                }
            },
            "responses": _refused(),
            "schemas": _schemas(),
        },
    }


def routes() -> Iterator[tuple[str, str, str]]:
    """Give method, path and summary of each route."""
    for table in TABLES:
        for route in table:
            if isinstance(route, web.RouteDef):
                summary = (inspect.getdoc(route.handler) or "").partition("\n")[0]
                yield route.method, re.sub(r":[^}]+", "", route.path), summary


def text() -> str:
    """Return the document as YAML."""
    head = (
        "# Made by `python -m liaison.relay.openapi`; change liaison/relay/operations.py instead.\n"
    )
    return head + yaml.dump(document(), Dumper=_Plain, sort_keys=False, width=110)


class _Plain(yaml.SafeDumper):
    """Writes everything out: an anchor saves lines and costs the reader."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


# --- operations -------------------------------------------------------------------------


def _operation(method: str, path: str, summary: str, operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": summary,
        "operationId": _id(method, path),
        "tags": [path.split("/")[2] if path.startswith("/v1/") else path.split("/")[1]],
        "security": [] if operation.who is Who.OPEN else [{"session": []}],
        "x-liaison-caller": operation.who.value,
    }
    if operation.codes:
        found["description"] = f"Refused also as {', '.join(f'`{c}`' for c in operation.codes)}."
    parameters = list(_parameters(path, operation))
    if parameters:
        found["parameters"] = parameters
    if operation.body is not None:
        found["requestBody"] = _request(operation)
    found["responses"] = _responses(operation)
    return found


def _id(method: str, path: str) -> str:
    words = [word for word in re.split(r"[^a-z0-9]+", path.removeprefix("/v1").lower()) if word]
    return "_".join([method.lower(), *words])


def _parameters(path: str, operation: Operation) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", path):
        yield {"name": name, "in": "path", "required": True, "schema": _PARAMETERS[name]}
    for name in operation.query:
        yield {"name": name, "in": "query", "required": False, "schema": _PARAMETERS[name]}
    if 206 in operation.more:
        yield {
            "name": "Range",
            "in": "header",
            "required": False,
            "description": "`bytes=N-`: all from byte N on; other ranges are not looked at.",
            "schema": {"type": "string", "pattern": "^bytes=[0-9]{1,18}-$"},
        }
    if operation.body is Raw.BYTES:
        schema = {"$ref": "#/components/schemas/Digest"}
        yield {
            "name": "Liaison-Digest",
            "in": "header",
            "required": True,
            "description": "SHA-256 of the body.",
            "schema": schema,
        }


def _request(operation: Operation) -> dict[str, Any]:
    limit = Settings.model_fields[operation.size.value].default
    setting = operation.size.value
    if operation.body is Raw.BYTES:
        limit, setting = Settings.model_fields["max_blob"].default, "max_blob"
    return {
        "required": True,
        "description": f"At most {limit} bytes (setting `{setting}`).",
        "content": _content(operation.body),
    }


def _content(what: object) -> dict[str, Any]:
    if isinstance(what, Raw):
        schema: dict[str, Any] = {} if what is Raw.BYTES else {"type": "string"}
        return {what.value: {"schema": schema}}
    if isinstance(what, type):
        return {"application/json": {"schema": {"$ref": f"#/components/schemas/{what.__name__}"}}}
    return {"application/json": {"schema": {"$ref": "#/components/schemas/State"}}}


def _responses(operation: Operation) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "Done."}
    if operation.answer == STREAM:
        done["description"] = "The WebSocket is open; its subprotocol is `liaison.v1`."
    elif operation.answer is not None:
        done["content"] = _content(operation.answer)
    if operation.answer is Raw.BYTES and "blob.unknown" in operation.codes:
        done["headers"] = _DIGEST_HEADER
    found = {str(status): done for status in (operation.status, *operation.more)}
    for status in sorted(refusals(operation)):
        found[str(status)] = {"$ref": f"#/components/responses/Refused{status}"}
    return found


def _refused() -> dict[str, Any]:
    return {
        f"Refused{status}": {
            "description": words,
            "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, words in _FAMILIES.items()
    }


def refusals(operation: Operation) -> dict[int, list[str]]:
    """Return the codes that a request may be refused with, by status."""
    codes = [*EVERY, *operation.codes]
    if operation.who is not Who.OPEN:
        codes += WITH_SESSION
    if operation.body is not None:
        codes += WITH_BODY
    found: dict[int, list[str]] = {}
    for code in sorted(set(codes)):
        found.setdefault(_STATUS[code], []).append(code)
    return found


def _statuses() -> dict[str, int]:
    found = {"internal": 500}
    for family in _families(LiaisonError):
        found[family.code] = Problem.of(_blank(family)).status
    return found


def _families(family: type[LiaisonError]) -> Iterator[type[LiaisonError]]:
    yield family
    for each in family.__subclasses__():
        yield from _families(each)


def _blank(family: type[LiaisonError]) -> LiaisonError:
    # Of the family only its place among the others counts, not what its constructor wants.
    error = family.__new__(family)
    LiaisonError.__init__(error)
    return error


_STATUS: Final = _statuses()


# --- schemas ----------------------------------------------------------------------------


def _models() -> Iterable[type[v1.Body]]:
    found = {}
    for operation in OPERATIONS.values():
        for what in (operation.body, operation.answer):
            if isinstance(what, type) and issubclass(what, v1.Body):
                found[what.__name__] = what
    return found.values()


def _schemas() -> dict[str, Any]:
    inputs: list[Any] = [(model, "validation") for model in _models()]
    _, made = models_json_schema(inputs, ref_template="#/components/schemas/{model}")
    schemas = {name: _on_the_wire(schema) for name, schema in made["$defs"].items()}
    schemas["Digest"] = _DIGEST
    schemas["State"] = {"type": "object", "required": ["status"]}
    schemas["State"]["properties"] = {
        "status": {"type": "string"},
        "problems": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Codes of what is wrong with some partnership's log; others are served.",
        },
    }
    schemas["Problem"] = {
        "type": "object",
        "description": "RFC 9457, with what to do next.",
        "required": ["type", "status", "detail"],
        "properties": {
            "type": {"type": "string", "pattern": f"^{URN}[a-z_.]+$"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "hint": {"type": "string"},
            "unchanged": {"type": "string"},
            "rule": {"type": "string"},
            "retry_after": {"type": "integer", "minimum": 0, "description": "Seconds."},
        },
    }
    return dict(sorted(schemas.items()))


def _on_the_wire(schema: Any) -> Any:
    """Say of bytes how they travel: pydantic describes them as they are in memory."""
    if isinstance(schema, list):
        return [_on_the_wire(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {k: _on_the_wire(v) for k, v in schema.items() if k != "title" or isinstance(v, dict)}
    if found.get("format") == "binary":
        if found.get("minLength") == found.get("maxLength") == 32:
            return {k: v for k, v in found.items() if k == "description"} | _DIGEST
        found["format"] = found["contentEncoding"] = BASE64URL
        for bound in ("minLength", "maxLength"):
            if bound in found:
                found[bound] = -(-found[bound] * 4 // 3)
    return found


if __name__ == "__main__":
    sys.stdout.write(text())
