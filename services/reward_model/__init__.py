"""The LLaVA reward model in pure torch, shared by serving and training. Knows no transport."""
