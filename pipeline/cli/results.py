"""The verbs of `a2l` that look at finished runs: report, explain, export, diff."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from align2llava.pipeline.cli.options import AsJson, Moved, MovedImages, RunPath, take_moved
from align2llava.pipeline.cli.output import print_json
from align2llava.pipeline.curation.report.text import report_text
from align2llava.pipeline.curation.report.write import write_report
from align2llava.pipeline.curation.results.diff import diff
from align2llava.pipeline.curation.results.diff_text import diff_text
from align2llava.pipeline.curation.results.explain import explain
from align2llava.pipeline.curation.results.explanation import explanation_text
from align2llava.pipeline.curation.results.export import (
    export_baseline,
    export_dataset,
    exported_text,
)
from align2llava.pipeline.curation.selection.baselines import Baseline
from align2llava.pipeline.errors import ConfigError
from align2llava.pipeline.screen import say

verbs = typer.Typer()


class Switch(StrEnum):
    """An option that is on or off."""

    ON = "on"
    OFF = "off"


@verbs.command("report")
def _report(
    run: RunPath,
    *,
    truth: Annotated[
        Path | None, typer.Option(help="Known truth: JSONL of id, type, good, defects.")
    ] = None,
    inputs: Moved = None,
    images_root: MovedImages = None,
    as_json: AsJson = False,
) -> None:
    """Writes the report. Example: `a2l report runs/demo --truth examples/blocks/truth.jsonl`."""
    take_moved(run, inputs, images_root)
    written = write_report(run, truth=truth)
    if as_json:
        print_json(written.figures)
        return
    say(report_text(written.figures))
    say(f"report: {written.page}")


@verbs.command("explain")
def _explain(
    run: RunPath,
    key: Annotated[
        str | None, typer.Argument(help="A position, an id, a uid or the start of one.")
    ] = None,
    *,
    record_id: Annotated[
        str | None, typer.Option("--id", help="The record with this id, as 000023.")
    ] = None,
    inputs: Moved = None,
    images_root: MovedImages = None,
    as_json: AsJson = False,
) -> None:
    """Tells all that is known of one record. Example: `a2l explain runs/demo --id 000023`."""
    if (key is None) == (record_id is None):
        raise ConfigError("explain: give one of a position, a uid, or --id ID")
    take_moved(run, inputs, images_root)
    explanation = explain(run, key or record_id or "", is_id=record_id is not None)
    if as_json:
        print_json(explanation)
    else:
        say(explanation_text(explanation))


@verbs.command("export")
def _export(
    run: RunPath,
    *,
    rewrites: Annotated[
        Switch | None, typer.Option(help="Texts as rewritten (the default), or as they were.")
    ] = None,
    baseline: Annotated[
        Baseline | None, typer.Option(help="Write a null baseline of the same size instead.")
    ] = None,
    inputs: Moved = None,
    images_root: MovedImages = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder, or a .json or .jsonl file, outside of RUN to write to."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Writes the dataset again, or a null baseline. Example: `a2l export runs/demo --out curated`."""
    if baseline is not None and rewrites is not None:
        raise ConfigError("--baseline and --rewrites: a baseline has the original texts")
    take_moved(run, inputs, images_root)
    if baseline is None:
        exported = export_dataset(run, with_rewrites=rewrites is not Switch.OFF, out=out)
    else:
        exported = export_baseline(run, baseline, out=out)
    if as_json:
        print_json(exported)
    else:
        say(exported_text(exported))


@verbs.command("diff")
def _diff(
    run_a: RunPath,
    run_b: RunPath,
    *,
    examples: Annotated[
        int, typer.Option(min=0, help="Records, and turns, shown of each kind at most.")
    ] = 5,
    as_json: AsJson = False,
) -> None:
    """Tells what differs between two finished runs. Example: `a2l diff runs/a runs/b`."""
    found = diff(run_a, run_b, num_examples=examples)
    if as_json:
        print_json(found)
    else:
        say(diff_text(found))
