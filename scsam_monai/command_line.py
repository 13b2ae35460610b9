"""What ``python -m monai.bundle`` lacks: errors in one line, a check of overrides, the bundle's folder, a device.

The bundle's configs call these first, so that a typo ends the run before it has begun.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import logging
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser
from monai.bundle import run as monai_run

from scsam_monai.errors import InputError
from scsam_monai.filesystem.bundle_folder import bundle_folder, is_bundle
from scsam_monai.threads import share_cores

SEPARATORS = ("::", "#")
PATHS = ("_dir", "_path", "_root")
"""Ends of the keys whose values are paths."""
BESIDE_NUMBERS: dict[str, tuple[type, ...]] = {
    "views": (str, list, tuple),
    "balanced": (bool,),
    "ema": (type(None),),
    "clip_gradients": (type(None),),
}
"""By the end of a key with a number, what else it takes; what builds on the value checks it."""


def guard(argv: Sequence[str] | None = None) -> None:
    """Check the overrides of a ``monai.bundle run`` command and turn input errors into one line; share the cores.

    Elsewhere, in a MONAI Label server or a notebook, this does nothing: exceptions stay exceptions.

    Args:
        argv: the command, by default this process's.

    Raises:
        InputError: if an override names a key that no config file has.
    """
    argv = list(sys.argv if argv is None else argv)
    if not is_bundle_command(argv):
        return
    sys.excepthook = print_in_one_line
    warnings.filterwarnings("ignore", message="`dataloader` is empty")  # data sets may do without validation
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # it would print the error a second time
    check_overrides(argv)
    share_cores()


def is_bundle_command(argv: Sequence[str]) -> bool:
    """Whether ``argv`` is that of ``python -m monai.bundle``."""
    return bool(argv) and Path(argv[0]).parts[-3:] == ("monai", "bundle", "__main__.py")


def in_label_server() -> bool:
    """False; for copies of earlier configs, which asked. It goes with the next release."""
    warnings.warn("configs no longer ask who runs them", DeprecationWarning, stacklevel=2)
    return False


def locate_bundle(argv: Sequence[str] | None = None) -> str:
    """Return the bundle's folder: that of the config on the command line, else the package's own.

    Raises:
        InputError: if there is none.
    """
    argv = list(sys.argv if argv is None else argv)
    files = config_files(argv) if is_bundle_command(argv) else []
    for root in [*(file.resolve().parent.parent for file in files), bundle_folder()]:
        if is_bundle(root):
            return str(root)
    raise InputError(
        "bundle_root",
        expected="a folder that holds configs/metadata.json",
        met="none beside the config file",
        remedy="name it with --bundle_root DIR",
    )


def default_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_overrides(argv: Sequence[str]) -> None:
    """Refuse overrides of keys that the config files do not have; MONAI would accept them in silence.

    Raises:
        InputError: for the first such key, with the closest one that exists.
    """
    files = [str(file) for file in config_files(argv)]
    _check_nested_keys(files)
    config = ConfigParser.load_config_files(files)
    _check_evaluation(config)
    for key, value in _overrides(argv):
        if _exists(config, _split(key)):
            _check_number(key, value, ConfigParser(config).get(key))
            _check_path(key, value)
        else:
            close = difflib.get_close_matches(key, _all_keys(config), n=1)
            hint = f"did you mean --{close[0]}?" if close else "see the config file for its keys"
            raise InputError(f"--{key}", expected="a key of the config", met="no such key", remedy=hint)


def _check_nested_keys(files: Sequence[str]) -> None:
    """Refuse ``a::b`` keys of a later file whose ``a`` the earlier ones have without a ``b``."""
    for position, file in enumerate(files[1:], start=1):
        config = ConfigParser.load_config_files(list(files[:position]))
        for key in ConfigParser.load_config_file(file):
            path = _split(key.lstrip("+"))
            if len(path) > 1 and not _exists(config, path):
                remedy = "correct the key, or add it to the first file"
                raise InputError(file, expected="keys of the config before it", met=key, remedy=remedy)


def _check_evaluation(config: Any) -> None:
    """Refuse to evaluate with the config of several processes: one of the two would lose its ``initialize``.

    The network would be scored with the weights that it was built with, and the run in ``run_dir`` moved away.
    """
    if "evaluating" in config and "$leave_processes(@network)" in (config.get("finalize") or ()):
        raise InputError(
            "--config_file",
            expected="evaluate.json with the configs of one process",
            met="multi_gpu_train.json beside it",
            remedy="leave multi_gpu_train.json out: one process evaluates",
        )


def _check_number(key: str, value: Any, default: Any) -> None:
    """Refuse words where the config has a number."""
    numbers = (int, float)
    allowed = (*numbers, *BESIDE_NUMBERS.get(_split(key)[-1], ()))
    if type(default) in numbers and type(_literal(value)) not in allowed:
        remedy = f"give a number, like {default}"
        raise InputError(f"--{key}", expected="a number", met=repr(value), remedy=remedy)


def _check_path(key: str, value: Any) -> None:
    """Refuse paths that would not arrive as typed: ``2024`` is taken for a number, ``#`` for MONAI's ``::``."""
    if not key.endswith(PATHS) or not isinstance(value, str) or not value or value.startswith("$"):
        return
    if "#" in value:
        name = Path(value).name.replace("#", "_")
        raise InputError(
            f"--{key}",
            expected="a path without #, which MONAI takes for ::",
            met=value,
            remedy=f"give it another name: ln -s {shlex.quote(value)} {shlex.quote(name)}",
        )
    taken = DefaultParseValue(value)
    if taken not in (value, value.strip("'\"")) and taken is not None:
        raise InputError(
            f"--{key}",
            expected="a path",
            met=f"{value}, which this command line takes for {taken!r}",
            remedy=f"write --{key} {shlex.quote(f'./{value}')}",
        )


