"""Typed asyncio clients of the three services, over REST and gRPC."""
