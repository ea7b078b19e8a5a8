import pytest

from align2llava.pipeline.preferences.groups import PreferenceGroup, ScoredCandidate


@pytest.mark.parametrize(
    ("scores", "pairs"),
    [
        pytest.param((0.9, 0.6, 0.3), 3, id="all different"),
        pytest.param((0.9, 0.9, 0.3), 2, id="a tie says nothing"),
        pytest.param((0.5, 0.5), 0, id="ties alone"),
        pytest.param((0.5,), 0, id="one candidate"),
    ],
)
def test_only_strictly_ordered_pairs_count(scores, pairs):
    candidates = tuple(
        ScoredCandidate(questions=("a",), answer=None, score=score) for score in scores
    )
    group = PreferenceGroup(
        entry=0, kind="question-reward", image="a.png", turn=-1, candidates=candidates
    )
    assert group.num_pairs == pairs
