"""What ``docs/monai_label.md`` shows is what works."""

from __future__ import annotations

import re
import subprocess
import time

import pytest

from tests.monai_label.app.conftest import REPOSITORY

GUIDE = REPOSITORY / "docs" / "monai_label.md"


def commands():
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    return "".join(blocks).splitlines()


CALLS = [command for command in commands() if command.startswith("curl ")]


def test_the_guide_shows_the_scripts_that_the_tests_run():
    shown = "\n".join(commands())
    assert "docs/monai_label/start.sh ~/scsam-label" in shown
    assert (
        "~/scsam-label/env/bin/python docs/monai_label/loop.py --truth ~/scsam-label/truth/stack.tif" in shown
    )
    assert len(CALLS) == 7


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_calls_of_the_guide_in_their_order(server, number):
    call = (
        CALLS[number]
        .replace("http://127.0.0.1:8000", server.url)
        .replace('"max_epochs": 20', '"max_epochs": 1')
    )
    call = call.replace("curl ", "curl --fail-with-body --silent --show-error ", 1)
    done = subprocess.run(
        ["bash", "-c", call], cwd=server.folder, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "-X POST" in call and "/train/" in call:
        wait_for_training(server)


def wait_for_training(server):
    deadline = time.monotonic() + 600
    while (task := server.get("/train/"))["status"] in ("SUBMITTED", "RUNNING"):
        assert time.monotonic() < deadline, task
        time.sleep(2)
    assert task["status"] == "DONE", task
    assert any("verdict: " in line for line in task["details"]), task
