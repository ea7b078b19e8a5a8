"""The curation driver, training jobs and the command line."""
