import os
import signal

from align2llava.pipeline.training.termination import CheckpointedError, noted_sigterm


def test_sigterm_is_noted_and_the_old_handler_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with noted_sigterm() as termination:
        assert not termination.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert termination.requested
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_checkpointed_training_exits_75():
    assert CheckpointedError.exit_code == 75
