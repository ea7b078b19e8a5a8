from align2llava.pipeline.curation.figures.noise import Fragility
from align2llava.pipeline.curation.layout import RewardStage
from align2llava.pipeline.curation.report.noise_words import noise_lines
from tests.pipeline.curation.figures.test_noise import noise


def fragile(num_fragile: int | None, stage: RewardStage = RewardStage.QUESTION) -> Fragility:
    return Fragility(stage=stage, type="detail", num_scored=1000, num_fragile=num_fragile)


def test_fragile_decisions_are_told_with_their_share_and_the_noise():
    (line,) = noise_lines([noise(0.0123)], [fragile(12), fragile(3)])
    assert line == (
        "question rewards: 15 of 2,000 decisions (0.8 %) are fragile; noise rms 0.0123, largest "
        "0.0246 (4 canaries, 4 comparisons, 4 moved)"
    )


def test_no_noise_is_said_with_the_canaries_behind_it():
    (line,) = noise_lines([noise(0.0)], [fragile(0)])
    assert line.startswith("question rewards: no noise (4 canaries, 4 comparisons, all equal)")


def test_stage_without_canaries_was_not_measured_and_one_without_rewards_is_left_out():
    (line,) = noise_lines([noise(0.1)], [fragile(None, RewardStage.ANSWER)])
    assert line == "answer rewards: noise was not measured, as no canary was compared"
