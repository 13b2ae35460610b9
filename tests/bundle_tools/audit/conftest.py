"""A bundle that would leave its mark in a dozen ways if any of it ran."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
import yaml


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that must not be there afterwards."""
    return tmp_path / "was_run"


@pytest.fixture
def hostile(tmp_path: Path, mark: Path) -> Path:
    """A bundle that makes the mark from its configs, scripts, weights and logging."""
    root = tmp_path / "hostile"
    for folder in ("configs/nested", "scripts", "models"):
        (root / folder).mkdir(parents=True)
    touch = f"open({str(mark)!r}, 'w')"
    train = {
        "imports": ["$import os", "$import torch"],
        "bundle_root": f"$__import__('pathlib').Path({str(mark)!r}).touch()",
        "harmless": "$len(@train::dataset) + torch.numel(@x)",
        "network": {"_target_": "torch.nn.Conv2d", "in_channels": f"${touch}", "_requires_": f"${touch}"},
        "train": {"dataset": [{"_target_": "os.system", "command": f"touch {mark}"}]},
        "hidden": {"_target_": "torch.serialization.os.system", "command": f"touch {mark}"},
        "builtin": {"_target_": "eval", "source": touch},
        "debugger": {"_target_": "Compose", "_mode_": "debug"},
        "train::later::_target_": "subprocess.run",
        "other": "%/etc/other.json::key",
    }
    (root / "configs" / "train.json").write_text(json.dumps(train))
    deep = {"a": {"b": [{"c": f"$exec({touch!r})"}]}, "fetch": {"url": "http://example.org/model.pt"}}
    (root / "configs" / "nested" / "more.yaml").write_text(yaml.safe_dump(deep))
    (root / "configs" / "object.yml").write_text(f"a: !!python/object/apply:os.system ['touch {mark}']\n")
    log = f"[handlers]\nkeys=h\n[handler_h]\nclass={touch}\nargs=(sys.stdout,)\n"
    (root / "configs" / "logging.conf").write_text(log)
    (root / "scripts" / "__init__.py").write_text(f"import subprocess\nfrom . import net\n{touch}\n")
    (root / "scripts" / "net.py").write_text(
        "import torch\nfrom scripts import other\n\nclass Net(torch.nn.Module): ...\n"
    )
    (root / "models" / "model.pt").write_bytes(pickle.dumps(Payload(mark)))
    torch.save({"a": torch.ones(2), "b": Payload(mark)}, root / "models" / "zipped.pt")
    torch.save({"a": torch.ones(2)}, root / "models" / "plain.pt")
    (root / "models" / "native.so").write_bytes(b"\x7fELF")
    (root / "link").symlink_to(tmp_path)
    return root
