from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from align2llava.pipeline.curation.report.browsing.record import (
    MAX_CHARS,
    MAX_TEXTS,
    bounded,
    shown_record,
)


def shown(value: object, *, out: object = None) -> dict[str, Any]:
    raw = value if isinstance(value, bytes) else orjson.dumps(value)
    return dict(shown_record(raw, out=raw if out is None else orjson.dumps(out), message=None))


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


TEXTS = st.one_of(
    st.text(max_size=8),
    st.integers(MAX_CHARS - 1, MAX_CHARS + 2).map(lambda num: "y" * num),
    st.sampled_from(["</script><!--", "\u2028\u202e\x00", "Q"]),
)
ANYTHING = st.one_of(st.none(), st.integers(0, 9), TEXTS)
VALUES = st.one_of(TEXTS, TEXTS, TEXTS, st.lists(ANYTHING, max_size=12), ANYTHING)
MESSAGES = st.one_of(
    st.fixed_dictionaries({"value": VALUES}, optional={"from": ANYTHING, "more": ANYTHING}),
    st.fixed_dictionaries({"value": TEXTS, "from": st.sampled_from(["human", "gpt" * 20])}),
    st.just("no message"),
)
TALKS = st.lists(MESSAGES, max_size=30)


def read_slowly(talk: list[Any]) -> list[tuple[str, list[str]]]:
    found: list[list[str]] = []
    for one in talk:
        value = one.get("value") if isinstance(one, dict) else None
        texts = value if isinstance(value, list) else [value]
        found.append([text for text in texts if isinstance(text, str)])
    if not all(found):
        return []
    return [(str(one.get("from"))[:32], texts) for one, texts in zip(talk, found, strict=True)]


def told_slowly(talk: list[object], out: list[object]) -> list[tuple[str, list[str], str | None]]:
    told = []
    before, after = read_slowly(talk), read_slowly(out)
    for at, (role, texts) in enumerate(before):
        if sum(len(some) for _, some in before[: at + 1]) > MAX_TEXTS:
            break
        is_other = at < len(after) and after[at][1] != texts
        new = bounded(after[at][1][0]) if is_other else None
        told.append((role, [bounded(text) for text in texts], new))
    return told


@given(TALKS, st.one_of(st.none(), TALKS))
def test_any_conversation_is_told_text_by_text(talk: list[object], out: list[object] | None):
    value = {"conversations": talk}
    one = shown(value, out=None if out is None else {"conversations": out})
    told = told_slowly(talk, talk if out is None else out)
    assert one.get("messages", []) == told
    assert one.get("num_more", 0) == len(read_slowly(talk)) - len(told)
    assert ("raw" in one) == (not told)
