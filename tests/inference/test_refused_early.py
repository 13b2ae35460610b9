"""What headers, JSON and arguments tell is refused within seconds and a little memory, before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from refused_early import CASES

EXPECTED = {
    "deep record": "expected JSON, met lists in lists without end",
    "large record": "expected 16 MiB at most, met 19 MiB",
    "many prototypes": "expected network::prototypes, a whole number from 1 to 256, met 1000000000",
    "many classes": "expected network::n_classes, a whole number from 2 to 256",
    "a switch for a number": "expected network::n_classes, a whole number from 2 to 256, met True",
    "an unknown setting": "expected settings of a ScSAM, met 'colour'",
    "lists as names": "expected class_names, a list of up to 256 names",
    "another number of names": "expected 3 class names, background first, met 1",
    "an infinite pixel": "pixel_size_nm: expected a length in nm above 0, met inf",
    "a negative pixel": "pixel_size_nm: expected a length in nm above 0, met -16",
    "other weights": "expected the weights that model.json describes, sha256 000000000000",
    "no memory": "--memory-gb: expected a number above 0, met 0",
    "a TIFF of a terabyte": "expected pieces that fit into the 4 GB of --memory-gb, met pieces of",
    "a dry run of it": "expected pieces that fit into the 4 GB of --memory-gb, met pieces of",
    "chunks of 10^18 voxels": "met pieces of 1000000 x 1000000 x 1000000 voxels, 1e+09 GB each",
    **dict.fromkeys(
        (
            "check a TIFF of a terabyte",
            "import a TIFF of a terabyte",
            "import labels of a terabyte",
            "import a section of a terabyte",
        ),
        "bomb.tif: expected an image that fits into memory",
    ),
    **dict.fromkeys(
        ("check chunks of 10^18 voxels", "import chunks of 10^18 voxels"),
        "1000000 x 1000000 x 1000000 voxels, 1e+09 GB; cut out what is annotated",
    ),
    "deep dataset.json": "dataset.json: expected JSON, met lists in lists without end",
    "generate into a file": "expected a folder that can be written to, met Not a directory",
    "corpus into a file": "expected a folder that can be written to, met Not a directory",
}
CPU_SECONDS, MEGABYTES = 2.0, 500


def test_what_files_and_arguments_tell_is_refused_at_once(tmp_path: Path) -> None:
    script = Path(__file__).with_name("refused_early.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    rows, megabytes, torch_came = json.loads(done.stdout)
    assert [name for name, *_ in rows] == list(CASES)
    for name, code, line, seconds in rows:
        assert code == 2, (name, line)
        assert line.startswith("error: "), (name, line)
        assert EXPECTED.get(name, "") in line, (name, line)
        assert seconds < CPU_SECONDS, (name, seconds)
    assert megabytes < MEGABYTES
    assert not torch_came
