"""The ways to a service: REST, gRPC and its streams, and who answers there. Knows no pool."""
