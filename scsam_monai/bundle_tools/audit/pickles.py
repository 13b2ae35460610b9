"""List what unpickling a file would import, from its opcodes; nothing is unpickled."""

from __future__ import annotations

import itertools
import lzma
import pickletools
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from numpy.lib import format as npy

from scsam_monai.bundle_tools.audit.names import Finding

ZIP_START, PICKLE_START, ARRAY_START = b"PK\x03\x04", b"\x80", b"\x93NUMPY"
PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")
MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PICKLES = 5
"""torch's older format: magic number, version, system, the object, keys of the storages; raw bytes follow."""
PLAIN = {
    *("collections.OrderedDict", "builtins.set", "builtins.complex", "builtins.bytearray", "torch.Size"),
    *("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"),
    *("torch.nn.parameter.Parameter", "torch._tensor._rebuild_from_type_v2", "torch.device"),
    *("torch.serialization._get_layout", "torch.storage.UntypedStorage", "torch.storage.TypedStorage"),
    *("torch.float16", "torch.bfloat16", "torch.float32", "torch.float64", "torch.complex64", "torch.bool"),
    *("torch.uint8", "torch.int8", "torch.int16", "torch.int32", "torch.int64", "torch.strided"),
}
"""What plain tensors and containers are rebuilt with."""
STRINGS = {
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
    "UNICODE",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
}
KEEPING = {"MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "FRAME"}
"""What leaves the two strings of a ``STACK_GLOBAL`` on top of the stack."""
OPCODES = {opcode.code for opcode in pickletools.opcodes}
UNFINISHED = "a pickle that cannot be read to its end"
MOST_OPCODES, MOST_BYTES, MOST_MEMBERS = 500_000, 256 * 2**20, 20_000
"""What of the pickles in one file is looked at: a few packed bytes can be billions."""
UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError),
    *(EOFError, ValueError, lzma.LZMAError, OverflowError, MemoryError),
)


def audit_weights(path: Path, file: str) -> Iterator[Finding]:
    """List what loading a PyTorch or pickle file would import.

    Args:
        path: of the file.
        file: how to call it.

    Yields:
        the file itself, with what its pickles import beyond plain tensors and whether it carries a program.
    """
    why: list[str] = []
    try:
        with path.open("rb") as stream:
            start = stream.read(len(ZIP_START))
            stream.seek(0)
            budget = _Budget()
            for doubt in _archive(stream, budget) if start == ZIP_START else _legacy(stream, budget):
                why.append(doubt)
    except UNREADABLE as error:
        why.append(f"cannot be read ({type(error).__name__})")
    yield Finding(file, "", "weights", path.name, tuple(dict.fromkeys(why)))


def audit_npy(path: Path, file: str) -> Iterator[Finding]:
    """Tell from a NumPy file's header whether it holds pickled objects.

    Args:
        path: of the file.
        file: how to call it.
    """
    with path.open("rb") as stream:
        yield Finding(file, "", "array", path.name, tuple(array_doubts(stream)))


def is_pickle(path: Path) -> bool:
    """Whether a file begins with a pickle, of any protocol: with opcodes that lead to its end or on an import."""
    try:
        with path.open("rb") as stream:
            if (start := stream.read(3)).startswith(PICKLE_START) and start[2:].decode("latin-1") in OPCODES:
                return True
            stream.seek(0)
            for count, (opcode, _, _) in enumerate(pickletools.genops(stream)):
                if opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL", "REDUCE") or count > MOST_OPCODES:
                    return True
    except UNREADABLE:
        return False
    return True


class _Budget:
    """What may still be looked at of a file."""

    def __init__(self) -> None:
        self.opcodes, self.bytes = MOST_OPCODES, MOST_BYTES


class _Limited:
    """A stream that ends with an error where the budget does."""

    def __init__(self, stream: IO[bytes], budget: _Budget) -> None:
        self.stream, self.budget = stream, budget

    def _take(self, content: bytes) -> bytes:
        self.budget.bytes -= len(content)
        if self.budget.bytes < 0:
            raise ValueError("more than is looked at")
        return content

    def read(self, size: int) -> bytes:
        return self._take(self.stream.read(min(size, self.budget.bytes + 1)))

    def readline(self) -> bytes:
        return self._take(self.stream.readline(self.budget.bytes + 1))


