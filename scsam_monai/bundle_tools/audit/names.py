"""Which dotted names a bundle may use without a remark, and which reach files, processes or the network."""

from __future__ import annotations

import builtins
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from inspect import isclass, isfunction, ismodule
from pathlib import Path

_MONAI = "transforms networks losses inferers handlers engines data metrics optimizers utils.enums"
_OURS = (
    "baselines bars data errors filesystem inference io metrics monai_label networks progress "
    "report training weights"
)
LIBRARIES = ("monai", "torch", "ignite", "scsam_monai")
PACKAGES = (
    *("torch.nn", "torch.optim", "torch.utils.data", "torch.utils.tensorboard", "ignite"),
    *(f"monai.{part}" for part in _MONAI.split()),
    *(f"scsam_monai.{part}" for part in _OURS.split()),
)
"""Packages whose public names are accepted."""

_TYPES = "device dtype Tensor Size float half double float16 bfloat16 float32 float64 bool uint8 int8 int16"
_MORE_TYPES = "int32 int64 int long complex64 complex128 Generator finfo iinfo inf nan pi"
_MAKERS = "tensor as_tensor from_numpy zeros ones full empty rand randn randint arange linspace eye stack cat"
_LIKE = "zeros_like ones_like full_like empty_like rand_like randn_like concat chunk split where numel"
_MATH = "abs sum mean std var min max argmax argmin clamp exp log sqrt square pow round floor ceil isnan any"
_MORE_MATH = "all isfinite sigmoid softmax tanh relu matmul einsum flatten reshape squeeze unsqueeze permute"
_STATE = "no_grad inference_mode manual_seed set_num_threads get_num_threads is_tensor autocast"
_CUDA = "is_available device_count current_device set_device empty_cache manual_seed_all synchronize"
_DISTRIBUTED = "get_rank get_world_size barrier is_initialized is_available all_reduce init_process_group"
NAMES = {
    f"{module}.{name}"
    for module, names in {
        "torch": " ".join((_TYPES, _MORE_TYPES, _MAKERS, _LIKE, _MATH, _MORE_MATH, _STATE)),
        "torch.cuda": _CUDA,
        "torch.distributed": f"{_DISTRIBUTED} destroy_process_group",
        "scsam_monai.command_line": "default_device guard in_label_server locate_bundle merged_config",
        "scsam_monai.filesystem.bundle_folder": "output_root",
        "monai.utils": "set_determinism first ensure_tuple ensure_tuple_rep",
    }.items()
    for name in names.split()
}
"""Single names that are accepted besides."""
ALIASES = {"dist": "torch.distributed", "nn": "torch.nn", "F": "torch.nn.functional"}
"""Names under which modules are usually imported."""

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


@dataclass(frozen=True)
class Finding:
    """One thing that a bundle would do, with the file and key that say so.

    Attributes:
        file: path inside the bundle.
        key: where in the file: ids joined by ``::`` in a config, else a line or the name of a part.
        kind: ``target``, ``expression``, ``import``, ``file`` and the like.
        text: what stands there.
        why: what speaks for a closer look; empty where nothing does.
    """

    file: str
    key: str
    kind: str
    text: str
    why: tuple[str, ...] = ()

    @property
    def suspicious(self) -> bool:
        """Whether somebody should look at it before the bundle is run."""
        return bool(self.why)


def is_accepted(name: str) -> bool:
    """Whether a dotted name is on the accepted list, and so is the module that defines its object.

    Example:
        >>> is_accepted("monai.data.Dataset"), is_accepted("monai.utils.run_cmd")
        (True, False)
        >>> is_accepted("monai.data.dataset.torch.hub.load")
        False
    """
    if name in NAMES:
        return True
    _, *others = name.split(".")
    if any(part.startswith("_") or part in LIBRARIES for part in others):
        return False
    return _in_package(_home(name) or name)


@cache
def component_homes(name: str) -> tuple[str, ...]:
    """Return the modules in which MONAI would find a name without dots; none if it knows no such component."""
    from monai.bundle.config_item import ComponentLocator

    found = ComponentLocator(excludes=["metatensor"]).get_component_module_name(name)
    return (found,) if isinstance(found, str) else tuple(found or ())


def _in_package(name: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in PACKAGES)


def _home(name: str) -> str | None:
    """Where an object was defined, or None where that is unknown; looks at what MONAI loads."""
    import monai  # noqa: F401  with all its parts, so that the answer does not hang on what ran before

    parts = name.split(".")
    heads = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    module = next((head for head in heads if head in sys.modules), None)
    if module is None:
        return None
    found: object = sys.modules[module]
    for part in parts[module.count(".") + 1 :]:
        found = vars(found).get(part) if ismodule(found) or isclass(found) else None
    if ismodule(found):
        return str(found.__name__)
    known = (isfunction(found) or isclass(found)) and "<" not in found.__qualname__
    return f"{found.__module__}.{found.__name__}" if known else None  # type: ignore[attr-defined]


def doubts(name: str) -> tuple[str, ...]:
    """Return the doubts about a dotted name, such as that of a ``_target_``.

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
    """Whether a name belongs to a trusted package but is not on the accepted list.

    Example:
        >>> unlisted("dist.barrier"), unlisted("os.system"), unlisted("monai.bundle.run")
        ((), (), ("not on the list of monai's harmless names",))
    """
    first, dot, rest = name.partition(".")
    full = ALIASES.get(first, first) + dot + rest
    top = full.partition(".")[0]
    return () if top not in TRUSTED or is_accepted(full) else (f"not on the list of {top}'s harmless names",)


def package_doubts(module: str) -> tuple[str, ...]:
    """Return the doubts about importing a module."""
    parts = module.split(".")
    strange = () if parts[0] in {*TRUSTED, *HARMLESS} else (f"outside {', '.join(TRUSTED)}",)
    return (*strange, *reached(parts))


def reached(parts: list[str]) -> list[str]:
    """Return remarks on the modules in a dotted name that reach files, processes or the network.

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
