"""The REST bodies refuse what the contract does not allow."""

import base64
import hashlib
import math
from collections.abc import Callable

import pytest
from pydantic import ValidationError

from align2llava.clients.wire.schemas import (
    ErrorBody,
    Image,
    ItemReward,
    LikelihoodResult,
    Message,
    ModelIdentity,
    Sampling,
    ScoreRequest,
    ScoreResponse,
    Usage,
)

MODEL = {"name": "m", "kind": "k", "identity": "i", "weights_sha256": "w", "dtype": "float32"}


def test_image_data_is_base64_in_json_and_bytes_elsewhere():
    image = Image(sha256="a" * 64, data=b"\x89PNG")
    assert image.model_dump(mode="json")["data"] == base64.b64encode(b"\x89PNG").decode()
    assert image.model_dump()["data"] == b"\x89PNG"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"groups": [], "extra": 1}', "Extra inputs"),
        ('{"groups": [{"image": {"sha256": "XY"}, "items": []}]}', "pattern"),
        (
            '{"groups": [{"image": {"sha256": "%s", "data": "!"}, "items": []}]}' % ("a" * 64),
            "base64",
        ),
        ('{"groups": [{"items": [{"id": 1}]}]}', "valid string"),
        ("{}", "Field required"),
    ],
    ids=["unknown field", "hash not hex", "data not base64", "id not text", "no groups"],
)
def test_request_outside_the_schema_is_refused(body: str, reason: str):
    with pytest.raises(ValidationError, match=reason):
        ScoreRequest.model_validate_json(body)


def test_item_has_exactly_one_outcome():
    with pytest.raises(ValidationError, match="exactly one of reward, error"):
        ItemReward(id="a", reward=1.0, error=ErrorBody(code="internal", message=""))


def wrapped(data: bytes) -> str:
    return base64.encodebytes(data).decode()


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(wrapped, id="with line breaks"),
        pytest.param(lambda data: f"data:image/png;base64,{wrapped(data)}", id="a data URI"),
        pytest.param(
            lambda data: f"DATA:;BASE64,{base64.b64encode(data).decode()}", id="in capitals"
        ),
    ],
)
def test_base64_as_tools_write_it_is_taken(written: Callable[[bytes], str]):
    data = bytes(range(250))
    assert Image.model_validate({"data": written(data)}).data == data


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data:image/svg+xml,%3Csvg", "a data URI without `;base64,`"),
        ("_-8=", "URL-safe alphabet"),
        ("abc", "Incorrect padding"),
        ("!", "not base64"),
        ("\u00e9", "not base64"),
    ],
)
def test_text_that_is_no_base64_says_which_part_is_wrong(text: str, words: str):
    with pytest.raises(ValidationError, match=words):
        Image.model_validate({"sha256": "0" * 64, "data": text})


@pytest.mark.parametrize("stated", [{}, {"sha256": ""}], ids=["absent", "empty"])
def test_hash_may_be_left_out_where_the_data_is_there(stated: dict):
    sha256 = hashlib.sha256(b"abc").hexdigest()
    assert Image.model_validate({"data": b"abc", **stated}).sha256 == sha256
    assert Image.model_validate_json('{"data": "YWJj"}').sha256 == sha256


def test_image_of_neither_hash_nor_data_says_what_it_needs():
    with pytest.raises(ValidationError, match="an image needs `data`, or the `sha256`"):
        Image.model_validate({})


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        (ItemReward, {"id": "a", "reward": 1.1e6}),
        (ItemReward, {"id": "a", "reward": math.inf}),
        (ItemReward, {"id": "a", "reward": 1.0, "num_tokens": 2**32}),
        (Usage, {"prefix_tokens": 2**53 + 1}),
        (Usage, {"device_ms": 4e10}),
        (LikelihoodResult, {"id": "a", "nll": 1e10}),
        (ErrorBody, {"code": "c" * 65, "message": ""}),
        (ErrorBody, {"code": "c", "message": "", "retry_after_ms": 2**32}),
        (ModelIdentity, {**MODEL, "name": "n" * 1025}),
        (ModelIdentity, {**MODEL, "identity": "n" * 1025}),
    ],
)
def test_what_cannot_be_stored_shown_or_added_up_is_refused(schema: type[Message], values: dict):
    with pytest.raises(ValidationError):
        schema.model_validate(values)


def test_of_a_list_that_does_not_fit_one_fault_is_told_however_long_it_is():
    with pytest.raises(ValidationError) as caught:
        ScoreResponse.model_validate({"model": MODEL, "groups": [None] * 10_000})
    assert caught.value.error_count() == 1


def test_a_long_message_of_an_error_is_cut():
    assert len(ErrorBody(code="internal", message="m" * 10**6).message) < 1100


def test_sampling_takes_numbers_however_they_are_written_and_nothing_else():
    asked = Sampling.model_validate({"temperature": 1, "seed": 7.0, "max_tokens": 1e2})
    assert (asked.temperature, asked.seed, asked.max_tokens) == (1.0, 7, 100)
    for name in ("temperature", "seed", "max_tokens"):
        for value in (False, "1", b"1"):
            with pytest.raises(ValidationError, match=rf"{name}\n.*valid"):
                Sampling.model_validate({name: value})
    with pytest.raises(ValidationError, match=r"seed\n.*valid integer"):
        Sampling.model_validate({"seed": 1.5})
