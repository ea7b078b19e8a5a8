"""The curation driver: records in, decisions, dataset, ledger and report out."""

import os

# For the allocator of polars, read when that is loaded: memory that a selection no longer needs
# goes back after 10 ms, not after half a second or never.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:10,muzzy_decay_ms:0")
