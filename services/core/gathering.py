"""Several awaitables at once, none left running: the first error ends all and is raised itself."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import TypeVar

T = TypeVar("T")


async def gathered(coroutines: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """Returns all results, in order.

    Raises:
        Exception: the first one that a coroutine raised, not wrapped in a group.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
