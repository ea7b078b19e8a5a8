"""Draws the simulations of the limiter into docs/: `python tools/plot_limiter.py`. Needs matplotlib."""

import math
from collections import Counter
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tools.limiter_scenarios import SCENARIOS, capacity
from tools.limiter_simulation import Phase, Trace, simulate

DOCS = Path(__file__).resolve().parent.parent / "docs"
ROWS = ("queue", "step", "slowdown", "storms")
BIN_S = 1.0
INK, ACCENT, PALE = "#334155", "#2563eb", "#94a3b8"


def main() -> None:
    """Writes both figures."""
    mpl.rcParams.update({"svg.hashsalt": "limiter", "svg.fonttype": "none", "font.size": 9})
    _save(_single_replica(), "concurrency-limit.svg")
    _save(_stuck_replica(), "concurrency-hedging.svg")


def _single_replica() -> Figure:
    figure = Figure(figsize=(10, 9), layout="constrained")
    axes = figure.subplots(len(ROWS), 3, squeeze=False)
    for (throughput, queued, limit), name in zip(axes, ROWS, strict=True):
        trace = simulate(SCENARIOS[name])
        phases = SCENARIOS[name].replicas[0]
        _throughput(throughput, trace, phases=list(phases), end_s=SCENARIOS[name].end_s)
        _queued(queued, trace)
        times, limits = zip(*((at_s, value) for at_s, _, value in trace.limits), strict=True)
        limit.step(times, limits, color=ACCENT, linewidth=1)
        throughput.set_ylabel(name, fontweight="bold")
    _queued(axes[0][1], simulate(SCENARIOS["queue, fixed at 256"]), color=PALE)
    axes[0][1].text(58, 1.4, "256 calls, no limiter", color=INK, ha="right", va="top")
    titles = ("answers per second (dashed: capacity)", "p95 queued at the server, s", "limit")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    for axis in axes[-1]:
        axis.set_xlabel("s")
    _clean([axis for row in axes for axis in row])
    for axis in figure.axes:
        axis.set_ylim(bottom=0)
    return figure


def _throughput(axis: Axes, trace: Trace, *, phases: list[Phase], end_s: float) -> None:
    counts = Counter(int(answer.at_s / BIN_S) for answer in trace.answers)
    times = range(int(end_s / BIN_S))
    axis.step(times, [counts[at] / BIN_S for at in times], color=ACCENT, where="post", linewidth=1)
    starts = [*(phase.start_s for phase in phases), end_s]
    rates = [0.0 if phase.refuses else capacity(phase) for phase in phases]
    axis.step(starts, [*rates, rates[-1]], color=INK, where="post", linestyle="--", linewidth=1)


def _queued(axis: Axes, trace: Trace, *, color: str = ACCENT) -> None:
    by_bin: dict[int, list[float]] = {}
    for answer in trace.answers:
        by_bin.setdefault(int(answer.at_s / BIN_S), []).append(answer.queued_s)
    times = range(max(by_bin) + 1)
    p95 = [_p95(by_bin.get(at, [math.nan])) for at in times]
    axis.plot(times, p95, color=color, linewidth=1)


def _p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


def _stuck_replica() -> Figure:
    figure = Figure(figsize=(7, 3), layout="constrained")
    axis = figure.subplots()
    for name, color, label in (
        ("stuck replica", PALE, "no second calls"),
        ("stuck replica, hedged", ACCENT, "second calls"),
    ):
        answers = sorted(answer.at_s for answer in simulate(SCENARIOS[name]).answers)
        left = [len(answers) - number - 1 for number in range(len(answers))]
        axis.step(answers, left, color=color, label=label, where="post")
    axis.set_yscale("symlog", linthresh=1)
    axis.set_yticks([0, 1, 10, 100, 1000], ["0", "1", "10", "100", "1000"])
    axis.set_ylabel("calls not answered yet")
    axis.set_xlabel("s")
    axis.legend(frameon=False)
    _clean([axis])
    return figure


def _clean(axes: list[Axes]) -> None:
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=INK)


def _save(figure: Figure, name: str) -> None:
    figure.savefig(DOCS / name, metadata={"Date": None, "Creator": None}, facecolor="white")


if __name__ == "__main__":
    main()
