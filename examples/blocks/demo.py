"""The demo: starts the three services on this machine, curates the raw set, reports, stops.

    python -m examples.blocks.demo

Everything it does is a command of `a2l` that a user would type; each is printed first.
"""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from align2llava.pipeline.errors import PipelineError
from align2llava.pipeline.serving.service_process import Served
from align2llava.pipeline.serving.services import serving

BLOCKS = Path(__file__).resolve().parent
RUN = Path("runs") / "demo"


def a2l(*arguments: str | Path) -> None:
    """Runs a command and ends this process with its exit code if it fails."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ a2l {' '.join(words)}", flush=True)
    done = subprocess.run([Path(sys.executable).with_name("a2l"), *words], check=False)  # noqa: S603 (our own command)
    if done.returncode != 0:
        sys.exit(done.returncode)


def announce(served: Served) -> None:
    """Says that a service answers, as `a2l serve` does."""
    print(f"ready {served.name} {served.http_url} {served.grpc_url}", flush=True)


def tell(line: str) -> None:
    """Says what starts and what is waited for."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Curates `raw.json` into `runs/demo`, whatever was there before."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    began = time.monotonic()
    print(f"$ a2l serve --models {BLOCKS / 'models'}", flush=True)
    try:
        with serving(BLOCKS / "models", on_ready=announce, on_progress=tell):
            shutil.rmtree(RUN, ignore_errors=True)
            a2l("curate", BLOCKS / "curate.yaml", "--run-dir", RUN)
    except PipelineError as error:
        sys.exit(
            f"the services do not run: {error}\nWhere an `a2l serve` runs already, end it and call again."
        )
    for name in ("random", "length-matched"):
        a2l("export", RUN, "--baseline", name)
    a2l("report", RUN, "--truth", BLOCKS / "truth.jsonl")
    print(f"\nDone in {time.monotonic() - began:.0f} s. Open {RUN / 'report' / 'index.html'}")


if __name__ == "__main__":
    main()
