import pytest

from align2llava.pipeline.curation.report.word_diff import MAX_WORDS, Segment, word_diff


def changed(segments: list[Segment]) -> list[str]:
    return [segment.text.strip() for segment in segments if segment.is_changed]


def test_only_the_words_that_differ_are_marked():
    before, after = word_diff("The cup is red.", "The mug is red, I see.")
    assert changed(before) == ["cup", "red."]
    assert changed(after) == ["mug", "red, I see."]


@pytest.mark.parametrize(
    ("before", "after"),
    [("a b  c\nd", "a x c d "), ("", "new"), ("same", "same"), ("  ", "a"), ("w " * 900, "v")],
    ids=["blanks", "empty", "equal", "blanks only", "over the limit"],
)
def test_segments_join_to_the_texts_they_came_from(before: str, after: str):
    left, right = word_diff(before, after)
    assert "".join(segment.text for segment in left) == before
    assert "".join(segment.text for segment in right) == after


def test_long_texts_come_back_whole():
    text = "word " * (MAX_WORDS + 1)
    left, right = word_diff(text, text + "more")
    assert [len(left), len(right)] == [1, 1]
    assert left[0].is_changed
