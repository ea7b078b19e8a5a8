"""This process while it works for long: signals, memory, garbage, progress. Knows no curation and no training."""
