"""What unpickling a file would import, read from its opcodes; nothing is unpickled."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from scsam_monai.audit.finding import Finding

ZIP_START, PICKLE_START = b"PK", b"\x80"
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


def audit_weights(path: Path, file: str) -> Iterator[Finding]:
    """Go through a file of PyTorch's or pickle's kind.

    Args:
        path: of the file.
        file: how to call it.

    Yields:
        the file itself, with what its pickles import beyond plain tensors and whether it carries a program.
    """
    with path.open("rb") as stream:
        start = stream.read(2)
        stream.seek(0)
        try:
            why = tuple(_archive(stream) if start == ZIP_START else _legacy(stream))
        except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
            why = (f"cannot be read ({type(error).__name__})",)
    yield Finding(file, "", "weights", path.name, tuple(dict.fromkeys(why)))


def _archive(stream: IO[bytes]) -> Iterator[str]:
    with zipfile.ZipFile(stream) as archive:
        names = archive.namelist()
        if any("/code/" in name or name.endswith("constants.pkl") for name in names):
            yield "TorchScript: a program, which runs when it is called"
        for name in names:
            if name.endswith(".pkl"):
                with archive.open(name) as member:
                    yield from _imports_of(member)


def _legacy(stream: IO[bytes]) -> Iterator[str]:
    first = stream.read(1)
    stream.seek(0)
    if first != PICKLE_START:
        yield "neither a zip archive nor a pickle"
        return
    for number in range(LEGACY_PICKLES):
        try:
            yield from _imports_of(stream)
        except EOFError:
            return
        if number == 0 and stream.peek(1)[:1] != PICKLE_START:  # type: ignore[attr-defined]
            return


def _imports_of(stream: IO[bytes]) -> Iterator[str]:
    """What one pickle imports that is not plain."""
    strings: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name in STRINGS:
                strings.append(str(argument))
            elif opcode.name in ("GLOBAL", "INST"):
                yield from _unless_plain(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                yield from _unless_plain(".".join(strings[-2:]))
            elif opcode.name in ("EXT1", "EXT2", "EXT4"):
                yield "imports from the extension registry"
    except ValueError:
        yield "a pickle that cannot be read to its end"


def _unless_plain(name: str) -> Iterator[str]:
    storage = name.startswith("torch.") and name.count(".") == 1 and name.endswith("Storage")
    if not storage and name not in PLAIN:
        yield f"unpickling imports {name}"
