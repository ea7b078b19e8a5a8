"""Selection: from rewards to what becomes of every record, and the null baselines. Knows no files, no services."""
