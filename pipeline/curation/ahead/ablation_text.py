"""The table of an ablation for a terminal. Pure."""

from collections.abc import Iterator

from align2llava.pipeline.curation.ahead.ablation import Ablation
from align2llava.pipeline.curation.ahead.ablation_figures import AblationRow, Asked
from align2llava.pipeline.curation.wording import count, reward


def ablation_text(ablation: Ablation) -> str:
    """Returns the table as lines."""
    return "\n".join(_lines(ablation))


def _lines(ablation: Ablation) -> Iterator[str]:
    types = sorted({name for row in ablation.rows for name in row.types})
    widths = [max(len(name), 9) for name in types]
    head = "".join(f" {name:>{width}}" for name, width in zip(types, widths, strict=True))
    yield f"{count(ablation.num_input)} records in {ablation.run_dir}"
    yield (
        f"  {'variant':<12} {'records':>8} {'in whole':>9}{head} {'question':>9} {'answer':>9} "
        f"{'rewritten':>10}  asked"
    )
    for row in ablation.rows:
        numbers = [count(row.types.get(name, 0)) for name in types]
        cells = "".join(f" {one:>{width}}" for one, width in zip(numbers, widths, strict=True))
        yield (
            f"  {row.variant:<12} {count(row.num_records):>8} {count(row.num_also_whole):>9}{cells} "
            f"{_mean(row.mean_question_reward, row.num_scored_question, row):>9} "
            f"{_mean(row.mean_answer_reward, row.num_scored_answer, row):>9} "
            f"{count(row.num_turns_rewritten):>10}  {_asked(row.asked)}"
        )
    yield "question, answer: mean rewards (* = of the records that have one); rewritten: turns"
    for row in ablation.rows:
        yield f"  {row.variant:<12} {ablation.run_dir}/{row.file}"


def _mean(mean: float | None, num_scored: int, row: AblationRow) -> str:
    return reward(mean) + ("*" if mean is not None and num_scored < row.num_records else "")


def _asked(asked: Asked) -> str:
    parts = (
        (asked.question_rewards, "question rewards"),
        (asked.answer_rewards, "answer rewards"),
        (asked.rewrites, "rewrites"),
        (asked.reviews, "reviews"),
    )
    return ", ".join(f"{count(number)} {name}" for number, name in parts if number) or "nothing"
