"""Download named weights over HTTP: resumed after a broken connection, and checked by their hash.

Why not ``monai.apps.utils.download_url`` or ``pooch``: both check a hash, but begin anew when a connection breaks,
after up to 2.6 GB.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO
from urllib import request
from urllib.error import HTTPError, URLError

from scsam_monai._version import __version__
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import DISK_FULL
from scsam_monai.filesystem.locks import exclusive
from scsam_monai.progress import Progress, amount
from scsam_monai.weights.registry import (
    VARIABLE,
    Weights,
    WeightsFile,
    cache_dir,
    check_content,
    find,
    find_weights,
    where_to_put,
)

TRIES, PAUSE_S, TIMEOUT_S = 3, 1.0, 30.0
CHUNK = 1 << 20
WORTH_A_RETRY = (408, 429, 500, 502, 503, 504)

Cancel = Callable[[], bool]

logger = logging.getLogger(__name__)


class CancelledError(Exception):
    """Raised when the caller cancels a download, which can be resumed later."""


class _BrokenError(Exception):
    """A connection that may work the next time."""


class _Redirects(request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def transfer(
    file: WeightsFile, part: Path, progress: Progress | None = None, cancel: Cancel | None = None
) -> None:
    """Download the rest of ``file.url`` into ``part``, after what it holds already.

    A server that ignores the request for the rest sends everything again. Broken connections are tried again a few
    times, later each time. Whether the content is right is left to the caller.

    Args:
        file: what to get.
        part: where to.
        progress: called with bytes done and in all, 0 where that is not known.
        cancel: asked between chunks.

    Raises:
        InputError: if the server cannot be reached, breaks off every time or has another file, or the disk is full.
        CancelledError: if ``cancel`` said so.
    """
    url = file.url or ""
    check_address(url)
    for attempt in range(TRIES):
        time.sleep(PAUSE_S * attempt)
        try:
            return _attempt(file, url, part, progress, cancel)
        except _BrokenError as error:
            reason = str(error)
    raise InputError(
        url,
        expected="a connection that holds",
        met=f"{reason}, {TRIES} times",
        remedy="run the same command again later: it goes on where it stopped",
    )


def check_address(url: str) -> None:
    """Refuse anything but ``http`` and ``https``.

    Raises:
        InputError: for other addresses, such as ``file:``.
    """
    if not url.startswith(("http://", "https://")):
        raise InputError(
            url, expected="an http or https address", met="another", remedy="correct the address"
        )


def _attempt(
    file: WeightsFile, url: str, part: Path, progress: Progress | None, cancel: Cancel | None
) -> None:
    start = part.stat().st_size if part.exists() else 0
    if start == file.size:
        return
    if file.size is not None and start > file.size:
        start = 0
    with _open(url, start) as response:
        start = start if response.status == 206 and _starts_at(response, start) else 0
        total = _total(response, start) or file.size or 0
        if file.size is not None and total != file.size:
            remedy = "try again later; if it stays so, the file at that address has changed"
            raise InputError(url, expected=f"{file.size} bytes", met=f"{total}", remedy=remedy)
        _check_space(part, total - start)
        done = _receive(response, part, start, total, progress, cancel)
    if done < total:
        raise _BrokenError(f"cut off after {done} of {total} bytes")


def _open(url: str, start: int) -> HTTPResponse:
    # A director of its own: urllib's default one would open file: and ftp: addresses, too.
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        _Redirects(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    headers = {"User-Agent": f"scsam-monai/{__version__}"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response: HTTPResponse = opener.open(request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except HTTPError as error:
        if error.code == 416 and start:  # what was kept is no beginning of the file that is there now
            return _open(url, 0)
        if error.code in WORTH_A_RETRY:
            raise _BrokenError(f"HTTP status {error.code}") from error
        remedy = "check the address; it may have moved"
        raise InputError(url, expected="a file", met=f"HTTP status {error.code}", remedy=remedy) from error
    except (URLError, OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise _BrokenError(f"no connection ({str(reason) or type(error).__name__})") from error
    return response


def _starts_at(response: HTTPResponse, start: int) -> bool:
    """Whether a partial answer is the part that was asked for."""
    return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _total(response: HTTPResponse, start: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdigit() else None


def _receive(
    response: HTTPResponse,
    part: Path,
    start: int,
    total: int,
    progress: Progress | None,
    cancel: Cancel | None,
) -> int:
    """Append the answer to the first ``start`` bytes of ``part``; return the bytes it then has."""
    done = start
    with part.open("r+b" if part.exists() else "wb") as stream:
        stream.seek(start)
        stream.truncate()
        while True:
            if progress is not None:
                progress(done, total)
            if cancel is not None and cancel():
                raise CancelledError(part.name)
            try:
                chunk = response.read(CHUNK)
            except (OSError, HTTPException) as error:
                raise _BrokenError(
                    f"cut off after {done} bytes ({str(error) or type(error).__name__})"
                ) from error
            if not chunk:
                break
            _write(stream, chunk, part)
            done += len(chunk)
        os.fsync(stream.fileno())
    return done


def _write(stream: IO[bytes], chunk: bytes, part: Path) -> None:
    try:
        stream.write(chunk)
        stream.flush()
    except OSError as error:
        if error.errno in DISK_FULL:
            raise _no_space(part, "more space", "a full disk") from error
        met = error.strerror or type(error).__name__
        raise InputError(part, expected="to write here", met=met, remedy="check the disk") from error


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise _no_space(part, f"{amount(needed)} free", amount(free))


def _no_space(part: Path, expected: str, met: str) -> InputError:
    remedy = "free some space or fetch into another folder; what has arrived is kept"
    return InputError(part.parent, expected=expected, met=met, remedy=remedy)


def fetch(
    name: str,
    target: str | Path | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[Path]:
    """Return the files of named weights, fetched unless they are on this machine already.

    Files arrive as ``NAME.part`` and take their own name once size and SHA-256 are right. What a broken connection
    left is gone on with the next time. Several processes may fetch the same file: one does, the others wait.

    Args:
        name: in the registry.
        target: folder to fetch into; None takes files from wherever they are found, and fetches the others into the
            folder that ``SCSAM_WEIGHTS_DIR`` names, else into the user's cache.
        progress: called with bytes done and in all.
        cancel: asked between chunks.

    Raises:
        InputError: if the files cannot be had, saying why and how else to get them.
        CancelledError: if ``cancel`` said so; what arrived is kept.
    """
    weights = find_weights(name)
    if target is None and (found := find(weights)) is not None:
        for file, path in zip(weights.files, found, strict=True):
            check_content(file, path)
        return found
    folder = Path(target or os.environ.get(VARIABLE) or cache_dir())
    return [_fetch_file(weights, file, folder, progress, cancel) for file in weights.files]


def _fetch_file(
    weights: Weights, file: WeightsFile, folder: Path, progress: Progress | None, cancel: Cancel | None
) -> Path:
    path = folder / file.name
    if _is_right(file, path):
        return path
    if file.url is None:
        met = "no address to fetch it from" if not path.exists() else "another file"
        raise InputError(path, expected=file.name, met=met, remedy=where_to_put(weights, folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(path.with_name(f"{path.name}.part"), lambda: _stop_if(cancel)) as part:
            _fetch_into(weights, file, part, path, progress, cancel)
    except OSError as error:
        raise InputError(
            folder,
            expected="a folder that can be written to",
            met=error.strerror or type(error).__name__,
            remedy=f"fetch into another folder, or set {VARIABLE} to one",
        ) from error
    logger.info("%s fetched to %s", file.name, folder)
    return path


def _fetch_into(
    weights: Weights,
    file: WeightsFile,
    part: Path,
    path: Path,
    progress: Progress | None,
    cancel: Cancel | None,
) -> None:
    try:
        if _is_right(file, path):  # another process was first
            part.unlink(missing_ok=True)
            return
        transfer(file, part, progress, cancel)
        _check(file, part)
        part.replace(path)
    except InputError as error:
        remedy = f"{error.remedy}; without a network, {where_to_put(weights, path.parent)}"
        raise InputError(error.where, expected=error.expected, met=error.met, remedy=remedy) from error
    finally:
        if part.exists() and not part.stat().st_size:
            part.unlink()


def _check(file: WeightsFile, part: Path) -> None:
    """Refuse and remove what is not the registered file: it must not be gone on with."""
    try:
        check_content(file, part)
    except InputError as error:
        part.unlink()
        remedy = "it was removed: fetch again; if it stays so, the file at that address has changed"
        raise InputError(file.url or part, expected=error.expected, met=error.met, remedy=remedy) from error


def _is_right(file: WeightsFile, path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        check_content(file, path)
    except InputError as error:
        logger.warning("%s: fetched again", error)
        return False
    return True


def _stop_if(cancel: Cancel | None) -> None:
    if cancel is not None and cancel():
        raise CancelledError
