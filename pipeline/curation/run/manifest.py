"""The manifest: what a finished run read, decided and wrote, with sums that hold."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import orjson
import polars as pl
from pydantic import ValidationError

from align2llava.clients.wire.schemas import ModelIdentity
from align2llava.clients.wire.wording import one_line
from align2llava.pipeline.curation.disk.files import write_durably
from align2llava.pipeline.curation.disk.folder import require_own_files
from align2llava.pipeline.curation.input.files import sha256_of
from align2llava.pipeline.curation.layout import (
    MANIFEST_VERSION,
    Decision,
    InputEntry,
    Manifest,
    RunPaths,
    TypeCounts,
)
from align2llava.pipeline.errors import InputError, RunError

_READ_BACK = ("decisions.parquet", "scores/", "rewrites/", "quarantine/")


def counts_of(decisions: pl.DataFrame) -> dict[str, TypeCounts]:
    """Returns what became of the records of each type, types in alphabetical order."""
    is_decision = [(pl.col("decision") == one.value).sum().alias(one.value) for one in Decision]
    counted = decisions.group_by("type").agg(pl.len().alias("input"), *is_decision).sort("type")
    return {
        row["type"]: TypeCounts(
            input=row["input"],
            kept=row["kept"],
            dropped=row["dropped"],
            quarantined=row["quarantined"],
        )
        for row in counted.iter_rows(named=True)
    }


def manifest_of(
    paths: RunPaths,
    *,
    seed: int,
    inputs: Iterable[InputEntry],
    counts: Mapping[str, TypeCounts],
    models: Mapping[str, ModelIdentity],
) -> Manifest:
    """Returns the manifest of what lies in RUN now.

    Raises:
        AssertionError: the sums do not hold; nothing was written.
    """
    inputs = list(inputs)
    for kind, of_type in counts.items():
        parts_sum = of_type["kept"] + of_type["dropped"] + of_type["quarantined"]
        assert of_type["input"] == parts_sum, f"type {kind}: {of_type}"
    num_read = sum(entry["num_records"] for entry in inputs)
    assert sum(of_type["input"] for of_type in counts.values()) == num_read
    return Manifest(
        version=MANIFEST_VERSION,
        seed=seed,
        inputs=inputs,
        counts=dict(counts),
        identities={name: model.model_dump() for name, model in models.items()},
        files={str(path.relative_to(paths.root)): sha256_of(path) for path in _files(paths)},
    )


def write_manifest(paths: RunPaths, manifest: Manifest) -> None:
    """Writes the manifest, which says that the run is finished.

    Raises:
        StoreError: the write failed.
    """
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    write_durably(paths.manifest, orjson.dumps(manifest, option=options))


def read_manifest(paths: RunPaths) -> Manifest:
    """Returns the manifest of a finished run; its sums hold and its identities are whole.

    Raises:
        RunError: the run is not finished, was written by another version, holds a link, or a file of
            it that is read back is gone or not as it was written.
    """
    try:
        require_own_files(paths.root)
        manifest = msgspec.json.decode(paths.manifest.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise RunError(
            f"{paths.root} is not a finished run; finish it with a2l curate --resume always"
        ) from error
    except OSError as error:
        raise RunError(f"{paths.manifest} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RunError(f"{paths.manifest} is no manifest: {error}") from error
    if manifest["version"] != MANIFEST_VERSION:
        raise RunError(
            f"{paths.manifest} has version {manifest['version']}; this is {MANIFEST_VERSION}"
        )
    try:
        models_of(manifest)
    except ValidationError as error:
        raise RunError(f"{paths.manifest} is no manifest: {one_line(error)}") from error
    num_read = sum(entry["num_records"] for entry in manifest["inputs"])
    if num_read != sum(of_type["input"] for of_type in manifest["counts"].values()):
        raise RunError(f"{paths.manifest} is no manifest: its sums do not hold")
    _require_unchanged(paths, manifest)
    return manifest


def models_of(manifest: Manifest) -> dict[str, ModelIdentity]:
    """Returns which model answered for each stage."""
    return {name: ModelIdentity(**model) for name, model in manifest["identities"].items()}


def input_entries(paths: RunPaths, manifest: Manifest, *, num_files: int) -> list[InputEntry]:
    """Returns the input files as the run read them, in order; its config names `num_files`.

    Raises:
        RunError: the manifest has another number of them.
    """
    if len(manifest["inputs"]) != num_files:
        raise RunError(
            f"{paths.manifest} has {len(manifest['inputs'])} input files; the config has {num_files}"
        )
    return manifest["inputs"]


def _require_unchanged(paths: RunPaths, manifest: Manifest) -> None:
    """Checks what is read back; the dataset is for others, who may have taken it away."""
    for name, expected in manifest["files"].items():
        if name.startswith(_READ_BACK):
            try:
                found = sha256_of(paths.root / name)
            except InputError as error:
                raise RunError(f"{error}; the manifest names it") from error
            if found != expected:
                raise RunError(f"{paths.root / name} is not as the run wrote it: sha256 {found}")


def _files(paths: RunPaths) -> list[Path]:
    folders = (paths.root / "scores", paths.rewrites, paths.quarantine, paths.dataset)
    found = [paths.config, paths.decisions]
    for folder in folders:
        for base, _, names in os.walk(folder):
            found.extend(Path(base) / name for name in names if not name.startswith("."))
    return sorted(found)
