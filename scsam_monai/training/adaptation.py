"""The course of an adaptation: score the start, learn, compare, learn from everything, publish.

Each stage notes its end in a file and is done once, however often the whole is stopped.
"""

from __future__ import annotations

import json
import math
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.data.annotations import Annotations
from scsam_monai.data.dataset import read_json
from scsam_monai.data.held_back import Bounds, hold_back, write_parts
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import sha256_of, sha256_over, write_json
from scsam_monai.io.formats import files_of
from scsam_monai.io.voxel_size import REFUSE_BEYOND
from scsam_monai.progress import StageProgress, progress_of
from scsam_monai.training.adapt import AdaptResult, is_shipped, told_name
from scsam_monai.training.adapt_stages import score_model, train_stage
from scsam_monai.training.length import POOL
from scsam_monai.weights.build import OLDER, RANDOM
from scsam_monai.weights.model_file import ModelFile, copy_whole, put_model, replace_model
from scsam_monai.weights.record import read_record
from scsam_monai.weights.registry import MODEL_FILE, SHIPPED_MODEL

CHECKED = "checked.pt"
"""Beside an adapted model: the same before it learned from the held-back part.

Later adaptations are scored against it and go on from it: a model knows what it has learned from."""
RECORD = "adapt.json"
CHECKED_OF = "checked_is_of"
"""In the record: SHA-256 of the model that ``checked.pt`` was, before that learned from the held-back part."""
GOOD_START = 0.5
"""Mean IoU of the classes that a model knows from which on training goes on from it."""
SHORT_S, FAIR_START = 180.0, 0.3
"""CPU seconds that are too few to learn afresh; the mean IoU that then will do, or for the same classes."""
FINEST_NM = 8.0
"""Finer pixels are averaged to this size or the next above: organelles are seen well, in a quarter of the time."""
CHECK_SHARE = 0.7
"""Of the time, for learning without the held-back part; the rest is for learning from all."""
RESERVE_S = 6.0
"""Of processor time, for what comes after training."""
CROPS_PER_AREA = 8
"""Crops in the pool for each crop's area that is labelled."""
RATE_ON = 3e-4
"""Learning rate of a network that has learned already."""


