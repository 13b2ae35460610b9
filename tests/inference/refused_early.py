"""What ``scsam`` refuses from headers, JSON and arguments, each told with its CPU seconds; run as a script.

Prints a JSON list of [name, exit code, last line, CPU seconds], then the largest memory in MB and whether torch was
imported.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from typer.testing import CliRunner

from scsam_monai.cli import app

RECORD = {"network": {"n_classes": 3, "prototypes": 4}, "class_names": ["background", "a", "b"]}


def predict(folder: Path, record: Any = RECORD, source: str = "cell.npy", *words: str) -> list[str]:
    model = folder / "model.pt"
    model.write_bytes(b"weights")
    model.with_suffix(".json").write_text(record if isinstance(record, str) else json.dumps(record))
    np.save(folder / "cell.npy", np.arange(2 * 40 * 40, dtype=np.uint16).reshape(2, 40, 40))
    size = ("--voxel-size-nm", "16,16,16", "--device", "cpu")
    return ["predict", str(folder / source), str(folder / "o.ome.zarr"), "--model", str(model), *size, *words]


def network(**settings: Any) -> dict[str, Any]:
    return RECORD | {"network": RECORD["network"] | settings}


def bomb(folder: Path) -> str:
    """A TIFF of a few hundred bytes whose one strip would be a terabyte."""
    path = folder / "bomb.tif"
    tifffile.imwrite(path, np.zeros((8, 8), np.uint8), compression="zlib", rowsperstrip=8, metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tif:
        for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tif.pages[0].tags[tag].overwrite(2**20, dtype="I")
    return path.name


def chunk(folder: Path) -> str:
    zarr.create_array(folder / "huge.zarr", shape=(10**6,) * 3, chunks=(10**6,) * 3, dtype="uint8")
    return "huge.zarr"


def dataset(folder: Path, text: str) -> list[str]:
    (folder / "dataset.json").write_text(text)
    return ["check", str(folder)]


def pair(folder: Path, image: str) -> str:
    """A data set of an image and small labels."""
    tifffile.imwrite(folder / "labels.tif", np.zeros((8, 8), np.uint8))
    item = {"image": image, "label": "labels.tif"}
    content = {"labels": {"0": "background", "1": "m"}, "voxel_size_nm": [16, 16, 16], "training": [item]}
    return json.dumps(content)


def import_of(folder: Path, image: str, label: str, *words: str) -> list[str]:
    for name in {image, label} - {"bomb.tif", "huge.zarr"}:
        tifffile.imwrite(folder / name, np.zeros((8, 8), np.uint8))
    files = ["--image", image, "--label", label, "--class", "1=m", "--voxel-size-nm", "16,16,16"]
    return ["import", "files", str(folder), str(folder / "set"), *files, *words]


def taken(folder: Path) -> str:
    (folder / "file").write_text("")
    return str(folder / "file" / "inside")


CASES: dict[str, Callable[[Path], list[str]]] = {
    "deep record": lambda f: predict(f, "[" * 200_000),
    "large record": lambda f: predict(f, '{"a": "' + "b" * 20_000_000 + '"}'),
    "many prototypes": lambda f: predict(f, network(prototypes=10**9)),
    "many classes": lambda f: predict(f, network(n_classes=10**9)),
    "a number of many digits": lambda f: predict(f, '{"network": {"n_classes": 1' + "0" * 4000 + "}}"),
    "a switch for a number": lambda f: predict(f, network(n_classes=True)),
    "an unknown setting": lambda f: predict(f, network(colour="red")),
    "a list for the network": lambda f: predict(f, RECORD | {"network": [1]}),
    "lists as names": lambda f: predict(f, RECORD | {"class_names": [["a"], ["b"], ["c"]]}),
    "another number of names": lambda f: predict(f, RECORD | {"class_names": ["a"]}),
    "an infinite pixel": lambda f: predict(f, '{"pixel_size_nm": 1e999, ' + json.dumps(RECORD)[1:]),
    "a negative pixel": lambda f: predict(f, RECORD | {"pixel_size_nm": -16}),
    "a pixel that is a text": lambda f: predict(f, RECORD | {"pixel_size_nm": "16"}),
    "other weights": lambda f: predict(f, RECORD | {"model_sha256": "0" * 64}),
    "no memory": lambda f: predict(f, RECORD, "cell.npy", "--memory-gb", "0"),
    "a TIFF of a terabyte": lambda f: predict(f, RECORD, bomb(f)),
    "a dry run of it": lambda f: predict(f, RECORD, bomb(f), "--dry-run"),
    "chunks of 10^18 voxels": lambda f: predict(f, RECORD, chunk(f)),
    "check a TIFF of a terabyte": lambda f: dataset(f, pair(f, bomb(f))),
    "check chunks of 10^18 voxels": lambda f: dataset(f, pair(f, chunk(f))),
    "import a TIFF of a terabyte": lambda f: import_of(f, bomb(f), "l.tif"),
    "import labels of a terabyte": lambda f: import_of(f, "i.tif", bomb(f)),
    "import chunks of 10^18 voxels": lambda f: import_of(f, chunk(f), "l.tif"),
    "import a section of a terabyte": lambda f: import_of(f, bomb(f), "l.tif", "--section", "0"),
    "deep dataset.json": lambda f: dataset(f, "[" * 200_000),
    "a number too long in dataset.json": lambda f: dataset(f, '{"labels": 1' + "0" * 5000 + "}"),
    "generate into a file": lambda f: ["generate", taken(f)],
    "corpus into a file": lambda f: ["corpus", taken(f), "--volumes", "1"],
}


def most_megabytes() -> float:
    """The most memory since this program began; getrusage would count that of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines() if sys.platform == "linux" else []
    return sum(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def main(root: Path) -> None:
    rows = []
    for name, make in CASES.items():
        folder = root / name.replace(" ", "_").replace("^", "")
        folder.mkdir()
        words = make(folder)
        started = time.process_time()
        result = CliRunner().invoke(app, words)
        lines = result.stderr.splitlines() or [repr(result.exception)]
        rows.append((name, result.exit_code, lines[-1], time.process_time() - started))
    print(json.dumps([rows, most_megabytes(), "torch" in sys.modules]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
