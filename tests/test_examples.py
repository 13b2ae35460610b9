"""The notebooks run from top to bottom, and are stored without what they print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
IDS = [path.stem for path in NOTEBOOKS]
AT_THE_END = """
import resource as _resource
_cpu = sum(
    use.ru_utime + use.ru_stime
    for use in map(_resource.getrusage, (_resource.RUSAGE_SELF, _resource.RUSAGE_CHILDREN))
)
print(f"pictures {len(plt.get_fignums())} seconds {_cpu:.0f}")
"""


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def test_there_are_two():
    assert IDS == ["segment_a_stack", "train_on_your_own_sections"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_stored_without_output(path):
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    assert [(cell["outputs"], cell["execution_count"]) for cell in code] == [([], None)] * len(code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_runs_from_top_to_bottom(path, tmp_path):
    """In a fresh process, from the notebook's own folder, with temporary files where the test's are."""
    code = ["".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "code"]
    script = tmp_path / f"{path.stem}.py"
    script.write_text("\n\n".join([*code, AT_THE_END]))
    places = [str(EXAMPLES.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(places),
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore::UserWarning", str(script)],
        cwd=EXAMPLES,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    *_, last = done.stdout.splitlines()
    _, pictures, _, seconds = last.split()
    assert int(pictures) == 1
    assert int(seconds) < 120  # 60 on a machine that does nothing else
