"""``scsam predict`` as it is typed: what it prints, what it refuses, what it leaves."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import torch
from click.testing import Result
from front_door import CLASSES, VOXEL_NM, WINDOWS, grey, whole
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.errors import InputError
from scsam_monai.filesystem.locks import held
from scsam_monai.inference import plan_job, run_job
from scsam_monai.inference.manifest import GATE, Manifest
from scsam_monai.io import ome_zarr_volume
from scsam_monai.io.inventory import Inventory, WatchedVolume
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.report.palette import class_colours
from tests.io.formats import volume_files as files


class Front:
    """The command over files in one folder; options may be overridden by what a test names after them."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.source, self.output = folder, folder / "cell.npy", folder / "labels.ome.zarr"
        self.options = ["--model", model, "--window", 64, "--threads", 1, "--device", "cpu"]

    def words(self, *words: object, source: Path | None = None, output: Path | None = None) -> list[str]:
        size = [] if "--voxel-size-nm" in words or source is not None else ["--voxel-size-nm", "16,16,16"]
        named = [source or self.source, output or self.output]
        return [
            str(word) for word in ["predict", *named, *self.options, *size, "--block", "4,256,40", *words]
        ]

    def __call__(self, *words: object, **places: Path) -> Result:
        return CliRunner().invoke(app, self.words(*words, **places))

    def refuses(self, message: str, *words: object, leaves: bool = False, **places: Path) -> None:
        before = sorted(self.folder.rglob("*"))
        result = self(*words, **places)
        assert result.exit_code == 2, result.stderr
        *_, last = result.stderr.splitlines()
        assert last.startswith("error: ")
        assert message in last
        assert "Traceback" not in result.output
        if not leaves:
            assert sorted(self.folder.rglob("*")) == before


@pytest.fixture
def front(source: Path, model_path: Path) -> Front:
    return Front(source.parent, model_path)


def test_it_says_where_the_maps_are(front: Front) -> None:
    result = front("--probabilities", "--confidence")
    assert result.exit_code == 0, result.stderr
    maps = [front.folder / f"labels{name}.ome.zarr" for name in ("", "_probabilities", "_confidence")]
    assert result.stdout.splitlines()[:3] == [str(path) for path in maps]
    assert all(path.is_dir() for path in maps)
    assert "Mvoxel in" in result.stderr
    assert not (front.folder / "labels.ome.zarr.progress").exists()


