"""The rules by which a stage's file is rejected, for verdicts over many networks and over one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch is loaded with it
    from workbench.compression.costs.costs import Timing

#: Times that differ by less than this ratio count as equal, because they vary from call to call.
SAME_SPEED = 1.1
#: Differences with a p-value of at least this are ties.
SIGNIFICANT = 0.05
_ROUNDING = 1e-7  # points: 98 % must count as within 1 point of 99 %


def check_tolerance(tolerance: float) -> list[str]:
    """A problem line for a tolerance that is not within 0 to 100 percentage points."""
    if 0 <= tolerance <= 100:
        return []
    return [f"--tolerance {tolerance:g} is not within 0 to 100 points"]


def loss_reason(before: float, after: float, tolerance: float) -> str | None:
    """Why a file is rejected that loses more than the tolerance; None if it does not.

    Args:
        before, after: accuracy of the network and of the file, in [0, 1].
        tolerance: largest accepted loss in percentage points.
    """
    lost = 100 * (before - after)
    if lost <= tolerance + _ROUNDING:
        return None
    return (
        f"loses {lost:.2f} points ({100 * after:.2f} % after {100 * before:.2f} %), more than the "
        f"tolerance of {tolerance:g}"
    )


def speed_reason(before: Timing, after: Timing) -> str | None:
    """Why a file is rejected that is slower than its network at batch 1; None if it is not.

    Args:
        before, after: times of one image, of the network and of the file, in the same runtime.
    """
    if after.median <= before.median * SAME_SPEED:
        return None
    return (
        f"is {after.median / before.median:.1f}x slower than in float32 ({after.median:.3g} ms "
        f"after {before.median:.3g} ms)"
    )


def speed_words(ratio: float) -> str:
    """A ratio of times in words: 2.0x faster, about as fast, 1.6x slower."""
    if ratio >= SAME_SPEED:
        return f"{ratio:.1f}x faster"
    return "about as fast" if ratio * SAME_SPEED >= 1 else f"{1 / ratio:.1f}x slower"


def tie_words(p_value: float, images: int) -> str:
    """Whether test images can tell two networks apart, in words.

    Args:
        p_value: of the paired test.
        images: number of test images.
    """
    told = "a tie" if p_value >= SIGNIFICANT else "significant"
    return f"{told} on {images} test images (p = {p_value:.2g}, paired test of the images)"
