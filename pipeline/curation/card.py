"""The dataset card: what the curated set is, in numbers, for whoever finds the file alone. Pure."""

from collections.abc import Mapping, Sequence

from clients.wire.schemas import ModelIdentity
from pipeline.config import Config
from pipeline.curation.layout import InputEntry, TypeCounts


def dataset_card(
    config: Config,
    *,
    inputs: Sequence[InputEntry],
    counts: Mapping[str, TypeCounts],
    models: Mapping[str, ModelIdentity],
    num_changed: int,
) -> str:
    """Returns the card as Markdown."""
    num_kept = sum(of_type["kept"] for of_type in counts.values())
    num_input = sum(of_type["input"] for of_type in counts.values())
    lines = [
        "# Curated visual instructions",
        "",
        f"{num_kept} of {num_input} records, chosen by `a2l curate`.",
        f"{num_changed} of them differ from the input: a candidate answer chosen, or turns rewritten.",
        "",
        *_counts(counts),
        "",
        *_selection(config),
        "",
        "## Models",
        "",
        *(f"* {name}: {model.name}, `{model.identity}`" for name, model in models.items()),
        "",
        "## Input",
        "",
        *(
            f"* `{entry['path']}`: {entry['num_records']} records, sha256 `{entry['sha256']}`"
            for entry in inputs
        ),
        "",
    ]
    return "\n".join(lines)


def _counts(counts: Mapping[str, TypeCounts]) -> list[str]:
    return [
        "| type | input | kept | dropped | quarantined |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {name} | {of_type['input']} | {of_type['kept']} | {of_type['dropped']} "
            f"| {of_type['quarantined']} |"
            for name, of_type in counts.items()
        ),
    ]


def _selection(config: Config) -> list[str]:
    selection, alignment = config.selection, config.alignment
    return [
        "## Selection",
        "",
        f"* question stage: {_keep(selection.question, selection.question_keep)}",
        f"* answer stage: {_keep(selection.answer, selection.answer_keep)}",
        f"* strata: {selection.stratum}; seed: {config.run.seed}",
        f"* text-only records: {config.input.text_only}",
        f"* rewrite: {_on(alignment.rewrite)}; review: {_on(alignment.review)}",
    ]


def _keep(is_on: bool, keep: object) -> str:  # noqa: FBT001 (a setting, not a switch of behaviour)
    if not is_on:
        return "off"
    if isinstance(keep, Mapping):
        return ", ".join(f"{name} {share}" for name, share in keep.items())
    return f"keeps {keep} of each stratum"


def _on(is_on: bool) -> str:  # noqa: FBT001 (a setting, not a switch of behaviour)
    return "on" if is_on else "off"
