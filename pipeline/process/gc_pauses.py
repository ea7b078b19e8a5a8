"""Python's cycle collector while records stream: seldom, since what streams holds no cycles.

By its defaults it took a fifth of a run's time (`docs/driver-speed.md`): thousands of records wait in a
window, and it looks at all of them again and again.
"""

import gc
from collections.abc import Generator
from contextlib import contextmanager

YOUNG_OBJECTS = 50_000  # allocated between two collections of generation 0; 700 by default
YOUNG_COLLECTIONS = 50  # of generation 0 between two of generation 1; 10 by default


@contextmanager
def rare_collections() -> Generator[None]:
    """Leaves alone what is there already, and looks at new objects less often."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_COLLECTIONS, before[2])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
