"""Writes tests/assets/reward_numbers.json, the rewards of the small models that must not move:
`python -m tests.services.engines.reward_numbers`. Run it after the models were trained anew."""

import json
from itertools import islice
from pathlib import Path

from align2llava.clients.wire.kinds import RewardKind
from align2llava.services.engines.api import Candidate, RewardGroup, RowReward
from align2llava.services.engines.torch_engine.reward import EngineLimits, TorchRewardEngine
from examples.blocks.render import render
from examples.blocks.scene import draw_scenes

ROOT = Path(__file__).parents[3]
ASSET = ROOT / "tests" / "assets" / "reward_numbers.json"
KINDS: tuple[RewardKind, ...] = ("question-reward", "answer-reward")
QUESTIONS = (
    ("What color is the star?",),
    ("Is there a red circle?", "Where is the GO sign?", "How many squares are there?"),
    ("What do you think of this?",),
)
ANSWERS = (
    ("What color is the star?", "The star is red."),
    ("Describe the following image.", "A red star is at the top left. A GO sign is at the right."),
    ("How many circles are there?", "Sorry, I do not know what to say."),
)


def candidates(kind: RewardKind) -> tuple[Candidate, ...]:
    if kind == "question-reward":
        return tuple(Candidate(questions=questions, answer=None) for questions in QUESTIONS)
    return tuple(Candidate(questions=(question,), answer=answer) for question, answer in ANSWERS)


def measured(kind: RewardKind) -> dict[str, object]:
    engine = TorchRewardEngine.load(
        ROOT / "examples" / "blocks" / "models" / kind,
        kind=kind,
        device="cpu",
        dtype="float32",
        num_threads=1,
        limits=EngineLimits(max_batch_tokens=16_384, max_feature_bytes=2**20, long_text="truncate"),
    )
    groups = [
        RewardGroup(image=render(scene), candidates=candidates(kind))
        for scene in islice(draw_scenes(11, "reward numbers"), 3)
    ]
    scores = engine.launch([engine.prepare(group) for group in groups])()
    rows = [row for score in scores for row in score.rows]
    rewards = [row.reward for row in rows if isinstance(row, RowReward)]
    return {"weights_sha256": engine.identity.weights_sha256, "rewards": rewards}


if __name__ == "__main__":
    ASSET.write_text(json.dumps({kind: measured(kind) for kind in KINDS}, indent=2) + "\n")
