"""LLaVA as a reward model."""
