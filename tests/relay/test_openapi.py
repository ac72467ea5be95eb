"""The published document of the HTTP API, and requests made from it, against a running relay."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from liaison.relay import openapi
from liaison.relay.operations import OPERATIONS, Operation, Raw, Who
from liaison.relay.routes import TABLES
from liaison.wire import v1
from tests.support.client import RawClient
from tests.support.people import people_of
from tests.support.relay import RunningRelay, running
from tests.support.world import World

# Small ones: how large they may be is tested elsewhere.
schemathesis.openapi.format(openapi.BASE64URL, st.binary(min_size=1, max_size=40).map(v1.b64encode))
PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol" / "openapi.yaml"
EXAMPLES = 5
ROUTES = [(method, path) for method, path, _ in openapi.routes()]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# It would end the session that all the others are made in.
ENDING = ("DELETE", "/v1/session")


def test_the_published_document_is_made_of_what_the_relay_goes_by() -> None:
    assert PAGE.read_text() == openapi.text(), "python -m liaison.relay.openapi > " + str(PAGE)


def test_every_route_and_no_other_is_described() -> None:
    document = yaml.safe_load(PAGE.read_text())
    described = {
        (method.upper(), path) for path, found in document["paths"].items() for method in found
    }

    assert described == set(ROUTES) == set(OPERATIONS)


def handlers() -> Iterator[tuple[str, str, str]]:
    routes = (route for table in TABLES for route in table)
    for (method, path), route in zip(ROUTES, routes, strict=True):
        yield method, path, inspect.getsource(route.handler)  # type: ignore[attr-defined]  # RouteDef has it


@pytest.mark.parametrize(
    ("method", "path", "source"), list(handlers()), ids=[" ".join(r) for r in ROUTES]
)
def test_what_is_described_is_what_the_handler_does(method: str, path: str, source: str) -> None:
    operation = OPERATIONS[method, path]
    body = re.search(r"read\(request, (?:v1\.)?(\w+)(?:, Size\.(\w+))?\)", source)

    if body is not None:
        assert isinstance(operation.body, type)
        assert operation.body.__name__ == body[1]
        assert operation.size.name == (body[2] or "SMALL")
    else:
        assert operation.body in (None, Raw.BYTES)
    status = re.search(r"(?:status=|,)\s*(20\d),?\s*\)", source)
    if operation.status != 101:
        assert operation.status == int(status[1] if status else 200)
    assert (operation.who is Who.OPEN) == ("@without_session" in source)
    for who in (Who.DEVICE, Who.REGISTRAR, Who.OFFICE):
        # A registrar's own party is told to a registrar only; everybody may ask with an agreement.
        if path != "/v1/devices":
            assert (operation.who is who) == (f"{who.value}(request)" in source)


# --- against a running relay ------------------------------------------------------------


def try_operations(
    url: str, headers: dict[str, str], known: dict[str, str], whose: set[Who], examples: int
) -> int:
    """Make requests of operations; fails on an answer that is not described."""
    schema = schemathesis.openapi.from_dict(openapi.document())
    made = 0
    with requests.Session() as session:
        session.trust_env = False
        for found in schema.get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()
            route = operation.method.upper(), operation.path
            if (headers and route == ENDING) or OPERATIONS[route].who not in whose:
                continue

            @given(case=operation.as_strategy(), real=st.booleans())
            @settings(
                max_examples=examples,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def one(case: Any, real: bool) -> None:
                nonlocal made
                if real:
                    # What exists gets further than what was made up.
                    kept = {k: v for k, v in known.items() if k in (case.path_parameters or {})}
                    case.path_parameters = {**(case.path_parameters or {}), **kept}
                answer = case.call(base_url=url, session=session, headers=headers)
                case.validate_response(answer, checks=CHECKS)
                made += 1

            one()
    return made


@pytest.fixture
async def tried(tmp_path: Path) -> Any:
    rates = dict.fromkeys(("rate_address", "burst_address", "rate_device", "burst_device"), 1e6)
    more = dict.fromkeys(("rate_endpoint", "burst_endpoint", "rate_connections"), 1e6)
    async with running(tmp_path / "relay", tls="proxy", **rates, **more) as relay:  # type: ignore[arg-type]  # settings
        yield relay


async def fuzz(
    relay: RunningRelay, whose: set[Who], client: RawClient | None = None, **known: str
) -> int:
    headers = {"Authorization": f"Bearer {client.token}"} if client else {}
    examples = EXAMPLES if client else 2
    return await asyncio.to_thread(try_operations, relay.url, headers, known, whose, examples)


async def test_no_request_without_a_session_gets_an_answer_that_is_not_described(
    tried: RunningRelay,
) -> None:
    assert await fuzz(tried, set(Who)) > len(OPERATIONS)


async def test_no_request_with_a_session_gets_an_answer_that_is_not_described(
    tried: RunningRelay, world: World
) -> None:
    async with people_of(tried, world) as people:
        agreement = await people.agreement("NOR", "DEU")
        device = await people.device("nor/defatt-berlin#d1")
        registrar = await people.registrar("NOR")
        known = {"id": agreement, "code": "NOR", "generation": "1", "tile": "0/000"}

        made = await fuzz(tried, {Who.DEVICE, Who.ANY}, device, **known)
        made += await fuzz(tried, {Who.REGISTRAR, Who.OFFICE}, registrar, **known)

    assert made > 2 * len(OPERATIONS)


def test_refusals_are_told_by_their_codes() -> None:
    refused = openapi.refusals(Operation(Who.DEVICE, None, codes=("queue.full",), body=Raw.BYTES))

    assert "queue.full" in refused[429]
    assert "rate.bodies" in refused[429]
    assert "oversize" in refused[413]
    assert "session.expired" in refused[401]
