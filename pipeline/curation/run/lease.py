"""The lease of a run directory: one driver at a time works in it; a killed one's is taken over.

A file with a beat that its holder moves on. Nobody's clock is trusted, and no lock of the file
system: who wants the lease watches whether the beat moves.
"""

import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import orjson

from align2llava.pipeline.curation.disk.folder import require_own_files
from align2llava.pipeline.curation.layout import RunPaths
from align2llava.pipeline.errors import RunError, StoreError

logger = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
STALE_SECONDS = 10.0


class Lease(NamedTuple):
    """Who holds a run directory; `beat` counts up.

    `host` tells machines and their process namespaces apart, `started` processes of one number.
    """

    token: str
    host: str
    pid: int
    started: str
    beat: int


@contextmanager
def held(paths: RunPaths) -> Generator[None]:
    """Holds the run directory, which is made where there is none.

    A process of this host is followed at once where it is gone, and never where it is not; one of
    another host, or container, after 10 s without a beat. Who loses its lease ends as by SIGTERM.

    Raises:
        RunError: another process holds it, or a link lies in it.
        StoreError: it cannot be made.
    """
    try:
        paths.root.mkdir(parents=True, exist_ok=True)
        require_own_files(paths.root)
        lease = _acquired(paths.lease)
    except OSError as error:
        raise StoreError(f"cannot write in {paths.root}: {error.strerror}") from error
    is_over = threading.Event()
    beats = threading.Thread(target=_keep, args=(paths.lease, lease, is_over), daemon=True)
    beats.start()
    try:
        yield
    finally:
        is_over.set()
        beats.join()
        if _is_mine(paths.lease, lease):
            paths.lease.unlink(missing_ok=True)


def _acquired(path: Path) -> Lease:
    mine = Lease(uuid.uuid4().hex, this_host(), os.getpid(), started(os.getpid()) or "", 0)
    beside = path.with_name(f"{path.name}.{mine.token}")
    while True:
        beside.write_bytes(orjson.dumps(mine._asdict()))
        try:
            os.link(beside, path)  # fails where there is one: only one of many wins
        except FileExistsError:
            if _follows(path, beside):
                return mine
        else:
            return mine
        finally:
            beside.unlink(missing_ok=True)


def _follows(path: Path, beside: Path) -> bool:
    """Returns whether the lease there was left behind, and the one beside it is now in its place.

    Two processes may see the same lease left behind. Only who holds the second lease, that of taking over,
    replaces the first, and only if its bytes are still the ones that were seen.

    Raises:
        RunError: its holder lives, or another process follows it now.
    """
    left = _left_behind(path)
    if left is None:
        return False
    following = path.with_name(f"{path.name}.next")
    _acquired(following)
    try:
        if _bytes_of(path) != left:
            return False
        beside.replace(path)
        return True
    finally:
        following.unlink(missing_ok=True)


def _left_behind(path: Path) -> bytes | None:
    """Returns the lease there once it is known that its holder is gone; None = given back.

    Raises:
        RunError: its holder lives.
    """
    raw = _bytes_of(path)
    first = None if raw is None else _parsed(raw)
    if first is not None and first.host == this_host():
        # Known for sure, even of a holder that is stopped, and so has no beat.
        if started(first.pid) == first.started:
            raise _in_use(path, first)
    elif first is not None:
        _watch(path, first)
    return raw


def _watch(path: Path, first: Lease) -> None:
    until = time.monotonic() + STALE_SECONDS
    while time.monotonic() < until:
        time.sleep(BEAT_SECONDS / 5)
        now = read_lease(path)
        if now is None:
            return
        if now != first:
            raise _in_use(path, now)


def read_lease(path: Path) -> Lease | None:
    """Returns the lease at a path, None where there is none or it cannot be read as one."""
    raw = _bytes_of(path)
    return None if raw is None else _parsed(raw)


def _bytes_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _parsed(raw: bytes) -> Lease | None:
    try:
        return Lease(**orjson.loads(raw))
    except (orjson.JSONDecodeError, TypeError):
        return None


def this_host() -> str:
    """Returns the name of this machine and of the namespace that process numbers are of."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - no file
    except OSError:
        namespace = ""  # no Linux
    return f"{socket.gethostname()} {namespace}".strip()


def started(pid: int) -> str | None:
    """Returns when a process of this host was started, in its kernel's words; None = it is gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # another user's
    try:
        # Fields 3 and 22, behind the name, which may hold anything. Source: proc(5).
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""  # no Linux
    state, ticks = stat[0], stat[19]
    return None if state == "Z" else ticks  # killed, and not yet collected by its parent


def _in_use(path: Path, lease: Lease) -> RunError:
    host = lease.host.partition(" ")[0]
    return RunError(f"{path.parent} is in use by another process (pid {lease.pid} on {host})")


def _is_mine(path: Path, lease: Lease) -> bool:
    now = read_lease(path)
    return now is not None and now.token == lease.token


def _keep(path: Path, lease: Lease, is_over: threading.Event) -> None:
    beat = lease.beat
    beside = path.with_name(f"{path.name}.{lease.token}")
    while not is_over.wait(BEAT_SECONDS):
        now = read_lease(path)
        if now is not None and now.token != lease.token:
            logger.error("%s: another process took the run over; this one ends", path.parent)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        beat += 1
        with suppress(OSError):  # a full disk: the run itself says so
            beside.write_bytes(orjson.dumps(lease._replace(beat=beat)._asdict()))
            beside.replace(path)
