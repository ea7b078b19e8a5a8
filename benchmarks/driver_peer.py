"""A peer of the driver on the same stub: Ray Data's `map_batches` with an httpx client.

    PYTHON benchmarks/driver_peer.py PLAN

PYTHON is an interpreter with `ray[data]` and httpx; nothing of this project is imported. Does the bare
minimum of what the question stage does: reads the JSON lines, hashes each image, asks for rewards by
hash over REST (JSON, 32 records a request), writes Parquet. No checks, no retries, no resume. A short
pipeline runs first, so that the clock sees no start of processes. Prints one line of JSON.
"""

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import ray  # pyright: ignore[reportMissingImports]  (the peer's interpreter has it)
import ray.data  # pyright: ignore[reportMissingImports]


class Scorer:
    """The stateful worker of `map_batches`."""

    def __init__(self, url: str, images: str) -> None:
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=60)
        self._images = images

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Returns ids and rewards of a batch of records."""
        groups = [
            {
                "image": {"sha256": self._sha256(image)},
                "items": [{"id": str(place), "questions": _questions(conversations)}],
            }
            for place, (image, conversations) in enumerate(
                zip(batch["image"], batch["conversations"], strict=True)
            )
        ]
        response = self._http.post("/v1/score", json={"groups": groups})
        response.raise_for_status()
        rewards = [group["items"][0]["reward"] for group in response.json()["groups"]]
        return {"id": batch["id"], "reward": rewards}

    def _sha256(self, image: str) -> str:
        return hashlib.sha256(Path(self._images, image).read_bytes()).hexdigest()


def _questions(conversations: list[dict[str, str]]) -> list[str]:
    return [
        message["value"].replace("<image>", "").strip()
        for message in conversations
        if message["from"] == "human"
    ]


def _score(plan: dict[str, Any], *, num_records: int, out: Path) -> None:
    records = ray.data.read_json(plan["raw"], lines=True).limit(num_records)
    scored = records.map_batches(
        Scorer,
        fn_constructor_args=(plan["url"], plan["images"]),
        batch_size=32,
        compute=ray.data.ActorPoolStrategy(size=1),  # two were slower: the stub has the other core
        num_cpus=0.5,
    )
    scored.write_parquet(str(out))


def main() -> None:
    """Runs the plan: raw, images, url, out, num_records."""
    plan: dict[str, Any] = json.loads(sys.argv[1])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    out = Path(plan["out"])
    _score(plan, num_records=64, out=out / "first")
    began_s = time.perf_counter()
    _score(plan, num_records=plan["num_records"], out=out / "timed")
    seconds = time.perf_counter() - began_s
    print(json.dumps({"seconds": seconds, "ray": ray.__version__}))


if __name__ == "__main__":
    main()
