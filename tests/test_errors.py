from __future__ import annotations

import pickle

import pytest

from scsam_monai.errors import InputError


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
