"""Random transforms whose randomness follows from a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monai.transforms import Randomizable


def apply_seeded(
    transform: Callable[[dict[str, Any]], Any] | None, sample: dict[str, Any], seed: int
) -> dict[str, Any]:
    """Transform a sample; MONAI's random transforms, also those inside a ``Compose``, are seeded first.

    Args:
        transform: dictionary transform; None leaves the sample as it is.
        sample: what it takes.
        seed: the same one gives the same result.
    """
    if transform is None:
        return sample
    if isinstance(transform, Randomizable):
        transform.set_random_state(seed=seed)
    transformed: dict[str, Any] = transform(sample)
    return transformed
