"""Ways past the audit that were tried on it: each is marked, and none runs."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from scsam_monai.bundle_tools.audit import audit_bundle

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)


def _text(word: str) -> bytes:
    return b"\x8c" + struct.pack("<B", len(word)) + word.encode()


def _system(mark: Path) -> bytes:
    """Protocol 0, no mark at the start."""
    return f"cos\nsystem\n(S'touch {mark}'\ntR.".encode()


def _decoys(mark: Path) -> bytes:
    """The names wait in the memo; innocent ones are pushed and popped before the import."""
    names = _text("posix") + b"\x940" + _text("system") + b"\x940"
    decoys = b"h\x00h\x01" + _text("torch") + b"0" + _text("Size") + b"0"
    return b"\x80\x04" + names + decoys + b"\x93(" + _text(f"touch {mark}") + b"tR."


def _zipped(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def _torn(mark: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", _system(mark) * 50)
    packed = bytearray(buffer.getvalue())
    packed[46:60] = b"\xff" * 14
    return bytes(packed)


def _tarred(mark: Path) -> bytes:
    """A tar archive whose first name is the five pickles of a plain file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT, encoding="latin-1") as archive:
        member = tarfile.TarInfo((MAGIC + b"N." * 4).decode("latin-1"))
        member.size = len(_system(mark))
        archive.addfile(member, io.BytesIO(_system(mark)))
    return buffer.getvalue()


def _objects(mark: Path) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def _logging(entry: str, **others: str) -> bytes:
    more = "".join(f"{name}={value}\n" for name, value in others.items())
    return f"[handlers]\nkeys=h\n[handler_h]\n{entry}\n{more}".encode()


def _loads(reader: object) -> bytes:
    return json.dumps({"a": {"_target_": "LoadImaged", "keys": "image", "reader": reader}}).encode()


def _python(mark: Path) -> bytes:
    return f"open({str(mark)!r}, 'w')".encode()


