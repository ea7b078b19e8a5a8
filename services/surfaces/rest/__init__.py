"""The REST surface: bodies, errors, routes, the OpenAPI document."""
