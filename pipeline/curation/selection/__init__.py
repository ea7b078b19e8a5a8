"""Selection: from rewards to what becomes of every record, and the null baselines. Reads the scan's table; knows no services."""
