import json
import os

import pytest

from align2llava.pipeline.errors import InputError
from align2llava.pipeline.preferences.readers import read_groups

QUESTION = {
    "id": "000000203511",
    "image": "000000203511.jpg",
    "questions": [["<image>\nQ0", "Q1"], ["Q2"]],
    "score": [0.9, 0.6],
}
ANSWER = {
    "id": 7,
    "image": "7.jpg",
    "conversations": [
        {"from": "human", "value": "<image>\nQ"},
        {"from": "gpt", "value": ["A0", "A1"], "score": [1, 0.25]},
        {"from": "human", "value": "R"},
        {"from": "gpt", "value": ["B0"], "score": [0]},
    ],
}


@pytest.fixture
def written(tmp_path):
    def write(entries):
        path = tmp_path / "preferences.json"
        path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
        return path

    return write


def test_a_question_candidate_is_the_whole_list_of_turns(written):
    (group,) = read_groups(written([QUESTION]), "question-reward")
    assert (group.kind, group.image, group.turn) == ("question-reward", "000000203511.jpg", -1)
    assert [candidate.questions for candidate in group.candidates] == [
        ("<image>\nQ0", "Q1"),
        ("Q2",),
    ]
    assert [candidate.score for candidate in group.candidates] == [0.9, 0.6]
    assert {candidate.answer for candidate in group.candidates} == {None}


def test_every_answered_turn_is_a_group_of_its_own(written):
    first, second = read_groups(written([ANSWER]), "answer-reward")
    assert (first.turn, second.turn) == (0, 1)
    assert [candidate.answer for candidate in first.candidates] == ["A0", "A1"]
    assert [candidate.score for candidate in first.candidates] == [1.0, 0.25]
    assert {candidate.questions for candidate in first.candidates} == {("<image>\nQ",)}
    assert second.candidates[0].questions == ("R",)


def test_records_that_share_an_image_stay_apart(written):
    assert len(read_groups(written([QUESTION, QUESTION]), "question-reward")) == 2


def answer_with(**changes):
    turns = [dict(message) for message in ANSWER["conversations"]]
    turns[1] |= changes
    return ANSWER | {"conversations": turns}


@pytest.mark.parametrize(
    ("kind", "entry", "found"),
    [
        pytest.param("question-reward", 3, "object is needed", id="no object"),
        pytest.param("question-reward", QUESTION | {"image": 3}, "image must", id="image"),
        pytest.param("question-reward", QUESTION | {"questions": []}, "questions", id="empty"),
        pytest.param("question-reward", QUESTION | {"questions": [[1], ["a"]]}, "texts", id="turn"),
        pytest.param("question-reward", QUESTION | {"score": [1]}, "2 candidates", id="count"),
        pytest.param("question-reward", QUESTION | {"score": [1, 1.5]}, "1.5", id="range"),
        pytest.param("question-reward", QUESTION | {"score": [True, 1]}, "bool", id="bool score"),
        pytest.param("answer-reward", answer_with(score=["a", 1]), "str", id="text score"),
        pytest.param("answer-reward", answer_with(value=["a", "\ud83d"]), "surrogate", id="answer"),
        pytest.param(
            "question-reward", QUESTION | {"image": "\udc00.png"}, "image holds", id="half a name"
        ),
        pytest.param(
            "question-reward",
            QUESTION | {"questions": [["a"], ["b \ud83d"]]},
            "lone surrogate, half a character, at character 2",
            id="half a question",
        ),
        pytest.param("answer-reward", answer_with(**{"from": "human"}), "turn 0", id="roles"),
        pytest.param("answer-reward", QUESTION, "conversations", id="the other schema"),
        pytest.param(
            "answer-reward",
            ANSWER | {"conversations": ANSWER["conversations"][:3]},
            "3 messages",
            id="odd",
        ),
    ],
)
def test_an_entry_that_does_not_fit_is_refused_by_number(written, kind, entry, found):
    good = QUESTION if kind == "question-reward" else ANSWER
    with pytest.raises(InputError, match=f"entry 1: .*{found}"):
        read_groups(written([good, entry]), kind)


def test_a_syntax_error_is_placed_at_its_byte(written):
    with pytest.raises(InputError, match="byte 2"):
        read_groups(written("[]]"), "question-reward")


def test_the_byte_of_a_syntax_error_counts_bytes_and_the_byte_order_mark(tmp_path):
    path = tmp_path / "preferences.json"
    path.write_bytes(b"\xef\xbb\xbf" + '["\u00e4"]]'.encode())
    with pytest.raises(InputError, match="byte 9: no JSON"):
        read_groups(path, "question-reward")


def test_a_byte_order_mark_is_read_over(tmp_path):
    path = tmp_path / "preferences.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([QUESTION]).encode())
    (group,) = read_groups(path, "question-reward")
    assert group.entry == 0


@pytest.mark.parametrize(
    ("data", "found"),
    [
        pytest.param(json.dumps([QUESTION]).encode("utf-16"), "is UTF-16; UTF-8", id="UTF-16"),
        pytest.param(b'["\xff"]', "byte 2: no UTF-8", id="Latin-1"),
        pytest.param(b"[" * 200_000, "nested too deeply", id="deep nesting"),
        pytest.param(b"", "byte 0: no JSON", id="empty"),
        pytest.param(b'{"a": 1}\n{"a": 2}', "no JSON: Extra data", id="JSON lines"),
        pytest.param(b"\x1f\x8b\x08", "no UTF-8", id="gzip"),
    ],
)
def test_bytes_that_are_no_json_array_are_refused_by_file(tmp_path, data, found):
    path = tmp_path / "preferences.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"preferences\.json.*{found}"):
        read_groups(path, "question-reward")


def test_what_cannot_be_read_twice_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is no regular file"):
        read_groups(tmp_path / "pipe", "question-reward")


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, "NaN", "Infinity", "1e999"])
def test_a_score_out_of_reach_is_refused_by_entry(written, number):
    text = json.dumps([QUESTION, QUESTION]).rpartition("0.6")
    with pytest.raises(InputError, match="entry 1: score is"):
        read_groups(written(f"{text[0]}{number}{text[2]}"), "question-reward")


def test_an_id_of_5000_digits_is_nobodys_concern(written):
    text = json.dumps([ANSWER]).replace('"id": 7', f'"id": {"9" * 5000}')
    assert len(read_groups(written(text), "answer-reward")) == 2


def test_a_missing_file_and_an_object_are_refused(written, tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_groups(tmp_path / "none.json", "question-reward")
    with pytest.raises(InputError, match="no JSON array"):
        read_groups(written({}), "question-reward")
