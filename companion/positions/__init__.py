"""Where a token stands: added to its row, turned into its query and key, or off its scores."""

from companion.positions.added import add_positions, sinusoidal_positions
from companion.positions.alibi import alibi_mask, alibi_slopes
from companion.positions.rotary import rotate, rotate_back

__all__ = [
    "add_positions",
    "alibi_mask",
    "alibi_slopes",
    "rotate",
    "rotate_back",
    "sinusoidal_positions",
]
