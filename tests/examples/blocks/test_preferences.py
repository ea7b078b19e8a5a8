import itertools
from random import Random
from typing import Any, cast

import pytest

from examples.blocks.defects import Defect, true_score
from examples.blocks.facts import Truth
from examples.blocks.language import Turn, question_kind, read
from examples.blocks.preferences import PreferenceFile, answer_preferences, question_preferences
from examples.blocks.records import Picture
from examples.blocks.scene import draw_scenes

PICTURES = [
    Picture(file_name=f"{index:04d}.png", scene=scene)
    for index, scene in enumerate(itertools.islice(draw_scenes(4, "preferences"), 80))
]
SCENES = {picture.stem: picture.scene for picture in PICTURES}


@pytest.fixture(scope="module")
def questions() -> PreferenceFile:
    return question_preferences(PICTURES, rng=Random(4))


@pytest.fixture(scope="module")
def answers() -> PreferenceFile:
    return answer_preferences(PICTURES, rng=Random(4))


def entries_of(file: PreferenceFile) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", file.entries)


def truths_of(file: PreferenceFile) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", file.truths)


def bare(text: str) -> str:
    return text.replace("<image>", "").strip()


def test_question_entries_have_the_released_schema(questions: PreferenceFile):
    for entry in entries_of(questions):
        assert set(entry) == {"id", "image", "questions", "score"}
        candidates, scores = entry["questions"], entry["score"]
        assert 3 <= len(candidates) == len(scores) <= 7
        assert all("<image>" in texts[0] for texts in candidates)
        assert all("<image>" not in text for texts in candidates for text in texts[1:])
        assert len({len(texts) for texts in candidates}) == 1


def test_answer_entries_have_the_released_schema(answers: PreferenceFile):
    for entry in entries_of(answers):
        assert set(entry) == {"id", "image", "conversations"}
        conversations = entry["conversations"]
        for human, gpt in zip(conversations[::2], conversations[1::2], strict=True):
            assert set(human) == {"from", "value"}
            assert human["from"] == "human"
            assert gpt["from"] == "gpt"
            assert 3 <= len(gpt["value"]) == len(gpt["score"]) <= 7


@pytest.mark.parametrize("kind", ["questions", "answers"])
def test_truths_name_every_candidate_once(kind: str, request: pytest.FixtureRequest):
    file: PreferenceFile = request.getfixturevalue(kind)
    keys = {(line["id"], line["turn"], line["candidate"]) for line in truths_of(file)}
    if kind == "questions":
        num_candidates = sum(len(entry["questions"]) for entry in entries_of(file))
    else:
        turns = [turn for entry in entries_of(file) for turn in entry["conversations"]]
        num_candidates = sum(len(turn["value"]) for turn in turns if turn["from"] == "gpt")
    assert len(keys) == len(file.truths) == num_candidates
    for line in truths_of(file):
        assert line["score"] == true_score(map(Defect, line["defects"]))


def test_answers_are_as_true_as_their_labels_say(answers: PreferenceFile):
    entries = {entry["id"]: entry["conversations"] for entry in entries_of(answers)}
    false = {Defect.WRONG_ANSWER, Defect.INVENTED_OBJECT, Defect.OMISSION}
    for line in truths_of(answers):
        if Defect.REFUSAL in line["defects"]:
            continue
        conversation = entries[line["id"]]
        asked = bare(conversation[2 * line["turn"]]["value"])
        text = conversation[2 * line["turn"] + 1]["value"][line["candidate"]]
        reading = read(Turn(asked, text))
        assert reading is not None, (asked, text)
        expected = Truth.FALSE if false & set(line["defects"]) else Truth.TRUE
        assert reading.fact.truth_in(SCENES[line["id"]]) is expected


def test_generic_candidates_alone_hold_generic_questions(questions: PreferenceFile):
    entries = {entry["id"]: entry["questions"] for entry in entries_of(questions)}
    for line in truths_of(questions):
        texts = entries[line["id"]][line["candidate"]]
        has_generic = any(question_kind(bare(text)) is None for text in texts)
        assert has_generic is (Defect.GENERIC_QUESTION in line["defects"])


@pytest.mark.parametrize("kind", ["questions", "answers"])
def test_twins_share_a_style_and_some_differ_by_the_image_alone(
    kind: str, request: pytest.FixtureRequest
):
    file: PreferenceFile = request.getfixturevalue(kind)
    key = lambda line: (line["id"], line["turn"], line["twin"])  # noqa: E731 (used twice here)
    lines = sorted((line for line in truths_of(file) if line["twin"] in (0, 1)), key=key)
    groups = [list(group) for _, group in itertools.groupby(lines, key=key)]
    assert all(len({line["style"] for line in group}) == 1 for group in groups)
    mixed = [group for group in groups if len({line["score"] for line in group}) > 1]
    assert len(mixed) >= len(PICTURES)
