"""The two surfaces of a service, REST and gRPC, and what both do with bytes before they are messages."""
