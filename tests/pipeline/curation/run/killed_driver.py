"""A driver process that is killed in mid-run: `python killed_driver.py CONFIG RUN LOG KILL_AFTER`.

KILL_AFTER 0 = runs to its end. Every answered item is noted in LOG. Resumes where RUN exists.
"""

import sys
from pathlib import Path

from align2llava.pipeline.curation.run.resume import Resume
from tests.pipeline.curation.fake_clients import Calls, FakeConnector
from tests.pipeline.curation.small_world import run

if __name__ == "__main__":
    config, run_dir, log, kill_after = sys.argv[1:]
    calls = Calls(log=Path(log), kill_after=int(kill_after) or None, delay_s=0.02)
    resume = Resume.ALWAYS if Path(run_dir).exists() else Resume.NEVER
    sets = (
        "run.commit_seconds=0.005",
        "endpoints.answer_reward.max_in_flight=4",
    )
    run(Path(config), Path(run_dir), connector=FakeConnector(calls=calls), resume=resume, sets=sets)
