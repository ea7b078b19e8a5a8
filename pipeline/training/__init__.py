"""Training of the reward models, on the same inputs code as serving."""
