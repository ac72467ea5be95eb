from __future__ import annotations

import ast
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp.test_utils import make_mocked_request

import liaison
from liaison.errors import LiaisonError
from liaison.model import ChannelId
from liaison.relay import log
from liaison.relay.connections import Handler
from tests.support.relay import quiet

PACKAGE = Path(liaison.__file__).parent
METHODS = {"debug", "info", "warning", "error", "critical", "exception"}
LOGGERS = {"log", "logger", "_log", "LOG"}


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    with quiet():
        stream = io.StringIO()
        log.configure("debug", stream)
        yield stream


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("error", "level", "event"),
    [
        (ConnectionResetError("gone"), "info", "connection_left"),
        (LookupError("lost"), "error", "connection_failed"),
    ],
)
def test_a_client_that_goes_away_unanswered_is_no_failure_of_the_relay(
    lines: io.StringIO, error: Exception, level: str, event: str
) -> None:
    request = make_mocked_request("GET", "/v1/stream")
    cast("Any", request.writer).output_size = 0

    answer = Handler.__new__(Handler).handle_error(request, 500, error)

    assert answer.status == 500
    (line,) = written(lines)
    assert (line["level"], line["event"]) == (level, event)


def test_a_line_has_its_event_its_level_its_time_and_its_fields(lines: io.StringIO) -> None:
    log.logger().info("message_accepted", channel="c", seq=7)

    (line,) = written(lines)
    assert line.pop("time").endswith("Z")
    assert line == {"event": "message_accepted", "level": "info", "channel": "c", "seq": 7}


def test_a_field_that_is_not_on_the_list_is_dropped_and_counted(lines: io.StringIO) -> None:
    log.logger().info("x", text="the fleet sails at dawn", seq=1)

    assert "dawn" not in lines.getvalue()
    assert written(lines)[0]["dropped"] == 1


def test_an_object_in_a_field_shows_its_type_only(lines: io.StringIO) -> None:
    log.logger().info("x", device=b"the fleet sails at dawn")

    assert written(lines)[0]["device"] == "<bytes>"


def test_a_library_is_named_and_not_quoted(lines: io.StringIO) -> None:
    logging.getLogger("aiohttp.server").error("bad request: %s", "the fleet sails at dawn")

    (line,) = written(lines)
    assert "dawn" not in lines.getvalue()
    assert (line["event"], line["library"]) == ("library", "aiohttp.server")


def test_an_exception_is_told_by_its_class_and_our_frames_without_its_text(
    lines: io.StringIO,
) -> None:
    try:
        ChannelId.parse("the fleet sails at dawn")
    except LiaisonError as error:
        log.logger().error("failed", **log.failure(error))

    (line,) = written(lines)
    assert "dawn" not in lines.getvalue()
    assert line["error"] == "IdentifierError"
    assert any(frame.startswith("model.py:") for frame in line["frames"])


def calls() -> list[tuple[str, ast.Call]]:
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            target = node.func.value
            name = (
                target.attr
                if isinstance(target, ast.Attribute)
                else target.id
                if isinstance(target, ast.Name)
                else target.slice.id
                if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Name)
                else "logger"
                if isinstance(target, ast.Call) and ast.unparse(target) == "log.logger()"
                else ""
            )
            if node.func.attr in METHODS and name in LOGGERS:
                found.append((f"{path.relative_to(PACKAGE)}:{node.lineno}", node))
    return found


def test_every_log_call_of_the_program_has_a_constant_event_and_known_fields() -> None:
    found = calls()

    assert len(found) > 8
    for place, call in found:
        assert isinstance(call.args[0], ast.Constant), f"{place}: the event is not constant"
        for keyword in call.keywords:
            if keyword.arg is None:
                assert ast.unparse(keyword.value).startswith("log.failure("), place
            else:
                assert keyword.arg in log.FIELDS, f"{place}: {keyword.arg} is not in log.FIELDS"


def test_no_log_call_is_given_an_exception_to_print() -> None:
    for place, call in calls():
        names = {keyword.arg for keyword in call.keywords}
        assert not names & {"exc_info", "stack_info"}, place
