"""The reward engine in pure torch."""
