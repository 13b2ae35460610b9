"""A real MONAI Label server on a free port of this machine, started as the guide says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
SCRIPTS = REPOSITORY / "docs" / "monai_label"
START_SECONDS, MAKE_SECONDS = 300, 3600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.monai_label)


@pytest.fixture(scope="session")
def label_env() -> Path:
    """MONAI Label's own environment; start.sh makes it where the folder has none yet."""
    folder = os.environ.get("SCSAM_LABEL_ENV")
    if not folder:
        pytest.skip(
            "needs MONAI Label's own environment: run `make test-label`, or set SCSAM_LABEL_ENV to a folder"
        )
    return Path(folder).absolute()


@dataclass
class Answer:
    """What the server says."""

    status: int
    body: bytes

    @property
    def sentence(self) -> str:
        """The detail of an error."""
        detail: str = json.loads(self.body)["detail"]
        return detail


@dataclass
class Server:
    """A running server and its folder."""

    folder: Path
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, body: Any = None, **parts: Any) -> Answer:
        """Send JSON, or a form of files (paths) and fields (anything else, as JSON)."""
        content, kind = (json.dumps(body).encode(), "application/json") if body is not None else _form(parts)
        request = urllib.request.Request(f"{self.url}{path}", content, {"Content-Type": kind}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return Answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read())

    def get(self, path: str) -> Any:
        """Fetch JSON."""
        answer = self.call("GET", path)
        assert answer.status == 200, answer
        return json.loads(answer.body)

    def files(self) -> dict[str, bytes]:
        """The data store, byte for byte; its journal aside."""
        images = self.folder / "images"
        files = (path for path in images.rglob("*") if path.is_file())
        return {
            str(path.relative_to(images)): path.read_bytes()
            for path in files
            if path.name not in (".lock", "datastore_v2.json")
        }


def _form(parts: dict[str, Any]) -> tuple[bytes, str]:
    border, body = uuid.uuid4().hex, b""
    for name, value in parts.items():
        file = f'; filename="{value.name}"' if isinstance(value, Path) else ""
        content = value.read_bytes() if isinstance(value, Path) else json.dumps(value).encode()
        body += f'--{border}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        body += content + b"\r\n"
    return body + f"--{border}--\r\n".encode(), f"multipart/form-data; boundary={border}"


def free_port() -> int:
    """A port of this machine that nobody listens to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextlib.contextmanager
def running(server: Server, command: list[Any], seconds: float, **environment: str) -> Iterator[Server]:
    """Run a command in a process group of its own until the block ends, from when the server answers."""
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + seconds
        while not _answers(server):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start:\n{server.log.read_text()[-3000:]}")
            time.sleep(1)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(server: Server) -> bool:
    try:
        return server.call("GET", "/info/").status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


@pytest.fixture(scope="session")
def server(label_env: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of the guide's one command."""
    folder = tmp_path_factory.mktemp("label") / "my server"
    server = Server(folder, free_port(), folder.with_suffix(".log"))
    command = [SCRIPTS / "start.sh", folder, "--port", str(server.port)]
    making = 0 if (label_env / "scsam-ready").exists() else MAKE_SECONDS
    with running(server, command, START_SECONDS + making, SCSAM_LABEL_ENV=str(label_env)):
        yield server


@pytest.fixture(scope="session")
def command_line(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels of the sample images from the bundle's own command line, in another environment."""
    output = tmp_path_factory.mktemp("labels")
    predict(server.folder / "images", output, voxel_size_nm="[16,16,16]")
    return output


def predict(images: Path, output: Path, **options: str) -> None:
    """Run the bundle's inference as its guide says."""
    inference = str(REPOSITORY / "bundle" / "configs" / "inference.json")
    words = ["run", "inferring", "--config_file", inference, "--dataset_dir", images, "--output_dir", output]
    flags = [word for key, value in options.items() for word in (f"--{key}", value)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "monai.bundle", *words, *flags]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
