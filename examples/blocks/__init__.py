"""Blocks world: small synthetic scenes with known truth, and LLaVA data about them."""
