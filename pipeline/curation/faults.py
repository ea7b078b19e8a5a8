"""What is wrong with a record: its code and its message. Values only."""

from enum import StrEnum
from typing import NamedTuple


class Fault(NamedTuple):
    """Why a record goes to quarantine; `code` is of `DriverCode` or of the wire table."""

    code: str
    message: str


class DriverCode(StrEnum):
    """Error codes of the driver's own; all lie in the record itself. Else a code of the wire table."""

    INVALID_JSON = "invalid_json"
    INVALID_RECORD = "invalid_record"
    IMAGE_MISSING = "image_missing"
    IMAGE_INVALID = "image_invalid"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MULTI_IMAGE = "unsupported_multi_image"
    UNSUPPORTED_MEDIA = "unsupported_media"
