import orjson
import pytest

from align2llava.pipeline.curation.layout import DECISIONS
from align2llava.pipeline.curation.shown_record import (
    MAX_CHARS,
    MAX_TEXTS,
    ShownRecord,
    shown_record,
)


def shown(value: object, *, out: object = None) -> ShownRecord:
    raw = value if isinstance(value, bytes) else orjson.dumps(value)
    cells = dict.fromkeys(DECISIONS.names) | {"position": 3, "uid": "ab" * 16, "id": '"x"'}
    return shown_record(cells, raw=raw, out=raw if out is None else orjson.dumps(out), message=None)


def talk(*texts: object) -> dict[str, object]:
    roles = ("human", "gpt")
    return {
        "conversations": [{"from": roles[at % 2], "value": one} for at, one in enumerate(texts)]
    }


def test_long_texts_are_cut_and_say_by_how_much():
    (_, (text,), _), _ = shown(talk("x" * (MAX_CHARS + 1234), "A"))["messages"]
    assert text == "x" * MAX_CHARS + " [and 1,234 more characters]"


def test_many_messages_are_cut_and_counted():
    one = shown(talk(*["text"] * 100))
    assert len(one["messages"]) == MAX_TEXTS
    assert one["num_more"] == 100 - MAX_TEXTS


def test_candidates_stand_beside_each_other_and_the_chosen_one_goes_out():
    one = shown(talk("Q", ["a", "b"]), out=talk("Q", "b"))
    assert one["messages"] == [("human", ["Q"], None), ("gpt", ["a", "b"], "b")]


@pytest.mark.parametrize(
    "value",
    [
        b"{broken",
        [1],
        "text",
        None,
        {"conversations": 3},
        {"conversations": []},
        talk("Q", 7),
        talk(),
    ],
)
def test_what_has_no_messages_is_shown_as_it_stands(value: object):
    one = shown(value)
    assert "messages" not in one
    assert one["raw"]


def test_raw_text_is_bounded_whatever_its_bytes():
    assert len(shown(b"\xff" * 100_000)["raw"]) == 2000


def test_image_names_are_texts_or_none():
    assert shown({"image": "a.png"})["images"] == ["a.png"]
    assert shown({"image": ["a.png", 3, "b.png"]})["images"] == ["a.png", "b.png"]
    assert "images" not in shown({"image": 3})