def _archive(stream: IO[bytes], budget: _Budget) -> Iterator[str]:
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        if len(members) > MOST_MEMBERS:
            yield f"more than {MOST_MEMBERS} members, which are not looked into"
            return
        names = [member.filename.lower() for member in members]
        if len(set(names)) < len(names):
            yield "an archive with two members of one name"
        if any("/code/" in name or name.endswith("constants.pkl") for name in names):
            yield "TorchScript: a program, which runs when it is called"
        elif any(name.endswith((".py", ".pyc", ".pyd", ".so", ".dll")) for name in names):
            yield "an archive with code"
        for name, member in zip(names, members, strict=True):
            with archive.open(member) as content:
                start = content.peek(len(ARRAY_START))[: len(ARRAY_START)]  # type: ignore[attr-defined]
                if start == ARRAY_START or name.endswith(".npy"):
                    yield from array_doubts(content)
                elif name.endswith(".pkl") or _begins_pickle(start):
                    yield from _imports_of(content, [], budget)
                    if name.endswith(".pkl") and content.read(1):
                        yield "bytes after the end of a pickle"
                elif start.startswith(ZIP_START):
                    yield "an archive in an archive, which is not looked into"


def _begins_pickle(start: bytes) -> bool:
    return (
        start.startswith(PICKLE_START) and start[1:2] in PROTOCOLS and start[2:3].decode("latin-1") in OPCODES
    )


def _legacy(stream: IO[bytes], budget: _Budget) -> Iterator[str]:
    if tarfile.is_tarfile(stream):
        yield "a tar archive, which is not looked into"
    stream.seek(0)
    numbers: list[int] = []
    for count in itertools.count():
        if not stream.peek(1):  # type: ignore[attr-defined]
            if count == 0:
                yield "neither a zip archive nor a pickle"
            return
        if count == LEGACY_PICKLES and numbers[:1] == [MAGIC]:
            return
        found = list(_imports_of(stream, numbers, budget))
        yield from found
        if count == 0 and numbers != [MAGIC]:
            numbers = [0]
        if UNFINISHED in found:
            yield "neither a zip archive nor a pickle" if count == 0 else "bytes after the end of a pickle"
            return


def array_doubts(stream: IO[bytes]) -> Iterator[str]:
    """Return the doubts about a NumPy file."""
    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        if read(stream)[2].hasobject:
            yield "an array of objects, which are pickled"
    except ValueError:
        yield "no NumPy file that can be read"


def _imports_of(stream: IO[bytes], numbers: list[int], budget: _Budget) -> Iterator[str]:
    """What one pickle imports that is not plain; whole numbers met are added to ``numbers``."""
    strings: list[str] = []
    try:
        limited: Any = _Limited(stream, budget)
        for opcode, argument, _ in pickletools.genops(limited):
            budget.opcodes -= 1
            if budget.opcodes < 0:
                yield UNFINISHED
                return
            if opcode.name == "STACK_GLOBAL":
                # Operands that were fetched from the memo, or pushed and popped, are not followed.
                plain = len(strings) >= 2
                yield from _unless_plain(".".join(strings[-2:])) if plain else ("imports what it hides",)
            elif opcode.name in ("GLOBAL", "INST"):
                yield from _unless_plain(str(argument).replace(" ", "."))
            elif opcode.name in ("EXT1", "EXT2", "EXT4"):
                yield "imports from the extension registry"
            elif opcode.name in ("LONG", "LONG1", "LONG4"):
                numbers.append(int(str(argument)))
            if opcode.name in STRINGS:
                strings.append(str(argument))
            elif opcode.name not in KEEPING:
                strings.clear()
    except (ValueError, OverflowError, MemoryError, IndexError):
        yield UNFINISHED


def _unless_plain(name: str) -> Iterator[str]:
    storage = name.startswith("torch.") and name.count(".") == 1 and name.endswith("Storage")
    if not storage and name not in PLAIN:
        yield f"unpickling imports {name}"
