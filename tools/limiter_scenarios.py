"""The simulated scenarios that docs/concurrency.md shows and tests hold. Values only."""

import math
from collections.abc import Mapping
from dataclasses import replace

from tools.limiter_simulation import Phase, Scenario

_QUEUE = Scenario(replicas=[[Phase()]], end_s=60)
_STUCK = Scenario(
    replicas=[[Phase()], [Phase()], [Phase(), Phase(start_s=10, service_s=60.0)]],
    end_s=300,
    num_calls=8000,
)
_FULL, _STORM = Phase(max_queue=8), Phase(refuses=True)

SCENARIOS: Mapping[str, Scenario] = {
    "queue": _QUEUE,
    "queue, fixed at 256": replace(_QUEUE, limiter=False),
    "step": Scenario(
        replicas=[[Phase(), Phase(start_s=40, num_workers=4), Phase(start_s=80, num_workers=32)]],
        end_s=120,
    ),
    "slowdown": Scenario(
        replicas=[[Phase(), Phase(start_s=40, service_s=0.4), Phase(start_s=80)]], end_s=120
    ),
    "bounded queue": Scenario(replicas=[[_FULL]], end_s=60),
    "storms": Scenario(
        replicas=[
            [
                _FULL,
                replace(_STORM, start_s=20),
                replace(_FULL, start_s=30),
                replace(_STORM, start_s=50),
                replace(_FULL, start_s=60),
            ]
        ],
        end_s=80,
    ),
    "slow replica": Scenario(
        replicas=[[Phase()], [Phase()], [Phase(), Phase(start_s=20, service_s=1.0)]], end_s=60
    ),
    "stuck replica": _STUCK,
    "stuck replica, hedged": replace(_STUCK, hedges=True),
}


def capacity(phase: Phase) -> float:
    """Returns the calls per second that a server answers while it is always busy."""
    return phase.num_workers / (phase.service_s * math.exp(phase.spread**2 / 2))
