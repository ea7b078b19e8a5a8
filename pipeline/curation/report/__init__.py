"""The report: the figures of a run as a page, as JSON and as lines. Asks no service."""
