"""Freed memory kept for the next forward: what glibc's malloc is told in a process that computes on a CPU.

By its defaults every forward asks the system for its large temporaries anew, page by page: about a
twentieth of the time of the middle model of the benchmarks.
"""

import ctypes

# malloc.h: parameters of mallopt.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MAX_MMAP_THRESHOLD = 1 << 25  # the largest that every glibc takes: smaller blocks stay in the heap
_TRIM_BYTES = (1 << 31) - 1
_TOP_PAD_BYTES = 1 << 26

SAME_BY_ENVIRONMENT = {
    "GLIBC_TUNABLES": f"glibc.malloc.mmap_threshold={_MAX_MMAP_THRESHOLD}"
    f":glibc.malloc.trim_threshold={_TRIM_BYTES}:glibc.malloc.top_pad={_TOP_PAD_BYTES}"
}


def keep_freed_memory() -> None:
    """Makes this process keep what it frees, for good; does nothing where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_MMAP_THRESHOLD, _MAX_MMAP_THRESHOLD)
    mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
    mallopt(_M_TOP_PAD, _TOP_PAD_BYTES)
