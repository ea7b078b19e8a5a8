"""Measures a reward model on held-out pictures: `python -m examples.blocks.evaluate_reward KIND`.

Pairs are ordered by the noise-free scores of the truth beside the test preferences. `twins` differ
in defects that the picture alone shows; `swapped` are the same pairs beside another picture.
Writes `figures.json` into the model's folder.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from align2llava.pipeline.preferences.groups import PreferenceGroup
from align2llava.pipeline.preferences.readers import read_groups
from align2llava.pipeline.training.batches import BatchMaker
from align2llava.pipeline.training.evaluate import rewards_of_groups
from align2llava.services.reward_model.llava.checkpoint import RewardCheckpoint, read_reward
from examples.blocks.defects import Defect, is_image_dependent_only

BLOCKS = Path(__file__).parent
Kind = Literal["question", "answer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is known of one candidate."""

    score: float  # without noise
    defects: frozenset[Defect]
    twin: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Places of two candidates of one group, the better first."""

    chosen: int
    rejected: int


def read_truths(path: Path) -> dict[tuple[str, int], list[Truth]]:
    """Returns the candidates' truths by picture and turn."""
    truths: dict[tuple[str, int], list[Truth]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        raw = json.loads(line)
        truth = Truth(
            score=raw["score"], defects=frozenset(map(Defect, raw["defects"])), twin=raw["twin"]
        )
        truths[raw["id"], raw["turn"]].append(truth)
    return truths


def ordered_pairs(truths: Sequence[Truth]) -> Iterator[Pair]:
    """Yields all pairs whose noise-free scores differ."""
    for chosen, better in enumerate(truths):
        for rejected, worse in enumerate(truths):
            if better.score > worse.score:
                yield Pair(chosen=chosen, rejected=rejected)


def is_twin_pair(pair: Pair, truths: Sequence[Truth]) -> bool:
    """Tells whether the two differ only in defects that the picture alone shows."""
    better, worse = truths[pair.chosen], truths[pair.rejected]
    return better.twin == worse.twin and is_image_dependent_only(worse.defects - better.defects)


def share_right(outcomes: Iterable[bool]) -> dict[str, float]:
    """Returns how many there are and which share is right."""
    counted = list(outcomes)
    return {"pairs": len(counted), "accuracy": round(sum(counted) / max(1, len(counted)), 4)}


def figures(
    groups: Sequence[PreferenceGroup], truths: Sequence[Sequence[Truth]], *, model: RewardCheckpoint
) -> dict[str, object]:
    """Returns the accuracies of a model on groups with their truths."""
    maker = BatchMaker(
        encoder=model.encoder,
        pixels=model.pixels,
        images_root=BLOCKS / "preferences" / "images",
        cached_images=len(groups),
    )
    shifted = [groups[(place + 1) % len(groups)].image for place in range(len(groups))]
    swapped = [replace(group, image=image) for group, image in zip(groups, shifted, strict=True)]
    rewards = rewards_of_groups(model.model, groups, maker)
    swapped_rewards = rewards_of_groups(model.model, swapped, maker)
    everything: list[bool] = []
    twins: list[bool] = []
    twins_swapped: list[bool] = []
    by_defect: dict[str, list[bool]] = defaultdict(list)
    for known, seen, unseen in zip(truths, rewards, swapped_rewards, strict=True):
        for pair in ordered_pairs(known):
            right = bool(seen[pair.chosen] > seen[pair.rejected])
            everything.append(right)
            if not known[pair.chosen].defects:
                by_defect["+".join(sorted(known[pair.rejected].defects))].append(right)
            if is_twin_pair(pair, known):
                twins.append(right)
                twins_swapped.append(bool(unseen[pair.chosen] > unseen[pair.rejected]))
    return {
        "noise_free": share_right(everything),
        "twins": share_right(twins),
        "twins_swapped": share_right(twins_swapped),
        "good_against_defect": {
            defect: share_right(outcomes) for defect, outcomes in sorted(by_defect.items())
        },
    }


def evaluate(kind: Kind, folder: Path) -> dict[str, object]:
    """Returns the figures of the model in `folder` on the test preferences."""
    model = read_reward(folder, device="cpu", dtype="float32")
    path = BLOCKS / "preferences" / f"{kind}_test.json"
    groups = read_groups(path, model.file.kind)
    known = read_truths(path.with_suffix(".truth.jsonl"))
    truths = [known[Path(group.image).stem, group.turn] for group in groups]
    return figures(groups, truths, model=model) | {"weights_sha256": model.weights_sha256}


def main() -> None:
    """Reads the command line, measures, and writes the figures."""
    parser = argparse.ArgumentParser(description="Measures a reward model of blocks world.")
    parser.add_argument("kind", choices=("question", "answer"))
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kind: Kind = arguments.kind
    folder: Path = arguments.model or BLOCKS / "models" / f"{kind}-reward"
    measured = evaluate(kind, folder)
    text = json.dumps(measured, indent=2)
    (folder / "figures.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
