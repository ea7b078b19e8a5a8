"""Token trees, and the layers that compute them. Knows no family of models."""
