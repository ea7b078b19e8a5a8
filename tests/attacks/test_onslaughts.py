"""One round of each attack at real services: refused by the table, and a known request is answered as before."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.onslaughts import ONSLAUGHTS
from tests.attacks.steady import connected
from tests.attacks.world import KINDS, Attacked, services

# What each may be answered; "200" where only an item is refused.
ALLOWED = {
    *("200", "400", "413", "429"),
    *("OUT_OF_RANGE", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED"),
    *("cut", "open", "refused"),
}
LARGE = "24 bodies of 40 MiB"  # a gigabyte is left to the campaign
CASES = [
    (kind, name)
    for kind in KINDS
    for name, one in ONSLAUGHTS.items()
    if kind in one.kinds and name != LARGE
]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Attacked]]:
    folder: Path = tmp_path_factory.mktemp("attacked")
    with services(folder, engine="fake") as running:
        yield {one.site.kind: one for one in running}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "name"), CASES)
async def test_attack_is_refused_and_changes_nothing(
    attacked: dict[str, Attacked], kind: str, name: str
):
    one = attacked[kind]
    pid, num_faults = one.worker().pid, one.num_faults_logged()
    async with connected(one.site) as caller:
        told = await asyncio.wait_for(ONSLAUGHTS[name].one_round(one.site), timeout=90)
        assert await caller.num_unlike() == 0
    assert set(told) <= ALLOWED, told
    assert one.worker().pid == pid
    assert one.num_faults_logged() == num_faults
