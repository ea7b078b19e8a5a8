"""The target of run directories: one file of a finished run is damaged, then the run is read back."""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from align2llava.pipeline.curation.deciding.reselect import select
from align2llava.pipeline.curation.report.write import write_report
from align2llava.pipeline.curation.results.explain import explain
from align2llava.pipeline.curation.results.export import export_dataset
from align2llava.pipeline.errors import PipelineError
from align2llava.pipeline.process.progress import LineProgress
from tests.fuzz.campaign import Feed, Target, Verdict
from tests.fuzz.mutator import Grammar, Seed
from tests.pipeline.curation.small_world import records, run, write_world

_GRAMMARS: dict[str, Grammar] = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".yaml": "yaml",
    ".parquet": "bytes",
}
_NOT_READ = (".html", ".md", "report.json", "dataset")


@cache
def _world() -> TemporaryDirectory[str]:
    """A finished run in a folder that lives as long as the process."""
    place = TemporaryDirectory(prefix="a2l-fuzz-run-")
    broken: list[object] = [{"id": 7, "image": "gone.png", "conversations": []}]
    config = write_world(Path(place.name), [*records(8), *broken])
    run(config, Path(place.name) / "run")
    return place


def _files() -> list[Path]:
    root = Path(_world().name) / "run"
    return [
        path.relative_to(root)
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and path.suffix in _GRAMMARS
        and not any(n in str(path) for n in _NOT_READ)
    ]


def _seeds() -> list[Seed]:
    root = Path(_world().name) / "run"
    return [
        Seed(
            body=(root / path).read_bytes(),
            grammar=_GRAMMARS[path.suffix],
            prefix=bytes([place, verb]),
        )
        for place, path in enumerate(_files())
        for verb in range(len(_VERBS))
    ]


def _select(run_dir: Path) -> None:
    select(run_dir, question_keep=None, answer_keep=Decimal("0.5"), progress=LineProgress())


_VERBS: tuple[Callable[[Path], object], ...] = (
    lambda run_dir: explain(run_dir, "1"),
    lambda run_dir: explain(run_dir, "8"),
    _select,
    lambda run_dir: export_dataset(run_dir, with_rewrites=True),
    write_report,
)


@contextmanager
def _opened(folder: Path) -> Iterator[Feed]:
    """The first byte of an input chooses the file, the second the verb."""
    original, mine, files = Path(_world().name) / "run", folder / "run", _files()
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)

    def feed(data: bytes) -> Verdict:
        with suppress(FileNotFoundError):
            shutil.rmtree(mine)
        shutil.copytree(original, mine)
        (mine / files[data[0]]).write_bytes(data[2:])
        _VERBS[data[1]](mine)
        return Verdict.ACCEPTED

    try:
        yield feed
    finally:
        logging.disable(before)


TARGETS = (
    Target(
        name="files of a run",
        seeds=_seeds,
        opened=_opened,
        typed=(PipelineError,),
        num_inputs=1_500,
    ),
)
