"""The curation driver: records in, decisions, dataset, ledger and report out."""
