import hashlib
import json

import orjson
import pytest

from align2llava.pipeline.curation.faults import Fault
from align2llava.pipeline.curation.input.records import Reading, Record, read_record, uid_of

HUMAN = {"from": "human", "value": "<image>\nWhat is it?"}
GPT = {"from": "gpt", "value": "A cat."}


def reading(value: object, *, limit: int = 10_000, configured: str = "auto") -> Reading:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return read_record(raw, configured_type=configured, max_text_chars=limit)


def fault(value: object, *, limit: int = 10_000) -> str:
    outcome = reading(value, limit=limit).outcome
    assert isinstance(outcome, Fault)
    assert outcome.message
    return outcome.code


def usable(value: object) -> Record:
    outcome = reading(value).outcome
    assert isinstance(outcome, Record)
    return outcome


def with_turns(*messages: object, **fields: object) -> dict[str, object]:
    return {"id": "1", "image": "a.jpg", **fields, "conversations": list(messages)}


def test_texts_come_without_image_token_and_stripped():
    record = usable(with_turns({**HUMAN, "value": " Who? \n<image> "}, {**GPT, "value": " I.\n"}))
    assert record.turns[0].question == "Who?"
    assert record.turns[0].answers == ("I.",)


def test_list_of_answers_is_a_list_of_candidates():
    assert usable(with_turns(HUMAN, {**GPT, "value": ["a", "b"]})).turns[0].answers == ("a", "b")


def test_record_without_image_is_text_only():
    assert usable({"id": 1, "conversations": [HUMAN, GPT]}).image is None
    for image in (None, "", [], [""]):
        assert usable({"id": 1, "image": image, "conversations": [HUMAN, GPT]}).image is None


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([1], id="no object"),
        pytest.param({"id": 1, "image": "a"}, id="no conversations"),
        pytest.param(with_turns(), id="zero turns"),
        pytest.param(with_turns(HUMAN), id="no answer"),
        pytest.param(with_turns(HUMAN, GPT, HUMAN), id="last without answer"),
        pytest.param(with_turns(GPT, HUMAN), id="answer first"),
        pytest.param(with_turns(HUMAN, HUMAN), id="two questions"),
        pytest.param(with_turns({"from": "system", "value": "x"}, HUMAN, GPT, GPT), id="system"),
        pytest.param(with_turns(HUMAN, {"from": "gpt"}), id="no value"),
        pytest.param(with_turns(HUMAN, {**GPT, "value": "  "}), id="empty answer"),
        pytest.param(with_turns({**HUMAN, "value": "<image>\n"}, GPT), id="empty question"),
        pytest.param(with_turns(HUMAN, {**GPT, "value": []}), id="no candidate"),
        pytest.param(with_turns(HUMAN, {**GPT, "value": ["a", ""]}), id="empty candidate"),
        pytest.param(with_turns(HUMAN, {**GPT, "value": ["a", 3]}), id="candidate is a number"),
        pytest.param(with_turns("x", "y"), id="messages are texts"),
        pytest.param(with_turns(HUMAN, GPT, image=7), id="image is a number"),
    ],
)
def test_invalid_record(value: object):
    assert fault(value) == "invalid_record"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"a": ', id="cut off"),
        pytest.param(b'{"a": "\xff"}', id="not UTF-8"),
        pytest.param(b'{"a": "\\ud800"}', id="lone surrogate"),
        pytest.param(b'{"a": NaN}', id="NaN"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_no_json_has_neither_uid_nor_type(raw: bytes):
    found = reading(raw, configured="detail")
    assert fault(raw) == "invalid_json"
    assert found.canonical is None
    assert found.id_json is None
    assert found.type == "unknown"


def test_several_images_are_unsupported():
    assert fault(with_turns(HUMAN, GPT, image=["a.jpg", "b.jpg"])) == "unsupported_multi_image"
    assert usable(with_turns(HUMAN, GPT, image=["a.jpg"])).image == "a.jpg"


def test_long_text_is_too_large():
    assert fault(with_turns(HUMAN, {**GPT, "value": "x" * 200}), limit=150) == "too_large"


def test_invalid_record_still_names_its_image_and_its_type():
    found = reading(with_turns(HUMAN, {**GPT, "value": ""}))
    assert found.image == "a.jpg"
    assert found.type == "complex_reasoning"


@pytest.mark.parametrize(
    ("value", "text"),
    [({"id": 7}, "7"), ({"id": "7"}, '"7"'), ({"id": None}, "null"), ({}, None)],
)
def test_id_is_kept_as_json_text(value: dict[str, object], text: str | None):
    assert reading(value).id_json == text


def test_uid_is_of_content_not_of_spelling():
    one = reading(b'{"b": 1, "a": "\\u00e9"}')
    two = reading('{"a":"\u00e9","b":1}'.encode())
    assert one.canonical == two.canonical
    assert one.canonical is not None
    expected = hashlib.blake2b(
        orjson.dumps({"a": "\u00e9", "b": 1}, option=orjson.OPT_SORT_KEYS) + b"\0" + b"0" * 64,
        digest_size=16,
    )
    assert uid_of(one.canonical, image_sha256="0" * 64) == expected.hexdigest()
    assert uid_of(one.canonical, image_sha256="1" * 64) != expected.hexdigest()


def message(value: object) -> str:
    outcome = reading(value).outcome
    assert isinstance(outcome, Fault)
    return outcome.message


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"video": "a.mp4"}, id="video"),
        pytest.param({"videos": ["a.mp4"]}, id="videos"),
        pytest.param({"audio": "a.wav"}, id="audio"),
        pytest.param({"video": "a.mp4", "image": "a.png"}, id="video beside an image"),
    ],
)
def test_record_of_other_media_is_no_text(fields: dict[str, object]):
    value = {"id": 1, **fields, "conversations": [{**HUMAN, "value": "What?"}, GPT]}
    assert fault(value) == "unsupported_media"
    assert next(iter(fields)) in message(value)


