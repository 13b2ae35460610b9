import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import (
    atomic_folder,
    atomic_path,
    check_writable,
    remove_left,
    sha256_of,
    sha256_over,
    write_json,
)


def test_makes_the_folder_and_leaves_it_empty(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken: expected a folder that can be written to"):
        check_writable(tmp_path / "taken")


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = write_json(tmp_path / "made" / "scores.json", {"iou": 0.5})
    assert json.loads(path.read_text()) == {"iou": 0.5}
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"iou": math.nan})
    assert json.loads(path.read_text()) == {"iou": 0.5}
    assert list(path.parent.iterdir()) == [path]


def test_hashes_are_of_the_content(tmp_path):
    path, content = tmp_path / "a", b"content"
    path.write_bytes(content)
    known = hashlib.sha256(content)
    assert sha256_of(path) == sha256_of(str(path)) == sha256_of(content) == known.hexdigest()
    together = hashlib.sha256(b"name" + known.digest()).hexdigest()
    assert sha256_over(["name", path]) == together != sha256_over([path, "name"])


WRITES = """
import sys, time
from scsam_monai.filesystem import atomic
with getattr(atomic, sys.argv[1])(sys.argv[2]) as temporary:
    (temporary / "part" if temporary.is_dir() else temporary).write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="a system where processes cannot be asked for")
@pytest.mark.parametrize("name", ["atomic_path", "atomic_folder"])
def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(
    tmp_path: Path, name: str
) -> None:
    hidden = tmp_path / ".scores-snapshot.ome.zarr"
    hidden.write_text("the user's own")
    command = [sys.executable, "-c", WRITES, name, str(tmp_path / "scores.ome.zarr")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        remove_left(tmp_path)
        assert len(list(tmp_path.iterdir())) == 2
        writer.send_signal(signal.SIGKILL)
    assert len(list(tmp_path.iterdir())) == 2
    with (atomic_path if name == "atomic_path" else atomic_folder)(tmp_path / "other") as temporary:
        assert sorted(tmp_path.iterdir()) == sorted([hidden, temporary])
    assert sorted(tmp_path.iterdir()) == sorted([hidden, tmp_path / "other"])


def test_of_another_machine_only_what_is_old_goes(tmp_path: Path) -> None:
    old, new = (tmp_path / f".{name}-unfinished-00000000-1-abcd1234.json" for name in ("old", "new"))
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (0, time.time() - 25 * 3600))
    write_json(tmp_path / "scores.json", {})
    assert sorted(tmp_path.iterdir()) == sorted([new, tmp_path / "scores.json"])


def test_what_is_left_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with atomic_folder(tmp_path / "scores") as temporary:
        name = temporary.name.replace(f"-{os.getpid()}-", f"-{gone.pid}-")
    (tmp_path / name / "parts").mkdir(parents=True)
    (tmp_path / name / "parts" / "0").write_text("half")
    remove_left(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "scores"]
