"""What verbs of `a2l` print: one JSON object, or a run's summary; `QuarantineError` above the quarantine limit."""

import orjson
from pydantic import BaseModel

from align2llava.pipeline.curation.deciding.summary import Summary, summary_text
from align2llava.pipeline.errors import QuarantineError
from align2llava.pipeline.screen import say, say_json


def print_json(found: object) -> None:
    """Prints what a verb found as one JSON object."""
    say_json(orjson.dumps(found, option=orjson.OPT_INDENT_2, default=_plain).decode())


def show_summary(summary: Summary, *, as_json: bool) -> None:
    """Prints a run's summary.

    Raises:
        QuarantineError: more of its records are quarantined than the limit allows.
    """
    if as_json:
        print_json(summary)
    else:
        say(summary_text(summary))
    limit = summary.quarantine_limit
    check_quarantine(summary.num_quarantined, of=summary.num_input, limit=limit)


def check_quarantine(num_quarantined: int, *, of: int, limit: float) -> None:
    """Refuses more quarantined records than the limit allows.

    Raises:
        QuarantineError: the share is above the limit.
    """
    if num_quarantined > limit * of:
        raise QuarantineError(
            f"{num_quarantined} of {of} records ({num_quarantined / of:.1%}) are quarantined; "
            f"run.quarantine_limit is {limit:.1%}. Nothing else is missing: what was kept is written"
        )


def _plain(value: object) -> object:
    return value.model_dump() if isinstance(value, BaseModel) else str(value)