def test_media_that_is_only_asked_about_is_no_text():
    assert fault({"conversations": [{**HUMAN, "value": "<video>\nWhat?"}, GPT]}) == (
        "unsupported_media"
    )


@pytest.mark.parametrize("nothing", [None, "", []])
def test_key_without_media_is_no_media(nothing: object):
    value = with_turns(HUMAN, GPT, video=nothing, audios=nothing)
    assert usable(value).image == "a.jpg"
    assert usable({"images": [], "conversations": [HUMAN, GPT]}).image is None


def test_image_under_another_key_is_no_text():
    value = {"image_path": "a.jpg", "conversations": [HUMAN, GPT]}
    assert fault(value) == "invalid_record"
    assert message(value) == "the record has no image, but image_path; the key is image"
    assert usable({**value, "image": "b.jpg"}).image == "b.jpg"


@pytest.mark.parametrize("answer", ["<image>\nA cat.", ["A cat.", "A <image>."]])
def test_image_token_in_an_answer_never_goes_out(answer: object):
    value = with_turns(HUMAN, {**GPT, "value": answer})
    assert fault(value) == "invalid_record"
    assert "holds <image>" in message(value)


def test_image_tokens_of_all_questions_are_counted():
    plain = {**HUMAN, "value": "Why?"}
    two = {**HUMAN, "value": "<image> and <image>?"}
    counts = [usable(with_turns(one, GPT, plain, GPT)).num_image_tokens for one in (plain, two)]
    assert counts == [0, 2]
    assert usable({"conversations": [HUMAN, GPT, HUMAN, GPT]}).num_image_tokens == 2


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param(
            with_turns({"from": "system", "value": "x"}, HUMAN, GPT),
            "message 0 is a system turn, which is not supported",
            id="system turn",
        ),
        pytest.param(
            with_turns({"role": "system", "content": "x"}, HUMAN, GPT),
            "message 0 is a system turn, which is not supported",
            id="system turn of OpenAI's form",
        ),
        pytest.param(
            with_turns({"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}),
            "message 0 has role and content; from (human, gpt) and value are due",
            id="role and content",
        ),
        pytest.param(
            with_turns({"from": "user", "value": "x"}, {"from": "assistant", "value": "y"}),
            "message 0 is from 'user'; the roles are human and gpt",
            id="user and assistant",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": "x"}]},
            "no conversations, but messages: write them as conversations",
            id="messages",
        ),
        pytest.param(
            {"instruction": "x", "output": "y"},
            "no conversations; the keys are 'instruction', 'output'",
            id="another dialect",
        ),
        pytest.param({"data": [1]}, "the keys are 'data'", id="a list below a key"),
        pytest.param({}, "the keys are none", id="no key"),
        pytest.param(
            with_turns(HUMAN, GPT, HUMAN), "the last of 3 messages has no answer", id="no answer"
        ),
        pytest.param(
            with_turns({**HUMAN, "value": [{"type": "text"}]}, GPT),
            "question 0 is no text, but a list",
            id="content parts",
        ),
        pytest.param(b'{"a": [-Infinity]}', "no JSON: -Infinity is no JSON value", id="infinity"),
        pytest.param(b'{"a": NaN}', "no JSON: NaN is no JSON value", id="NaN"),
        pytest.param(b'{"id": ' + b"7" * 5000 + b"}", "number is infinity", id="5,000 digits"),
        pytest.param(b"[" * 5000 + b"]" * 5000, "depth limit exceeded", id="5,000 levels"),
    ],
)
def test_message_names_what_stands_there(value: object, words: str):
    assert words in message(value)
