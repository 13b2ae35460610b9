"""What headers and model.json tell is refused at once: in little CPU time and memory, as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import tifffile
import zarr

MODEL = Path(__file__).resolve().parents[1] / "bundle" / "models" / "model.pt"
SIZE = "--voxel-size-nm 16,16,16"
LIMIT_S, LIMIT_MB = 2.0, 500.0

CASES = {
    "predict s.tif n.tif --voxel-size-nm 16,0.5,0.5": "within a factor of 8",
    f"predict s.tif n.jpg {SIZE}": "an output ending in .ome.zarr",
    f"predict s.tif there.tif {SIZE}": "no output yet",
    f"predict s.tif there.tif {SIZE} --resume": "nothing is left to do",
    "predict s.tif n.tif": "a voxel size in nm",
    f"predict none.tif n.tif {SIZE}": "no such file",
    f"predict c.h5 n.tif {SIZE} --dataset nix": "named nix",
    f"predict z.zarr n.tif {SIZE} --dataset nix": "met nix",
    f"predict s.tif n.tif {SIZE} --empty-label 3": "one of 0, 255",
    f"predict s.tif n.tif {SIZE} --block 4,2": "three numbers of voxels",
    f"predict s.tif n.tif {SIZE} --device abacus": "cpu, cuda or cuda:N",
    f"predict s.tif n.tif {SIZE} --model none.pt": "a trained model.pt",
    "check none": "a folder with a dataset.json",
    "check set": "the shape of a.tif",
    "import files set new --image a.tif --label b.tif --class x=a": "VALUE=NAME",
    "import files set new --image a.tif --label b.tif --class 1=a": "a voxel size",
    "export onnx n.jpg": "the suffix .onnx",
    "export onnx there.onnx": "a new file",
    "export torchscript n.ts --model none.pt": "a trained model.pt",
    "export bioimageio n.zip --model own.pt": "--licence",
    "generate s.tif": "a folder that can be written to",
    "corpus s.tif": "a folder that can be written to",
    "adapt s.tif": "name the label image, too",
    "adapt s.tif l.tif": "a voxel size",
    f"adapt s.tif l.tif {SIZE}": "say what they mean, like --class 1=",
    f"adapt s.tif l.tif {SIZE} --class 1=a --class 2=b": "--unlabelled 0 if nobody did",
    f"adapt s.tif l.tif {SIZE} --class 0=background --class 1=a": "met 2 in",
    f"adapt s.tif l.tif {SIZE} --class 1=a --class 2=b --unlabelled 0": "some background",
    f"adapt s.tif set/b.tif {SIZE} --class 1=a": "the shape of its image",
    f"adapt s.tif l.tif {SIZE} --class 1=a --model none.pt": "a trained model.pt",
}

MEASURED = """
import atexit, resource
def tell():
    used = resource.getrusage(resource.RUSAGE_SELF)
    try:  # what the process that started this one took does not count
        lines = open("/proc/self/status").read().splitlines()
        most = int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
    except OSError:
        most = used.ru_maxrss
    print("used", used.ru_utime + used.ru_stime, most)
atexit.register(tell)
from scsam_monai.cli import app
app(prog_name="scsam")
"""


def files(folder: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (2, 64, 64), dtype=np.uint8)
    tifffile.imwrite(folder / "s.tif", image)
    tifffile.imwrite(folder / "l.tif", image % 3)
    for name in ("there.tif", "there.onnx"):
        (folder / name).touch()
    with h5py.File(folder / "c.h5", "w") as file:
        file["raw"] = image
    zarr.save_array(folder / "z.zarr", image)
    (folder / "own.pt").write_bytes(b"another network")
    (folder / "own.json").write_text(MODEL.with_suffix(".json").read_text())
    (folder / "set").mkdir()
    for name, part in (("a.tif", image), ("b.tif", image[:1])):
        tifffile.imwrite(folder / "set" / name, part)
    item = {"image": "a.tif", "label": "b.tif"}
    described = {"labels": {"0": "background", "1": "m"}, "voxel_size_nm": [16, 16, 16], "training": [item]}
    (folder / "set" / "dataset.json").write_text(json.dumps(described))


def test_refusals_take_little_time_and_memory(tmp_path: Path) -> None:
    files(tmp_path)
    wrong = []
    for words, message in CASES.items():
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, *words.split()],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        _, seconds, size = done.stdout.splitlines()[-1].split()
        megabytes = int(size) / (1e6 if sys.platform == "darwin" else 1e3)
        *_, last = done.stderr.splitlines()
        if done.returncode != 2 or not last.startswith("error: ") or message not in last:
            wrong.append(f"{words}: {last}")
        if float(seconds) > LIMIT_S or megabytes > LIMIT_MB:
            wrong.append(f"{words}: {seconds} s, {megabytes:.0f} MB")
    assert not wrong, "\n".join(wrong)
    assert not (tmp_path / "n.tif").exists()
