"""Pre-train both small encoders in minutes on one GPU, safe to kill at any second.

    python benchmarks/gpu/pretrain.py OUT --fib25 BLOCKS --pyramid efficientnet_lite0.safetensors
    python benchmarks/gpu/pretrain.py OUT --rehearse

First the masked autoencoder, then the promptable SAM that starts from it, each for its share of ``--seconds``, then
scores on volumes that were held out. Volumes are drawn on the other cores while the first ones are learned from.
Encoders (half precision) and figures lie in OUT and are renewed every 20 seconds; what a later run needs to go on
lies in ``--work``. ``--rehearse`` does the same on any machine at a thousandth of the size. None of the weights in
``bundle/models`` is read, so they need not travel.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from scsam_monai.data.checks import open_dataset
from scsam_monai.data.synthetic import CLASSES, write_sample_dataset
from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.networks.pyramid import PyramidEncoder
from scsam_monai.training.crops import BalancedCropDataset
from scsam_monai.training.handlers.probe import LinearProbe, mae_features
from scsam_monai.training.pretraining.drawing import anywhere, around_objects, choose_objects
from scsam_monai.training.pretraining.growing_corpus import GrowingCorpus
from scsam_monai.training.pretraining.prompt_validation import prompt_objects
from scsam_monai.training.pretraining.stages import MaskedStage, PromptedStage
from scsam_monai.training.pretraining.teachers import PatchTargets
from scsam_monai.training.pretraining.timed_training import TimedTraining
from scsam_monai.training.pretraining.volume_bank import VolumeBank

MAE_SHARE = 0.42
"""Of the training time; the promptable SAM has the rest."""
VOLUMES = {False: 64, True: 3}
BATCHES = {False: {"mae": 1024, "sam": 128}, True: {"mae": 8, "sam": 2}}
CLOSING = {False: 45.0, True: 15.0}
"""Seconds that are kept for the scores."""
HELD_OUT_CROPS = {False: 200, True: 4}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing of both stages, and score."""
    options = parse(arguments)
    began = time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    options.work.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    small = options.rehearse
    corpus = GrowingCorpus(
        VOLUMES[small], 1 if small else 4, options.fib25, options.workers, 4 if small else 1
    )
    try:
        bank = VolumeBank(corpus.wait(1 if small else options.first), device)
        stages = Stages(options, corpus, bank, began)
        stages.masked()
        stages.prompted()
        stages.score()
    finally:
        corpus.close()


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder for encoders and figures")
    parser.add_argument("--seconds", type=float, default=None, help="from start to the last score")
    parser.add_argument("--fib25", type=Path, help="folder with FIB-25 blocks")
    parser.add_argument(
        "--pyramid", type=Path, help="weights of the teacher; without, pixels and objects alone"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("pretrain_state"), help="folder for what a later run needs"
    )
    parser.add_argument("--workers", type=int, help="processes that draw volumes")
    parser.add_argument("--first", type=int, default=8, help="volumes to wait for before the first step")
    parser.add_argument("--rehearse", action="store_true", help="a thousandth of the size")
    options = parser.parse_args(arguments)
    if options.seconds is None:
        options.seconds = 60.0 if options.rehearse else 440.0
    return options


