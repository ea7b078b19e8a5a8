"""How faults of a body are worded."""

import orjson
import pytest
from pydantic import ValidationError

from align2llava.clients.wire.schemas import ScoreRequest
from align2llava.services.errors import InternalError, TooLargeError
from align2llava.services.faults import described, service_error


def said_of(body: str) -> str:
    with pytest.raises(ValidationError) as caught:
        ScoreRequest.model_validate(orjson.loads(body))
    return described(caught.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("[]", "the body: Input should be an object"),
        ('{"groups": [1]}', "groups.0: Input should be an object"),
        ('{"groups": {}}', "groups: Input should be an array"),
        ("{}", "groups: Field required"),
        ('{"groups": [{"image": {}, "items": []}]}', "groups.0.image: an image needs `data`"),
    ],
    ids=["a list", "a number", "no list", "a member missing", "a fault of our own"],
)
def test_fault_is_told_by_its_place(body: str, words: str):
    assert said_of(body).startswith(words)


def test_only_the_first_faults_are_told_and_the_others_counted():
    body = '{"groups": [{}, {}, {}], "a": 1, "b": 2, "c": 3, "d": 4}'
    assert said_of(body).startswith("groups.0.items: Field required; a: Extra")
    assert said_of(body).endswith("(and 2 more)")


def test_place_that_the_caller_chose_is_cut_short():
    assert len(said_of(f'{{"groups": [], "{"x" * 10_000}": 1}}')) < 200


def test_fault_of_ours_is_internal_and_names_no_details():
    error = service_error(KeyError("secret path"))
    assert isinstance(error, InternalError)
    assert "secret" not in error.message
    known = TooLargeError("x")
    assert service_error(known) is known
