"""Image features kept between batches, so that an image is encoded once. Bounded by bytes."""

from collections import OrderedDict

from torch import Tensor


class FeatureCache:
    """The features of the images used last, by the image's key; one thread only."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[str, Tensor] = OrderedDict()
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        """Returns the bytes of the features held."""
        return self._num_bytes

    def find(self, key: str) -> Tensor | None:
        """Returns the features of an image, None where they are not held."""
        features = self._held.get(key)
        if features is not None:
            self._held.move_to_end(key)
        return features

    def keep(self, key: str, features: Tensor) -> None:
        """Holds the features of an image; those unused for longest make room."""
        if key in self._held:
            return
        self._held[key] = features
        self._num_bytes += features.nbytes
        while self._num_bytes > self._max_bytes:
            _, oldest = self._held.popitem(last=False)
            self._num_bytes -= oldest.nbytes
