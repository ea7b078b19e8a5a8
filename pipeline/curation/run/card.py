"""The dataset card: what the curated set is, in numbers, for whoever finds the file alone. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from align2llava.clients.wire.schemas import ModelIdentity
from align2llava.pipeline.config.schema import Config
from align2llava.pipeline.curation.layout import InputEntry, TypeCounts
from align2llava.pipeline.curation.visible import visible

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_LARGEST = "10M<n<100M"
# An underscore within a word means nothing, and names of models are full of them.
_MEANT = re.compile(r"[\\`*\[\]<>&|~$!#@]|(?<!\w)_|_(?!\w)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFile:
    """The dataset beside the card; `num_changed` of its records differ from the input."""

    name: str
    sha256: str
    num_changed: int


def dataset_card(
    config: Config,
    *,
    inputs: Sequence[InputEntry],
    counts: Mapping[str, TypeCounts],
    models: Mapping[str, ModelIdentity],
    file: DatasetFile,
) -> str:
    """Returns the card as Markdown, headed as the hub wants it; it holds no path of this machine."""
    num_kept = sum(of_type["kept"] for of_type in counts.values())
    num_input = sum(of_type["input"] for of_type in counts.values())
    lines = [
        *_header(file.name, num_kept),
        "# Curated visual instructions",
        "",
        f"{num_kept} of {num_input} records, chosen by `a2l curate`.",
        f"{file.num_changed} of them differ from the input: a candidate answer chosen, or turns rewritten.",
        f"`{file.name}` has sha256 `{file.sha256}`.",
        "",
        *_counts(counts),
        "",
        *_loading(file.name),
        "",
        *_selection(config),
        "",
        "## Models",
        "",
        *(_model(name, model) for name, model in models.items()),
        "",
        "## Input",
        "",
        *(
            f"* `{_code(Path(entry['path']).name)}`: {entry['num_records']} records, "
            f"sha256 `{entry['sha256']}`"
            for entry in inputs
        ),
        "",
    ]
    return "\n".join(lines)


def _header(name: str, num_records: int) -> list[str]:
    # Language is left out: nobody told it. The license is that of the input, and as unknown.
    size = next((text for limit, text in _SIZES if num_records < limit), _LARGEST)
    return [
        "---",
        "pretty_name: Curated visual instructions",
        "license: unknown",
        "task_categories:",
        "- visual-question-answering",
        "- image-text-to-text",
        "size_categories:",
        f"- {size}",
        "tags:",
        "- llava",
        "- visual-instruction-tuning",
        "- align2llava",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        f"    path: {name}",
        "---",
        "",
    ]


def _loading(name: str) -> list[str]:
    is_array = name.endswith(".json")
    return [
        "## Loading",
        "",
        "```python",
        "import datasets",
        "",
        f'records = datasets.load_dataset("json", data_files="{name}", split="train")',
        "```",
        "",
        "LLaVA's trainer reads it as it is:"
        if is_array
        else f"LLaVA's trainer reads an array: `jq -s . {name} > train.json`, then",
        "",
        "```",
        "python llava/train/train.py --data_path train.json --image_folder IMAGES ...",
        "```",
        "",
        "`IMAGES` is the folder that `image` of each record is relative to. The images are not in this dataset,",
        "and their license, like that of the input's texts, is for whoever publishes this to look up and to write above.",
    ]


def _model(name: str, model: ModelIdentity) -> str:
    purpose = f"; its card says it is for {_cell(model.purpose)}" if model.purpose else ""
    return f"* {name}: {_cell(model.name)}, `{_code(model.identity)}`{purpose}"


def _cell(text: str) -> str:
    """Returns a text of users that means nothing to Markdown and to HTML.

    By character references, which never have a meaning of structure. Source: CommonMark 0.31.2, 2.5.
    """
    return _MEANT.sub(lambda found: f"&#{ord(found[0])};", " ".join(visible(text).split()))


def _code(text: str) -> str:
    return " ".join(visible(text).split()).replace("`", "'")


def _counts(counts: Mapping[str, TypeCounts]) -> list[str]:
    return [
        "| type | input | kept | dropped | quarantined |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {_cell(name)} | {of_type['input']} | {of_type['kept']} | {of_type['dropped']} "
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
        return ", ".join(f"{_cell(str(name))} {share}" for name, share in keep.items())
    return f"keeps {keep} of each stratum"


def _on(is_on: bool) -> str:  # noqa: FBT001 (a setting, not a switch of behaviour)
    return "on" if is_on else "off"
