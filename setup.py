"""What setup.cfg cannot say: files beside the package in the repository that are inside it once it is built."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ALONG = {
    "bundle": (
        *("LICENSE", "large_files.yml", "configs/*.json", "configs/*.conf", "docs/*"),
        *("models/model.json", "models/model.pt", "samples/*"),
        *("models/scsam_*.safetensors", "models/recognition.safetensors"),
        "models/tf_efficientnet_lite0.safetensors",
    ),
    "docs/monai_label": ("*.sh", "*.txt", "*.py"),
}
"""Folders of the repository and what of them goes along; runs and data that lie there stay behind."""


class BuildWithBundle(build_py):
    """Puts those files into wheels and, as sources, into sdists; editable installations use the repository's."""

    def finalize_options(self) -> None:
        """Settle what is to be copied."""
        super().finalize_options()
        self.data_files = self.get_data_files_without_manifest()

    def get_data_files_without_manifest(self) -> list[tuple[str, str, str, list[str]]]:
        """Add them to the package's own data files; setuptools asks for these when it lists the sources, too."""
        return [*super().get_data_files_without_manifest(), *map(self._along, ALONG)]

    def _along(self, folder: str) -> tuple[str, str, str, list[str]]:
        files = sorted(path for pattern in ALONG[folder] for path in Path(folder).glob(pattern))
        target = str(Path(self.build_lib) / "scsam_monai" / folder)
        return "scsam_monai", folder, target, [str(path.relative_to(folder)) for path in files]


setup(cmdclass={"build_py": BuildWithBundle})
