"""The gRPC server of a process, as the life of the process sees it."""

from typing import Protocol


class Surface(Protocol):
    """Started once, told whether requests are welcome, drained, stopped."""

    async def start(self, host: str) -> int:
        """Listens on `host` and returns the port."""
        ...

    async def set_serving(self, *, is_serving: bool) -> None:
        """Says in gRPC's health service whether requests are welcome."""
        ...

    def begin_drain(self) -> None:
        """Refuses new requests."""
        ...

    async def stop(self) -> None:
        """Stops."""
        ...
