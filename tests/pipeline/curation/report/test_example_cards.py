from pathlib import Path

from PIL import Image

from align2llava.pipeline.config.schema import InputConfig
from align2llava.pipeline.curation.figures.examples import Band, ExampleRow
from align2llava.pipeline.curation.figures.truth import Truth
from align2llava.pipeline.curation.input.records import Record, RecordTurn
from align2llava.pipeline.curation.layout import RewardStage
from align2llava.pipeline.curation.report.example_cards import (
    MAX_CHARS,
    MAX_TURNS,
    example_cards,
    shortened,
)


def row(stage: RewardStage = RewardStage.ANSWER, position: int = 0) -> ExampleRow:
    return ExampleRow(
        stage=stage,
        type="detail",
        band=Band.TOP,
        position=position,
        uid="ab" * 16,
        id="7",
        reward=1.0,
        rank=1,
        decision="kept",
        reason="kept",
    )


def record(image: str | None = "a.png", num_turns: int = 1) -> Record:
    turn = RecordTurn(question="What?", answers=("This.", "That."))
    return Record(image=image, turns=(turn,) * num_turns)


def cards(tmp_path: Path, rows: list[ExampleRow], records: dict[int, Record], truth=None):
    config = InputConfig(path=tmp_path / "raw.json", images_root=tmp_path)
    groups = example_cards(rows, records, config=config, truth=truth)
    return [card for group in groups for band in group.bands for card in band.cards]


def test_question_stage_shows_no_answers(tmp_path: Path):
    rows = [row(RewardStage.QUESTION), row(RewardStage.ANSWER)]
    question, answer = cards(tmp_path, rows, {0: record()})
    assert question.turns[0].answer is None
    assert answer.turns[0].answer == "This."


def test_turns_are_bounded_and_the_rest_counted(tmp_path: Path):
    (card,) = cards(tmp_path, [row()], {0: record(num_turns=5)})
    assert (len(card.turns), card.num_more_turns) == (MAX_TURNS, 5 - MAX_TURNS)


def test_picture_is_found_under_the_root_only(tmp_path: Path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    (tmp_path / "root").mkdir()
    (inside,) = cards(tmp_path, [row()], {0: record("a.png")})
    (outside,) = cards(tmp_path / "root", [row()], {0: record("../a.png")})
    assert inside.picture is not None
    assert outside.picture is None


def test_truth_is_found_by_id_and_type(tmp_path: Path):
    truth = {("7", "detail"): Truth(is_good=False, defects=("wrong",))}
    (card,) = cards(tmp_path, [row()], {0: record()}, truth)
    assert card.truth is not None
    assert card.truth.defects == ("wrong",)


def test_record_that_cannot_be_read_is_left_out(tmp_path: Path):
    assert cards(tmp_path, [row(position=3)], {0: record()}) == []


def test_long_texts_are_shortened():
    assert shortened("a" * MAX_CHARS) == "a" * MAX_CHARS
    cut = shortened("a" * (MAX_CHARS + 1))
    assert len(cut) == MAX_CHARS
    assert cut.endswith("...")