def test_what_to_type_next_works(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = front.folder / "out"
    elsewhere.mkdir()
    monkeypatch.chdir(front.folder)
    told = front(output=elsewhere / "found.ome.zarr").stderr
    objects, report = (line.split() for line in told.splitlines()[-2:])
    assert objects == ["scsam", "objects", "out/found.ome.zarr", "out/found_objects.ome.zarr"]
    assert report == ["scsam", "report", "out/found.ome.zarr", "--image", "cell.npy"]
    for _, *words in (objects, report):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    assert (
        front(output=front.folder / "here.ome.zarr").stderr.splitlines()[-1] == "  scsam report here.ome.zarr"
    )
    assert (
        front(output=front.folder / "plain.tif").stderr.splitlines()[-1]
        == "  scsam report plain.tif --image cell.npy"
    )
    assert CliRunner().invoke(app, ["report", "plain.tif", "--image", "cell.npy"]).exit_code == 0


def test_a_share_says_that_others_are_to_come(front: Front) -> None:
    result = front("--shard", "2/3")
    assert (result.exit_code, result.stdout) == (
        0,
        f"this share is done; {front.output} appears when the last one is\n",
    )
    front.refuses("instead of", "--shard", "1/3", "--window", 96, leaves=True)
    assert [front("--shard", share).exit_code for share in ("1/3", "3/3")] == [0, 0]
    assert whole(front.output).shape == (4, 560, 40)


def test_a_dry_run_says_what_it_takes_and_writes_nothing(front: Front) -> None:
    before = sorted(front.folder.rglob("*"))
    result = front("--dry-run")
    assert result.exit_code == 0, result.stderr
    assert sorted(front.folder.rglob("*")) == before
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert list(lines) == ["volume", "network", "blocks", "windows", "time", "memory", "disk"]
    assert lines["volume"] == "4 x 560 x 40 voxels (z, y, x), uint8, 16, 16, 16 nm"
    assert lines["blocks"] == "3 of 4 x 256 x 40"
    # Windows of 64 every 48 pixels: 12 down a section; the two edges between blocks lie in 1 and in 2 of them.
    assert lines["windows"].startswith("60, 1.25 times")
    assert lines["disk"].startswith("at most 119 kB before compression, ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--voxel-size-nm", "16,16"], "--voxel-size-nm: expected three positive lengths in nm (z, y, x)"),
        (["--voxel-size-nm", "16,0,16"], "--voxel-size-nm: expected three positive lengths in nm (z, y, x)"),
        (["--voxel-size-nm", "16,nan,16"], "--voxel-size-nm: expected three positive lengths"),
        (["--voxel-size-nm", "16;16;16"], "--voxel-size-nm: expected numbers (z, y, x)"),
        (["--voxel-size-nm", "16,1.9,1.9"], "expected a voxel size within a factor of 8"),
        (["--voxel-size-nm", "16,130,130"], "met a factor of 8.12"),
        (["--block", "4,256"], "--block: expected three numbers of voxels (z, y, x), met [4, 256]"),
        (["--block", "0,256,40"], "--block: expected three numbers of voxels"),
        (["--block", "4,2.5,40"], "--block: expected whole numbers (z, y, x) like 32,512,512"),
        (["--shard", "4/3"], "--shard: expected which of how many"),
        (["--shard", "0/3"], "--shard: expected which of how many"),
        (["--planes", "2"], "planes: expected one of 1, 3"),
        (["--planes", "3", "--voxel-size-nm", "50,16,16"], "use planes=1, xy sections alone"),
        (["--window", "31"], "window size: expected 32 pixels or more"),
        (["--overlap", "1"], "window overlap: expected a fraction from 0 to below 1"),
        (["--device", "abacus"], "device: expected cpu, cuda or cuda:N, met abacus"),
        (["--device", "meta"], "device: expected cpu, cuda or cuda:N, met meta, which was never tried"),
        (["--dataset", "raw"], "expected an HDF5 file or zarr folder, to choose a data set in"),
        (["--workers", "2"], "--workers: expected --runner dask beside it"),
        (["--scheduler", "tcp://127.0.0.1:1"], "--scheduler: expected --runner dask beside it"),
    ],
)
def test_options_that_do_not_fit(front: Front, words: list[str], message: str) -> None:
    front.refuses(message, *words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there(front: Front) -> None:
    front.refuses("device: expected cpu, cuda or cuda:N, met cuda:3 (", "--device", "cuda:3")


@pytest.mark.parametrize(
    "error", [MemoryError("Unable to allocate 9 TiB"), None, torch.OutOfMemoryError("CUDA out of memory")]
)
@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_out_of_memory(
    front: Front, monkeypatch: pytest.MonkeyPatch, error: Exception | None, words: list[str]
) -> None:
    def hungry(*_: object) -> None:
        if error is not None:
            raise error
        torch.empty(10**15)

    monkeypatch.setattr("scsam_monai.networks.scsam.ScSAM.forward", hungry)
    said = "can't allocate memory: you tried to allocate" if error is None else str(error)
    front.refuses(
        f"memory: expected enough for a block and a batch of windows, met {said}", *words, leaves=True
    )
    assert [path.name for path in front.folder.iterdir()] == ["cell.npy"]  # nothing in a smaller one's way


def test_an_interrupt_that_a_library_swallows_stops_the_run(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = ScSAM.forward

    def swallowing(self: ScSAM, *images: torch.Tensor) -> torch.Tensor:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return forward(self, *images)

    monkeypatch.setattr(ScSAM, "forward", swallowing)
    handler = signal.getsignal(signal.SIGINT)
    result = front()
    assert result.exit_code == 130
    assert "stopped; the same command with --resume goes on with" in result.stderr
    assert not front.output.exists()
    assert signal.getsignal(signal.SIGINT) is handler
    monkeypatch.undo()
    assert front("--resume").exit_code == 0


def test_other_errors_of_torch_stay_what_they_are(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr("scsam_monai.networks.scsam.ScSAM.forward", wrong)
    assert isinstance(front().exception, RuntimeError)


def test_pages_much_larger_than_a_block_are_warned_of(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    pages, options = np.load(front.source), {"compression": "zlib", "photometric": "minisblack"}
    tifffile.imwrite(front.source.with_suffix(".tif"), pages, **options, rowsperstrip=560)
    front.source = front.source.with_suffix(".tif")
    assert front("--dry-run").exit_code == 0
    assert not caplog.records
    tifffile.imwrite(front.source, np.tile(pages, (1, 8, 1)), **options, rowsperstrip=4480)
    assert front("--dry-run", "--block", "4,256,40").exit_code == 0
    assert "stored in pieces of 4480 x 40 pixels, 18 times what a block needs" in caplog.text


def test_beyond_a_factor_of_two_a_warning_is_given(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    assert front("--dry-run", "--voxel-size-nm", "16,30,30").exit_code == 0
    assert not caplog.records
    assert front("--dry-run", "--voxel-size-nm", "16,40,40").exit_code == 0
    assert [record.getMessage() for record in caplog.records] == [
        "voxel_size_nm: pixels of 40 nm are enlarged 2.5 times, to the 16 nm that the network was trained at; "
        "detail finer than 40 nm is not in the image, and will not be found"
    ]


def test_outputs_that_do_not_fit(front: Front) -> None:
    for name in ("labels.dm3", "labels", "labels.png"):
        front.refuses("expected an output ending in .ome.zarr, .tif or .nii.gz", output=front.folder / name)
    front.output.mkdir()
    front.refuses("labels.ome.zarr: expected no output yet, met one that is there")
    front.refuses("met an output that is there and no such run; nothing is left to do", "--resume")
    front.output.rename(front.folder / "labels_confidence.ome.zarr")
    front.refuses("labels_confidence.ome.zarr: expected no output yet", "--confidence")


def test_an_output_too_large_for_nifti_is_refused_before_it_is_computed(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scsam_monai.io.label_export.NIFTI_VOXELS", 4 * 560 * 40 - 1)
    front.refuses("along a side for NIfTI", output=front.folder / "labels.nii.gz")


def test_folders_that_cannot_be_written_to(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    front.refuses(
        "cell.npy/labels.tif.progress: expected a place that can be written to, met Not a directory",
        output=front.source / "labels.tif",
    )

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    front.refuses("labels.ome.zarr.progress: expected a place that can be written to, met Permission denied")


def test_models_that_do_not_fit(front: Front, model_path: Path) -> None:
    model = front.folder / "model.pt"
    front.refuses("model.pt: expected a trained model.pt, met no such file", "--model", model)
    os.link(model_path, model)
    front.refuses("model.json: expected a record of the network and its classes", "--model", model)
    record = model_path.with_suffix(".json").read_text()
    model.with_suffix(".json").write_text(record.replace('"granule"', '"granule", "cilium"'))
    front.refuses("model.json: expected 3 class names, background first, met 4", "--model", model)


# Inputs


def test_a_missing_voxel_size_is_asked_for(front: Front) -> None:
    front.refuses("cell.npy: expected a voxel size in nm, met none in the file", source=front.source)


def test_inputs_that_do_not_fit(front: Front) -> None:
    size = ["--voxel-size-nm", "16,16,16"]
    front.refuses(
        "none.tif: expected an image file, met no such file", *size, source=front.folder / "none.tif"
    )
    (front.folder / "cell.dm3").touch()
    front.refuses("met suffix .dm3", *size, source=front.folder / "cell.dm3")
    np.save(front.folder / "black.npy", np.zeros((4, 40, 40), np.uint8))
    front.refuses("met 0 at both", *size, source=front.folder / "black.npy")


def test_compression_that_is_not_known(front: Front) -> None:
    filter_number, any_bytes = 32013, (0, 0, 0, 0)
    path = front.folder / "cell.h5"
    with h5py.File(path, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((2, 16, 16))
        plist.set_filter(filter_number, h5py.h5z.FLAG_OPTIONAL, any_bytes)
        space = h5py.h5s.create_simple((4, 32, 32))
        h5py.h5d.create(file.id, b"raw", h5py.h5t.NATIVE_UINT8, space, plist)
    front.refuses("met filter 32013", source=path)


@pytest.fixture
def chunks(front: Front) -> list[Path]:
    """The chunks of the volume as OME-Zarr, one for each block."""
    write = files.ome_zarr(chunks=(4, 256, 40))
    path = write(front.folder, np.load(front.source))
    front.source = path
    return sorted(file for file in (path / "s0" / "c").rglob("*") if file.is_file())


def cut(chunk: Path) -> bytes:
    content = chunk.read_bytes()
    chunk.write_bytes(content[: len(content) // 2])
    return content


def test_a_chunk_cut_short_is_met_before_anything_begins(front: Front, chunks: list[Path]) -> None:
    cut(chunks[-1])
    front.refuses("volume.ome.zarr at z 0:4, y 0:560, x 0:40: expected a readable image")


# Runs that have begun


def call_after(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, number: int, call: Callable[[], object]
) -> None:
    """Have something called after the ``number``-th call of a function, once."""
    original, calls = getattr(owner, name), count(1)

    def noticed(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        if next(calls) == number:
            call()
        return result

    monkeypatch.setattr(owner, name, noticed)


def test_a_chunk_cut_short_meanwhile(
    front: Front, chunks: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is back, with its time, the run goes on."""
    time_ns, whole_chunk = chunks[-1].stat().st_mtime_ns, list[bytes]()
    call_after(monkeypatch, Inventory, "__init__", 2, lambda: whole_chunk.append(cut(chunks[-1])))
    front.refuses("c/0/2/0: expected the input as it was when the run was planned", leaves=True)
    assert not front.output.exists()
    chunks[-1].write_bytes(whole_chunk[0])
    os.utime(chunks[-1], ns=(time_ns, time_ns))
    assert front("--resume").exit_code == 0
    assert front(output=front.folder / "again.tif").exit_code == 0
    assert np.array_equal(whole(front.output), whole(front.folder / "again.tif"))


def test_a_volume_that_vanishes_meanwhile(
    front: Front, chunks: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network drive that drops out: what is not there would read as black."""
    away = front.folder / "away"
    call_after(monkeypatch, WatchedVolume, "read", 1, lambda: front.source.rename(away))
    front.refuses("expected the input as it was when the run was planned, met no such file", leaves=True)
    assert not front.output.exists()
    away.rename(front.source)
    assert front("--resume").exit_code == 0
    assert front(output=front.folder / "again.tif").exit_code == 0
    assert np.array_equal(whole(front.output), whole(front.folder / "again.tif"))


def test_pixels_that_change_while_a_run_is_stopped(
    front: Front, chunks: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(front, monkeypatch)
    chunks[-1].write_bytes(chunks[0].read_bytes())
    front.refuses("source.modified", "--resume")


def test_an_image_that_changes_after_its_last_block(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    call_after(monkeypatch, Manifest, "mark", 3, lambda: np.save(front.source, grey(4, 560, 40, seed=1)))
    front.refuses("cell.npy: expected the input as it was when the run was planned, met one", leaves=True)
    assert not front.output.exists()


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("marks", "owner", "name", "where"),
    [
        (0, ome_zarr_volume, "sync_files", "labels.ome.zarr"),  # while chunks are written
        (0, Manifest, "mark", "labels.ome.zarr.progress"),
        (3, ome_zarr_volume, "sync_files", "labels.ome.zarr"),  # while the pyramid is built
        (3, Manifest, "remove", "labels.ome.zarr.progress"),
    ],
)
def test_a_full_disk(
    front: Front, monkeypatch: pytest.MonkeyPatch, marks: int, owner: object, name: str, where: str
) -> None:
    """Whatever it is that cannot be written: one line, and the run can be gone on with."""
    event = ("mark", marks) if marks else ("begin", 1)
    call_after(monkeypatch, Manifest, *event, lambda: monkeypatch.setattr(owner, name, full))
    front.refuses(f"{where}: expected room on the disk, met disk full; free some space", leaves=True)
    monkeypatch.undo()
    assert front("--resume").exit_code == 0
    assert {path.name for path in front.folder.iterdir() if path.is_dir()} == {front.output.name}


def stop(front: Front, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    """Ctrl-C after the first block."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        call_after(patch, Manifest, "mark", 1, interrupt)
        # The command silences it, as it is about to end.
        patch.setattr(sys, "unraisablehook", sys.unraisablehook)
        result = front(*words)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == (
        f"stopped; the same command with --resume goes on with {front.output}"
    )
    assert not front.output.exists()


def test_what_is_resumed_must_be_the_same(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    stop(front, monkeypatch)
    front.refuses("expected no earlier run on this output, met one with 1 of 3 blocks done; add --resume")
    front.refuses("met windows.size 96 instead of 64", "--resume", "--window", 96)
    front.refuses("threads 2 instead of 1", "--resume", "--threads", 2)
    front.refuses("products", "--resume", "--confidence")
    front.refuses("voxel_size_nm", "--resume", "--voxel-size-nm", "16,15,15")
    volume = np.load(front.source)
    np.save(front.source, volume[:, ::-1].copy())
    front.refuses("source.modified", "--resume")


def test_a_resumed_run_needs_no_options_again(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    stop(front, monkeypatch, "--confidence", "--overlap", 0.5, "--empty-label", 255)
    result = CliRunner().invoke(app, ["predict", str(front.source), str(front.output), "--resume"])
    assert result.exit_code == 0, result.stderr
    assert (front.folder / "labels_confidence.ome.zarr").is_dir()
    again = front.folder / "again.ome.zarr"
    assert front("--confidence", "--overlap", 0.5, output=again).exit_code == 0
    assert np.array_equal(whole(front.output), whole(again))


@pytest.mark.parametrize(
    "words",
    [
        [
            "--classes",
            "granule",
            "--threshold",
            "0.4",
            "--threshold",
            "granule=0.35",
            "--smallest-nm2",
            "1000",
        ],
        ["--invert", "--axes", "xyz"],
    ],
    ids=lambda words: words[0],
)
def test_a_resumed_run_draws_what_was_asked_for(
    front: Front, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    if "--axes" in words:
        np.save(front.source, np.load(front.source).transpose(2, 1, 0).copy())
    stop(front, monkeypatch, *words)
    recorded = Manifest(front.output.with_name("labels.ome.zarr.progress")).job
    result = CliRunner().invoke(app, ["predict", str(front.source), str(front.output), "--resume"])
    assert result.exit_code == 0, result.stderr
    made = ome_zarr_volume.LabelVolume(front.output).attributes
    assert {name: made[name] for name in ("selection", "intensity")} == {
        name: recorded[name] for name in ("selection", "intensity")
    }
    assert made["source"].get("axes") == recorded["source"].get("axes")


def test_a_block_that_is_rounded_is_said(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    assert front("--dry-run", "--block", "3,250,40").exit_code == 0
    assert "--block 3,250,40 is rounded up to whole chunks of the output: 4,256,40" in caplog.text


def test_the_input_changes_after_it_was_looked_at(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    call_after(monkeypatch, Manifest, "begin", 1, lambda: np.save(front.source, grey(4, 560, 40, seed=1)))
    front.refuses("cell.npy: expected the volume that the run began with", leaves=True)
    assert not front.output.exists()


def test_the_model_changes_after_it_was_looked_at(
    front: Front, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process keeps to the network that it has opened; whoever opens the file anew does not take another."""
    model = front.folder / "model.pt"
    for suffix in (".pt", ".json"):
        model.with_suffix(suffix).write_bytes(model_path.with_suffix(suffix).read_bytes())
    job, _ = plan_job(
        front.source, front.output, model, voxel_size_nm=VOXEL_NM, windows=WINDOWS, device="cpu"
    )
    call_after(monkeypatch, Manifest, "begin", 1, lambda: model.write_bytes(b"another"))
    result = front("--model", model)
    assert result.exit_code == 0, result.stderr
    front.output.rename(front.folder / "first.ome.zarr")
    with pytest.raises(InputError, match=r"model\.pt: expected the weights that model.json describes"):
        run_job(job, class_colours(len(CLASSES)), device="cpu")


def test_a_run_is_alone_and_can_be_stopped(front: Front) -> None:
    """A program of its own, stopped by the signal that Ctrl-C sends."""
    np.save(front.source, grey(64, 560, 40))
    command = [sys.executable, "-c", "from scsam_monai.cli import app; app()", *front.words()]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    progress = front.folder / "labels.ome.zarr.progress"
    lock = progress / "shard-1-of-1.lock"
    # Whoever is stopped while it holds the gate, for an instant at the start, keeps all others waiting.
    while not (lock.exists() and lock.stat().st_size) or held(progress / GATE):
        assert process.poll() is None, process.stderr
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    front.refuses(f"nobody at work on shard 1/1, met process {process.pid} on ", "--resume")
    front.refuses(" of 6 blocks done; add --resume to go on with it")
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    last = errors.splitlines()[-1]
    assert last == f"stopped; the same command with --resume goes on with {front.output}"
    assert "Traceback" not in errors
