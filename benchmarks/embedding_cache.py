"""Optimisation steps from cached embeddings against encoding every step, side by side in one run.

    python benchmarks/embedding_cache.py
    python benchmarks/embedding_cache.py --check

A step is all of it: the batch (its embeddings encoded, or its images hashed and the entries read from disk and
verified), forward, loss, backward, optimiser. One crop a step, one thread, process CPU time; both kinds of step
take turns, and medians are compared. Encoder weights are random, which speed does not see. ``--check`` trains short
runs on the same views with the cache and without, and prints how far their losses are apart; beside it, how far
apart two runs without a cache are of which one sums in another order (all classes decoded at once).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import Tensor

from scsam_monai.data.synthetic import generate_volume
from scsam_monai.io import write_stack
from scsam_monai.networks.compose import compose_scsam
from scsam_monai.networks.frozen_encoders import Freezable
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.training.batches import epoch_loader
from scsam_monai.training.cache import EmbeddingCache, FillCache
from scsam_monai.training.crops import BalancedCropDataset
from scsam_monai.training.handlers import PrototypeInit, SetEpoch
from scsam_monai.training.losses import ScSAMLoss
from scsam_monai.training.optimiser import parameter_groups


class Case(NamedTuple):
    """A row of the table."""

    sam: str
    mae: str
    size: int
    classes: int
    """Foreground classes; the network draws one more."""
    preset: str
    mae_scale: float = 0.5
    target: float | None = None


CASES = [
    Case("vit_b", "mae_base", 512, 3, "paper", target=12),
    Case("vit_b", "mae_base", 512, 7, "paper", target=8),
    Case("vit_b", "mae_base", 512, 3, "plus", target=12),
    Case("vit_b", "mae_base", 512, 7, "plus", target=8),
    Case("vit_b", "mae_base", 512, 3, "paper", 1.0, target=12),
    Case("vit_b", "mae_base", 512, 7, "paper", 1.0, target=8),
    Case("vit_b", "mae_base", 512, 3, "plus", 1.0, target=12),
    Case("vit_b", "mae_base", 512, 7, "plus", 1.0, target=8),
    Case("vit_t", "mae_tiny", 512, 3, "paper", target=2),
    Case("vit_t", "mae_tiny", 512, 3, "plus", target=2),
    Case("vit_t", "mae_tiny", 512, 7, "plus", target=2),
    Case("vit_t", "mae_tiny", 256, 3, "plus", target=2),
    Case("vit_t", "mae_tiny", 256, 7, "plus", target=2),
]


OPTIMISERS = [
    ("SGD", torch.optim.SGD, 1e-3),
    ("SGD", torch.optim.SGD, 1e-2),
    ("AdamW", torch.optim.AdamW, 1e-5),
    ("AdamW", torch.optim.AdamW, 1e-3),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or compare two short runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="encoding steps of each row; cached ones are 3 x"
    )
    parser.add_argument("--only", default="", help="rows of this SAM encoder alone, such as vit_t")
    parser.add_argument("--check", action="store_true", help="compare the losses of two short runs")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.check:
        check()
        return
    cases = [case for case in CASES if case.sam.startswith(options.only)]
    print(f"torch {torch.__version__}, one thread, batch 1, process CPU seconds per step, medians\n")
    for line in table(measure(case, options.rounds) for case in cases):
        print(line, flush=True)


class Times(NamedTuple):
    """Medians of one row, in CPU seconds."""

    case: Case
    encoding: float
    cached: float
    reading: float
    """The part of a cached step that hashes, reads, verifies and unpacks."""
    entry_bytes: int


def measure(case: Case, rounds: int) -> Times:
    """Time both kinds of step in turns."""
    network = frozen(case)
    target = {
        "label": torch.randint(0, case.classes + 1, (1, 1, case.size, case.size), dtype=torch.uint8),
        "annotated": torch.ones(1, case.classes + 1, dtype=torch.bool),
    }
    images = torch.rand(2, 1, 1, case.size, case.size)
    loss = ScSAMLoss(rank_interval=0)
    optimizer = torch.optim.AdamW(parameter_groups(network, 1e-4), fused=True)
    with tempfile.TemporaryDirectory() as folder:
        caches = {"encoding": EmbeddingCache(network, folder), "cached": EmbeddingCache(network, folder)}
        caches["cached"].open()
        caches["cached"].active = True
        for image in images:
            caches["cached"].embeddings(image)

        def step(kind: str, image: Tensor) -> None:
            inputs, targets, *rest = caches[kind].prepare_batch({"image": image, **target}, "cpu")
            prediction = network(inputs, **(rest[1] if rest else {}))
            optimizer.zero_grad()
            loss(prediction, targets).backward()
            optimizer.step()

        times: dict[str, list[float]] = {"encoding": [], "cached": [], "reading": []}
        step("cached", images[0])  # allocates what all others use again
        for turn in range(rounds):
            times["encoding"].append(seconds(step, "encoding", images[turn % 2]))
            for again in range(3):
                image = images[(turn + again) % 2]
                times["cached"].append(seconds(step, "cached", image))
                times["reading"].append(seconds(caches["cached"].embeddings, image))
        sizes = [path.stat().st_size for path in Path(folder).rglob("*.safetensors")]
    medians = {name: statistics.median(values) for name, values in times.items()}
    return Times(case, **medians, entry_bytes=sizes[0])


def frozen(case: Case, chunk: int = 4) -> ScSAM:
    """A network with frozen random encoders."""
    torch.manual_seed(0)
    network = compose_scsam(
        case.classes + 1,
        preset=case.preset,
        sam=case.sam,
        mae=case.mae,
        mae_scale=case.mae_scale,
        chunk=chunk,
    )
    for part in network.children():
        if isinstance(part, Freezable):
            part.freeze()
    return network.train()


def seconds(call: Callable[..., Any], *arguments: Any) -> float:
    """Process CPU time of a call."""
    start = time.process_time()
    call(*arguments)
    return time.process_time() - start


def table(rows: Iterable[Times]) -> Iterator[str]:
    """Yield markdown, each row as it is measured."""
    yield (
        "| encoders | input | classes | preset | MAE input | encoding s | cached s | of it reading ms | entry MB "
        "| ratio | target |"
    )
    yield "|---|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|"
    for case, encoding, cached, reading, size in rows:
        yield (
            f"| {case.sam} + {case.mae} | {case.size} | {case.classes} | {case.preset} "
            f"| {round(case.size * case.mae_scale)} | {encoding:.2f} | {cached:.2f} | {reading * 1e3:.1f} "
            f"| {size / 1e6:.2f} | **{encoding / cached:.1f}** | {case.target:g} |"
        )


def check() -> None:
    """Print the losses of a short run with the cache and of one without, on the same views."""
    print(
        "| optimiser, rate | steps | last loss, encoding | cached | furthest apart | furthest by another order |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for name, optimiser, lr in OPTIMISERS:
        with tempfile.TemporaryDirectory() as folder:
            without, cached = (short_run(Path(folder), mode, optimiser, lr) for mode in ("off", "on"))
            other = short_run(Path(folder), "off", optimiser, lr, chunk=0)
        apart, by_order = furthest(without, cached), furthest(without, other)
        last = f"{without[-1]:.6f} | {cached[-1]:.6f}"
        print(f"| {name}, {lr:g} | {len(cached)} | {last} | {apart:.1e} | {by_order:.1e} |")


def furthest(left: Sequence[float], right: Sequence[float]) -> float:
    """Largest relative difference of two series."""
    return max(abs(a - b) / a for a, b in zip(left, right, strict=True))


def short_run(
    folder: Path, mode: str, optimiser: Callable[..., torch.optim.Optimizer], lr: float, chunk: int = 4
) -> list[float]:
    """Losses of every step of six epochs on generated cells."""
    volume = generate_volume((2, 160, 160), (16.0, 16.0, 16.0), seed=0)
    paths = {name: str(folder / f"{name}.tif") for name in ("image", "label")}
    write_stack(paths["image"], volume.image, (16.0, 16.0, 16.0))
    write_stack(paths["label"], volume.labels, (16.0, 16.0, 16.0))
    item = {**paths, "voxel_size_nm": [16, 16, 16]}
    network = frozen(Case("vit_t", "mae_tiny", 128, 7, "plus"), chunk)
    crops = BalancedCropDataset([item], 8, crop_size=128, pool_size=8, views=2, augmentation="view")
    loader = epoch_loader(crops, batch_size=4)
    cache, loss, totals = EmbeddingCache(network, folder / "cache"), ScSAMLoss(rank_interval=0), []
    trainer = SupervisedTrainer(
        torch.device("cpu"),
        6,
        loader,
        network,
        optimiser(parameter_groups(network, lr)),
        loss,
        prepare_batch=cache.prepare_batch,
        train_handlers=[
            FillCache(cache, crops, loader.sampler, mode, plain_crops=4),  # type: ignore[arg-type]
            PrototypeInit(network, crops, n_crops=4, embeddings=cache.embeddings),
            SetEpoch([crops, loader.sampler]),  # type: ignore[list-item]
        ],
        decollate=False,
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: totals.append(loss.terms["total"].item()))
    trainer.run()
    return totals


if __name__ == "__main__":
    main()
