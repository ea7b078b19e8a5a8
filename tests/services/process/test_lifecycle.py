"""Start, readiness, failure and drain; the slow ones against real processes under SIGTERM."""

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from unittest import mock

import grpc.aio
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from align2llava.clients.errors import UnavailableError as ClientUnavailableError
from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire import align2llava_pb2_grpc as pb_grpc
from align2llava.clients.wire.convert import to_proto
from align2llava.clients.wire.schemas import ScoreRequest
from align2llava.pipeline.serving.service_process import TARGETS
from align2llava.services import question_reward
from align2llava.services.core.scoring import ScoreCore
from align2llava.services.errors import InternalError, UnavailableError
from align2llava.services.loading import load_question_reward
from align2llava.services.process import supervisor
from align2llava.services.process.lifecycle import LoadedModel, Runtime
from align2llava.services.settings import SettingsError
from align2llava.services.surfaces.rpc.reward import question_servicers
from align2llava.services.surfaces.rpc.surface import grpc_surface
from tests.contract.servers import ROOT, Server, server, until_accepted
from tests.contract.wire_values import question_group, rewards
from tests.services.in_process import FAKE, InProcess, in_process, until

STATUS = health_pb2.HealthCheckResponse.ServingStatus


def runtime(load=load_question_reward) -> Runtime:
    return Runtime("question-reward", load=load, surface=grpc_surface(question_servicers))


async def test_service_is_ready_only_after_the_model_answered():
    may_load = asyncio.Event()

    async def load(parts):
        await may_load.wait()
        return await load_question_reward(parts)

    made = runtime(load)
    with mock.patch.dict(os.environ, FAKE):
        await made.start()
    try:
        assert (made.is_ready, made.is_alive) == (False, True)
        with pytest.raises(UnavailableError, match="loading"):
            _ = made.core
        may_load.set()
        await until(lambda: made.is_ready)
        assert made.core.identity.kind == "question-reward"
    finally:
        await made.stop()
    with pytest.raises(UnavailableError):
        _ = made.started


async def test_core_is_closed_where_the_service_stops_before_it_has_answered():
    loaded: list[LoadedModel[ScoreCore]] = []

    async def load(parts):
        loaded.append(await load_question_reward(parts))
        mock.patch.object(loaded[0].core, "warm_up", asyncio.Event().wait).start()
        return loaded[0]

    made = runtime(load)
    with mock.patch.dict(os.environ, FAKE):
        await made.start()
    await until(lambda: bool(loaded))
    assert loaded[0].core.is_running
    await made.stop()
    assert not loaded[0].core.is_running


@pytest.mark.parametrize("fault", [InternalError("no"), RuntimeError("no"), ImportError("no")])
async def test_model_that_fails_to_load_makes_the_service_dead(
    fault: Exception, caplog: pytest.LogCaptureFixture
):
    async def load(parts):
        raise fault

    made = runtime(load)
    with mock.patch.dict(os.environ, FAKE):
        await made.start()
    try:
        await until(lambda: not made.is_alive)
        assert not made.is_ready
        assert "the model did not load" in caplog.text
    finally:
        await made.stop()


async def test_load_that_never_ends_makes_the_service_dead(caplog: pytest.LogCaptureFixture):
    async def load(parts):
        await asyncio.Event().wait()

    made = runtime(load)
    with mock.patch.dict(os.environ, {**FAKE, "A2L_LOAD_TIMEOUT_S": "1"}):
        await made.start()
    try:
        assert made.is_alive
        await until(lambda: not made.is_alive)
        with pytest.raises(UnavailableError, match=r"failed: .* within 1 s \(A2L_LOAD_TIMEOUT_S\)"):
            _ = made.core
        assert "Traceback" not in caplog.text
    finally:
        await made.stop()


