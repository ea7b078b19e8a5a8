"""vLLM's pooling runner in its own environment and process, asked line by line."""

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from align2llava.services.engines.torch_engine.allocation import SAME_BY_ENVIRONMENT
from benchmarks.reward_workload import Workload

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv-vllm-vision" / "bin" / "python"
SCRIPT = ROOT / "benchmarks" / "vllm_pooling.py"


class VllmUnavailableError(Exception):
    """vLLM's environment is missing, or it does not start."""


class VllmProcess:
    """A running `vllm_pooling.py`; `timed` asks it for the rewards of a workload."""

    def __init__(self, model_dir: Path, *, num_threads: int) -> None:
        """Starts the process.

        Raises:
            VllmUnavailableError: there is no environment for it.
        """
        if not PYTHON.exists():
            raise VllmUnavailableError(f"there is no {PYTHON.relative_to(ROOT)}")
        command = [PYTHON, SCRIPT, model_dir, "-", "--threads", str(num_threads), "--repeats", "1"]
        self._process = subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                "PYTHONPATH": str(ROOT),
                "PATH": "/usr/bin:/bin",
                "HOME": str(Path.home()),
                **SAME_BY_ENVIRONMENT,  # as our engine has it
            },
            text=True,
        )
        self.versions: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def timed(self, workload: Workload) -> tuple[float, list[float]]:
        """Returns how long scoring took in that process, in seconds, and the rewards.

        Raises:
            VllmUnavailableError: the process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(workload.as_json() + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise VllmUnavailableError("vLLM's process ended") from error
        for line in self._process.stdout:
            if line.startswith("{"):
                answer = json.loads(line)
                self.versions = answer["versions"]
                return float(answer["seconds"]), list(answer["rewards"])
        raise VllmUnavailableError("vLLM's process ended without an answer")
