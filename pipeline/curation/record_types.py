"""The type rule: which of LLaVA's kinds of instruction a record is. Pure."""

from pipeline.curation.layout import UNKNOWN_TYPE

CONVERSATION = "conversation"
DETAIL = "detail"
COMPLEX_REASONING = "complex_reasoning"

# Facts, in LLaVA's order. Source: arXiv 2304.08485, tables 11 (brief) and 12 (detailed), and the
# questions that occur in its published detail_23k.json.
_BRIEF = (
    "Describe the image concisely",
    "Provide a brief description of the given image",
    "Offer a succinct explanation of the picture presented",
    "Summarize the visual content of the image",
    "Give a short and clear explanation of the subsequent image",
    "Share a concise interpretation of the image provided",
    "Present a compact description of the photo's key features",
    "Relay a brief, clear account of the picture shown",
    "Render a clear and concise summary of the photo",
    "Write a terse but informative summary of the picture",
    "Create a compact narrative representing the image presented",
)
_DETAILED = (
    "Describe the following image in detail",
    "Provide a detailed description of the given image",
    "Give an elaborate explanation of the image you see",
    "Share a comprehensive rundown of the presented image",
    "Offer a thorough analysis of the image",
    "Explain the various aspects of the image before you",
    "Clarify the contents of the displayed image with great detail",
    "Characterize the image using a well-detailed description",
    "Break down the elements of the image in a detailed manner",
    "Walk through the important details of the image",
    "Portray the image with a rich, descriptive narrative",
    "Narrate the contents of the image with precision",
    "Analyze the image in a comprehensive and detailed manner",
    "Illustrate the image through a descriptive explanation",
    "Examine the image closely and share its details",
    "Write an exhaustive depiction of the given image",
)
_PUBLISHED = (
    "Describe the following image",
    "Describe the following scene",
    "Write a detailed description of the given image",
    "Explain the visual content of the image in great detail",
    "What is this photo about?",
    "What is in the photo?",
    "What do you see happening in this image?",
    "What's happening in the scene?",
    "What are the key elements in this picture?",
    "What do you think is going on in this snapshot?",
    "Can you elaborate on the elements of the picture provided?",
    "Can you describe the main features of this image for me?",
)


def _normal(question: str) -> str:
    return " ".join(question.split()).rstrip(".?!'").casefold()


DETAIL_TEMPLATES = frozenset(_normal(text) for text in (*_BRIEF, *_DETAILED, *_PUBLISHED))


def type_of(configured: str, *, own: object, questions: tuple[str, ...]) -> str:
    """Returns a record's type: the config's, else its own `type` field, else by its questions.

    More than one question = conversation; one of LLaVA's templates (case, blanks and closing
    mark aside) = detail; any other question = complex_reasoning; none = unknown.
    """
    if configured != "auto":
        return configured
    if isinstance(own, str) and own:
        return own
    if not questions:
        return UNKNOWN_TYPE
    first, *others = questions
    if others:
        return CONVERSATION
    return DETAIL if _normal(first) in DETAIL_TEMPLATES else COMPLEX_REASONING
