from align2llava.pipeline.curation.input.measures import read_texts
from align2llava.pipeline.curation.run.finished import open_run
from tests.pipeline.curation.run_fixture import RunFixture


def test_lengths_are_of_every_usable_record_and_texts_of_the_wanted_only(finished_run: RunFixture):
    run = open_run(finished_run.run)
    found = read_texts(run.scan(), wanted={0, 4})
    unusable = [row for row in finished_run.rows if row["reason"] == "invalid_record"]
    assert unusable
    assert found.lengths.height == len(finished_run.rows)
    assert found.lengths["answer_words"].null_count() == len(unusable)
    assert set(found.records) == {0, 4}


def test_words_and_turns_are_counted_without_the_image_token(finished_run: RunFixture):
    run = open_run(finished_run.run)
    found = read_texts(run.scan(), wanted={0})
    row = found.lengths.row(0, named=True)
    turns = found.records[0].turns
    assert row["num_turns"] == len(turns)
    assert row["question_words"] == 6 * len(turns)  # What colour is the circle 0?
    assert row["answer_words"] == sum(len(turn.answers[0].split()) for turn in turns)
