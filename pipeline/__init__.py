"""The curation driver, training jobs and the command line."""

if __name__ != "align2llava.pipeline":  # two names would be two sets of classes
    raise ImportError(
        "import align2llava.pipeline: pipeline alone is a folder of the repository, no package"
    )