class Stages:
    """Both stages on one corpus, and what they share."""

    def __init__(
        self, options: argparse.Namespace, corpus: GrowingCorpus, bank: VolumeBank, began: float
    ) -> None:
        self.options, self.corpus, self.bank, self.began = options, corpus, bank, began
        self.device = bank.device
        self.batches = BATCHES[options.rehearse]
        self.closing = CLOSING[options.rehearse]
        shape = (4, 128, 128) if options.rehearse else (24, 320, 320)
        self.probe_data = corpus.submit(write_sample_dataset, options.work / "probe", shape=shape)
        self.targets = None if options.pyramid is None else self._teacher(options.pyramid)
        self.training = options.seconds - self.closing - (time.monotonic() - began)

    def masked(self) -> None:
        """Train the masked autoencoder."""
        self.mae = MaskedStage(self.bank, self.targets, batch=self.batches["mae"])
        self._train(self.mae, MAE_SHARE * self.training)

    def prompted(self) -> None:
        """Train the promptable SAM from the autoencoder's encoder, for what is left of the time."""
        self._take_over(0, at_least=1)
        encoder = load_file(self.options.out / "mae.safetensors")
        self.sam = PromptedStage(
            self.bank, self.targets, len(CLASSES), encoder_init=encoder, batch=self.batches["sam"]
        )
        self._train(self.sam, (1 - MAE_SHARE) * self.training)

    def score(self) -> None:
        """Score what was held out, and write each figure as soon as it is known."""
        result: dict[str, Any] = {"volumes": self.bank.count, "left_out": self.corpus.left_out}
        result["device"] = torch.cuda.get_device_name() if self.device.type == "cuda" else "CPU"
        for name, figures in chain(self._prompts(), self._probes()):
            result[name] = {key: round(value, 3) for key, value in figures.items()}
            result["seconds"] = round(time.monotonic() - self.began, 1)
            with atomic_path(self.options.out / "scores.json") as temporary:
                temporary.write_text(json.dumps(result, indent=2) + "\n")
            print(name, json.dumps(result[name]), flush=True)

    def _prompts(self) -> Iterator[tuple[str, dict[str, float]]]:
        """Median IoU of objects for a point and for a box."""
        held_out = self.corpus.held_out()
        generator = torch.Generator(self.device).manual_seed(0)
        drawn = [volume for volume in held_out if volume.classes is not None]
        others = [volume for volume in held_out if volume.classes is None]
        for name, own in (("prompts, generated", drawn), ("prompts, FIB-25", others)):
            if own:
                bank = VolumeBank(own, self.device)
                crops = HELD_OUT_CROPS[self.options.rehearse]
                windows = around_objects(bank, crops, 256, (0.75, 3.0), generator)
                label = choose_objects(bank.cut_parts(windows, 256), 1, 40, generator)
                answers = prompt_objects(self.sam.network.eval(), bank.cut(windows, 256), label)
                yield name, {key: float(answers[key].median()) for key in ("point_iou", "box_iou")}

    def _probes(self) -> Iterator[tuple[str, dict[str, float]]]:
        """Mean IoU of a linear layer on the frozen features of generated cells."""
        found = open_dataset(self.probe_data.result())
        n_classes = len(found.class_names)
        counts = (8, 4) if self.options.rehearse else (160, 48)
        size = 64 if self.options.rehearse else 256
        crops = [
            BalancedCropDataset(items, n_classes, crop_size=size, pool_size=count, seed=seed)
            for seed, (items, count) in enumerate(
                zip((found.training, found.validation), counts, strict=True)
            )
        ]
        probe = LinearProbe(crops[0], crops[1])
        encoder = self.mae.network.encoder.eval()
        sources = {"MAE": mae_features(encoder, 0.5), "SAM": self.sam.network.encode}
        yield (
            "linear probe, generated",
            {
                name: float(probe.score(features, self.device).aggregate())
                for name, features in sources.items()
            },
        )

    def _train(self, stage: MaskedStage | PromptedStage, seconds: float) -> None:
        out, work = self.options.out, self.options.work
        often = 2.0 if self.options.rehearse else 20.0
        TimedTraining(stage, seconds, out, work, save_every=often, before_step=self._take_over).run()

    def _take_over(self, step: int, at_least: int = 8) -> None:
        """Add volumes that became ready, a few at a time."""
        if step % 10 == 0 and (new := self.corpus.collect(at_least)):
            self.bank.extend(new)
            print(f"{self.bank.count} volumes after {time.monotonic() - self.began:.0f} s", flush=True)

    def _teacher(self, weights: Path) -> PatchTargets:
        pyramid = PyramidEncoder()
        pyramid.model.load_state_dict(load_file(weights))
        pyramid.freeze()
        targets = PatchTargets(pyramid).to(self.device)
        generator = torch.Generator(self.device).manual_seed(0)
        crops = 8 if self.options.rehearse else 256
        targets.calibrate(self.bank.cut(anywhere(self.bank, crops, 128, (1 / 3, 1.5), generator), 128))
        return targets


if __name__ == "__main__":
    main()
