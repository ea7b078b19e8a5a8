import itertools
from collections import Counter
from random import Random

import pytest

from align2llava.pipeline.curation.input.types import type_of
from examples.blocks.defects import QUESTION_DEFECTS, Defect, is_image_dependent_only
from examples.blocks.facts import Truth
from examples.blocks.language import Turn, read, without_fillers
from examples.blocks.phrases import REFUSALS, Style
from examples.blocks.records import (
    Labelled,
    Picture,
    RecordType,
    draw_records,
    llava_record,
    tagged,
    truth_line,
)
from examples.blocks.sampling import NoSuchFactError
from examples.blocks.scene import draw_scenes

COUNTS = {
    RecordType.CONVERSATION: 180,
    RecordType.DETAIL: 130,
    RecordType.COMPLEX_REASONING: 160,
}


@pytest.fixture(scope="module")
def records() -> list[Labelled]:
    pictures = [
        Picture(file_name=f"{index:04d}.png", scene=scene)
        for index, scene in enumerate(itertools.islice(draw_scenes(2, "records"), 250))
    ]
    return draw_records(pictures, COUNTS, rng=Random(2))


def observed(record: Labelled) -> set[Defect]:
    """The defects that the turns themselves show beside the scene."""
    return set().union(*(observed_in(turn, record) for turn in record.turns))


def observed_in(turn: Turn, record: Labelled) -> set[Defect]:
    if turn.answer in REFUSALS:
        return {Defect.REFUSAL}
    reading = read(turn)
    if reading is None:
        return {Defect.GENERIC_QUESTION}
    found: set[Defect] = set()
    if reading.answer_style is Style.FOREIGN:
        found.add(Defect.FOREIGN_STYLE)
    if turn.answer != without_fillers(turn.answer):
        found.add(Defect.RAMBLING)
    match reading.fact.truth_in(record.picture.scene):
        case Truth.UNANSWERABLE:
            found.add(Defect.UNANSWERABLE_QUESTION)
        case Truth.FALSE:
            found.add(Defect.WRONG_ANSWER)
        case _:
            pass
    return found


def test_counts_are_as_asked_and_no_image_serves_a_type_twice(records: list[Labelled]):
    assert Counter(record.type for record in records) == COUNTS
    assert len({(r.picture.file_name, r.type) for r in records}) == len(records)


def test_labels_are_what_the_turns_show(records: list[Labelled]):
    """Inventions and omissions are wrong answers by another name here."""
    names = {Defect.INVENTED_OBJECT: Defect.WRONG_ANSWER, Defect.OMISSION: Defect.WRONG_ANSWER}
    for record in records:
        assert observed(record) == {names.get(defect, defect) for defect in record.defects}


def test_under_half_is_good_and_most_of_the_bad_only_the_image_shows(records: list[Labelled]):
    bad = [record for record in records if record.defects]
    assert 0.33 < 1 - len(bad) / len(records) <= 0.48
    assert sum(is_image_dependent_only(record.defects) for record in bad) >= len(bad) / 2


def test_about_six_of_ten_questions_are_good_and_of_answers_to_them(records: list[Labelled]):
    dialogues = [record for record in records if record.type is not RecordType.DETAIL]
    asked_well = [record for record in dialogues if not record.defects & QUESTION_DEFECTS]
    good = [record for record in asked_well if not record.defects]
    assert 0.55 < len(asked_well) / len(dialogues) < 0.70
    assert 0.53 < len(good) / len(asked_well) < 0.70


def test_every_defect_occurs(records: list[Labelled]):
    assert set().union(*(record.defects for record in records)) == set(Defect)


def test_the_driver_finds_the_same_type(records: list[Labelled]):
    for record in records:
        questions = tuple(turn.question for turn in record.turns)
        assert type_of("auto", own=None, questions=questions).type == record.type


def test_conversations_have_two_to_five_turns(records: list[Labelled]):
    turns = {len(r.turns) for r in records if r.type is RecordType.CONVERSATION}
    assert turns == {2, 3, 4, 5}
    assert {len(r.turns) for r in records if r.type is not RecordType.CONVERSATION} == {1}


def test_the_image_tag_stands_before_or_after_the_first_question():
    rng = Random(0)
    assert {tagged("Q", rng) for _ in range(30)} == {"<image>\nQ", "Q\n<image>"}


def test_records_and_truths_have_their_schemas(records: list[Labelled]):
    record = next(record for record in records if len(record.turns) == 2)
    written = llava_record(record, Random(0))
    conversations = written["conversations"]
    assert isinstance(conversations, list)
    assert [turn["from"] for turn in conversations] == ["human", "gpt"] * 2
    assert sum("<image>" in turn["value"] for turn in conversations) == 1
    assert written["image"] == f"{written['id']}.png"
    assert truth_line(record) == {
        "id": written["id"],
        "type": "conversation",
        "good": not record.defects,
        "defects": sorted(record.defects),
    }


def test_too_few_pictures_are_an_error():
    pictures = [Picture(file_name="0.png", scene=next(draw_scenes(0, "few")))]
    with pytest.raises(NoSuchFactError, match="pictures fits"):
        draw_records(pictures, {RecordType.DETAIL: 3}, rng=Random(0))
