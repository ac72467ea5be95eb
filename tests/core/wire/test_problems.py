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
