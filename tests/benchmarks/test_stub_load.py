import pytest

from benchmarks.stub_load import ITEMS_A_MESSAGE, grpc_items_per_s, rest_items_per_s
from benchmarks.stub_process import running_stub


@pytest.mark.timeout(60)
async def test_every_message_is_answered_over_both_transports():
    with running_stub("all") as stub:
        assert await grpc_items_per_s(stub, num_messages=70) > 0
        assert await rest_items_per_s(stub, num_messages=70) > 0
        asked = stub.stats()
    assert asked.num_messages == 140
    assert asked.num_items == 140 * ITEMS_A_MESSAGE
    assert asked.num_images_needed == 0
