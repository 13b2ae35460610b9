from __future__ import annotations

import pickle

import pytest

from scsam_monai.errors import InputError, check_range


def test_the_message_is_one_line_that_names_all_four_parts():
    error = InputError("cell.tif", expected="a grey\nimage", met="3 channels", remedy="save it as grey")
    assert str(error) == "cell.tif: expected a grey image, met 3 channels; save it as grey"


def test_it_is_a_value_error():
    with pytest.raises(ValueError, match="met b"):
        raise InputError("key", expected="a", met="b", remedy="c")


def test_it_survives_pickling_as_data_loading_workers_do():
    error = InputError("key", expected="a", met="b", remedy="c")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.where, again.met) == (str(error), "key", "b")


def test_a_range_has_two_ends_within_its_limits_the_smaller_first():
    assert check_range("zoom_range", [1, 3], (0.25, 16)) == (1.0, 3.0)
    for value in ([3, 1], [1], [1, 2, 3], [0.1, 1], [1, 17]):
        with pytest.raises(
            InputError, match=r"zoom_range: expected two factors like \[1, 3\], from 0.25 to 16"
        ):
            check_range("zoom_range", value, (0.25, 16))
