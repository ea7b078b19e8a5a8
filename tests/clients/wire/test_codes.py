"""The code table is bijective per transport and maps strangers to `internal`."""

import grpc
import pytest

from align2llava.clients.wire.codes import TABLE, Code, Retry, code_of_grpc, code_of_http


def test_every_code_has_a_row():
    assert set(TABLE) == set(Code)


def test_statuses_are_unique_per_transport():
    assert len({row.http_status for row in TABLE.values()}) == len(TABLE)
    assert len({row.grpc_status for row in TABLE.values()}) == len(TABLE)


@pytest.mark.parametrize("code", Code)
def test_code_survives_each_transport(code: Code):
    assert code_of_http(TABLE[code].http_status) is code
    assert code_of_grpc(TABLE[code].grpc_status, code.value) is code


@pytest.mark.parametrize(
    ("status", "code"),
    [(502, Code.UNAVAILABLE), (404, Code.INTERNAL), (418, Code.INTERNAL), (200, Code.INTERNAL)],
)
def test_http_status_outside_the_table_is_mapped(status: int, code: Code):
    assert code_of_http(status) is code


def test_resource_exhausted_without_our_trailer_is_too_large():
    assert code_of_grpc(grpc.StatusCode.RESOURCE_EXHAUSTED, None) is Code.TOO_LARGE
    assert code_of_grpc(grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded") is Code.OVERLOADED


def test_unknown_trailer_falls_back_to_the_status():
    assert code_of_grpc(grpc.StatusCode.UNAVAILABLE, "integrate") is Code.UNAVAILABLE
    assert code_of_grpc(grpc.StatusCode.UNIMPLEMENTED, None) is Code.INTERNAL


def test_only_server_side_trouble_is_retried():
    never = {code for code, row in TABLE.items() if row.retry is Retry.NEVER}
    assert never == {
        Code.INVALID_REQUEST,
        Code.UNAUTHENTICATED,
        Code.TOO_LARGE,
        Code.IMAGE_INVALID,
    }
