"""Cases of requests to services: bytes that are no message, other forms, images and weights."""

import base64
import gzip
import hashlib
import io
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.cases.bench import (
    MODELS,
    Bench,
    memory_mib,
    post,
    status,
    wait_until_ready,
)
from tests.cases.case import Case, Fact, fact
from tests.contract.servers import Server

QUESTION = "What color is the square?"
_MAX_GROWTH_MIB = 400.0  # of a request whose image is 1 x 20000


def score_body(data: bytes, *, text: str | None = None) -> dict[str, object]:
    stated = base64.b64encode(data).decode() if text is None else text
    image = {"sha256": hashlib.sha256(data).hexdigest(), "data": stated}
    return {"groups": [{"image": image, "items": [{"id": "a", "questions": [QUESTION]}]}]}


def grpc_garbage(at: Bench, _: Path) -> Iterator[Fact]:
    running = at.fakes()["question-reward"]
    log_before = len(running.log.read_bytes())
    garbage = {
        "no message": b"\xff\xff\xff\xff",
        "no UTF-8": b"\x0a\x08\x12\x06\x0a\x01a\x12\x01\xff",
    }
    for what, data in garbage.items():
        code, trailers, details = _call(running, data)
        is_ours = code == "INVALID_ARGUMENT" and trailers.get("a2l-code") == "invalid_request"
        yield fact(
            f"{what} is INVALID_ARGUMENT", holds=is_ours, seen=f"{code} {trailers} {details}"
        )
    written = running.log.read_bytes()[log_before:].decode("utf-8", "replace")
    yield fact(
        "no trace in the log", holds="Traceback" not in written, seen=written[:80] or "quiet"
    )


def _call(running: Server, data: bytes) -> tuple[str, dict[str, str], str]:
    with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
        try:
            channel.unary_unary("/align2llava.v1.QuestionReward/Score")(data, timeout=10)
        except grpc.RpcError as error:
            trailers = {str(one.key): str(one.value) for one in error.trailing_metadata() or ()}
            return error.code().name, trailers, str(error.details())[:90]
    return "OK", {}, ""


def request_forms(at: Bench, folder: Path) -> Iterator[Fact]:
    port = at.fakes()["question-reward"].http_port
    data = (folder / "good.png").read_bytes()
    plain = base64.b64encode(data).decode()
    packed = gzip.compress(json.dumps(score_body(data)).encode())
    forms = {
        "gzip": post(port, "/v1/score", packed, content_encoding="gzip"),
        "data URI": post(
            port, "/v1/score", score_body(data, text=f"data:image/png;base64,{plain}")
        ),
        "line breaks": post(
            port, "/v1/score", score_body(data, text=base64.encodebytes(data).decode())
        ),
    }
    named = {"gzip": "gzip", "data URI": "data URI", "line breaks": "line break"}
    for what, (code, text) in forms.items():
        is_read = code == 200 and "reward" in text
        is_named = 400 <= code < 500 and named[what] in text
        yield fact(
            f"{what} is read or named", holds=is_read or is_named, seen=f"{code} {text[-150:]}"
        )


def pad_strip(at: Bench, folder: Path) -> Iterator[Fact]:
    model = _copy_of("question-reward", at)
    card = model / "reward.json"
    card.write_text(card.read_text().replace('"square"', '"pad"'))
    with at.model("question-reward", model) as running:
        is_ready = wait_until_ready(running)
        yield fact("the service is ready", holds=is_ready, seen=f"ready: {is_ready}")
        post(running.http_port, "/v1/score", score_body(_red_square()))  # what every request costs
        held = memory_mib(running.process.pid, "VmHWM")
        for width, height in ((1, 20_000), (1, 60_000), (690, 15_420)):
            strip = folder / "strip.png" if height == 20_000 else None
            data = strip.read_bytes() if strip else _png(width, height)
            code, text = post(running.http_port, "/v1/score", score_body(data))
            grown = memory_mib(running.process.pid, "VmHWM") - held
            is_bounded = 200 <= code < 500 and grown < _MAX_GROWTH_MIB
            seen = f"{width}x{height}: {code}, {grown:.0f} MiB more: {text[:60]}"
            yield fact(f"{width}x{height} is bounded", holds=is_bounded, seen=seen)


def stray_safetensors(at: Bench, _: Path) -> Iterator[Fact]:
    clean = _copy_of("question-reward", at)
    stray = _copy_of("question-reward", at)
    zeros = {name: tensor * 0 for name, tensor in load_file(stray / "model.safetensors").items()}
    save_file(zeros, stray / "training_state.safetensors", metadata={"format": "pt"})
    with at.model("question-reward", stray) as running, at.model("question-reward", clean) as other:
        wait_until_ready(other)
        if not wait_until_ready(running):
            log = running.log.read_text()
            is_named = "training_state.safetensors" in log
            yield fact("the stray file is refused by name", holds=is_named, seen=log[-200:])
            return
        rewards = [_reward(one) for one in (running, other)]
        yield fact("the stray file changes nothing", holds=len(set(rewards)) == 1, seen=rewards)


def first_likelihood(at: Bench, _: Path) -> Iterator[Fact]:
    """Without a compiler and with a cold cache; with one it must not stall the others."""
    for compiler in ("/nonexistent/g++", "g++"):
        cache = str(at.new_folder())
        environ = {"CXX": compiler, "TORCHINDUCTOR_CACHE_DIR": cache, "VLLM_CACHE_ROOT": cache}
        with at.model("inner-llm", MODELS / "inner-llm", **environ) as running:
            if not wait_until_ready(running, timeout_s=300):
                log = running.log.read_text()
                is_named = "compiler" in log
                yield fact(f"{compiler}: refused by name", holds=is_named, seen=log[-300:])
                continue
            yield from _ask_while_it_likes(running, compiler)


def _ask_while_it_likes(running: Server, compiler: str) -> Iterator[Fact]:
    port = running.http_port
    likelihood = {"items": [{"id": "a", "prompt": "The star is", "completion": " red."}]}
    rewrite = {"items": [{"id": "a", "question": QUESTION, "answer": "The star is red."}]}
    answers: list[int] = []
    asker = threading.Thread(
        target=lambda: answers.append(post(port, "/v1/likelihood", likelihood)[0])
    )
    answers.append(post(port, "/v1/rewrite", rewrite)[0])
    asker.start()
    answers.append(post(port, "/v1/rewrite", rewrite)[0])
    asker.join()
    answers.append(post(port, "/v1/rewrite", rewrite)[0])
    yield fact(f"{compiler}: all are answered", holds=set(answers) == {200}, seen=answers)
    alive = status(running, "/livez")
    yield fact(f"{compiler}: the service lives", holds=alive == 200, seen=f"livez {alive}")


def _copy_of(name: str, at: Bench) -> Path:
    folder = at.new_folder() / name
    shutil.copytree(MODELS / name, folder)
    return folder


def _png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return buffer.getvalue()


def _red_square() -> bytes:
    return _png(64, 64)


def _reward(running: Server) -> float | str:
    code, text = post(running.http_port, "/v1/score", score_body(_red_square()))
    if code != 200:
        return f"{code} {text[:80]}"
    return float(json.loads(text)["groups"][0]["items"][0]["reward"])


CASES = (
    Case(name="first-likelihood", look=first_likelihood),
    Case(name="grpc-garbage", look=grpc_garbage),
    Case(name="pad-strip", look=pad_strip),
    Case(name="request-forms", look=request_forms),
    Case(name="stray-safetensors", look=stray_safetensors),
)
