"""What differs between two runs, in lines for a terminal. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from align2llava.pipeline.curation.results.diff import RunDiff
from align2llava.pipeline.curation.results.diff_figures import (
    Change,
    InputChange,
    KeptDiff,
    RecordDiff,
    RewardDiff,
    Standing,
    TurnsDiff,
    TypeDiff,
)
from align2llava.pipeline.curation.wording import count, percent, reward, small, words

_NONE = "-"
_OUTCOMES = ("input", "kept", "dropped", "quarantined")


def diff_text(diff: RunDiff) -> str:
    """Returns what differs; what is alike is said in one line at most."""
    return "\n".join(_lines(diff))


def _lines(diff: RunDiff) -> Iterator[str]:
    yield f"A {diff.a}"
    yield f"B {diff.b}"
    if diff.is_empty:
        yield "the runs do not differ: same config, models, inputs, decisions, rewards and rewrites"
        return
    same = "the same" if diff.is_same_dataset else "not the same"
    yield f"the datasets are {same} bytes"
    yield from _changes("config", diff.config)
    yield from _changes("models", diff.identities)
    yield from _inputs(diff.inputs)
    yield from _types(diff.types)
    yield from _kept(diff.kept)
    yield from _records(diff.records)
    yield from _rewards(diff.rewards)
    yield from _turns(diff.turns)


def _changes(title: str, changes: Sequence[Change]) -> Iterator[str]:
    if not changes:
        yield f"{title}: the same"
        return
    yield title
    width = max(len(change.name) for change in changes)
    for change in changes:
        yield f"  {change.name:<{width}}  {change.a or _NONE} -> {change.b or _NONE}"


def _inputs(changes: Sequence[InputChange]) -> Iterator[str]:
    if not changes:
        yield "inputs: the same"
        return
    yield "inputs (records read by A, by B)"
    for one in changes:
        yield (
            f"  {one.path} sha256 {one.sha256[:12]}: "
            f"{count(one.num_records_a)}, {count(one.num_records_b)}"
        )


def _types(types: Sequence[TypeDiff]) -> Iterator[str]:
    if all(one.a == one.b for one in types):
        yield "counts by type: the same"
        return
    width = max(len(one.type) for one in types)
    yield "counts by type, A -> B"
    yield f"  {'':<{width}}" + "".join(f"{name:>18}" for name in _OUTCOMES)
    for one in types:
        pairs = ((one.a[name], one.b[name]) for name in _OUTCOMES)
        cells = (count(a) if a == b else f"{count(a)} -> {count(b)}" for a, b in pairs)
        yield f"  {one.type:<{width}}" + "".join(f"{cell:>18}" for cell in cells)


def _kept(kept: KeptDiff) -> Iterator[str]:
    jaccard = "" if kept.jaccard is None else f" (Jaccard {kept.jaccard:.3f})"
    yield (
        f"kept: {count(kept.num_a)} by A, {count(kept.num_b)} by B, "
        f"{count(kept.num_both)} by both{jaccard}"
    )
    for name, other, reasons in (("A", "B", kept.only_a), ("B", "A", kept.only_b)):
        if reasons:
            yield f"  {count(sum(reasons.values()))} by {name} alone; in {other}: {_counted(reasons)}"
    yield f"records that came to another end or code: {count(kept.num_other_reason)}"


def _records(records: Sequence[RecordDiff]) -> Iterator[str]:
    for side in "ab":
        shown = [one for one in records if one.kept_by == side]
        if shown:
            yield f"kept by {side.upper()} alone, the best-ranked first"
        for one in shown:
            yield f"  {one.uid}  {one.type}"
            yield f"    A {_place(one.a)}"
            yield f"    B {_place(one.b)}"


def _place(place: Standing | None) -> str:
    if place is None:
        return "not in the input"
    stages = (
        ("question", place.question_reward, place.question_rank, place.question_cut),
        ("answer", place.answer_reward, place.answer_rank, place.answer_cut),
    )
    stood = [
        f"{name} {reward(value)}, rank {rank} where {cut} pass"
        for name, value, rank, cut in stages
        if rank is not None
    ]
    return "; ".join([f"position {place.position}, {words(place.reason)}", *stood])


def _rewards(rewards: Sequence[RewardDiff]) -> Iterator[str]:
    if not rewards:
        yield "rewards: no record was scored by both"
        return
    if not any(one.num_different for one in rewards):
        yield "rewards: the same wherever both scored a record"
        return
    yield "rewards where both scored a record, B minus A"
    width = max(len(one.type or "all") for one in rewards)
    yield (
        f"  {'stage':<9} {'type':<{width}} {'records':>9} {'differ':>9} {'largest':>10} "
        f"{'mean':>10} {'Spearman':>9}"
    )
    for one in rewards:
        spearman = "n/a" if one.spearman is None else f"{one.spearman:.4f}"
        yield (
            f"  {one.stage:<9} {one.type or 'all':<{width}} {count(one.num_both):>9} "
            f"{count(one.num_different):>9} {small(one.largest):>10} {small(one.mean):>10} "
            f"{spearman:>9}"
        )


def _turns(turns: TurnsDiff) -> Iterator[str]:
    if not turns.num_turns:
        yield "rewrites: neither ledger has a turn of a record that both kept"
        return
    share = percent(turns.num_different / turns.num_turns)
    yield (
        f"turns of records that both kept: {count(turns.num_turns)}, "
        f"of which {count(turns.num_different)} ({share}) go out otherwise"
    )
    if turns.statuses:
        yield f"  {_counted(turns.statuses)}"
    for one in turns.examples:
        yield f"  {one.uid} turn {one.turn} ({words(one.status_a)} -> {words(one.status_b)})"
        yield f"    A Q {one.question_a}"
        yield f"    A A {one.answer_a}"
        yield f"    B Q {one.question_b}"
        yield f"    B A {one.answer_b}"


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{words(name)} {count(number)}" for name, number in numbers.items())