def _png(content: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + content


EMPTY = b"\x80\x02N."
FILES = {
    "decoys": ("model.pt", _decoys),
    "older file, second pickle of protocol 0": ("model.pt", lambda m: MAGIC + _system(m)),
    "only protocol 0": ("model.pt", _system),
    "second of many": ("model.pkl", lambda m: EMPTY + _system(m)),
    "bytes after a pickle": ("model.pt", lambda m: EMPTY + b"\xff\xff"),
    "upper case": ("model.pt", lambda m: _zipped(("archive/DATA.PKL", _system(m)))),
    "one name twice": ("model.pt", lambda m: _zipped(("a/data.pkl", _system(m)), ("a/data.pkl", EMPTY))),
    "names that differ in case": (
        "model.pt",
        lambda m: _zipped(("a/data.pkl", EMPTY), ("a/Data.pkl", EMPTY)),
    ),
    "torn archive": ("model.pt", _torn),
    "tar": ("model.pt", _tarred),
    "pickle called a text": ("README.txt", _decoys),
    "archive called a picture": ("picture.png", lambda m: _zipped(("a/data.pkl", _system(m)))),
    "archive with code": ("notes.md", lambda m: _zipped(("evil.py", _python(m)))),
    "array of objects": ("a.npy", _objects),
    "array of objects in an archive": ("a.npz", lambda m: _zipped(("a.npy", _objects(m)))),
    "array that is none": ("a.npy", _system),
    "compressed": ("a.tif", lambda m: b"\x1f\x8b\x08" + _system(m)),
    "logging put together": (
        "logging.conf",
        lambda m: _logging("class=%(a)s%(b)s", a="op", b=f"en('{m}','w')"),
    ),
    "logging by sys": ("logging.conf", lambda m: _logging("args=(sys.modules['os'],)")),
    "logging by a stream's parts": ("logging.conf", lambda m: _logging("args=(sys.stdout.buffer,)")),
    "logging of another package": ("logging.conf", lambda m: _logging("class=evil.Handler")),
    "logging to a file": ("logging.conf", lambda m: _logging(f"class=FileHandler\nargs=({str(m)!r},)")),
    "script called os": ("os.py", lambda m: b""),
    "script called torch": ("torch/__init__.py", lambda m: b""),
    "macro in upper case": ("a.json", lambda m: b'{"a": "%/etc/other.JSON::key"}'),
    "macro of a path with a colon": ("a.json", lambda m: b'{"a": "%../a:b#c.yaml#key"}'),
    "recursive aliases": ("a.yaml", lambda m: b"a: &x [*x]"),
    "too deep": ("a.json", lambda m: b'{"a":' * 150 + b"1" + b"}" * 150),
    "address in a text": ("a.json", lambda m: b'{"a": "see FILE:///etc/passwd"}'),
    "allow_pickle": ("a.json", lambda m: b'{"a": {"allow_pickle": true}}'),
    "weights_only": ("a.json", lambda m: b'{"a": {"weights_only": false}}'),
    "weights_only in code": ("a.py", lambda m: b"read(weights_only=False)"),
    "pickle of protocol 0 called a licence": ("LICENSE", _system),
    "pickle of protocol 0 called a text": ("notes.txt", _system),
    "pickle called a table": ("a.csv", _decoys),
    "array of objects called a picture": ("a.png", _objects),
    "picture that is none": ("a.png", lambda m: b"GIF"),
    "program called a text": ("a.txt", lambda m: b"#!/bin/sh\ntouch x"),
    "logging called a text": ("log.txt", lambda m: _logging(f"class=FileHandler\nargs=({str(m)!r},)")),
    "pickle in an archive under another name": ("m.pt", lambda m: _zipped(("a/data.txt", _decoys(m)))),
    "array of objects in an archive under another name": ("a.npz", lambda m: _zipped(("a", _objects(m)))),
    "text that is none": ("a.txt", lambda m: b"\xff\0\xff"),
    "reader by its name": ("a.json", lambda m: _loads("subprocess.Popen")),
    "reader by a reference": ("a.json", lambda m: _loads("@other")),
    "readers by their names": ("a.json", lambda m: _loads(["ITKReader", "evil.Reader"])),
    "debugger": ("a.json", lambda m: b'{"a": {"_target_": "Compose", "_debug_": true}}'),
}


def _audited(root: Path, name: str, content: bytes | str) -> list:
    path = root / "bundle" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return audit_bundle(root / "bundle")


@pytest.mark.parametrize("sample", FILES)
def test_marks_files_that_hide_a_pickle(tmp_path, sample):
    name, content = FILES[sample]
    found = _audited(tmp_path, name, content(tmp_path / "was_run"))
    assert any(finding.suspicious for finding in found)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    "target",
    [
        "run_cmd",
        "monai.utils.run_cmd",
        "monai.utils.misc.run_cmd",
        "monai.utils.instantiate",
        "monai.bundle.run",
        "monai.bundle.ConfigParser",
        "ConfigWorkflow",
        "monai.bundle.load",
        "monai.data.dataset.torch.utils.collect_env.run",
        "scsam_monai.command_line.ConfigParser",
        "scsam_monai.command_line.monai_run",
        "scsam_monai.bundle_tools.verify.verify_bundle",
        "torch.utils.collect_env.run",
        "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler",
        "torch.testing._internal.common_utils.shell",
        "torch.hub.load_state_dict_from_url",
        "torch.package.PackageImporter",
        "torch.nn.Module.__init__.__globals__",
        "numpy.testing.measure",
        "typing.get_type_hints",
        "numpy.savez",
        "numpy.load",
        "torch.load",
        "functools.reduce",
        "monai.data.PersistentDataset",
        "monai.data.NumpyReader",
        "monai.transforms.TorchVision",
        "torch.utils.data.datapipes.iter.FileOpener",
        "scsam_monai.filesystem.atomic.write_json",
        "scripts.net.Net",
        "getattr",
    ],
)
def test_marks_targets_that_run_anything(tmp_path, target):
    (finding,) = _audited(tmp_path, "a.json", json.dumps({"a": {"_target_": target}}))
    assert finding.suspicious


@pytest.mark.parametrize(
    "target",
    [
        *("torch.optim.lr_scheduler.StepLR", "monai.networks.nets.UNet", "monai.utils.CommonKeys", "Compose"),
        *("ignite.metrics.Accuracy", "DiceLoss", "torch.nn.functional.softmax", "monai.data.DataLoader"),
    ],
)
def test_usual_targets_stay_unmarked(tmp_path, target):
    (finding,) = _audited(tmp_path, "a.json", json.dumps({"a": {"_target_": target}}))
    assert finding.why == ()


