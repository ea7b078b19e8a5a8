"""The engines on vLLM: the inner LLM, and LLaVA reward models in its pooling runner."""
