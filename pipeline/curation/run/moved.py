"""Data that lies elsewhere since a run: its new place is taken where its content is what the run read.

Rewards are found by content, so that a run does not depend on where its data lies. Decides nothing else.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from align2llava.pipeline.config.schema import Config, InputConfig, InputPath
from align2llava.pipeline.curation.input.files import sha256_of
from align2llava.pipeline.curation.input.scan import Scan, scan_input
from align2llava.pipeline.curation.layout import InputEntry, Manifest, RewardStage, RunPaths
from align2llava.pipeline.curation.run.finished import run_events, score_rows
from align2llava.pipeline.curation.run.lease import held
from align2llava.pipeline.curation.run.manifest import input_entries, read_manifest, write_manifest
from align2llava.pipeline.curation.run.resume import begin, load_run_config
from align2llava.pipeline.curation.store.decisions import read_decisions
from align2llava.pipeline.curation.store.events import EventLog
from align2llava.pipeline.errors import ConfigError, InputError, RunError
from align2llava.pipeline.process.progress import LineProgress


def move_inputs(run_dir: Path, *, inputs: Sequence[Path], images_root: Path | None) -> None:
    """Records in a finished run where its input files and images lie now.

    `inputs`: all files in the run's order, or none where they stay; `images_root` None = it stays.

    Raises:
        ConfigError: another number of files than the run read.
        InputError: a file is missing or its content is another.
        RunError: the run is not finished, is held, or the images there are not those it read.
    """
    paths = RunPaths(run_dir)
    read_manifest(paths)  # before the lease, which would make a folder where there is none
    with held(paths):
        manifest = read_manifest(paths)
        before = load_run_config(paths)
        config = before.model_copy(update={"input": _moved(before.input, inputs, images_root)})
        files = config.input.files()
        known = input_entries(paths, manifest, num_files=len(files))
        entries = [
            _same_content(entry, file.path) for entry, file in zip(known, files, strict=True)
        ]
        if images_root is not None:
            require_same_images(scan_input(config, LineProgress(), reuses=True), paths)
        begin(paths, config)
        hashes = manifest["files"] | {paths.config.name: sha256_of(paths.config)}
        write_manifest(paths, _with(manifest, entries, hashes))
        EventLog(paths.events).write(
            "inputs_moved",
            inputs=[entry["path"] for entry in entries],
            images_root=str(config.input.images_root),
        )


def check_moved(paths: RunPaths, config: Config, scan: Scan) -> None:
    """Checks, where a run goes on with data at another place, that it is the same data.

    Raises:
        RunError: the files are others, or images of records with stored rewards are gone or others.
    """
    if not paths.config.is_file():
        return  # killed before it began
    before = load_run_config(paths).input
    if before.files() != config.input.files():
        read, found = _recorded(paths), [entry["sha256"] for entry in scan.inputs]
        if read != found:
            raise RunError(
                f"{paths.root} was begun with another input.path, whose content is another too; "
                f"take another --run-dir"
            )
    if before.images_root != config.input.images_root:
        _require_images_of_rewards(paths, config.input, scan)


def require_same_images(scan: Scan, paths: RunPaths) -> None:
    """Checks that each record's image is still the one its decision was made with.

    Raises:
        RunError: an image is gone, is another, or has come since.
    """
    then = read_decisions(paths.decisions).select("position", "uid")
    now = scan.table.frame("position", "uid")
    others = then.join(now, on="position", how="left", suffix="_now").filter(
        pl.col("uid").ne_missing(pl.col("uid_now"))
    )
    if others.height:
        raise RunError(
            f"{paths.root}: the images of {others.height} records below "
            f"{scan.corpus.images_root} are not those that the run read (first: record "
            f"{others['position'][0]}); if they moved, give --images-root DIR, if they changed, "
            f"a2l curate CONFIG --resume always"
        )


def _moved(before: InputConfig, inputs: Sequence[Path], images_root: Path | None) -> InputConfig:
    old = before.path if isinstance(before.path, list) else [before.path]
    if inputs and len(inputs) != len(old):
        raise ConfigError(f"--input: {len(inputs)} files are given; the run read {len(old)}")
    new = [
        InputPath(path=path.absolute(), type=one.type)
        if isinstance(one, InputPath)
        else path.absolute()
        for one, path in zip(old, inputs, strict=bool(inputs))
    ]
    changed: dict[str, object] = {}
    if inputs:
        changed["path"] = new if isinstance(before.path, list) else new[0]
    if images_root is not None:
        changed["images_root"] = images_root.absolute()
    return before.model_copy(update=changed)


def _same_content(entry: InputEntry, path: Path) -> InputEntry:
    found = sha256_of(path)
    if found != entry["sha256"]:
        message = f"is not what the run read: sha256 {found}; the run read {entry['sha256']}"
        raise InputError(message, path=path)
    return InputEntry(path=str(path), sha256=found, num_records=entry["num_records"])


def _with(manifest: Manifest, inputs: list[InputEntry], files: dict[str, str]) -> Manifest:
    return Manifest(
        version=manifest["version"],
        seed=manifest["seed"],
        inputs=inputs,
        counts=manifest["counts"],
        identities=manifest["identities"],
        files=files,
    )


def _recorded(paths: RunPaths) -> object:
    """Returns the sha256 of each input as the run read it last, None where it read none."""
    if paths.manifest.is_file():
        return [entry["sha256"] for entry in read_manifest(paths)["inputs"]]
    read: object = None
    for event in run_events(paths):
        if event.get("event") == "run_started":
            read = event.get("inputs")
    return read


def _require_images_of_rewards(paths: RunPaths, config: InputConfig, scan: Scan) -> None:
    parts = [rows for stage in RewardStage if (rows := score_rows(paths, stage)) is not None]
    if not parts:
        return
    stored = pl.concat([rows.select("uid") for rows in parts]).unique()
    num_stored = stored.select(pl.len()).collect().item()
    lost = stored.join(scan.table.lazy().select("uid"), on="uid", how="anti").collect().height
    if lost:
        raise RunError(
            f"{paths.root} was begun with another input.images_root: {lost} of {num_stored} "
            f"records with stored rewards have no such image below {config.images_root}"
        )
