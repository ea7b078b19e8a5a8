"""Scoring one image with many candidates: token trees beside one by one, padding and prefix caches.

    python benchmarks/reward_engine.py [--quick] [--threads N] [--out FILE]

All methods get the same tokens and pixels and take turns, round by round; the best round counts.
vLLM's pooling runner, prefix caching on, answers from its own environment (`make
venv-vllm-vision`) on the same machine. Needs torch and transformers alone; on CUDA it measures a
model of LLaVA-1.5-7B's shape in bfloat16, else the blocks checkpoint and a middle model in float32.
`padded` encodes the image once for its batch and is the baseline of the speed-ups; the token bound
is the speed-up that token counts alone would give.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import LlavaConfig

sys.path.insert(0, str(Path(__file__).parents[1]))

from align2llava.services.engines.torch_engine.allocation import keep_freed_memory
from align2llava.services.reward_model.tree.kernels import attention_for
from benchmarks.measuring import NotRun, Report, argument_parser, at_least, at_most, say
from benchmarks.reward_methods import TorchMethods
from benchmarks.reward_precision import add_precision
from benchmarks.reward_shapes import Shape, blocks_shape, flops, mid_shape, seven_b_shape
from benchmarks.reward_workload import Workload, draw_workload
from benchmarks.vllm_process import VllmProcess, VllmUnavailableError

NAME = "reward_engine"
CANDIDATES = (1, 2, 4, 8, 16)
PAPER_CANDIDATES = 4.4  # questions of one image, on average, in LLaVA-Instruct-158K
H200_FLOPS = 790e12  # measured, bfloat16
MAX_BATCH_TOKENS = 16_384
VLLM = "vllm"

Method = Callable[[Workload], tuple[float, list[float]]]  # seconds, rewards


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    candidates: tuple[float, ...]
    num_groups: int
    num_rounds: int


@dataclass(slots=True, kw_only=True)
class Best:
    """The best of a method's rounds."""

    seconds: float
    rewards: list[float]


def main() -> None:
    """Measures and reports."""
    parser = argument_parser(NAME, __doc__ or "")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    report = Report(NAME, is_quick=arguments.quick)
    if torch.cuda.is_available():
        measure_cuda(report, is_quick=arguments.quick)
    else:
        measure_cpu(report, is_quick=arguments.quick, num_threads=arguments.threads)
    report.finish(arguments.out)


def measure_cpu(report: Report, *, is_quick: bool, num_threads: int) -> None:
    """Measures the blocks checkpoint and the middle model in float32, vLLM beside them."""
    keep_freed_memory()  # as the engine does when it loads; vLLM's process gets the same
    quick = Plan(candidates=(1, 8), num_groups=1, num_rounds=2)
    full = Plan(candidates=(*CANDIDATES, PAPER_CANDIDATES), num_groups=2, num_rounds=4)
    for shape in (blocks_shape(), mid_shape()):
        small = Plan(candidates=full.candidates, num_groups=16, num_rounds=5)
        plan = quick if is_quick else (small if shape.name == "blocks" else full)
        methods = torch_methods(shape, device="cpu")
        if is_quick:
            compare(report, shape, methods, plan=plan)
            continue
        try:
            with VllmProcess(shape.folder, num_threads=num_threads) as vllm:
                compare(report, shape, methods | {VLLM: vllm.timed}, plan=plan)
        except VllmUnavailableError as error:
            say(f"vLLM: {error}")
            compare(report, shape, methods, plan=plan)
    add_cpu_claims(report, is_quick=is_quick)
    add_precision(report, is_quick=is_quick)
    report.add_claim("H200: f at 4.4 questions an image, samples/s", NotRun(why="no CUDA here"))


def measure_cuda(report: Report, *, is_quick: bool) -> None:
    """Measures a model of LLaVA-1.5-7B's shape in bfloat16."""
    shape = seven_b_shape()
    candidates = (PAPER_CANDIDATES,) if is_quick else (*CANDIDATES, PAPER_CANDIDATES)
    plan = Plan(candidates=candidates, num_groups=10, num_rounds=3)
    compare(report, shape, torch_methods(shape, device="cuda"), plan=plan)
    rates = {
        row["method"]: float(row["samples_per_s"] or 0)
        for row in report.rows
        if row["candidates"] == PAPER_CANDIDATES
    }
    tree = rates["tree"]
    report.add_claim("H200: f at 4.4 questions an image, samples/s", at_least(tree, 198))
    report.add_claim("tree against one by one", at_least(tree / rates["one by one"], 3))
    report.add_claim("tree against prefix cache", at_least(tree / rates["prefix cache"], 1.3))
    report.add_claim(
        "vLLM's row", NotRun(why="not run: vLLM is not measured on CUDA by this script")
    )


