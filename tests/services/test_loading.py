from concurrent.futures import ThreadPoolExecutor

import pytest

from align2llava.clients.wire.kinds import ServiceKind
from align2llava.services.core.admission import Admission
from align2llava.services.core.metrics import metrics
from align2llava.services.loading import load_answer_reward, load_inner_llm, load_question_reward
from align2llava.services.process.lifecycle import Parts
from align2llava.services.settings import load_settings


@pytest.mark.parametrize(
    ("kind", "load"),
    [
        ("question-reward", load_question_reward),
        ("answer-reward", load_answer_reward),
        ("inner-llm", load_inner_llm),
    ],
)
async def test_core_is_of_the_kind_that_was_asked_for(kind: ServiceKind, load):
    with ThreadPoolExecutor(1) as executor:
        parts = Parts(
            settings=load_settings(kind, {"A2L_ENGINE": "fake"}),
            executor=executor,
            admission=Admission(max_items=1, max_bytes=1),
            metrics=metrics(),
        )
        loaded = await load(parts)
        assert loaded.core.identity.kind == kind
        await loaded.core.aclose()
