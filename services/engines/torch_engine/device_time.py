"""How long a device worked: by its own events on CUDA, where launching is not computing; else by the clock."""

import time
from typing import Protocol

import torch


class DeviceTime(Protocol):
    """One span of device work."""

    def stop(self) -> None:
        """Ends the span: all its work is launched."""
        ...

    def elapsed_ms(self) -> float:
        """Waits for the work and returns its time, in ms."""
        ...


def started(device: torch.device) -> DeviceTime:
    """Returns a span that begins now."""
    return CudaTime() if device.type == "cuda" else HostTime()


class HostTime:
    """The time of work that is done when its call returns."""

    def __init__(self) -> None:
        self._started_s = time.perf_counter()
        self._elapsed_s = 0.0

    def stop(self) -> None:
        """Ends the span."""
        self._elapsed_s = time.perf_counter() - self._started_s

    def elapsed_ms(self) -> float:
        """Returns the span's time, in ms."""
        return 1e3 * self._elapsed_s


class CudaTime:
    """The time between two events of the current stream."""

    def __init__(self) -> None:
        self._begin = torch.cuda.Event(enable_timing=True)
        self._end = torch.cuda.Event(enable_timing=True)
        self._begin.record()

    def stop(self) -> None:
        """Ends the span: all its work is launched."""
        self._end.record()

    def elapsed_ms(self) -> float:
        """Waits for the work and returns its time, in ms."""
        self._end.synchronize()
        return self._begin.elapsed_time(self._end)
