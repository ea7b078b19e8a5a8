"""The REST bodies refuse what the contract does not allow."""

import base64

import pytest
from pydantic import ValidationError

from clients.wire.schemas import ErrorBody, Image, ItemReward, ScoreRequest


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
