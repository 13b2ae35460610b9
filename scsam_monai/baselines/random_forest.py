"""A random forest on local image features, like interactive pixel classifiers: the baseline to beat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from scsam_monai.baselines.peer import Peer
from scsam_monai.baselines.trees import FIELDS, check_trees, class_shares, no_trees, trees_of
from scsam_monai.errors import InputError

LOWEST_PROBABILITY = 1e-6


class RandomForestSegmenter(Peer):
    """Pixel classifier on intensity, edges and texture at several scales, with the interface of a network.

    Features are those of scikit-image's trainable segmentation
    (:func:`skimage.feature.multiscale_basic_features`): the smoothed image, its gradient magnitude and the
    eigenvalues of its Hessian.

    Pixels are drawn evenly over the classes, so that rare organelles are learned at all. A forest trained that
    way takes every class for equally frequent; its probabilities are brought back towards the frequencies in
    the crops, by ``prior_power``: 0 leaves them, 1 restores the frequencies in full.

    Args:
        n_classes: K', background included.
        n_trees: number of trees.
        max_depth: of each tree.
        max_samples: fraction of the pixels that each tree sees.
        sigma_min: finest scale in pixels.
        sigma_max: coarsest scale in pixels; scales double in between.
        prior_power: how far class frequencies are restored.
        n_jobs: threads, for features and forest.

    Attributes:
        forest: scikit-learn's, once fitted; None where the trees come from a state dict, which takes more time.
    """

    prior: Tensor

    def __init__(
        self,
        n_classes: int,
        *,
        n_trees: int = 100,
        max_depth: int = 16,
        max_samples: float = 0.25,
        sigma_min: float = 0.5,
        sigma_max: float = 16.0,
        prior_power: float = 0.5,
        n_jobs: int = 1,
    ) -> None:
        super().__init__(n_classes)
        self.n_trees, self.max_depth, self.max_samples = n_trees, max_depth, max_samples
        self.sigma_min, self.sigma_max = sigma_min, sigma_max
        self.prior_power = prior_power
        self.n_jobs = n_jobs
        self.forest: RandomForestClassifier | None = None
        self.register_buffer("prior", torch.ones(n_classes, dtype=torch.float64))
        self._set_trees(no_trees(n_classes))

    def fit(
        self,
        crops: Iterable[tuple[np.ndarray, np.ndarray]],
        pixels_per_crop: int = 2000,
        seed: int = 0,
        ignore_label: int = 255,
    ) -> RandomForestSegmenter:
        """Train on crops.

        Args:
            crops: pairs of image (H, W) float32 in [0, 1] and label (H, W) of class ids or ``ignore_label``.
            pixels_per_crop: largest number of pixels drawn from a crop, shared evenly by its classes.
            seed: of the draw and of the forest.
            ignore_label: marks pixels that are never drawn.

        Raises:
            InputError: if there are no labelled pixels at all.
        """
        generator = np.random.default_rng(seed)
        features, labels, frequency = [], [], np.zeros(self.n_classes)
        for image, label in crops:
            drawn = _draw(label, pixels_per_crop, generator, ignore_label)
            features.append(self._features(image).reshape(label.size, -1)[drawn])
            labels.append(label.reshape(-1)[drawn])
            frequency += np.bincount(label[label != ignore_label], minlength=self.n_classes)
        if frequency.sum() == 0:
            raise InputError(
                "crops",
                expected="labelled pixels to train the random forest on",
                met=f"none in {len(labels)} crops",
                remedy="check the training list of dataset.json",
            )
        targets = np.concatenate(labels)
        self.forest = RandomForestClassifier(
            n_estimators=self.n_trees,
            max_depth=self.max_depth,
            max_samples=self.max_samples,
            n_jobs=self.n_jobs,
            random_state=seed,
        ).fit(np.concatenate(features), targets)
        self.prior.copy_(
            torch.from_numpy(self._prior(frequency, np.bincount(targets, minlength=self.n_classes)))
        )
        self._set_trees(trees_of(self.forest, self.n_classes))
        return self

    def make_room(self, state: Mapping[str, Tensor]) -> None:
        """Take as many trees as a state dict has, so that it can be loaded; their content is the state's.

        Raises:
            InputError: if its trees are none that this forest's features can go through.
        """
        if not FIELDS.keys() <= state.keys():
            return  # of another network: whoever loads it says so
        trees = {name: state[name].to(dtype) for name, dtype in FIELDS.items()}
        check_trees(trees, self._features(np.zeros((8, 8), dtype=np.float32)).shape[-1])
        self.forest = None
        self._set_trees({name: values.clone() for name, values in trees.items()})

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the labels (H, W) uint8 of an image (H, W) in [0, 1]."""
        return self.probabilities(image).argmax(axis=0).astype(np.uint8)

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Return the class probabilities (K', H, W) float32 of an image (H, W) in [0, 1]."""
        if not len(self.get_buffer("tree_start")):
            raise RuntimeError("the random forest has not been trained; call fit first")
        features = self._features(image).reshape(image.size, -1)
        # A class that never occurred in training has no column in the forest.
        known = np.zeros((image.size, self.n_classes), dtype=np.float32)
        if self.forest is None:
            known[:] = class_shares({name: self.get_buffer(name).cpu() for name in FIELDS}, features)
        else:
            known[:, self.forest.classes_] = self.forest.predict_proba(features)
        weighted = known * self.prior.cpu().numpy()
        weighted /= weighted.sum(axis=1, keepdims=True)
        return weighted.T.reshape(self.n_classes, *image.shape).astype(np.float32)

    def forward(self, image: Tensor) -> Tensor:
        """Segment images like a network.

        Args:
            image: (B, 1, H, W) in [0, 1].

        Returns:
            Logits (B, K', H, W) whose softmax are the forest's probabilities.
        """
        planes = image.detach().cpu().numpy()[:, 0]
        probabilities = np.stack([self.probabilities(plane) for plane in planes])
        return torch.from_numpy(np.log(np.maximum(probabilities, LOWEST_PROBABILITY))).to(image.device)

    def _set_trees(self, trees: Mapping[str, Tensor]) -> None:
        for name, values in trees.items():
            self.register_buffer(name, values)

    def _features(self, image: np.ndarray) -> np.ndarray:
        pixels = np.asarray(image, dtype=np.float32)
        # By position: releases of scikit-image call the last argument num_workers or workers.
        features: np.ndarray = multiscale_basic_features(
            pixels, True, True, True, self.sigma_min, self.sigma_max, None, self.n_jobs
        )
        return features

    def _prior(self, frequency: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        ratio = np.divide(frequency, drawn, out=np.zeros(self.n_classes), where=drawn > 0)
        weights: np.ndarray = ratio**self.prior_power
        return weights / weights.max()


def _draw(label: np.ndarray, budget: int, generator: np.random.Generator, ignore_label: int) -> np.ndarray:
    """Return flat indices of up to ``budget`` pixels; what a small class leaves over goes to the larger ones."""
    flat = label.reshape(-1)
    classes, counts = np.unique(flat[flat != ignore_label], return_counts=True)
    drawn = []
    for left, position in zip(range(len(classes), 0, -1), np.argsort(counts), strict=True):
        share = min(int(counts[position]), budget // left)
        candidates = np.flatnonzero(flat == classes[position])
        drawn.append(generator.choice(candidates, share, replace=False))
        budget -= share
    return np.concatenate(drawn) if drawn else np.zeros(0, dtype=np.int64)
