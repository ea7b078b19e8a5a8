"""The gRPC surface: the server, its decoding, its servicers."""