def torch_methods(shape: Shape, *, device: str) -> dict[str, Method]:
    """Returns the four methods over a shape's model, timed."""
    model = shape.build(device)
    attention = attention_for(torch.device(device), model.compute_dtype)
    methods = TorchMethods(model, attention=attention, max_batch_tokens=MAX_BATCH_TOKENS)
    return {name: partial(timed, method) for name, method in methods.by_name().items()}


def timed(
    method: Callable[[Workload], list[float]], workload: Workload
) -> tuple[float, list[float]]:
    """Returns how long a method took, in seconds, and its rewards, which are on the CPU by then."""
    started = time.perf_counter()
    rewards = method(workload)
    return time.perf_counter() - started, rewards


def compare(report: Report, shape: Shape, methods: dict[str, Method], *, plan: Plan) -> None:
    """Adds a row for each method and number of candidates."""
    for candidates in plan.candidates:
        workload = draw_workload(
            shape.config, num_groups=plan.num_groups, candidates=candidates, seed=int(candidates)
        )
        say(f"{shape.name}, {candidates:g} candidates an image: {', '.join(methods)}")
        best = best_of_rounds(methods, workload, num_rounds=plan.num_rounds)
        for method, found in best.items():
            report.add_row(
                row_of(shape, workload, candidates=candidates, method=method)
                | figures(shape.config, workload, found=found, best=best)
            )


def best_of_rounds(
    methods: dict[str, Method], workload: Workload, *, num_rounds: int
) -> dict[str, Best]:
    """Returns each method's best round of several; methods take turns, the first turn is not counted."""
    best: dict[str, Best] = {}
    for round_number in range(num_rounds + 1):
        for name, method in methods.items():
            seconds, rewards = method(workload)
            if name not in best or round_number == 1 or seconds < best[name].seconds:
                best[name] = Best(seconds=seconds, rewards=rewards)
    return best


def row_of(
    shape: Shape, workload: Workload, *, candidates: float, method: str
) -> dict[str, str | int | float | bool | None]:
    """Returns what a row is about."""
    return {
        "model": shape.name,
        "dtype": shape.dtype,
        "candidates": candidates,
        "samples": workload.num_samples,
        "method": method,
    }


def figures(
    config: LlavaConfig, workload: Workload, *, found: Best, best: dict[str, Best]
) -> dict[str, str | int | float | bool | None]:
    """Returns a row's figures; differences are of rewards, against one by one."""
    padded, alone = best["padded"], best["one by one"]
    tokens = workload.num_tree_tokens
    row: dict[str, str | int | float | bool | None] = {
        "seconds": found.seconds,
        "samples_per_s": workload.num_samples / found.seconds,
        "speed_up": padded.seconds / found.seconds,
        "token_bound": workload.num_row_tokens / tokens,
        "max_difference": max(
            abs(one - other) for one, other in zip(found.rewards, alone.rewards, strict=True)
        ),
    }
    if torch.cuda.is_available():
        needed = flops(config, num_tokens=tokens, num_images=len(workload.groups))
        row["share_of_790_tflops"] = needed / found.seconds / H200_FLOPS
    return row


def add_cpu_claims(report: Report, *, is_quick: bool) -> None:
    """Adds the claims about the middle model."""
    seconds = {
        (row["candidates"], row["method"]): float(row["seconds"] or 0)
        for row in report.rows
        if row["model"] == "mid"
    }
    for candidates, goal in ((1, 0.97), (8, 5.5), (16, 7.5)):
        name = f"mid model, {candidates} candidates: tree against padded"
        if (candidates, "tree") not in seconds:
            report.add_claim(name, NotRun(why="left out of --quick"))
            continue
        ratio = seconds[candidates, "padded"] / seconds[candidates, "tree"]
        report.add_claim(name, at_least(ratio, goal))
    for candidates in (4, 8, 16):
        name = f"mid model, {candidates} candidates: tree against vLLM pooling"
        if (candidates, VLLM) not in seconds:
            why = (
                "left out of --quick" if is_quick else "no .venv-vllm-vision: make venv-vllm-vision"
            )
            report.add_claim(name, NotRun(why=why))
            continue
        ratio = seconds[candidates, VLLM] / seconds[candidates, "tree"]
        report.add_claim(name, at_least(ratio, 1.0))
    differences = [
        float(row["max_difference"] or 0) for row in report.rows if row["method"] == "tree"
    ]
    report.add_claim("float32: |tree - one by one|", at_most(max(differences), 1e-5))


if __name__ == "__main__":
    main()
