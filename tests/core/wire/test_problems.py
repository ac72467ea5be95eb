"""Problem documents carry an error to the other side unharmed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison import errors
from liaison.wire.problems import OversizeError, Problem, RemoteError, UnsupportedVersionError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.MalformedError("x"), 400),
        (errors.AuthenticationError("x"), 401),
        (errors.RefusedError("x"), 403),
        (errors.UnknownError("x"), 404),
        (errors.ConflictError("x"), 409),
        (OversizeError("x"), 413),
        (errors.VerificationError("x"), 422),
        (errors.LimitError("x"), 429),
        (errors.LiaisonError("x"), 500),
        (errors.UnavailableError("x"), 503),
        (UnsupportedVersionError("x"), 400),
    ],
)
def test_the_status_follows_from_the_family(error: errors.LiaisonError, status: int) -> None:
    assert Problem.of(error).status == status


def test_what_the_relay_said_reaches_the_officer() -> None:
    refused = errors.RefusedError("no", hint="ask the registrar", unchanged="nothing was stored")

    problem = Problem.decode(Problem.of(refused).encode(), 403)
    error = RemoteError(problem)

    assert (error.message, error.hint, error.unchanged) == (
        "no",
        "ask the registrar",
        "nothing was stored",
    )
    assert error.remote_code == "refused"


def test_a_document_names_its_code_as_a_urn_and_leaves_out_what_is_empty() -> None:
    assert json.loads(Problem("queue.full", 429, "full").encode()) == {
        "type": "urn:liaison:queue.full",
        "status": 429,
        "detail": "full",
    }


@given(data=st.binary(max_size=100), status=st.integers(400, 599))
def test_an_answer_that_is_no_problem_document_becomes_one(data: bytes, status: int) -> None:
    assert Problem.decode(data, status).status in (status, 0)
    assert Problem.decode(b"<html>" + data, status).code == "remote.unreadable"


def test_a_deeply_nested_answer_is_unreadable_and_no_more() -> None:
    assert Problem.decode(b"[" * 100_000, 400).code == "remote.unreadable"


def test_half_a_character_in_an_error_does_not_stop_it() -> None:
    refused = errors.MalformedError("the field \ud800 is not known")

    problem = Problem.decode(Problem.of(refused).encode(), 400)

    assert problem.detail == "the field ? is not known"


def test_a_relay_can_not_flood_or_stop_its_clients_with_a_problem() -> None:
    document = {
        "type": "urn:liaison:limit",
        "detail": "x" * 100_000,
        "hint": ["x"],
        "retry_after": 10**30,
        "status": -1,
    }

    problem = Problem.decode(json.dumps(document).encode())

    assert (len(problem.detail), problem.hint) == (4000, "")
    assert (problem.retry_after, problem.status) == (86_400, 0)
