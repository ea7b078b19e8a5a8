import pytest

from align2llava.pipeline.curation.layout import RewardStage
from align2llava.pipeline.curation.results.explanation import (
    ExplainedFault,
    ExplainedRewrite,
    ExplainedTurn,
    Explanation,
    Standing,
    StoredReward,
    explanation_text,
    why,
)

PASSED = Standing(
    stage=RewardStage.QUESTION, reward=1.5, rank=2, cut=3, num_scored=10, lowest_passed=1.25
)
FAILED = Standing(
    stage=RewardStage.ANSWER, reward=-0.5, rank=3, cut=1, num_scored=3, lowest_passed=2.0
)
FAULT = ExplainedFault(stage="answer", code="internal", message="reward is NaN", attempts=3)


@pytest.mark.parametrize(
    ("decision", "reason", "standings", "fault", "told"),
    [
        ("kept", "kept", [PASSED], None, "Kept: it passed every stage that is on."),
        ("kept", "kept", [], None, "Kept: no stage judged it."),
        ("dropped", "below_answer_cut", [PASSED, FAILED], None, "Dropped: below answer cut."),
        ("dropped", "text_only", [], None, "Dropped: it has no image"),
        ("quarantined", "internal", [PASSED], FAULT, "stage answer with internal: reward is NaN."),
    ],
    ids=["kept", "kept without stages", "below a cut", "text only", "quarantined"],
)
def test_every_decision_has_its_sentence(decision, reason, standings, fault, told: str):
    assert told in why(decision, reason, standings=standings, fault=fault)


def test_sentence_says_rank_cut_and_lowest_that_passed():
    told = why("dropped", "below_answer_cut", standings=[FAILED], fault=None)
    assert "reward -0.5000 is rank 3 of 3 and does not pass: the best 1 do, down to 2.0000" in told


def test_text_holds_all_parts():
    explanation = Explanation(
        position=4,
        also_at=(9,),
        uid="ab" * 16,
        id="7",
        type="detail",
        image="a.png",
        turns=(ExplainedTurn(question="What?", answers=("This.", "That.")),),
        raw=None,
        stage="done",
        decision="kept",
        reason="kept",
        why="Kept: so.",
        standings=(PASSED,),
        rewards=(
            StoredReward(
                stage=RewardStage.ANSWER,
                turn=0,
                candidate=1,
                reward=2.0,
                num_tokens=30,
                truncated=True,
                identity="tiny",
            ),
        ),
        rewrites=(
            ExplainedRewrite(
                turn=0,
                status="gated",
                original_question="What?",
                original_answer="Red.",
                rewrite_question="Which?",
                rewrite_answer="That one.",
                unparsed=None,
                gates={"parsed": True, "numbers": False, "length": None},
                original_first="original",
                rewrite_first="rewrite",
                verdict="original",
                error_code="internal",
                identity="llm",
                prompt_version="1",
            ),
        ),
        fault=None,
    )
    text = explanation_text(explanation)
    for part in (
        "position 4  uid abab",
        "same content at positions 9",
        "A[1] That.",
        "answer turn 0 candidate 1: 2.000 (30 tokens, truncated, tiny)",
        "rewrite of turn 0: gated",
        "gates parsed passed, numbers failed, length not tried",
        "original first original, rewrite first rewrite; verdict original",
        "error internal",
    ):
        assert part in text
