"""Pre-train both small encoders in minutes on one GPU, safe to kill at any second.

    python benchmarks/gpu/pretrain.py OUT --fib25 BLOCKS --pyramid efficientnet_lite0.safetensors
    python benchmarks/gpu/pretrain.py OUT --rehearse

First the masked autoencoder, then the promptable SAM that starts from it, each for its share of ``--seconds``, then
scores on volumes that were held out. Volumes are drawn on the other cores while the first ones are learned from.
Encoders (half precision) and figures lie in OUT and are renewed every 20 seconds; what a later run needs to go on
lies in ``--work``. ``--rehearse`` does the same on any machine at a thousandth of the size.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from scsam_monai.data.synthetic import CLASSES
from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.networks.pyramid import PyramidEncoder
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
        self.closing = 3.0 if options.rehearse else 15.0  # seconds kept for the scores
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

    @torch.no_grad()
    def score(self) -> None:
        """Prompt objects of volumes that were held out, and write the medians."""
        held_out = self.corpus.held_out()
        generator = torch.Generator(self.device).manual_seed(0)
        result: dict[str, Any] = {
            "volumes": self.bank.count,
            "left_out": self.corpus.left_out,
            "device": str(self.device),
        }
        if self.device.type == "cuda":
            result["card"] = torch.cuda.get_device_name()
        for name, own in {"generated": held_out[:-1] or held_out, "FIB-25": held_out[-1:]}.items():
            if name == "FIB-25" and own[0].classes is not None:
                continue
            bank = VolumeBank(own, self.device)
            windows = around_objects(bank, HELD_OUT_CROPS[self.options.rehearse], 256, (0.75, 3.0), generator)
            image = bank.cut(windows, 256)
            label = choose_objects(bank.cut_parts(windows, 256), 1, 40, generator)
            answers = prompt_objects(self.sam.network.eval(), image, label)
            result[name] = {key: round(float(answers[key].median()), 3) for key in ("point_iou", "box_iou")}
        result["seconds"] = round(time.monotonic() - self.began, 1)
        with atomic_path(self.options.out / "scores.json") as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")
        print(json.dumps(result), flush=True)

    def _train(self, stage: MaskedStage | PromptedStage, seconds: float) -> None:
        out, work = self.options.out, self.options.work
        TimedTraining(stage, seconds, out, work, before_step=self._take_over).run()

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