class Adaptation:
    """The stages of one adaptation.

    Args:
        output: gets the model.
        work: folder for what is needed meanwhile.
        start: the model to start from.
        found: what was annotated.
        minutes: of processor time.
        tell: called with what the user should know.
        progress: called with stage, done and all.
        stop: asked after each step.
    """

    def __init__(
        self,
        output: Path,
        work: Path,
        start: ModelFile,
        found: Annotations,
        minutes: float,
        tell: Callable[[str], None],
        progress: StageProgress | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        self.clock = time.process_time()
        self.output, self.work, self.found = output, work, found
        self.seconds, self.say, self.progress, self.stop = 60 * minutes, tell, progress, stop
        self.notes = list(found.notes)
        self.given, self.hashes = start, [sha256_over(files_of(item.image)) for item in found.learn]
        self.start, kept = unspoilt(start, self.hashes, found)
        if kept and self.start is start:
            self._tell(
                f"{told_name(start)} may have learned from what is held back, and its score be too good: "
                f"{CHECKED} beside it belongs to another model"
            )
        blocks = _of_whole_images(self.hashes, hold_back(found, kept))
        self.state = self._begin([minutes, blocks])
        self.parts = write_parts(found, blocks, work / "data")
        for note in self.parts.notes:
            self._tell(note)
        if not self.parts.scored and not is_shipped(start) and not self._is_published():
            raise self._nothing_to_score(learned_whole=bool(kept) and not any(kept.values()))

    def run(self) -> AdaptResult:
        """Do what is left to do."""
        if self._is_published():
            scores = [self._done(stage, self._nothing) or self._nothing() for stage in ("before", "after")]
            return self._finish(self.output / MODEL_FILE, *scores, adapted=True)
        scored = self.parts.scored
        before = self._done("before", self._score_start) if scored else self._nothing()
        settings, how = self._plan(before)
        self._tell(how)
        share = CHECK_SHARE if self.parts.everything else 1.0
        minutes = self._done("check_minutes", lambda: {"": share * self._minutes_left()})[""]
        after = self._done("after", lambda: self._train("check", self.parts.checked, minutes, settings))
        after = after or self._nothing()
        known = not math.isnan(after["mean_iou"])
        better_than_none = known and math.isnan(before["mean_iou"])  # of a start that cannot see the images
        if (known or not is_shipped(self.given)) and not (
            better_than_none or after["mean_iou"] > before["mean_iou"]
        ):
            return self._refuse(before, after)
        if not known:
            self._tell("nobody knows whether it is good: look at what it draws")
        better = self.work / "check" / MODEL_FILE
        if self.parts.everything is not None:
            most = minutes * (1 / CHECK_SHARE - 1)  # what was lost to a stop is not made up for
            rest = self._done("refit_minutes", lambda: {"": min(self._minutes_left(), most)})[""]
            on = {**settings, **_going_on(better)}
            self._done("refit", lambda: self._train("refit", self.parts.everything, rest, on))
            better = self.work / "refit" / MODEL_FILE
        return self._publish(better, before, after)

    def _begin(self, settings: Sequence[Any]) -> dict[str, Any]:
        """Return what earlier calls have done of the same; of anything else what is left of it goes."""
        items = [*self.found.learn, *self.found.check]
        meant = [[*map(float, item.voxel_size_nm), *map(int, item.annotated)] for item in items]
        held = [sha256_over(files_of(item.image)) for item in self.found.check]
        told = json.dumps([*settings, self.found.names, self.hashes, held, meant])
        labels = (sha256_of(np.ascontiguousarray(item.label).tobytes()) for item in items)
        key, path = sha256_over([told, *labels]), self.work / "state.json"
        state = read_json(path) if path.is_file() else {}
        if state.get("key") == key and self.given.sha256 in (state["start"], state.get("publishing")):
            return state
        for part in ("data", "check", "refit"):
            shutil.rmtree(self.work / part, ignore_errors=True)
        return {"key": key, "start": self.given.sha256, "spent": 0.0}

    def _is_published(self) -> bool:
        """Whether the start is what an earlier call made of the same, which was stopped before it had tidied up."""
        return self.state.get("publishing") == self.given.sha256

    def _nothing_to_score(self, *, learned_whole: bool) -> InputError:
        name = told_name(self.given)
        if learned_whole:
            afresh = shlex.join(["--model", SHIPPED_MODEL, "--output", f"{self.output}_afresh"])
            return InputError(
                "images",
                expected=f"new ones, or some of which a part was held back, to tell whether a new model is better "
                f"than {name}",
                met="images that it has learned whole",
                remedy=f"add one of those, or start afresh: {afresh}",
            )
        return InputError(
            "labels",
            expected=f"enough of them to tell whether a new model is better than {name}",
            met="too few to hold a part back",
            remedy="label more, in several places",
        )

    def _done(self, stage: str, work: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Do a stage that was not finished before, and note its result."""
        if stage not in self.state:
            self.state[stage] = {key: _or_none(value) for key, value in work().items()}
            now = time.process_time()
            self.state["spent"] += now - self.clock
            self.clock = now
            write_json(self.work / "state.json", self.state)
        result: Mapping[str, float | None] = self.state[stage]
        return {key: math.nan if value is None else value for key, value in result.items()}

    def _minutes_left(self) -> float:
        """Of the time for training; a training gets a tenth of all of it at least."""
        spent = self.state["spent"] + time.process_time() - self.clock
        left = self.seconds - spent - RESERVE_S - 2 * self.state.get("before_seconds", 0.0)
        return max(left, 0.1 * self.seconds) / 60

    def _score_start(self) -> dict[str, float]:
        pixel = self.start.pixel_size_nm
        if pixel is not None and not _is_seen(self.found, pixel):
            self._tell(
                f"{told_name(self.given)} is not scored: it sees {pixel:g} nm per pixel, and images have "
                f"pixels more than {REFUSE_BEYOND:g} times finer or coarser"
            )
            return self._nothing()
        report = progress_of("scoring the start", self.progress)
        if report is not None:
            report(0, 1)
        begun = time.process_time()
        found = score_model(self.start, self.parts.checked, self.found.names)
        self.state["before_seconds"] = time.process_time() - begun
        return found

    def _nothing(self) -> dict[str, float]:
        return dict.fromkeys(["mean_iou", *self.found.names[1:]], math.nan)

    def _plan(self, before: Mapping[str, float]) -> tuple[dict[str, Any], str]:
        """Return the settings of the training, and in a sentence how it starts."""
        known = [name for name in self.found.names[1:] if name in self.start.record.get("class_names", ())]
        scores = [before[name] for name in known if not math.isnan(before[name])]
        pixel = self.start.pixel_size_nm
        settings: dict[str, Any] = {"cache_dir": self.work / "embeddings"}
        same = list(self.start.record.get("class_names", ())) == self.found.names
        enough = FAIR_START if same or self.seconds < SHORT_S else GOOD_START
        goes_on = scores and np.mean(scores) >= enough and pixel is not None
        if goes_on and same:
            settings |= _going_on(self.start.path)
        elif goes_on and _has_named_encoders(self.start.record["network"]):
            recipe = {**OLDER, **self.start.record["network"]}
            del recipe["n_classes"]
            recipe = {key: value for key, value in recipe.items() if value is not None}
            settings |= {f"network_def::{key}": value for key, value in recipe.items()}
            settings |= {"network_def::light_weights": self.start.path, "learning_rate": RATE_ON}
        else:
            goes_on, pixel = False, _pixel_size(self.found)
        how = (
            f"goes on from {told_name(self.given)}, which finds {', '.join(known)} already"
            if goes_on
            else "learns afresh on the frozen encoders"
        )
        settings |= {"train::dataset::pixel_size_nm": pixel, "pool_size": self._pool(float(pixel or 0))}
        return settings, f"{how}, at {pixel:g} nm per pixel"

    def _pool(self, pixel: float) -> int:
        area = sum(
            float(np.count_nonzero(item.label != 255)) * item.voxel_size_nm[1] * item.voxel_size_nm[2]
            for item in self.found.learn
        )
        return int(np.clip(math.ceil(CROPS_PER_AREA * area / (256 * pixel) ** 2), *POOL))

    def _train(
        self, stage: str, dataset: Path | None, minutes: float, settings: Mapping[str, Any]
    ) -> dict[str, float]:
        assert dataset is not None
        report = progress_of("learning" if stage == "check" else "learning from all labels", self.progress)
        return train_stage(dataset, self.work / stage, minutes, settings, self.found.names, report, self.stop)

    def _refuse(self, before: Mapping[str, float], after: Mapping[str, float]) -> AdaptResult:
        scores = f"{after['mean_iou']:.3f} beside {before['mean_iou']:.3f}"
        self._tell(
            f"{told_name(self.given)} stays: on the held-back part the adapted model is no better, {scores}; label "
            "more, or give it more --minutes"
        )
        record, path = self._record(before, after, adapted=False), self.output / RECORD
        earlier = read_json(path) if path.is_file() else {}
        write_json(path, record | {CHECKED_OF: earlier.get(CHECKED_OF)})
        return self._finish(self.given.path, before, after, adapted=False)

    def _publish(self, better: Path, before: Mapping[str, float], after: Mapping[str, float]) -> AdaptResult:
        """Put the files in their places, each of them whole."""
        target = self.output / MODEL_FILE
        # What was held back is noted before anything that has learned the rest can be a start.
        record = self._record(before, after, adapted=True)
        now, old = sha256_of(better), self.given.sha256  # which a stop may leave in its place
        write_json(self.output / RECORD, record | {CHECKED_OF: [now, old]})
        if self.parts.everything is not None:
            checked = self.work / "check" / MODEL_FILE
            put_model(self.output / CHECKED, checked, read_record(checked))
        for picture in sorted((self.work / "check" / "validation").glob("*.png"))[:1]:
            copy_whole(picture, self.output / "held_back.png")
        write_json(self.work / "state.json", self.state | {"publishing": now})
        metric = {"name": "mean_iou", "value": _or_none(after["mean_iou"])}
        earlier = replace_model(target, better, read_record(better) | {"metric": metric})
        write_json(self.output / RECORD, record | {CHECKED_OF: [now]})
        if earlier is not None:
            self._tell(f"the earlier model is kept as {self.output / earlier}")
        return self._finish(target, before, after, adapted=True)

    def _record(
        self, before: Mapping[str, float], after: Mapping[str, float], *, adapted: bool
    ) -> dict[str, Any]:
        held = _held_back(self.given.path.with_name(RECORD))
        now = dict(zip(self.hashes, self.parts.blocks, strict=True))
        # Beside a part to check on nothing is held back; what was before is what checked.pt has not learned.
        held = now | held if self.found.check else held | now
        return {
            "adapted": adapted,
            "before": {name: _or_none(value) for name, value in before.items()},
            "after": {name: _or_none(value) for name, value in after.items()},
            "notes": self.notes,
            "held_back": [{"image_sha256": image, "blocks": blocks} for image, blocks in held.items()],
        }

    def _finish(
        self, model: Path, before: Mapping[str, float], after: Mapping[str, float], *, adapted: bool
    ) -> AdaptResult:
        shutil.rmtree(self.work, ignore_errors=True)
        one, two = (
            {key: value for key, value in each.items() if key != "mean_iou"} for each in (before, after)
        )
        return AdaptResult(model, adapted, one, two, before["mean_iou"], after["mean_iou"], self.notes)

    def _tell(self, note: str) -> None:
        self.notes.append(note)
        self.say(note)


def unspoilt(
    start: ModelFile, hashes: Sequence[str], found: Annotations
) -> tuple[ModelFile, dict[int, list[Bounds]]]:
    """Return the start that has not learned what is held back, and what has to stay held back for that.

    Args:
        start: as it was named.
        hashes: of the images, SHA-256.
        found: what was annotated.

    Returns:
        The model as it was before it learned from the held-back part of one of these images, where that is kept
        beside it, else the start itself; and the blocks by the index of the image.
    """
    checked, record = start.path.with_name(CHECKED), start.path.with_name(RECORD)
    if found.check or not checked.is_file() or not record.is_file():
        return start, {}
    before = _held_back(record)
    kept = {index: before[image] for index, image in enumerate(hashes) if image in before}
    of = read_json(record).get(CHECKED_OF)
    belongs = start.path.name == MODEL_FILE if of is None else start.sha256 in of
    return (ModelFile(checked) if kept and belongs else start), kept


def _of_whole_images(hashes: Sequence[str], blocks: Sequence[Sequence[Bounds]]) -> list[list[Bounds]]:
    """Return for each item what is held back of its image, by any of the items of that image."""
    held: dict[str, list[Bounds]] = {}
    for image, own in zip(hashes, blocks, strict=True):
        others = held.setdefault(image, [])
        others += [block for block in own if block not in others]
    return [list(held[image]) for image in hashes]


def _held_back(record: Path) -> dict[str, list[Bounds]]:
    """Return what an earlier adaptation has held back of each of its images, by their SHA-256."""
    if not record.is_file():
        return {}
    return {item["image_sha256"]: item["blocks"] for item in read_json(record).get("held_back", ())}


def _going_on(model: Path) -> dict[str, Any]:
    return {"start_from": model, "learning_rate": RATE_ON, "network_def::light_weights": RANDOM}


def _has_named_encoders(network: Mapping[str, Any]) -> bool:
    """Whether others have the weights of all of a network's encoders, as its file leaves them out."""
    kinds = ("sam", "mae", "pyramid")
    return all(network.get(kind, "none") == "none" or network.get(f"{kind}_weights") for kind in kinds)


def _pixel_size(found: Annotations) -> float:
    """Return the pixel size of the finest image, or the first multiple that is not too fine or the last allowed."""
    finest = min(min(item.voxel_size_nm[1:]) for item in found.learn)
    return finest * min(max(1, math.ceil(FINEST_NM / finest - 0.01)), REFUSE_BEYOND)


def _is_seen(found: Annotations, pixel: float) -> bool:
    """Whether a network of that many nm per pixel takes all of the images."""
    edges = [edge for item in (*found.learn, *found.check) for edge in item.voxel_size_nm[1:]]
    return all(max(edge / pixel, pixel / edge) <= REFUSE_BEYOND for edge in edges)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
