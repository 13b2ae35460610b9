"""Which classes are drawn, how sure the network has to be, and how small a profile may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from scsam_monai.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

ALL = ""
"""Key of what holds for every class but the background."""


class Asked(NamedTuple):
    """A selection in the words that ask for it.

    Attributes:
        classes: names of those to draw.
        thresholds: probabilities by name.
        smallest_nm2: areas in nm2 by name.
    """

    classes: list[str]
    thresholds: dict[str, float]
    smallest_nm2: dict[str, float]


@dataclass(frozen=True)
class Selection:
    """What of the network's answer is written; the rest becomes background.

    Its probability is then that of all classes that are not drawn. Profiles that are too small go last, and
    change no probability.

    Attributes:
        drawn: ids of the classes that are drawn; the others compete for voxels all the same.
        thresholds: for each class id, the probability below which a voxel of it is left out.
        smallest_nm2: for each class id, the area of a profile in a section below which it is left out.
    """

    drawn: tuple[int, ...]
    thresholds: tuple[float, ...]
    smallest_nm2: tuple[float, ...]

    @classmethod
    def of(
        cls,
        class_names: Sequence[str],
        classes: Sequence[str] | None = None,
        thresholds: Mapping[str, float] | None = None,
        smallest_nm2: Mapping[str, float] | None = None,
    ) -> Selection | None:
        """Return the selection that names and numbers ask for; None where they ask for nothing.

        Args:
            class_names: of the model, background first.
            classes: names of those to draw; None for all.
            thresholds: probabilities by name; that of ``""`` holds for all that are not named.
            smallest_nm2: areas in nm2, the same way.

        Raises:
            InputError: a name that the model does not know, a probability that is none, an area below 0.

        Example:
            >>> Selection.of(["background", "er", "golgi"], ["golgi"], {"golgi": 0.7}).thresholds
            (0.0, 0.0, 0.7)
        """
        if classes is None and not thresholds and not smallest_nm2:
            return None
        names = list(class_names)
        foreground = names[1:]
        chosen = foreground if classes is None else list(classes)
        for option, used in (
            ("--classes", chosen),
            ("--threshold", thresholds),
            ("--smallest-nm2", smallest_nm2),
        ):
            for name in used or ():
                if name not in foreground and not (name == ALL and option != "--classes"):
                    remedy = "name classes of the model"
                    raise InputError(
                        option, expected=f"some of {', '.join(foreground)}", met=name, remedy=remedy
                    )
        for option, numbers, highest in (
            ("--threshold", thresholds, 1.0),
            ("--smallest-nm2", smallest_nm2, float("inf")),
        ):
            for name, value in (numbers or {}).items():
                if not 0 <= value <= highest:
                    expected = "a probability from 0 to 1" if highest == 1 else "an area in nm2, 0 or more"
                    raise InputError(
                        f"{option} {name}".strip(), expected=expected, met=f"{value}", remedy="correct it"
                    )
        return cls(
            tuple(index for index, name in enumerate(names) if index and name in chosen),
            _by_class(names, thresholds),
            _by_class(names, smallest_nm2),
        )

    def by_name(self, class_names: Sequence[str]) -> Asked:
        """Return what :meth:`of` makes this selection of.

        Args:
            class_names: of the model, background first.

        Example:
            >>> names = ["background", "er", "golgi"]
            >>> chosen = Selection.of(names, ["golgi"], {"golgi": 0.7})
            >>> Selection.of(names, *chosen.by_name(names)) == chosen
            True
        """
        foreground = list(class_names)[1:]
        return Asked(
            [class_names[index] for index in self.drawn],
            dict(zip(foreground, self.thresholds[1:], strict=True)),
            dict(zip(foreground, self.smallest_nm2[1:], strict=True)),
        )

    def apply(self, labels: Tensor, confidence: Tensor | None) -> Tensor:
        """Return labels with what was not asked for as background; profiles of any size stay.

        Args:
            labels: (...) uint8 class ids.
            confidence: (...) probability of each voxel's class; None where no threshold is set.
        """
        import torch

        count = len(self.thresholds)
        kept = torch.zeros(count, dtype=torch.uint8, device=labels.device)
        kept[list(self.drawn)] = torch.tensor(self.drawn, dtype=torch.uint8, device=labels.device)
        chosen = kept[labels.long()]
        if confidence is not None:
            least = torch.tensor(self.thresholds, dtype=confidence.dtype, device=labels.device)
            chosen = torch.where(confidence < least[labels.long()], torch.zeros_like(chosen), chosen)
        return chosen

    def sureness(self, labels: Tensor, probabilities: Tensor) -> Tensor:
        """Return the probability of each voxel's label; the background's is that of all that is not drawn.

        Args:
            labels: (...) uint8 class ids, as :meth:`apply` returns them.
            probabilities: (K', ...) of all classes, or sums of them.

        Returns:
            (...) in the unit of ``probabilities``.
        """
        drawn = probabilities.gather(0, labels.long()[None])[0]
        rest = sum(shares.float() for index, shares in enumerate(probabilities) if index not in self.drawn)
        return drawn.float().where(labels > 0, rest)

    @property
    def asks_confidence(self) -> bool:
        """Whether a threshold is set."""
        return any(self.thresholds)

    @property
    def asks_size(self) -> bool:
        """Whether small profiles are left out."""
        return any(self.smallest_nm2)


def _by_class(names: Sequence[str], numbers: Mapping[str, float] | None) -> tuple[float, ...]:
    given = numbers or {}
    rest = given.get(ALL, 0.0)
    return (0.0, *(float(given.get(name, rest)) for name in names[1:]))
