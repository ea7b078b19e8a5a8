"""A driver process with a slow service, to be interrupted: `python interrupted_driver.py CONFIG RUN`."""

import sys
from pathlib import Path

from align2llava.pipeline.curation.run.resume import Resume
from align2llava.pipeline.errors import PipelineError
from tests.pipeline.curation.fake_clients import Calls, FakeConnector
from tests.pipeline.curation.small_world import run

if __name__ == "__main__":
    config, run_dir = sys.argv[1:]
    resume = Resume.ALWAYS if Path(run_dir).exists() else Resume.NEVER
    connector = FakeConnector(calls=Calls(delay_s=0.03, log=Path(run_dir).with_suffix(".log")))
    try:
        run(Path(config), Path(run_dir), connector=connector, resume=resume)
    except KeyboardInterrupt:
        sys.exit(130)
    except PipelineError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
