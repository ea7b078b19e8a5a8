import json

import pytest

from pipeline.errors import InputError
from pipeline.preferences.readers import read_groups

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


def test_a_missing_file_and_an_object_are_refused(written, tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_groups(tmp_path / "none.json", "question-reward")
    with pytest.raises(InputError, match="no JSON array"):
        read_groups(written({}), "question-reward")
