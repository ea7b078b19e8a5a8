"""Whether a model that has loaded can still answer, and whether anything but a restart would help.

What is stuck is seen in two ways: the core says that it is, or a caller waited long for nothing while nobody
else was answered (`services.core.admission`). The second is a doubt only, so the core is asked then what it was
asked before it became ready. Knows no transport.
"""

import asyncio
import logging
from typing import Protocol

from align2llava.clients.wire.wording import one_line
from align2llava.services.core.admission import Admission

logger = logging.getLogger(__name__)

_PAUSE_S = 1.0  # between two questions to a core that refuses at once


class Answering(Protocol):
    """What of a core is asked here."""

    @property
    def is_running(self) -> bool:
        """Whether it can still answer; once it cannot, it stays so."""
        ...

    @property
    def is_stuck(self) -> bool:
        """Whether what it has begun lets nothing else through now; that may pass."""
        ...

    async def warm_up(self) -> None:
        """Answers once; raises where it cannot."""
        ...


class Readiness:
    """What a loaded core is good for now; from the event loop only."""

    def __init__(self, core: Answering, admission: Admission, *, patience_s: float) -> None:
        self._core = core
        self._admission = admission
        self._patience_s = patience_s
        self._has_given_up = False

    @property
    def is_ready(self) -> bool:
        """Whether a caller would be answered within his deadline."""
        is_held_up = self._core.is_stuck or self._admission.is_doubted
        return self._core.is_running and not is_held_up

    @property
    def is_hopeless(self) -> bool:
        """Whether only a restart helps."""
        return self._has_given_up or not self._core.is_running

    async def settle(self) -> None:
        """Returns at once where there is no doubt, else once the core has answered or was given up."""
        if not self._admission.is_doubted:
            return
        logger.warning("callers wait in vain; not ready until the model answers again")
        try:
            async with asyncio.timeout(self._patience_s):
                await self._answered()
        except TimeoutError:
            logger.error("the model did not answer within %g s", self._patience_s)  # noqa: TRY400  (a state)
            self._has_given_up = True
        if not self._admission.is_doubted:
            logger.info("the model answers again")

    async def _answered(self) -> None:
        while self._core.is_running and self._admission.is_doubted:
            try:
                await self._core.warm_up()
                self._admission.trust()
            # Whatever it raises, it has not answered.
            except Exception as error:  # noqa: BLE001  (logged; asked again)
                logger.warning("the model does not answer: %s", one_line(error))
                await asyncio.sleep(_PAUSE_S)
