"""Which names are those of the libraries a bundle is expected to use, and which reach beyond."""

from __future__ import annotations

import builtins
from importlib.util import find_spec
from pathlib import Path

from scsam_monai.audit.accepted import ALIASES, LIBRARIES, component_homes, is_accepted

TRUSTED = LIBRARIES
"""Packages whose classes and functions a config may name."""
HARMLESS = {"numpy", "math", "__future__", "typing", "collections", "functools", "itertools", "dataclasses"}
"""Further packages that expressions and scripts may import without a remark."""

_FILES = {"os", "posix", "nt", "io", "pathlib", "shutil", "glob", "tempfile", "zipfile", "tarfile", "mmap"}
_PROCESSES = {
    "subprocess",
    "multiprocessing",
    "threading",
    "concurrent",
    "asyncio",
    "pty",
    "signal",
    "psutil",
}
_NETWORK = {"socket", "ssl", "http", "urllib", "urllib3", "requests", "httpx", "aiohttp", "ftplib", "smtplib"}
_SERVICES = {"telnetlib", "xmlrpc", "webbrowser", "paramiko", "git", "huggingface_hub", "boto3"}
_PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
_INTERPRETER = {
    "sys",
    "builtins",
    "importlib",
    "imp",
    "runpy",
    "code",
    "codeop",
    "ctypes",
    "cffi",
    "inspect",
    "gc",
}
_INSTALLERS = {"pdb", "bdb", "zipimport", "pkgutil", "pydoc", "site", "sysconfig", "pip", "setuptools"}
_COMPILERS = {"f2py", "distutils", "cpp_extension", "operator"}
_FRAMES = {"gi_frame", "cr_frame", "ag_frame", "tb_frame", "f_back", "f_globals", "f_locals", "f_builtins"}
REACHING = (
    _FILES | _PROCESSES | _NETWORK | _SERVICES | _PICKLES | _INTERPRETER | _INSTALLERS | _COMPILERS | _FRAMES
)
"""Modules that reach files, processes, the network or the interpreter."""

_RUN = {
    "eval",
    "exec",
    "compile",
    "system",
    "popen",
    "Popen",
    "spawn",
    "fork",
    "execv",
    "execve",
    "run_command",
    "run_cmd",
    "ConfigParser",
    "ConfigWorkflow",
    "ComponentLocator",
    "instantiate",
    "run_eval",
    "runstring",
}
_CALL = {"call", "check_call", "check_output", "run_path", "run_module", "run_workflow", "create_workflow"}
_LOOK = {"getattr", "setattr", "delattr", "globals", "locals", "vars", "input", "breakpoint"}
_IMPORT = {
    "__import__",
    "import_module",
    "exec_module",
    "load_module",
    "load_library",
    "load_inline",
    "locate",
}
_OPTIONAL = {"optional_import", "hub", "load", "unsafe_load", "load_url", "load_state_dict_from_url"}
_FETCH = {"urlopen", "urlretrieve", "download", "download_url", "download_and_extract", "extractall"}
_WRITE = {"open", "write_text", "write_bytes", "save", "dump", "tofile", "savetxt", "memmap", "fromfile"}
_REMOVE = {"remove", "unlink", "rmdir", "rmtree", "rename", "symlink", "chmod", "mkfifo"}
ACTING = _RUN | _CALL | _LOOK | _IMPORT | _OPTIONAL | _FETCH | _WRITE | _REMOVE
"""Functions that run code, write files or fetch something, by whatever name they are reached."""
BUILTIN = {
    "eval",
    "exec",
    "compile",
    "open",
    "__import__",
    "breakpoint",
    "globals",
    "locals",
    "vars",
    "input",
    "setattr",
    "delattr",
}
"""Those among Python's own that are worth a remark even where they are not called."""


def doubts(name: str) -> tuple[str, ...]:
    """What speaks against a dotted name, such as that of a ``_target_``.

    Example:
        >>> doubts("torch.optim.AdamW"), doubts("torch.serialization.os.system")
        ((), ("not on the list of torch's harmless names", 'reaches os', 'calls system'))
        >>> doubts("shutil.rmtree")
        ('outside monai, torch, ignite, scsam_monai', 'reaches shutil', 'calls rmtree')
    """
    parts = name.split(".")
    found = []
    if len(parts) == 1:
        if hasattr(builtins, name):
            found.append("a builtin of Python")
        elif not (homes := component_homes(name)):
            found.append("not a component of MONAI")
        else:
            found += [doubt for home in homes for doubt in unlisted(f"{home}.{name}")]
    elif parts[0] not in TRUSTED:
        found.append(f"outside {', '.join(TRUSTED)}")
    else:
        found += unlisted(name)
    found += reached(parts)
    if parts[-1] in ACTING:
        found.append(f"calls {parts[-1]}")
    found += [f"uses {part}" for part in parts if part.startswith("__") and part != "__future__"]
    return tuple(dict.fromkeys(found))


def unlisted(name: str) -> tuple[str, ...]:
    """Whether a trusted package's name, or one usually given to its modules, is not among the accepted.

    Example:
        >>> unlisted("dist.barrier"), unlisted("os.system"), unlisted("monai.bundle.run")
        ((), (), ("not on the list of monai's harmless names",))
    """
    first, dot, rest = name.partition(".")
    full = ALIASES.get(first, first) + dot + rest
    top = full.partition(".")[0]
    return () if top not in TRUSTED or is_accepted(full) else (f"not on the list of {top}'s harmless names",)


def package_doubts(module: str) -> tuple[str, ...]:
    """What speaks against importing a module."""
    parts = module.split(".")
    strange = () if parts[0] in {*TRUSTED, *HARMLESS} else (f"outside {', '.join(TRUSTED)}",)
    return (*strange, *reached(parts))


def reached(parts: list[str]) -> list[str]:
    """Remarks on the modules of a dotted name that reach beyond, but for a trusted package's own parts.

    Example:
        >>> reached(["scsam_monai", "io", "image"]), reached(["torch", "serialization", "os"])
        ([], ['reaches os'])
    """
    beyond = [
        part for place, part in enumerate(parts) if part in REACHING and not _is_own(parts[: place + 1])
    ]
    return [f"reaches {part}" for part in dict.fromkeys(beyond)]


def _is_own(parts: list[str]) -> bool:
    """Whether a dotted name is a module in a trusted package's folder; nothing is imported to find out."""
    if len(parts) < 2 or parts[0] not in TRUSTED or (spec := find_spec(parts[0])) is None:
        return False
    places = [Path(folder).joinpath(*parts[1:]) for folder in spec.submodule_search_locations or ()]
    return any(place.is_dir() or place.with_suffix(".py").is_file() for place in places)
