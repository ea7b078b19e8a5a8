"""Qwen2.5-VL as a reward model."""
