"""One thing in a bundle that runs, loads or fetches something."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something to know of before a bundle is run.

    Attributes:
        file: path inside the bundle.
        key: where in the file: ids joined by ``::`` in a config, else a line or the name of a part.
        kind: ``target``, ``expression``, ``import``, ``file`` and the like.
        text: what stands there.
        why: what speaks for a closer look; empty where nothing does.
    """

    file: str
    key: str
    kind: str
    text: str
    why: tuple[str, ...] = ()

    @property
    def suspicious(self) -> bool:
        """Whether it wants a closer look."""
        return bool(self.why)
