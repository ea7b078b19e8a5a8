"""Opening a run directory: whether it may be begun or resumed, and with which config."""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from align2llava.pipeline.config.schema import Config, dump_config, load_config
from align2llava.pipeline.curation.disk.files import write_durably
from align2llava.pipeline.curation.layout import RunPaths
from align2llava.pipeline.errors import ConfigError, RunError


class Resume(StrEnum):
    """What to do with a run directory that exists; `never` and `if-possible` begin a new one."""

    NEVER = "never"
    IF_POSSIBLE = "if-possible"
    ALWAYS = "always"


def default_run_dir(config_path: Path) -> Path:
    """Returns `runs/NAME-TIME` under the working directory: a new run each second, in UTC."""
    return Path("runs") / f"{config_path.stem}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def check_resume(paths: RunPaths, config: Config, *, resume: Resume) -> bool:
    """Returns whether the run is resumed (else it is begun); writes nothing.

    Stored results are found by content, so that selection, alignment, endpoints and the limit may
    change between two starts; how the input is read, and the seed, may not. Whether data that lies
    elsewhere is the same data is seen once it was read: `moved.check_moved`.

    Raises:
        RunError: the run exists and may not be resumed, or is to be resumed and does not exist.
    """
    exists = paths.root.exists() and (not paths.root.is_dir() or any(paths.root.iterdir()))
    if not exists:
        if resume is Resume.ALWAYS:
            raise RunError(f"{paths.root} does not exist; there is nothing to resume")
        return False
    if resume is Resume.NEVER:
        raise RunError(
            f"{paths.root} exists; go on with --resume always, or take another --run-dir"
        )
    if not paths.config.is_file():
        if _holds_only_lease(paths.root):
            return True
        raise RunError(f"{paths.root} is no run directory: it has no {paths.config.name}")
    before = load_run_config(paths)
    for name, old, new in (
        ("input.path", _types(before), _types(config)),
        ("input.format", before.input.format, config.input.format),
        ("run.seed", before.run.seed, config.run.seed),
    ):
        if old != new:
            raise RunError(f"{paths.root} was begun with another {name}; take another --run-dir")
    return True


def load_run_config(paths: RunPaths) -> Config:
    """Returns the resolved config of a run, untouched by the environment.

    Raises:
        RunError: it is missing or of another version.
    """
    try:
        return load_config(paths.config, environ={})
    except ConfigError as error:
        raise RunError(f"{paths.root} is no run of this version of a2l: {error}") from error


def begin(paths: RunPaths, config: Config) -> None:
    """Marks the run as not finished and writes its resolved config; needs the lease.

    Raises:
        StoreError: a write failed.
    """
    paths.manifest.unlink(missing_ok=True)
    write_durably(paths.config, dump_config(config).encode())


def _types(config: Config) -> list[str]:
    return [file.type for file in config.input.files()]


def _holds_only_lease(root: Path) -> bool:
    # A driver that was killed right after it had made the folder.
    return all(path.name.startswith(".") for path in root.iterdir())
