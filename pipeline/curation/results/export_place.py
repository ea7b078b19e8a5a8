"""Where an export goes that leaves its run: a folder or a file, in which nothing of others is overwritten."""

from dataclasses import dataclass
from pathlib import Path

from align2llava.pipeline.curation.input.files import Dialect, sha256_of
from align2llava.pipeline.errors import ConfigError

CARD = "README.md"
_SUFFIXES = (".json", ".jsonl")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPlace:
    """The file to write, and the card beside it; `card` None = a file that was named has no card."""

    file: Path
    card: Path | None


def export_place(out: Path, *, name: str, dialect: Dialect, run_dir: Path) -> ExportPlace:
    """Returns where `out` puts a dataset `name`: itself where it ends in .json or .jsonl, else a folder.

    A file that exists is replaced only where the card beside it names its sha256, as an export left it.

    Raises:
        ConfigError: the suffix is of the other dialect, the place lies inside of RUN, or something else
            is there.
    """
    is_file = out.suffix in _SUFFIXES and not out.is_dir()
    if is_file and out.suffix != f".{dialect}":
        raise ConfigError(f"--out {out}: the dataset is {dialect}; name it .{dialect}, or a folder")
    if out.resolve().is_relative_to(run_dir.resolve()):
        raise ConfigError(f"--out {out} lies inside of {run_dir}, which holds its own files only")
    if is_file:
        place = ExportPlace(file=out, card=None)
    else:
        place = ExportPlace(file=out / f"{name}.{dialect}", card=out / CARD)
    _check_free(place)
    return place


def _check_free(place: ExportPlace) -> None:
    folder = place.file.parent
    nearest = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    if nearest.exists() and not nearest.is_dir():
        raise ConfigError(f"--out: {nearest} is no folder")
    if _is_ours(place):
        return
    for path in (place.file, place.card):
        if path is not None and (path.exists() or path.is_symlink()):
            reason = (
                "exists, and no card beside it tells that an export wrote it; remove it, or name a folder"
                if place.card is None
                else "exists and is not what an export wrote; remove it"
            )
            raise ConfigError(f"--out: {path} {reason}")


def _is_ours(place: ExportPlace) -> bool:
    if place.card is None or not (place.file.is_file() and place.card.is_file()):
        return False
    if place.file.is_symlink() or place.card.is_symlink():
        return False
    told = f"`{place.file.name}` has sha256 `{sha256_of(place.file)}`."
    return told in place.card.read_text(encoding="utf-8", errors="replace")
