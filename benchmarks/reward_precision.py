"""How far bfloat16 rewards lie from float32 ones: trees beside one by one, on the middle model."""

import copy

import numpy as np
import torch
from numpy.typing import NDArray

from align2llava.services.reward_model.tree.kernels import attention_for
from benchmarks.measuring import NotRun, Report, at_least, at_most, say
from benchmarks.reward_methods import TorchMethods
from benchmarks.reward_shapes import mid_shape
from benchmarks.reward_workload import draw_workload

NUM_GROUPS, CANDIDATES = 50, 10  # 500 candidates
RANKS = "bfloat16 trees: Spearman against float32, 500 candidates"
ERRORS = "bfloat16: rms error of trees against that of one by one"

Floats = NDArray[np.float64]


def add_precision(report: Report, *, is_quick: bool) -> None:
    """Adds the claims about bfloat16, and a row for each way to compute."""
    if is_quick:
        for claim in (RANKS, ERRORS):
            report.add_claim(claim, NotRun(why="left out of --quick: it takes minutes"))
        return
    shape = mid_shape()
    workload = draw_workload(shape.config, num_groups=NUM_GROUPS, candidates=CANDIDATES, seed=500)
    full = shape.build("cpu")
    half = copy.deepcopy(full).bfloat16()
    # Rotary frequencies stay float32, as a loaded checkpoint's do.
    for name, buffer in full.named_buffers():
        half.get_buffer(name).data = buffer.data
    exact, rounded = (
        TorchMethods(
            model,
            attention=attention_for(torch.device("cpu"), model.compute_dtype),
            max_batch_tokens=1,
        )
        for model in (full, half)
    )
    ways = {
        # Within 1e-5 of one by one, as reward_engine.py measures, and several times faster.
        "float32 tree": exact.tree,
        "bfloat16 one by one": rounded.one_by_one,
        "bfloat16 tree": rounded.tree,
    }
    rewards: dict[str, Floats] = {}
    for name, score in ways.items():
        say(f"precision: {workload.num_samples} candidates, {name}")
        rewards[name] = np.array(score(workload))
    _add(report, rewards)


def _add(report: Report, rewards: dict[str, Floats]) -> None:
    exact = rewards["float32 tree"]
    rms: dict[str, float] = {}
    for name in ("bfloat16 one by one", "bfloat16 tree"):
        rms[name] = float(np.sqrt(np.mean((rewards[name] - exact) ** 2)) / exact.std())
        report.add_row(
            {
                "model": "mid",
                "method": name,
                "samples": len(exact),
                "spearman": spearman(rewards[name], exact),
                "rms_error_in_sd": rms[name],
            }
        )
    report.add_claim(RANKS, at_least(spearman(rewards["bfloat16 tree"], exact), 0.995))
    report.add_claim(ERRORS, at_most(rms["bfloat16 tree"] / rms["bfloat16 one by one"], 1.25))


def spearman(first: Floats, second: Floats) -> float:
    """Returns the rank correlation; equal values share the mean of their ranks."""
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Floats) -> Floats:
    found, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    del found
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]