async def test_why_the_model_did_not_load_is_told_on_one_line_and_to_callers(
    caplog: pytest.LogCaptureFixture,
):
    async def load(parts):
        raise UnavailableError("cannot load vicuna: 2.25 GiB KV cache is needed")

    made = runtime(load)
    with mock.patch.dict(os.environ, FAKE):
        await made.start()
    try:
        await until(lambda: not made.is_alive)
        with pytest.raises(UnavailableError, match=r"not ready: failed: .* 2\.25 GiB"):
            _ = made.core
        assert "cannot answer: cannot load vicuna: 2.25 GiB" in caplog.text
        assert "Traceback" not in caplog.text
    finally:
        await made.stop()


async def test_engine_that_dies_makes_the_service_dead():
    async with in_process(question_reward.QuestionReward, question_reward.RUNTIME) as service:
        await service.runtime.core.aclose()
        assert (service.runtime.is_ready, service.runtime.is_alive) == (False, False)
        assert (await service.http.get("/readyz")).status_code == 503
        assert (await service.http.get("/livez")).status_code == 503
        with pytest.raises(UnavailableError, match="must be restarted"):
            _ = service.runtime.core


async def until_health(service: InProcess, wanted: object) -> None:
    health = health_pb2_grpc.HealthStub(service.channel)
    watch = health.Watch  # pyright: ignore[reportAttributeAccessIssue]  (not in its stub)
    async for answer in watch(health_pb2.HealthCheckRequest(), timeout=20):
        if answer.status == wanted:
            return
    raise AssertionError(f"the watch ended without {wanted}")


async def test_service_whose_callers_wait_in_vain_is_not_ready_until_the_model_answers():
    async with in_process(question_reward.QuestionReward, question_reward.RUNTIME) as service:
        door = service.runtime.started.parts.admission
        may_answer = asyncio.Event()
        with mock.patch.object(service.runtime.core, "warm_up", may_answer.wait):
            door._doubted.add("")  # as half a minute without an answer does
            assert (service.runtime.is_ready, service.runtime.is_alive) == (False, True)
            assert (await service.http.get("/readyz")).status_code == 503
            await until_health(service, STATUS.NOT_SERVING)
            refused = await service.http.post("/v1/score", json={"groups": []})
            assert refused.status_code == 400  # who comes all the same is not turned away
            may_answer.set()
            await until_health(service, STATUS.SERVING)
        assert (await service.http.get("/readyz")).status_code == 200


async def test_open_address_without_keys_does_not_start():
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        assert "0.0.0.0" in supervisor.listening_hosts()
        made = runtime()
        with mock.patch.dict(os.environ, FAKE), pytest.raises(SettingsError, match="without keys"):
            await made.start()


def test_wrong_settings_are_refused_before_a_worker_starts():
    with mock.patch.dict(os.environ, {**FAKE, "A2L_TYPO": "1"}), pytest.raises(SystemExit) as exit_:
        runtime().check_settings()
    assert "question-reward does not start: unknown environment variable A2L_TYPO" in str(
        exit_.value
    )


async def test_stop_gives_up_on_what_outlasts_the_drain(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.ERROR)
    made = runtime()
    with mock.patch.dict(os.environ, {**FAKE, "A2L_DRAIN_MS": "10"}):
        await made.start()
    await until(lambda: made.is_ready)
    with made.started.parts.admission.admit(num_items=3, num_bytes=0):
        await made.stop()
    assert "3 items unanswered after 10 ms" in caplog.text


