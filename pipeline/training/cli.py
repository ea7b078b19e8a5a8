"""The verb `a2l train`: thin over `pipeline.training.reward`; torch is imported when it runs."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from align2llava.pipeline.screen import say

verbs = typer.Typer()


class _Kind(StrEnum):
    QUESTION = "question"
    ANSWER = "answer"


class _Resume(StrEnum):
    NEVER = "never"
    AUTO = "auto"


@verbs.command("train")
def _train(
    kind: Annotated[_Kind, typer.Argument(help="Which reward model.")],
    config: Annotated[Path, typer.Argument(help="The training's YAML file.")],
    *,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="a.b=value, over the config.")
    ] = None,
    resume: Annotated[
        _Resume, typer.Option(help="auto: go on from the newest snapshot, if there is one.")
    ] = _Resume.NEVER,
) -> None:
    """Trains a reward model on human preferences and writes its checkpoint.

    Example: a2l train question examples/blocks/train-question.yaml --set optimiser.steps=20
    """
    # The base install has no torch, and `a2l --help` must not need it.
    from align2llava.pipeline.training.config import load_training_config  # noqa: PLC0415 - see above
    from align2llava.pipeline.training.reward import train_reward  # noqa: PLC0415 - see above

    logging.getLogger("align2llava.pipeline.training").setLevel(logging.INFO)
    result = train_reward(
        "question-reward" if kind is _Kind.QUESTION else "answer-reward",
        load_training_config(config, sets=sets or ()),
        resume=resume is _Resume.AUTO,
    )
    say(
        f"wrote {result.out}: {result.steps} steps, pairwise accuracy {result.test_accuracy:.4f} "
        f"on {result.num_test_pairs} test pairs"
    )
