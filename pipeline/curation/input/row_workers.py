"""Rows read by worker processes, on as many cores as there are: most of a scan's time is Python's.

    python -m align2llava.pipeline.curation.input.row_workers RULES    # one worker; RULES in JSON; speaks on its pipes

A worker gets chunks of records one at a time and answers each with its rows. It ends when its input ends,
so that none outlives a driver that was killed. The driver itself reads small inputs, and the beginning of
large ones until the workers are up.
"""

import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from subprocess import PIPE
from typing import IO

import orjson

from align2llava.pipeline.curation.input.row_reader import Chunk, ReadingRules, RowReader
from align2llava.pipeline.curation.input.rows import RawElement, RowBatch, batch_of
from align2llava.pipeline.errors import WorkerError
from align2llava.pipeline.process.children import child_environ, module_command

MIN_INPUT_BYTES = 2**24  # below this, starting workers costs more time than it saves
MAX_WORKERS = 4  # then the driver, which splits the files into records, has no time left
MAX_BYTES_OUT = 2**26  # of records that are with the workers
_LENGTH_BYTES = 8

ReadRows = Callable[[Iterable[Chunk]], Iterator[RowBatch]]


@contextmanager
def row_readers(rules: ReadingRules, *, num_bytes: int) -> Generator[ReadRows]:
    """Gives a function that yields the rows of each chunk, in order; `num_bytes`: of the input.

    Raises:
        WorkerError: a worker died (out of memory, or a bug, whose trace is on stderr).
    """
    own = RowReader(rules)
    num_workers = min(MAX_WORKERS, _num_cores())
    if num_bytes < MIN_INPUT_BYTES or num_workers < 2:
        yield lambda chunks: (batch_of(own.rows(chunk)) for chunk in chunks)
        return
    workers = [_Worker(rules) for _ in range(num_workers)]
    try:
        with ThreadPoolExecutor(num_workers) as threads:
            yield lambda chunks: _in_order(chunks, own=own, workers=workers, threads=threads)
    finally:
        for worker in workers:
            worker.end()


def _in_order(
    chunks: Iterable[Chunk], *, own: RowReader, workers: list["_Worker"], threads: Executor
) -> Iterator[RowBatch]:
    free = SimpleQueue["_Worker"]()
    for worker in workers:
        threads.submit(_announce, worker, free)

    def ask(chunk: Chunk) -> RowBatch:
        worker = free.get()
        try:
            return worker.ask(chunk)
        finally:
            free.put(worker)

    asked = deque[tuple[int, Future[RowBatch]]]()
    bytes_out = 0
    for chunk in chunks:
        if not asked and free.empty():  # they are still starting
            yield batch_of(own.rows(chunk))
            continue
        num_bytes = sum(len(element.raw) for element in chunk.elements)
        while asked and (len(asked) >= 2 * len(workers) or bytes_out + num_bytes > MAX_BYTES_OUT):
            num_read, read = asked.popleft()
            yield read.result()
            bytes_out -= num_read
        asked.append((num_bytes, threads.submit(ask, chunk)))
        bytes_out += num_bytes
    for _, read in asked:
        yield read.result()


def _announce(worker: "_Worker", free: "SimpleQueue[_Worker]") -> None:
    worker.wait_until_started()
    free.put(worker)


class _Worker:
    """One process, which has one chunk at a time."""

    def __init__(self, rules: ReadingRules) -> None:
        words = module_command(__name__, json.dumps(rules))
        environ = child_environ(os.environ)
        self._process = subprocess.Popen(words, env=environ, stdin=PIPE, stdout=PIPE)  # noqa: S603 - our own
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout

    def wait_until_started(self) -> None:
        _read(self._from)

    def ask(self, chunk: Chunk) -> RowBatch:
        try:
            _write(self._to, _header(chunk))
            _write(self._to, *(element.raw for element in chunk.elements))
            data = _read(self._from)
        except BrokenPipeError:
            data = None
        if data is None:
            raise self._died()
        return RowBatch(num_rows=len(chunk.elements), data=data)

    def end(self) -> None:
        self._process.kill()  # it holds nothing
        self._process.communicate()

    def _died(self) -> WorkerError:
        status = self._process.wait()
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return WorkerError(f"a process that reads the input died ({how}); nothing was spent")


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # no such function on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _header(chunk: Chunk) -> bytes:
    elements = [(len(one.raw), one.offset, one.too_long) for one in chunk.elements]
    return orjson.dumps((chunk.position, chunk.file, chunk.configured_type, elements))


def _chunk(header: bytes, data: bytes) -> Chunk:
    position, file, configured_type, places = orjson.loads(header)
    elements: list[RawElement] = []
    at = 0
    for num_bytes, offset, too_long in places:
        raw = data[at : at + num_bytes]
        elements.append(RawElement(raw=raw, offset=offset, too_long=too_long))
        at += num_bytes
    return Chunk(position=position, file=file, configured_type=configured_type, elements=elements)


def _write(stream: IO[bytes], *parts: bytes) -> None:
    stream.write(sum(map(len, parts)).to_bytes(_LENGTH_BYTES, "little"))
    stream.writelines(parts)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes | None:
    """Returns the next message, None at the end of the stream."""
    length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
    return stream.read(length) or None


def _work(rules: ReadingRules, source: IO[bytes], sink: IO[bytes]) -> None:
    reader = RowReader(rules)
    _write(sink, b"started")
    while (header := _read(source)) is not None:
        chunk = _chunk(header, _read(source) or b"")
        _write(sink, batch_of(reader.rows(chunk)).data)


def main(rules: str) -> None:
    """Works for the driver at the other end of the pipes, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the driver ends its workers
    _work(ReadingRules(*json.loads(rules)), sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main(sys.argv[1])
