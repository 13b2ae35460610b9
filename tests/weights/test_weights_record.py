"""What ``model.json`` may say."""

from __future__ import annotations

import inspect

from scsam_monai.networks.compose import compose_scsam
from scsam_monai.weights.build import AT_RUN_TIME
from scsam_monai.weights.record import NETWORK


def test_every_setting_of_a_network_can_be_recorded() -> None:
    settings = set(inspect.signature(compose_scsam).parameters) - set(AT_RUN_TIME)
    assert set(NETWORK) == settings | {"sam_weights", "mae_weights", "pyramid_weights"}


def test_what_a_network_starts_with_is_among_what_may_be_recorded() -> None:
    for name, parameter in inspect.signature(compose_scsam).parameters.items():
        if name in NETWORK and parameter.default is not inspect.Parameter.empty:
            assert NETWORK[name][1](parameter.default), name
