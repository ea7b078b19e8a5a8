"""Rules that no schema and no API server holds, over rendered manifests; each a function of a few lines.

`python -m tools.k8s_lint k8s/overlays/production --pinned`
"""
