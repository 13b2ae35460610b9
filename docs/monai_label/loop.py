"""The annotation loop as REST calls: image, prediction, correction, training, prediction.

    python docs/monai_label/loop.py --server http://127.0.0.1:8000 --image stack --truth FOLDER/truth/stack.tif

The "correction" is the left half of the true labels that come with the sample images. What nobody looked at, the
right half, is unknown (255).
"""

from __future__ import annotations

import argparse
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import requests
import tifffile

MODEL = "scsam"
UNKNOWN = 255


class Server:
    """A MONAI Label server."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request; an error ends the script with the server's own sentence."""
        answer = requests.request(method, f"{self.url}{path}", timeout=600, **options)
        if not answer.ok:
            raise SystemExit(f"{method} {path}: {answer.status_code} {answer.json()['detail']}")
        return answer

    def image(self, name: str) -> np.ndarray:
        """Fetch an image of the data store."""
        return tifffile.imread(io.BytesIO(self.call("GET", f"/datastore/image?image={name}").content))

    def predict(self, name: str) -> np.ndarray:
        """Have an image segmented; the answer has its format and shape."""
        answer = self.call("POST", f"/infer/{MODEL}?image={name}&output=image")
        return tifffile.imread(io.BytesIO(answer.content))

    def correct(self, name: str, labels: np.ndarray) -> None:
        """Hand in a corrected label, which training will learn from."""
        file = io.BytesIO()
        tifffile.imwrite(file, labels, photometric="minisblack", compression="zlib")
        label = {"label": (f"{name}.tif", file.getvalue())}
        self.call("PUT", f"/datastore/label?image={name}&tag=final", files=label)

    def train(self, epochs: int) -> str:
        """Train in the background and wait for the end; returns what the server says last."""
        self.call("POST", f"/train/{MODEL}", json={"max_epochs": epochs})
        while (task := self.call("GET", "/train/").json())["status"] in ("SUBMITTED", "RUNNING"):
            time.sleep(2)
        lines = [line for line in task["details"] if "verdict: " in line] or task["details"][-1:]
        return f"{task['status']}: {lines[-1].split('verdict: ')[-1]}"


def main() -> None:
    """Run the loop once."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    parser.add_argument("--image", default="stack")
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    server, name = Server(options.server), options.image

    print(
        "models:",
        json.dumps({k: v["labels"] for k, v in server.call("GET", "/info/").json()["models"].items()}),
    )
    image = server.image(name)
    before = server.predict(name)
    print(f"{name}: image {image.shape} {image.dtype}, labels {before.shape} {before.dtype}")

    truth = tifffile.imread(options.truth)
    corrected = truth.copy()
    corrected[..., truth.shape[-1] // 2 :] = UNKNOWN
    server.correct(name, corrected)
    print(server.train(options.epochs))

    after = server.predict(name)
    unseen = (..., slice(truth.shape[-1] // 2, None))
    for when, labels in (("before", before), ("after", after)):
        print(
            f"right half, which was not learned: {(labels == truth)[unseen].mean():.3f} right {when} training"
        )


if __name__ == "__main__":
    main()
