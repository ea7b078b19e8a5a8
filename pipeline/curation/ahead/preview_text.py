"""A preview in lines for a terminal: each record with its rewards, original and rewrite side by side. Pure."""

import textwrap
from collections.abc import Iterator
from itertools import zip_longest

from align2llava.pipeline.curation.ahead.preview import Preview
from align2llava.pipeline.curation.layout import QUESTION_TURN
from align2llava.pipeline.curation.results.explanation import ExplainedRewrite, Explanation
from align2llava.pipeline.curation.wording import count, reward, seconds, words
from align2llava.pipeline.screen import shown

MIN_WIDTH = 60
_GAP = " | "


def preview_text(preview: Preview, *, width: int) -> str:
    """Returns the preview for a terminal of `width` characters."""
    return "\n".join(_lines(preview, max(width, MIN_WIDTH)))


def _lines(preview: Preview, width: int) -> Iterator[str]:
    for number, one in enumerate(preview.records, start=1):
        yield f"[{number} of {len(preview.records)}] {'-' * (width - 14)}"
        yield from _record(one, width)
        yield ""
    yield from _summary(preview, width)


def _record(one: Explanation, width: int) -> Iterator[str]:
    yield f"{one.decision.upper()}  {one.type}  position {one.position}  id {one.id or 'none'}"
    yield f"image {one.image or 'none'}  uid {one.uid or 'none'}"
    yield from textwrap.wrap(one.why, width)
    rewards = {(found.turn, found.candidate): found.reward for found in one.rewards}
    if (QUESTION_TURN, 0) in rewards:
        yield f"question reward {reward(rewards[QUESTION_TURN, 0])}"
    rewrites = {found.turn: found for found in one.rewrites}
    for at, turn in enumerate(one.turns):
        of_turn = [rewards.get((at, candidate)) for candidate in range(len(turn.answers))]
        yield ""
        yield from _told("Q", turn.question, width)
        for candidate, answer in enumerate(turn.answers):
            yield from _told("A" if len(turn.answers) == 1 else f"A[{candidate}]", answer, width)
            if of_turn[candidate] is not None:
                yield f"  {'':<5} reward {reward(of_turn[candidate])}"
        if at in rewrites:
            yield from _rewrite(rewrites[at], width)
    if one.raw is not None:
        yield from textwrap.wrap(shown(one.raw), width)


def _told(mark: str, text: str, width: int) -> Iterator[str]:
    wrapped = textwrap.wrap(shown(text), width - 8) or [""]
    yield f"  {mark:<5} {wrapped[0]}"
    yield from (f"  {'':<5} {line}" for line in wrapped[1:])


def _rewrite(one: ExplainedRewrite, width: int) -> Iterator[str]:
    yield f"  rewrite: {_verdict(one)}"
    if one.rewrite_question is None or one.rewrite_answer is None:
        if one.unparsed is not None:
            yield from _told("", one.unparsed, width)
        return
    half = (width - 2 - len(_GAP)) // 2
    yield from _beside("as it was", "as rewritten", half)
    yield f"  {'-' * half}-+-{'-' * half}"
    yield from _beside(f"Q {one.original_question}", f"Q {one.rewrite_question}", half)
    yield from _beside(f"A {one.original_answer}", f"A {one.rewrite_answer}", half)


def _verdict(one: ExplainedRewrite) -> str:
    failed = [name for name, ok in one.gates.items() if ok is False]
    if one.verdict is not None:
        return (
            f"{words(one.status)}; review says {one.original_first} with the original first, "
            f"{one.rewrite_first} with the rewrite first"
        )
    if failed:
        return f"{words(one.status)} at {', '.join(words(name) for name in failed)}"
    return words(one.status) + (f": {one.error_code}" if one.error_code else "")


def _beside(left: str, right: str, half: int) -> Iterator[str]:
    columns = [textwrap.wrap(shown(text), half) for text in (left, right)]
    pairs = zip_longest(*columns, fillvalue="")
    for one, two in pairs:
        yield f"  {one:<{half}}{_GAP}{two}".rstrip()


def _summary(preview: Preview, width: int) -> Iterator[str]:
    yield (
        f"{len(preview.records)} of {count(preview.num_input)} records in "
        f"{seconds(preview.seconds)}:"
    )
    name_width = max((len(one.type) for one in preview.types), default=4)
    yield f"  {'type':<{name_width}} {'input':>10} {'sampled':>8} {'kept':>6} {'quarantined':>12}"
    for one in preview.types:
        yield (
            f"  {one.type:<{name_width}} {count(one.num_input):>10} {one.num_sampled:>8} "
            f"{one.num_kept:>6} {one.num_quarantined:>12}"
        )
    keeps = {"question_keep": preview.question_keep, "answer_keep": preview.answer_keep}
    told = " and ".join(f"{name} {keep}" for name, keep in keeps.items() if keep is not None)
    if told:
        yield from textwrap.wrap(
            f"What is kept is coarse: {told} of so few records of a type are rounded to whole "
            f"records, and rank only within the sample. Read the texts, not the shares.",
            width,
        )
    if preview.rewrites is not None:
        yield from textwrap.wrap(f"rewrites: {preview.rewrites}", width)
    for caution in preview.cautions:
        yield from textwrap.wrap(f"warning: {caution}", width)
