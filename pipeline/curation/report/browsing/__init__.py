"""The page on which every record of a run can be browsed, and the parts that it loads."""
