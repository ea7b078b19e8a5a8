"""Error bodies of REST: other people's forms, in the words of the table."""

import pytest

from align2llava.services.surfaces.rest.errors import error_of, is_table_body, message_of


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b'[{"error": "bad"}]', "bad"),
        (b'{"error": "bad"}', "bad"),
        (b'{"error": "1 error", "detail": [{"loc": ["a", 0], "msg": "no"}]}', "a.0: no"),
        (b"plain text", "plain text"),
        (b"[]", "[]"),
        (
            b'{"detail": "There was an error parsing the body"}',
            "There was an error parsing the body",
        ),
        (b'{"error": {"message": "1 error:\\n  no text", "code": 400}}', "1 error: no text"),
        (b'{"error": {"message": "of vLLM", "type": "BadRequestError", "code": 400}}', "of vLLM"),
    ],
)
def test_bodies_of_bentoml_are_read(said: bytes, message: str):
    assert message_of(said) == message


def test_statuses_outside_the_table_fall_to_their_class():
    assert error_of(418, b"").code == "invalid_request"
    assert error_of(599, b"").code == "internal"
    assert error_of(504, b"").code == "deadline_exceeded"


def test_only_codes_of_the_table_make_a_table_body():
    assert is_table_body(b'{"error": {"code": "overloaded", "message": "m"}}', "application/json")
    assert not is_table_body(b'{"error": {"code": 400, "message": "m"}}', "application/json")
    assert not is_table_body(
        b'{"error": {"code": "internal", "message": "m", "type": "t"}}', "application/json"
    )
    assert not is_table_body(b"nothing", "application/json")