@pytest.mark.parametrize(
    "expression",
    [
        "torch.utils.collect_env.run('touch x')",
        "monai.utils.run_cmd(['touch', 'x'])",
        "(lambda t: t.utils.collect_env.run('touch x'))(torch)",
        "from monai.utils import run_cmd as first",
        "from torch.utils import collect_env",
        "from monai.data import *",
        "functools.reduce(getattr, ['hub', 'x'], @network)",
        "getattr(@network, 'system')",
        "dist.elastic.multiprocessing.start_processes",
        "np.genfromtxt('x', allow_pickle=True)",
        "dict(weights_only=False)",
        "@reader(**{'allow_pickle': True})",
        "collections._sys.modules",
        "(_ for _ in ()).gi_frame.f_builtins",
        "numpy.testing.measure('open(0)')",
        "typing.get_type_hints(@x)",
        "numpy.savez('x', 1)",
        "list(map(np.load, ['LICENSE'], [None], [True]))",
        "[1][0 # , print(open('x'))]",
        "1 # __import__('os')",
        "{}[@a:__import__('os').system('x')]",
        "@reader(**{'allow_' + 'pickle': True})",
        "@reader(**@options)",
        "monai.transforms.LoadImage('subprocess.Popen')",
        "list(map(monai.transforms.LoadImage, ['subprocess.Popen']))",
        "@x.save('y')",
        "@x.__class__",
        "(y := 1)",
        "print(1); print(2)",
        "from numpy import load as len",
        "import numpy.testing",
        "unheard_of(1)",
        "'{0.__class__}'.format(@x)",
    ],
)
def test_marks_expressions_that_reach_beyond(tmp_path, expression):
    (finding,) = _audited(tmp_path, "a.json", json.dumps({"a": f"${expression}"}))
    assert finding.suspicious


def test_a_script_called_os_does_not_make_os_the_bundles_own(tmp_path):
    (tmp_path / "os.py").write_text("")
    (tmp_path / "run.py").write_text("import os")
    assert ("run.py", True) in {(found.file, found.suspicious) for found in audit_bundle(tmp_path)}


def test_aliases_of_aliases_are_walked_once(tmp_path):
    lines = ["a0: &a0 [1, 1]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    assert _audited(tmp_path, "a.yaml", "\n".join(lines)) == []


def test_what_a_name_was_imported_for_counts_in_every_config(tmp_path):
    (finding,) = _audited(tmp_path, "a.json", json.dumps({"x": "$len('x')"}))
    assert finding.why == ()
    (tmp_path / "bundle" / "b.json").write_text(json.dumps({"imports": ["$from numpy import load as len"]}))
    found = {finding.key: finding.why for finding in audit_bundle(tmp_path / "bundle")}
    assert found["x"] == ("not known: numpy.load",)


@pytest.mark.parametrize(
    "expression",
    [
        "torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "[i * 2 for i in range(@n)]",
        "@train::dataset.data + @validate#dataset.data",
        "max(1, @steps // 10)",
        "lambda x: x.float().mean(dim=1)",
        "@network.to(@device).eval()",
        "np.array([1, 2]).astype(np.float32)",
        "monai.handlers.from_engine(['pred', 'label'])",
        "import torch.distributed as dist",
        "import torch as t",
        "from monai.data import DataLoader",
    ],
)
def test_usual_expressions_stay_unmarked(tmp_path, expression):
    (finding,) = _audited(tmp_path, "a.json", json.dumps({"a": f"${expression}"}))
    assert finding.why == ()


def _merge_bomb(_: Path) -> bytes:
    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 30)]
    return "\n".join(lines).encode()


def _packed(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


BUSY = {
    "merge keys": ("a.yaml", _merge_bomb),
    "opcodes without end": ("m.pt", lambda m: _packed("a/data.pkl", b"\x80\x02" + b"N0" * 20_000_000)),
    "text without end": (
        "m.pt",
        lambda m: _packed("a/data.pkl", b"\x80\x04\x8d" + struct.pack("<Q", 2**30) + b"a" * 2**29),
    ),
    "opcodes without end in a text": ("a.txt", lambda m: b"N0" * 2_000_000),
    "a long expression": ("a.json", lambda m: json.dumps({"a": "$" + "1+" * 10**6 + "1"}).encode()),
    "deep brackets": ("a.json", lambda m: json.dumps({"a": "$" + "(" * 5000 + "1" + ")" * 5000}).encode()),
    "a large script": ("a.py", lambda m: b"x = 1\n" * 300_000),
    "deep lists": ("a.json", lambda m: b"[" * 10**6),
}


@pytest.mark.parametrize("sample", BUSY)
def test_a_small_file_keeps_nobody_busy(tmp_path, sample):
    name, content = BUSY[sample]
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / name).write_bytes(content(tmp_path))
    started = time.process_time()
    found = audit_bundle(tmp_path / "bundle")
    assert time.process_time() - started < 10
    assert any(finding.suspicious for finding in found)
