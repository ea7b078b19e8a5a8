import json

import pytest

from align2llava.clients.wire.schemas import Turn
from align2llava.pipeline.curation.run.dataset import KeptRecord, record_bytes, with_image_token


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<image>\nOld?", "<image>\nNew?"),
        ("<image> Old?", "<image> New?"),
        ("Old?\n<image>", "New?\n<image>"),
        ("Old? <image> \n", "New? <image> \n"),
        ("See <image> here?", "<image>\nNew?"),
        ("Old?", "New?"),
    ],
)
def test_image_token_stays_where_it_stood(before: str, after: str):
    assert with_image_token(before, "New?") == after


RECORD = {
    "z": 12345678901234567890123,
    "id": 3,
    "conversations": [
        {"from": "human", "value": "<image>\nOne?", "x": 1},
        {"from": "gpt", "value": ["A.", "B."], "score": [0, 1]},
        {"from": "human", "value": "Two?"},
        {"from": "gpt", "value": "C\u00e9."},
    ],
    "image": "a.png",
}
RAW = json.dumps(RECORD).encode()


def test_change_touches_nothing_else():
    turn = Turn(question="Neu?", answer="D.")
    kept = KeptRecord(raw=RAW, chosen=[1, 0], rewrites={1: turn})
    changed = json.loads(record_bytes(kept))
    assert list(changed) == list(RECORD)
    expected = json.loads(RAW)
    expected["conversations"][1]["value"] = "B."
    expected["conversations"][2]["value"] = "Neu?"
    expected["conversations"][3]["value"] = "D."
    assert changed == expected


def test_numbers_of_a_changed_record_stay_as_they_are_spelled():
    numbers = "[-0, 0, 1E+2, 1e400, 0.10, -0.0, 9007199254740993, 123456789012345678901234567890]"
    raw = RAW.replace(b'"x": 1', f'"x": {numbers}'.encode())
    kept = KeptRecord(raw=raw, chosen=[1, 0], rewrites={1: Turn(question="7", answer="8.5")})
    data = record_bytes(kept)
    assert numbers.encode() in data
    assert [m["value"] for m in json.loads(data)["conversations"]][2:] == ["7", "8.5"]


def test_rewrite_is_pair_atomic():
    turn = Turn(question="Neu?", answer="D.")
    kept = KeptRecord(raw=RAW, chosen=[0, 0], rewrites={0: turn})
    messages = json.loads(record_bytes(kept))["conversations"]
    assert [message["value"] for message in messages] == ["<image>\nNeu?", "D.", "Two?", "C\u00e9."]
    assert messages[0]["x"] == 1
    assert messages[1]["score"] == [0, 1]


def test_record_without_a_change_is_its_own_bytes():
    raw = b'{ "conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}] }'
    assert record_bytes(KeptRecord(raw=raw, chosen=[0], rewrites={})) is raw
