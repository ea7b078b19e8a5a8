"""What the two reward services share: their routes; they differ in model, words and ports."""

from typing import ClassVar

import bentoml
from starlette.responses import Response

from align2llava.clients.wire.schemas import ScoreRequest, ScoreResponse
from align2llava.services.core.scoring import ScoreCore
from align2llava.services.process.lifecycle import Runtime
from align2llava.services.process.shell import Shell
from align2llava.services.surfaces.rest.surface import answer


class RewardShell(Shell):
    """A service that scores."""

    runtime: ClassVar[Runtime[ScoreCore]]

    @bentoml.api(route="/v1/score", output_spec=ScoreResponse)  # pyright: ignore[reportArgumentType]  (any pydantic model will do)
    async def score(self, request: ScoreRequest, /) -> Response:
        """Returns a reward, higher is better, or an error for each item, in order."""
        return await answer(lambda deadline: self.runtime.core.score(request, deadline=deadline))
