import asyncio

import pytest

from align2llava.services.core.gathering import gathered


async def test_results_keep_their_order():
    async def after(delay_s: float, value: int) -> int:
        await asyncio.sleep(delay_s)
        return value

    assert await gathered([after(0.02, 1), after(0, 2)]) == [1, 2]


async def test_first_error_ends_the_others_and_comes_bare():
    cancelled: list[bool] = []

    async def patient() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def failing() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        await gathered([patient(), failing()])
    assert cancelled == [True]
