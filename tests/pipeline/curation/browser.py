"""A headless Chromium driven over its own pipe (no driver, no port): enough to look at one page."""

import fcntl
import io
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def chromium_path() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One page of one browser; `events` holds what it reported, in order."""

    def __init__(self, answers: io.FileIO, calls: io.FileIO) -> None:
        self._reads = answers
        self._writes = calls
        self._number = 0
        self._left = b""
        self._session: str | None = None
        self.events: list[dict] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: object) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._writes.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, page: Path, *, width: int, dark: bool = False) -> None:
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self._resize(width, 900)
        self.call("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())
        self._resize(width, self.evaluate("document.documentElement.scrollHeight"))

    def evaluate(self, expression: str) -> Any:
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def screenshot(self) -> str:
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return shot["data"]

    def _resize(self, width: int, height: object) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def _receive(self) -> dict:
        while b"\0" not in self._left:
            chunk = self._reads.read(2**16)
            assert chunk, "the browser ended"
            self._left += chunk
        message, self._left = self._left.split(b"\0", 1)
        return json.loads(message)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Starts Chromium with its pipe on descriptors 3 (it reads) and 4 (it writes)."""
    path = chromium_path()
    assert path is not None
    for_browser, writes = _pipe()
    reads, by_browser = _pipe()
    with (
        os.fdopen(reads, "rb", buffering=0) as answers,
        os.fdopen(writes, "wb", buffering=0) as calls,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        script = f'exec "$@" 3<&{for_browser} 4>&{by_browser}'
        process = subprocess.Popen(
            ["bash", "-c", script, "bash", path, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(for_browser, by_browser),
            stderr=subprocess.DEVNULL,
        )
        os.close(for_browser)
        os.close(by_browser)
        try:
            yield Browser(answers, calls)
        finally:
            process.terminate()
            process.wait(timeout=20)


def _pipe() -> tuple[int, int]:
    """Returns the reading and the writing end of a pipe, both far above 3 and 4."""
    low = os.pipe()
    reading, writing = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 100) for end in low)
    for end in low:
        os.close(end)
    return reading, writing
