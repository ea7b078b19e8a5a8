import torch._dynamo  # noqa: F401  # the first optimiser imports it, for seconds: not within a test