def serve(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bentoml", "serve", TARGETS["question-reward"], *arguments],
        cwd=ROOT,
        env={**os.environ, **FAKE, "BENTOML_DO_NOT_TRACK": "True", **environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("environ", "arguments", "message"),
    [
        pytest.param({"A2L_MAX_PIXEL": "1"}, (), "A2L_MAX_PIXEL", id="unknown variable"),
        pytest.param({}, ("--host", "0.0.0.0"), "0.0.0.0 without keys", id="open without keys"),
        pytest.param(
            {"A2L_TLS_CERT_FILE": "LICENSE", "A2L_TLS_KEY_FILE": "LICENSE"},
            (),
            "A2L_TLS_CERT_FILE 'LICENSE'",
            id="no certificate",
        ),
    ],
)
def test_serve_refuses_with_one_clear_line(
    environ: dict[str, str], arguments: tuple[str, ...], message: str
):
    done = serve(environ, *arguments, "--port", "0")
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert message in lines[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_taken_grpc_port_ends_the_service_with_its_number():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        done = serve({"A2L_GRPC_PORT": port}, "--port", "0")
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 (A2L_GRPC_PORT)" in done.stderr.strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_caller_that_went_away_does_not_hold_up_the_stop(tmp_path: Path):
    with server("question-reward", tmp_path) as running:
        async with httpx.AsyncClient(base_url=running.url("rest"), trust_env=False) as http:
            body = {"groups": [question_group("[[slow 200]]").model_dump(mode="json")]}
            for _ in range(3):
                with pytest.raises(httpx.ReadTimeout):
                    await http.post("/v1/score", json=body, timeout=0.05)
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(running.process.wait, 20) == 0


NUM_CALLERS = 4
SLOW = "[[slow 100]]"


async def streamed(running: Server) -> list[str]:
    """Answers of one stream with requests in flight while the service drains."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
        call = pb_grpc.QuestionRewardStub(channel).ScoreStream()
        wanted = to_proto(ScoreRequest(groups=(question_group(SLOW),)), pb.ScoreRequest)
        for number in range(NUM_CALLERS):
            await call.write(pb.ScoreStreamRequest(request_id=str(number), request=wanted))
        return [(await call.read()).WhichOneof("outcome") for _ in range(NUM_CALLERS)]


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_sigterm_loses_no_accepted_request(tmp_path: Path):
    with server(
        "question-reward", tmp_path, settings={"BENTOML_CONFIG_OVERRIDES": "{}"}
    ) as running:
        clients = [running.reward_client(transport) for transport in ("rest", "grpc")]
        callers = [
            asyncio.create_task(client.score([question_group(SLOW)], timeout_s=30))
            for client in clients
            for _ in range(NUM_CALLERS)
        ]
        stream = asyncio.create_task(streamed(running))
        await until_accepted(running, 3 * NUM_CALLERS - 1)  # the device may have finished one
        running.process.send_signal(signal.SIGTERM)
        responses = await asyncio.gather(*callers)
        assert all(rewards(response)[0][0] is not None for response in responses)
        assert await stream == ["response"] * NUM_CALLERS
        assert await asyncio.to_thread(running.process.wait, 30) == 0
        for client in clients:
            await client.aclose()
    assert "draining" in running.log.read_text()
    assert "Traceback" not in running.log.read_text()


async def keep_asking(running: Server, transport, outcomes: list[str]) -> None:
    """One request after the other until the service is gone; every one is answered or refused."""
    client = running.reward_client(transport)
    while True:
        try:
            response = await client.score([question_group("[[slow 2]]")], timeout_s=10)
        except ClientUnavailableError:
            outcomes.append("unavailable")
            break
        assert rewards(response)[0][0] is not None
        outcomes.append("answered")
    await client.aclose()


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_sigterm_under_load_answers_or_refuses_every_request(tmp_path: Path):
    with server("question-reward", tmp_path) as running:
        outcomes: list[str] = []
        async with asyncio.TaskGroup() as group:
            for transport in ("rest", "grpc") * NUM_CALLERS:
                group.create_task(keep_asking(running, transport, outcomes))
            while outcomes.count("answered") < 50:  # noqa: ASYNC110  (counted by the tasks)
                await asyncio.sleep(0.01)
            running.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(running.process.wait, 30) == 0
    assert outcomes.count("unavailable") == 2 * NUM_CALLERS
    assert json.dumps(sorted(set(outcomes))) == '["answered", "unavailable"]'
