"""Typed asyncio clients of the three services, over REST and gRPC."""

if __name__ != "align2llava.clients":  # two names would be two sets of classes
    raise ImportError(
        "import align2llava.clients: clients alone is a folder of the repository, no package"
    )
