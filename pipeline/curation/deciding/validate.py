"""Validates: what a curation would find before it spends anything. Writes nothing."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import polars as pl

from align2llava.clients.wire.schemas import ModelIdentity
from align2llava.pipeline.config.schema import Config
from align2llava.pipeline.curation.endpoints.opening import Connector, log_event, open_each
from align2llava.pipeline.curation.input.types import TypeRule
from align2llava.pipeline.curation.layout import InputEntry
from align2llava.pipeline.curation.selection.contenders import scan_to_select
from align2llava.pipeline.curation.selection.warnings import input_warnings
from align2llava.pipeline.process.interrupts import run_async, sigterm_raises
from align2llava.pipeline.process.progress import ProgressView


@dataclass(frozen=True, slots=True, kw_only=True)
class Dirt:
    """Records that would be quarantined under one code; `positions` are the first few."""

    num_records: int
    positions: Sequence[int]
    first_message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lint:
    """What stands in the input."""

    inputs: Sequence[InputEntry]
    num_records: int
    num_usable: int
    num_text_only: int
    num_images: int
    num_repeated: int  # records equal to an earlier one, image and all
    by_type: Mapping[str, int]
    type_rules: Mapping[str, int]  # how many types were told by each of `TypeRule`
    dirt: Mapping[str, Dirt]
    warnings: Sequence[str]

    @property
    def num_dirty(self) -> int:
        """Returns how many records would be quarantined unseen."""
        return sum(dirt.num_records for dirt in self.dirt.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """The input's lint, and who answers at each endpoint, or why none does, by its name."""

    lint: Lint
    models: Mapping[str, ModelIdentity]
    endpoint_errors: Mapping[str, str]


def validate(
    config: Config, *, connector: Connector, api_key: str | None, progress: ProgressView
) -> Validation:
    """Reads the whole input and asks the endpoints who they are.

    Raises:
        InputError: a file is missing or no JSON array; it says the byte.
        ConfigError: several dialects, or a stratum without a keep.
    """
    with sigterm_raises():
        lint = _lint(config, progress)
        models, errors = run_async(_models(config, connector=connector, api_key=api_key))
        return Validation(lint=lint, models=models, endpoint_errors=errors)


def validation_text(validation: Validation) -> str:
    """Returns the validation as lines for a terminal."""
    lint = validation.lint
    lines = [
        f"{entry['path']}: {entry['num_records']} records, sha256 {entry['sha256']}"
        for entry in lint.inputs
    ]
    lines += [f"  {name}: {number}" for name, number in sorted(lint.by_type.items())]
    lines.append(f"types: {_rules(lint.type_rules)}")
    lines.append(
        f"{lint.num_usable} of {lint.num_records} records can be scored, by the headers of their images; "
        f"{lint.num_images} images, {lint.num_text_only} records of text only, "
        f"{lint.num_repeated} equal to an earlier one"
    )
    for code, dirt in lint.dirt.items():
        where = ", ".join(map(str, dirt.positions))
        lines.append(f"{code}: {dirt.num_records} (at {where}; first: {dirt.first_message})")
    lines += [f"warning: {warning}" for warning in lint.warnings]
    for name, model in validation.models.items():
        lines.append(f"{name}: {model.name}, identity {model.identity}, {model.dtype}")
        if model.purpose:
            lines.append(f"  its card says: {model.purpose}")
    return "\n".join(lines)


async def _models(
    config: Config, *, connector: Connector, api_key: str | None
) -> tuple[dict[str, ModelIdentity], dict[str, str]]:
    async with AsyncExitStack() as stack:
        services, failures = await open_each(
            stack, config, connector=connector, api_key=api_key, notify=log_event
        )
        return services.models(), {name: str(error) for name, error in failures.items()}


def _lint(config: Config, progress: ProgressView) -> Lint:
    scan = scan_to_select(config, progress)
    rows = scan.decidable()
    images = scan.table.frame("image_sha256")["image_sha256"].drop_nulls()
    uids = scan.table.frame("uid")["uid"].drop_nulls()
    types = rows.group_by("type").len().sort("type")
    return Lint(
        inputs=scan.inputs,
        num_records=rows.height,
        num_usable=scan.scorable_positions().len(),
        num_text_only=int(rows["is_text_only"].sum()),
        num_images=images.n_unique(),
        num_repeated=uids.len() - uids.n_unique(),
        by_type=dict(types.iter_rows()),
        type_rules=scan.type_rules(),
        dirt=_dirt(scan.faults()),
        warnings=input_warnings(scan.table, config.selection),
    )


def _rules(num_by_rule: Mapping[str, int]) -> str:
    """Returns how many types were given, and how many guessed by which rule."""
    told = [f"{num_by_rule[rule]} {words}" for rule, words in _RULES.items() if rule in num_by_rule]
    return ", ".join(told) or "none"


_RULES = {
    TypeRule.CONFIG: "by the config",
    TypeRule.OWN: "by the records' own type",
    TypeRule.TURNS: "guessed conversation (several questions)",
    TypeRule.TEMPLATE: "guessed detail (a request for a description)",
    TypeRule.OTHER: "guessed complex_reasoning (any other question)",
}


def _dirt(faults: pl.DataFrame) -> dict[str, Dirt]:
    by_code = faults.group_by("code").agg(
        pl.len().alias("num"), pl.col("position").head(5), pl.col("message").first()
    )
    by_code = by_code.sort("num", "code", descending=[True, False])
    return {
        code: Dirt(num_records=number, positions=positions, first_message=message)
        for code, number, positions, message in by_code.iter_rows()
    }
