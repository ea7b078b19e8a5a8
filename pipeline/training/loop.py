"""The steps of a training, whatever it trains: from its newest snapshot to its end, resumable after any of them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn, optim

from align2llava.pipeline.errors import RunError
from align2llava.pipeline.training.snapshots import (
    captured,
    newest_snapshot,
    restore,
    write_snapshot,
)
from align2llava.pipeline.training.termination import CheckpointedError, noted_sigterm

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a training changes, and where it is snapshotted; `fingerprint` names what decides its weights."""

    model: nn.Module
    optimiser: optim.Optimizer
    work: Path
    fingerprint: str
    num_steps: int
    snapshot_every: int  # steps

    def resume(self) -> int:
        """Restores the newest snapshot, and returns the step to go on from: 0 where there is none.

        Raises:
            RunError: the snapshots are of another training, or the newest cannot be read.
        """
        snapshot = newest_snapshot(self.work)
        if snapshot is None:
            return 0
        if snapshot.fingerprint != self.fingerprint:
            raise RunError(
                f"{self.work} holds snapshots of another config, data or base; remove it"
            )
        restore(snapshot, self.model, self.optimiser)
        logger.info("resumed at step %d", snapshot.step)
        return snapshot.step

    def run(self, take: Callable[[int], None], *, start: int) -> None:
        """Takes each step from `start` on, by its number from 0; snapshots in between and after the last.

        Raises:
            CheckpointedError: SIGTERM arrived; the snapshot is written.
            StoreError: a snapshot cannot be written.
        """
        with noted_sigterm() as termination:
            for step in range(start, self.num_steps):
                take(step)
                done = step + 1
                is_last = done == self.num_steps
                if termination.requested or done % self.snapshot_every == 0 or is_last:
                    state = captured(
                        self.model, self.optimiser, step=done, fingerprint=self.fingerprint
                    )
                    write_snapshot(self.work, state)
                if termination.requested and not is_last:
                    raise CheckpointedError(
                        f"SIGTERM at step {done} of {self.num_steps}; snapshot in {self.work}"
                    )
