"""The three model services: question-reward, answer-reward and inner-llm."""

if __name__ != "align2llava.services":  # two names would be two sets of classes
    raise ImportError(
        "import align2llava.services: services alone is a folder of the repository, no package"
    )
