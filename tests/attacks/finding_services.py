"""The first campaign's findings at running services, S1 to S6, S9 and S12: one figure each, of a tree of any age."""

import asyncio
import time
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import msgpack
import psutil

from tests.attacks import bodies
from tests.attacks.checkout import Checkout
from tests.attacks.killable_serve import ORPHAN_S, running, wait_until
from tests.attacks.onslaughts import ONSLAUGHTS, Site, is_fault
from tests.attacks.world import Attacked, peak_of, services

Figures = dict[str, float]

PATIENCE_S = 120.0  # what takes longer counts as this
_POLL_S = 0.05
_HEAD_S = 15.0  # after which a half-said head should be gone
_NUM_HALF = 100
_BOMBS = [name for name, one in ONSLAUGHTS.items() if one.finding == "S1"]


def of_rewards(tree: Checkout, folder: Path) -> Figures:
    """What question-reward shows, with the fake engine: images are decoded before any engine sees them."""
    with services(folder, kinds=("question-reward",), engine="fake", tree=tree) as (one,):
        return asyncio.run(_asked(one))


def of_inner_llm(tree: Checkout, folder: Path) -> Figures:
    """What inner-llm shows, on vLLM; a service whose core hangs is killed."""
    figures: Figures = {}
    for name, measure in (("S3", _grammar), ("S4", _killed)):
        with services(folder / name, kinds=("inner-llm",), engine="real", tree=tree) as (one,):
            everyone = one.processes()  # before some of them have no parent any more
            try:
                figures |= measure(one)
            finally:
                _kill({**everyone, **one.processes()})
    return figures


async def _asked(one: Attacked) -> Figures:
    """Cheap ones first: what a bomb leaves in memory would be taken for the next one's."""
    return {
        **await _log_lines(one),
        **await _num_faults(one),
        **await _half_heads(one.site),
        **await _added(one, "S5 head", "64 MiB of headers"),
        **await _added(one, "S5 key", "60 calls of 30 MiB without a key"),
        **await _scans(one.site),
        **await _bombs(one),
    }


async def _bombs(one: Attacked) -> Figures:
    waits: list[float] = []
    mebibytes: list[float] = []
    for name in _BOMBS:
        async with peak_of(one) as peak:
            waits.append(await _longest_wait(one.site, ONSLAUGHTS[name].one_round(one.site)))
        mebibytes.append(peak.added_mib)
    return {"S1 s": max(waits), "S1 MiB": max(mebibytes)}


async def _longest_wait(site: Site, attack: Awaitable[object]) -> float:
    """Returns how long /livez took at most while the attack was under way."""
    longest = 0.0
    under_way = asyncio.ensure_future(attack)
    async with httpx.AsyncClient(
        base_url=site.http_url, trust_env=False, timeout=PATIENCE_S
    ) as http:
        while not under_way.done():
            began = time.monotonic()
            with suppress(httpx.TransportError):
                await http.get("/livez")
            longest = max(longest, time.monotonic() - began)
            await asyncio.sleep(0.01)
    await under_way
    return longest


async def _scans(site: Site) -> Figures:
    attack = asyncio.ensure_future(ONSLAUGHTS["8,000 scans"].one_round(site))
    await asyncio.sleep(1)  # its images are being decoded, or are refused
    data = bodies.picture(1)
    group = {
        "image": {"sha256": bodies.sha256(data), "data": data},
        "items": [{"id": "a", "questions": ["What is it?"]}],
    }
    waited = await _until_answered(site, site.route, {"groups": [group]})
    await attack
    return {"S2": waited}


def _grammar(one: Attacked) -> Figures:
    async def reviewed_beside() -> float:
        attack = asyncio.ensure_future(ONSLAUGHTS["a large grammar"].one_round(one.site))
        await asyncio.sleep(1)
        turn = {"question": "What is it?", "answer": "It is red."}
        item = {"id": "a", "original": turn, "rewrite": turn}
        waited = await _until_answered(one.site, "/v1/review", {"items": [item]})
        attack.cancel()
        return waited

    return {"S3": asyncio.run(reviewed_beside())}


async def _until_answered(site: Site, route: str, request: object) -> float:
    """Returns how long it takes until a good request is answered with 200, asked again until then."""
    began = time.monotonic()
    headers = {"authorization": f"Bearer {site.key}", "content-type": bodies.MSGPACK}
    async with httpx.AsyncClient(
        base_url=site.http_url, trust_env=False, timeout=PATIENCE_S, headers=headers
    ) as http:
        while time.monotonic() - began < PATIENCE_S:
            with suppress(httpx.TransportError):
                answer = await http.post(route, content=msgpack.packb(request) or b"")
                if answer.status_code == 200:
                    return time.monotonic() - began
            await asyncio.sleep(_POLL_S)
    return PATIENCE_S


def _killed(one: Attacked) -> Figures:
    """Kills the worker; who was below it has no master any more."""
    worker = one.worker()
    below = worker.children(recursive=True)
    worker.kill()
    wait_until(lambda: not running(below), timeout_s=ORPHAN_S)
    return {"S4": len(running(below))}


async def _added(one: Attacked, figure: str, name: str) -> Figures:
    async with peak_of(one) as peak:
        await ONSLAUGHTS[name].one_round(one.site)
    return {figure: peak.added_mib}


async def _half_heads(site: Site) -> Figures:
    """Connections that say half a head, then nothing; how many are still there when they should not be."""
    talks = [await asyncio.open_connection("127.0.0.1", site.http_port) for _ in range(_NUM_HALF)]
    for _, writer in talks:
        writer.write(b"GET /livez HTTP/1.1\r\nx: ")
    await asyncio.sleep(_HEAD_S)
    num_open = 0
    for reader, writer in talks:
        try:
            await asyncio.wait_for(reader.read(), timeout=0.01)
        except TimeoutError:
            num_open += 1
        except OSError:
            pass
        writer.close()
    return {"S5 half": num_open}


async def _log_lines(one: Attacked) -> Figures:
    before = one.server.log.stat().st_size
    told = await ONSLAUGHTS["forged log lines"].one_round(one.site)
    await asyncio.sleep(1)
    with one.server.log.open("rb") as log:
        log.seek(before)
        written = log.read()
    forged = sum(b"FORGED" in line[:60] or b"\x1b" in line for line in written.splitlines())
    return {"S6 forged": forged, "S6 bytes": len(written) / told.total()}


async def _num_faults(one: Attacked) -> Figures:
    figures: Figures = {}
    for figure, names in {
        "S9": ("broken EXIF", "unwritable EXIF"),
        "S12": ("deadlines of 400 digits", "unreadable messages"),
    }.items():
        told = [await ONSLAUGHTS[name].one_round(one.site) for name in names]
        figures[figure] = sum(is_fault(code) for one in told for code in one.elements())
    return figures


def _kill(processes: Mapping[int, psutil.Process]) -> None:
    for process in processes.values():
        with suppress(psutil.NoSuchProcess):
            process.kill()
