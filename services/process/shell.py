"""What the classes of the three services share: how BentoML serves them, and what it calls of them."""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import bentoml

from align2llava.services.process.hosting import HostedService
from align2llava.services.process.lifecycle import Runtime

T = TypeVar("T")


def hosted(name: str, *, port: int) -> Callable[[type[T]], bentoml.Service[T]]:
    """Returns the decorator that makes a service of a class: one worker, on loopback unless told otherwise."""
    return bentoml.service(
        name=name,
        service_class=HostedService,
        workers=1,
        logging={"access": {"enabled": False}},  # requests are counted in /metrics
        http={"host": "127.0.0.1", "port": port},  # pyright: ignore[reportArgumentType]  (it takes text too)
    )


class Shell:
    """The base of a service's class, which speaks for the `runtime` of its process."""

    runtime: ClassVar[Runtime[Any]]
    check: ClassVar[Callable[[], None]]

    def __init_subclass__(cls) -> None:
        """Has BentoML refuse to start on settings that do not allow it; its hook is called without a class."""

        def check() -> None:
            cls.runtime.check_settings()

        cls.check = bentoml.on_deployment(check)  # pyright: ignore[reportAttributeAccessIssue]  (a staticmethod)

    @bentoml.on_startup
    async def start(self) -> None:
        """Opens gRPC and begins to load the model."""
        await self.runtime.start()

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Answers what was accepted, then stops."""
        await self.runtime.stop()

    async def __is_ready__(self) -> bool:
        return self.runtime.is_ready

    async def __is_alive__(self) -> bool:
        return self.runtime.is_alive
