"""The command line `a2l`: a module for each group of verbs, thin over the Python API."""
