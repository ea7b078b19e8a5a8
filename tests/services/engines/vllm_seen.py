"""Prints what the vLLM engine answers, and what the torch model does, as JSON:
`.venv-vllm-vision/bin/python -m tests.services.engines.vllm_seen answer-reward`. No pytest there."""

import dataclasses
import json
import math
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from align2llava.clients.wire.kinds import RewardKind
from align2llava.services.engines.api import Candidate, PreparedGroup, RewardGroup, RowReward
from align2llava.services.engines.vllm_engine.torchvision_operators import declare_operators

if TYPE_CHECKING:
    from align2llava.services.engines.vllm_engine.reward import VllmRewardEngine

BLOCKS = Path(__file__).parents[3] / "examples" / "blocks"
NUM_ROWS = 240
RED, WIDE = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (90, 20), "blue")


def candidates_of(record: dict, kind: RewardKind) -> list[Candidate]:
    turns = record["conversations"]
    asked = [turn["value"] for turn in turns if turn["from"] == "human"]
    answered = [turn["value"] for turn in turns if turn["from"] == "gpt"]
    if kind == "question-reward":
        return [Candidate(questions=tuple(asked), answer=None)]
    return [Candidate(questions=(q,), answer=a) for q, a in zip(asked, answered, strict=True)]


def blocks_groups(kind: RewardKind) -> list[RewardGroup]:
    """Each image of the blocks world with the candidates of all its records."""
    found: dict[str, list[Candidate]] = {}
    for record in json.loads((BLOCKS / "raw.json").read_text()):
        if "image" in record:
            found.setdefault(record["image"], []).extend(candidates_of(record, kind))
    groups, num_rows = [], 0
    for name, candidates in found.items():
        if len(candidates) < 2 or num_rows >= NUM_ROWS:
            continue
        image = Image.open(BLOCKS / "images" / name).convert("RGB")
        groups.append(RewardGroup(image=image, candidates=tuple(candidates)))
        num_rows += len(candidates)
    return groups


def special_groups(kind: RewardKind) -> dict[str, RewardGroup]:
    def made(*texts: str) -> tuple[Candidate, ...]:
        if kind == "question-reward":
            return tuple(Candidate(questions=(text,), answer=None) for text in texts)
        return tuple(Candidate(questions=("What is it?",), answer=text) for text in texts)

    return {
        "faulty": RewardGroup(image=RED, candidates=made("fine", " ", "y" * 40_000)),
        "long": RewardGroup(image=RED, candidates=made("red star " * 400)),
        "text only": RewardGroup(image=None, candidates=made("a star", "a red star")),
        "alike": RewardGroup(image=WIDE, candidates=made("a star", "a star", "a star is red")),
        "empty": RewardGroup(image=RED, candidates=()),
    }


def poisoned(group: PreparedGroup) -> PreparedGroup:
    """The group with an image of NaN."""
    assert group.image is not None
    pixels = np.full_like(group.image.pixels, math.nan)
    return dataclasses.replace(group, image=dataclasses.replace(group.image, pixels=pixels))


def torch_rewards(folder: Path, groups: list[PreparedGroup]) -> list[list[float]]:
    """The rewards of good rows, one at a time."""
    import torch

    from align2llava.services.reward_model.llava.checkpoint import read_reward
    from align2llava.services.reward_model.tokens.inputs import TokenRow

    model = read_reward(folder, device="cpu", dtype="float32").model
    rewards: list[list[float]] = []
    with torch.inference_mode():
        for group in groups:
            features = None
            if group.image is not None:
                features = model.image_features(torch.from_numpy(group.image.pixels).unsqueeze(0))
            rows = [torch.tensor([row.ids]) for row in group.rows if isinstance(row, TokenRow)]
            rewards.append([model(ids, torch.ones_like(ids), features).item() for ids in rows])
    return rewards


def shown(row: object) -> dict[str, object]:
    if isinstance(row, RowReward):
        return dataclasses.asdict(row)
    return {"error": type(row).__name__, "message": str(row)}


def answers(
    engine: "VllmRewardEngine", groups: list[PreparedGroup]
) -> list[list[dict[str, object]]]:
    return [[shown(row) for row in score.rows] for score in engine.launch(groups)()]


def refusals(folder: Path, kind: RewardKind) -> dict[str, str]:
    """What the engine says of folders that it does not take."""
    from align2llava.services.engines.vllm_engine.reward import VllmLimits, VllmRewardEngine

    def refusal(folder: Path, kind: RewardKind, device: str = "cpu") -> str:
        limits = VllmLimits(max_batch_tokens=2048, long_text="truncate")
        try:
            VllmRewardEngine.load(
                folder, kind=kind, device=device, dtype="float32", num_threads=1, limits=limits
            )
        except ValueError as error:
            return str(error)
        return ""

    with tempfile.TemporaryDirectory() as name:
        short = Path(name) / "short"
        shutil.copytree(folder, short)
        file = json.loads((short / "reward.json").read_text())
        (short / "reward.json").write_text(json.dumps(file | {"max_length": 10}))
        return {
            "short": refusal(short, kind),
            "other device": refusal(folder, kind, device="cuda"),
            "other kind": refusal(
                folder, "answer-reward" if kind == "question-reward" else "question-reward"
            ),
        }


def main(kind: RewardKind) -> None:
    declare_operators()
    from align2llava.services.engines.vllm_engine.reward import VllmLimits, VllmRewardEngine

    folder = BLOCKS / "models" / kind
    limits = VllmLimits(max_batch_tokens=2048, long_text="truncate")
    engine = VllmRewardEngine.load(
        folder, kind=kind, device="cpu", dtype="float32", num_threads=1, limits=limits
    )
    refused = refusals(folder, kind)
    named = special_groups(kind)
    prepared = [engine.prepare(group) for group in named.values()]
    groups = [engine.prepare(group) for group in blocks_groups(kind)]
    seen = {
        "identity": engine.identity.model_dump(),
        "poisoned": answers(engine, [poisoned(prepared[0])])[0],
        "special": dict(zip(named, answers(engine, prepared), strict=True)),
        "special_torch": dict(zip(named, torch_rewards(folder, prepared), strict=True)),
        "blocks": answers(engine, groups),
        "blocks_torch": torch_rewards(folder, groups),
        "refusals": refused,
        "nothing": answers(engine, []),
        "prefix_tokens": engine.launch(prepared)()[0].prefix_tokens,
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    kind = sys.argv[1]
    assert kind in ("question-reward", "answer-reward")
    main(kind)
