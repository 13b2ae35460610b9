from __future__ import annotations

import numpy as np
from skimage.color import rgb2lab

from scsam_monai.io.palette import colours_of
from scsam_monai.report import class_colours

# Machado et al. 2009, severity 1: how a colour is seen without red, green or blue cones (linear RGB).
DEFICIENCIES = [
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
]


def smallest_distance(colours: np.ndarray) -> float:
    lab = rgb2lab(colours[None])[0]
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    return float(distances[np.triu_indices(len(lab), 1)].min())


def seen_without(colours: np.ndarray, matrix: list[list[float]]) -> np.ndarray:
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(matrix).T, 0, 1)
    return np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)


def test_a_class_keeps_its_colour() -> None:
    many = class_colours(40)
    for n_classes in (1, 2, 8, 20):
        np.testing.assert_array_equal(class_colours(n_classes), many[:n_classes])


def test_background_is_never_a_colour() -> None:
    assert class_colours(3)[0].tolist() == [0, 0, 0]


def test_all_colours_differ() -> None:
    assert len(np.unique(class_colours(60), axis=0)) == 60
    assert smallest_distance(class_colours(14)[1:] / 255) > 12


def test_default_classes_differ_for_all_kinds_of_colour_vision() -> None:
    colours = class_colours(8)[1:] / 255
    for matrix in DEFICIENCIES:
        # A difference of 2.3 is just noticeable.
        assert smallest_distance(seen_without(colours, matrix)) > 9


def test_an_organelle_keeps_its_colour_whatever_the_model():
    one = colours_of(["background", "golgi", "mitochondria", "peroxisome"])
    other = colours_of(["background", "peroxisome", "Mitochondrion", "er", "Golgi apparatus"])
    assert one[1].tolist() == other[4].tolist()
    assert one[2].tolist() == other[2].tolist()
    assert one[3].tolist() == other[1].tolist()
    names = ["background", "membrane", "nucleus", "mitochondrion", "granule", "golgi", "er", "vacuole"]
    np.testing.assert_array_equal(colours_of(names), class_colours(8))


def test_no_two_classes_share_a_colour():
    names = ["background", "mito", "mitochondria", *(f"thing {index}" for index in range(30))]
    assert len(np.unique(colours_of(names), axis=0)) == len(names)
    assert colours_of(["background"]).tolist() == [[0, 0, 0]]
