"""The reward model in pure torch; shared by serving and training."""
