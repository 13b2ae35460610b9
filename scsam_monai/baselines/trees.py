"""Decision trees as plain tensors: what a forest has learned can be kept in a state dict, without pickling it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from scsam_monai.errors import InputError

LEAF = -1
FIELDS = {
    "tree_start": torch.int64,
    "node_feature": torch.int32,
    "node_threshold": torch.float64,
    "node_left": torch.int32,
    "node_right": torch.int32,
    "leaf_value": torch.float64,
}
"""First node of each tree; of each node what it compares and where it leads; of each leaf the share of each class.

The left of a leaf is ``LEAF``, its right the row of its value. Nodes and leaves are numbered over all trees.
"""


def trees_of(forest: RandomForestClassifier, n_classes: int) -> dict[str, Tensor]:
    """Return what a fitted forest has learned, by the names of ``FIELDS``.

    Args:
        forest: whose classes are ids below ``n_classes``.
        n_classes: columns of ``leaf_value``; those of classes that the forest never met are 0.
    """
    starts, leaves = [0], 0
    parts: dict[str, list[np.ndarray]] = {name: [] for name in FIELDS if name != "tree_start"}
    for tree in (estimator.tree_ for estimator in forest.estimators_):
        leaf = tree.children_left == LEAF
        values = np.zeros((int(leaf.sum()), n_classes))
        values[:, forest.classes_.astype(np.int64)] = tree.value[leaf, 0, :]
        rows = leaves + np.cumsum(leaf) - 1
        parts["node_feature"].append(np.where(leaf, 0, tree.feature))
        parts["node_threshold"].append(np.where(leaf, 0.0, tree.threshold))
        parts["node_left"].append(np.where(leaf, LEAF, tree.children_left + starts[-1]))
        parts["node_right"].append(np.where(leaf, rows, tree.children_right + starts[-1]))
        parts["leaf_value"].append(values)
        starts.append(starts[-1] + tree.node_count)
        leaves += len(values)
    arrays = {name: np.concatenate(values) for name, values in parts.items()}
    arrays["tree_start"] = np.array(starts[:-1])
    return {name: torch.from_numpy(arrays[name]).to(dtype) for name, dtype in FIELDS.items()}


def no_trees(n_classes: int) -> dict[str, Tensor]:
    """What a forest has learned that has not been trained."""
    shapes = {name: (0, n_classes) if name == "leaf_value" else (0,) for name in FIELDS}
    return {name: torch.zeros(shapes[name], dtype=dtype) for name, dtype in FIELDS.items()}


def check_trees(trees: Mapping[str, Tensor], n_features: int) -> None:
    """Refuse trees that lead nowhere or in circles, as those of a damaged file may.

    Raises:
        InputError: if a node compares what is no feature, or leads to none of the nodes after it.
    """
    left, right, feature = (trees[name].long() for name in ("node_left", "node_right", "node_feature"))
    n_nodes, n_leaves = len(left), len(trees["leaf_value"])
    leaf, own = left == LEAF, torch.arange(n_nodes)
    inner = ~leaf
    sound = (
        len(right) == len(feature) == len(trees["node_threshold"]) == n_nodes
        and bool(((feature >= 0) & (feature < n_features)).all())
        and bool(((left > own) & (left < n_nodes) & (right > own) & (right < n_nodes))[inner].all())
        and bool(((right >= 0) & (right < n_leaves))[leaf].all())
        and bool(((trees["tree_start"] >= 0) & (trees["tree_start"] < n_nodes)).all())
    )
    if not sound:
        raise InputError(
            "random forest",
            expected="trees whose nodes compare features and lead to later nodes or to leaves",
            met="others",
            remedy="the file is damaged, or of other features: train the forest again",
        )


def class_shares(trees: Mapping[str, Tensor], features: np.ndarray) -> np.ndarray:
    """Return the mean over all trees of the class shares in the leaves that ``features (N, F)`` end in, (N, K').

    These are the probabilities that the forest itself gives, to the last bit.
    """
    arrays = {name: values.numpy() for name, values in trees.items()}
    left, right = arrays["node_left"], arrays["node_right"]
    rows = np.arange(len(features))
    total = np.zeros((len(features), arrays["leaf_value"].shape[1]))
    for start in arrays["tree_start"]:
        node = np.full(len(features), start)
        open_ = rows[left[node] != LEAF]
        while open_.size:
            at = node[open_]
            low = features[open_, arrays["node_feature"][at]] <= arrays["node_threshold"][at]
            node[open_] = np.where(low, left[at], right[at])
            open_ = open_[left[node[open_]] != LEAF]
        total += arrays["leaf_value"][right[node]]
    return total / len(arrays["tree_start"])
