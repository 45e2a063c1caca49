"""Which keys a query may see by its place alone: the causal mask and the window."""

import math
from typing import Any, NamedTuple

import array_api_compat
import numpy as np

from companion.arrays import Array, Namespace
from companion.masks import FAR, is_offset_array, unchecked_position_mask


class Reach(NamedTuple):
    """Which keys a query sees: row i those with i + offset − left ≤ j ≤ i + offset + right."""

    offset: int | Array
    left: int
    right: int

    @property
    def is_bounded(self) -> bool:
        """Whether there is a key that some query does not see, if there are keys enough."""
        return self.left >= 0 or self.right >= 0

    def keys(self, rows: range, count: int) -> range:
        """Return the keys, out of `count`, that some of these rows see."""
        first, last = self._offsets()
        low = 0 if self.left < 0 else rows.start + first - self.left
        high = count if self.right < 0 else rows.stop + last + self.right
        low = min(max(low, 0), count)
        return range(low, min(max(high, low), count))

    def spans(self, rows: range, count: int) -> tuple[Any, Any]:
        """Return the first key that each of these rows sees, and the first that it sees no more."""
        numbers: Any = np.arange(rows.start, rows.stop) + self.offset
        low = numbers - self.left if self.left >= 0 else np.zeros_like(numbers)
        high = numbers + self.right + 1 if self.right >= 0 else np.full_like(numbers, count)
        low = np.clip(low, 0, count)
        return low, np.maximum(low, np.clip(high, 0, count))

    def _offsets(self) -> tuple[int, int]:
        if not is_offset_array(self.offset):
            return int(self.offset), int(self.offset)
        if math.prod(self.offset.shape) == 0:
            return 0, 0
        xp = array_api_compat.array_namespace(self.offset)
        if not array_api_compat.is_numpy_namespace(xp):
            return -FAR, FAR  # asking would wait for the device
        return int(xp.min(self.offset)), int(xp.max(self.offset))

    def masks(self, xp: Namespace, device: Any, rows: range, keys: range) -> list[Array]:
        """Return the mask of these rows and keys, in a list that is empty without a bound."""
        if not self.is_bounded:
            return []
        offset = self.offset + (rows.start - keys.start)
        sizes, bounds = (len(rows), len(keys)), (self.left, self.right)
        return [unchecked_position_mask(xp, device, *sizes, offset, *bounds)]


def as_slice(span: range) -> slice:
    """Return the slice that cuts these rows or keys out of an array."""
    return slice(span.start, span.stop)


def mask_part(mask: Array, rows: range, keys: range) -> Array:
    """Cut rows and keys out of a mask that broadcasts to the scores."""
    if mask.ndim >= 1 and mask.shape[-1] > 1:
        mask = mask[..., as_slice(keys)]
    if mask.ndim >= 2 and mask.shape[-2] > 1:
        mask = mask[..., as_slice(rows), :]
    return mask