def merged_config(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Return the configuration that a ``monai.bundle run`` command asks for, overrides included.

    None where the process was not started by such a command.
    """
    argv = list(sys.argv if argv is None else argv)
    if not is_bundle_command(argv):
        return None
    parser = ConfigParser(ConfigParser.load_config_files([str(file) for file in config_files(argv)]))
    parser.update({key: _literal(value) for key, value in _overrides(argv)})
    config: dict[str, Any] = parser.get()
    return config


def config_files(argv: Sequence[str]) -> list[Path]:
    """Return the config files that a ``monai.bundle run`` command names, in its order."""
    flags = dict(_flags(argv))
    if "config_file" not in flags and "args_file" in flags:
        flags.update(ConfigParser.load_config_file(flags["args_file"]))
    value = flags.get("config_file", "")
    names = value.strip("[]").split(",") if isinstance(value, str) else value
    return [Path(str(name).strip(" '\"")) for name in names if str(name).strip(" '\"")]


def print_in_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Exception hook: an :class:`InputError`, however deeply wrapped, is printed as its one line."""
    cause = input_error_in(error)
    if isinstance(error, KeyboardInterrupt):
        print("stopped; a training goes on with the same command and --resume auto", file=sys.stderr)
    elif cause is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(f"error: {cause}", file=sys.stderr)


def input_error_in(error: BaseException | None) -> InputError | None:
    """Return the input error that caused ``error``, however deeply wrapped; None if none did."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, InputError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def _overrides(argv: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield the flags that set keys of the config, without those that are MONAI's own."""
    own = set(inspect.signature(monai_run).parameters) - {"override"}
    return ((key, value) for key, value in _flags(argv) if key not in own)


def _flags(argv: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield ``--key value`` and ``--key=value`` pairs."""
    for position, word in enumerate(argv):
        if not word.startswith("--"):
            continue
        key, equals, value = word[2:].partition("=")
        following = argv[position + 1] if position + 1 < len(argv) else ""
        yield key, value if equals else following


def _literal(value: Any) -> Any:
    """The Python value of a word on the command line; words that are none stay as they are."""
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError):
        return value


def _split(key: str) -> list[str]:
    for separator in SEPARATORS:
        key = key.replace(separator, "\n")
    return key.split("\n")


def _exists(config: Any, path: list[str]) -> bool:
    for step in path:
        if isinstance(config, dict):
            if step not in config:
                return False
            config = config[step]
        elif isinstance(config, list):
            if not step.isdigit() or int(step) >= len(config):
                return False
            config = config[int(step)]
        else:
            return isinstance(config, str) and config.startswith("%")  # a macro is expanded later
    return True


def _all_keys(config: Any, prefix: str = "") -> list[str]:
    if not isinstance(config, dict):
        return []
    keys = []
    for key, value in config.items():
        keys += [f"{prefix}{key}", *_all_keys(value, f"{prefix}{key}::")]
    return keys
