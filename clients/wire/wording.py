"""How an error that is not ours is worded in a message of ours. Knows no error."""


def one_line(error: BaseException) -> str:
    """Returns what an exception says, on one line; its class where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
