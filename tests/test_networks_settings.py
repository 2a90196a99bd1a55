"""Settings of networks as users write them."""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from gigacount.errors import UnknownNameError, UsageError
from gigacount.networks import NETWORKS, build, find_class
from gigacount.networks.settings import fits, parse, read_settings
from gigacount.options import TrainOptions
from gigacount.train.recipes import settings_of


@pytest.mark.parametrize(
    ("network", "pairs", "settings"),
    [
        ("csrnet", [], {}),
        ("csrnet", ["configuration=A", "batch_norm=true"], {"configuration": "A", "batch_norm": True}),
        ("csrnet", ["sigma=15"], {"sigma": 15}),
        ("csrnet", ["sigma=4.5", "sigma=3.5"], {"sigma": 3.5}),
        ("csrnet", ['configuration="C"'], {"configuration": "C"}),
        ("deepcount", ["tile_wh=[128, 256]"], {"tile_wh": [128, 256]}),
        ("iim-vgg", ["truth=squares", "largest_box=16"], {"truth": "squares", "largest_box": 16}),
    ],
)
def test_settings_are_read_and_build_the_network(network: str, pairs: list[str], settings: dict[str, object]) -> None:
    assert read_settings(network, pairs) == settings
    build(network, **settings)


@pytest.mark.parametrize(
    ("network", "pair", "message"),
    [
        ("csrnet", "colour=red", "has no setting 'colour'; it has: configuration, sigma, batch_norm"),
        ("sasnet", "colour=red", "has no setting 'colour'; it has none"),
        ("csrnet", "batch_norm=1", "'batch_norm' of network 'csrnet' is true or false, not '1'"),
        ("csrnet", "sigma=wide", "'sigma' of network 'csrnet' is a number above 0, not 'wide'"),
        ("csrnet", "sigma=", "'sigma' of network 'csrnet' is a number above 0, not ''"),
        ("csrnet", "sigma=nan", "is a number above 0, not 'nan'"),
        ("csrnet", "sigma=inf", "is a number above 0, not 'inf'"),
        ("iim-vgg", "largest_box=0", "is a number above 0, not '0'"),
        ("raz-net", "depth=-1", "is a whole number, 0 or more, not '-1'"),
        ("deepcount", "tile_wh=[128]", r"is \[a whole number, 0 or more, a whole number, 0 or more\], not '\[128\]'"),
        ("iim-vgg", "binarisation=row", "is 'pixel' or 'image' or 'fixed', not 'row'"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(network: str, pair: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        read_settings(network, [pair])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("network", "pair"), [("light", "width=0"), ("mud-iknn", "k=0"), ("deepcount", "tile_wh=[0,0]")]
)
def test_networks_refuse_what_they_cannot_be_made_with(network: str, pair: str) -> None:
    with pytest.raises(UsageError):
        build(network, **read_settings(network, [pair]))


ONLY_WITH = [
    (network, name, f"{other}={value}")
    for network in sorted(NETWORKS)
    for name, (other, values) in find_class(network).only_with.items()
    for value in values
]


@pytest.mark.parametrize(("network", "name", "needed"), ONLY_WITH)
def test_a_setting_that_does_nothing_beside_the_others_is_refused(network: str, name: str, needed: str) -> None:
    hints = get_type_hints(find_class(network).__init__)
    text = next(text for text in ("points", "threshold", "shanghaitech-a", "2") if fits(parse(text), hints[name]))
    other, _, value = needed.partition("=")
    fine = find_class(network).only_with[name][1]
    refused = next(choice for choice in get_args(hints[other]) if choice not in fine)
    pairs = [f"{name}={text}", f"{other}={refused}"]
    with pytest.raises(UsageError, match=f"'{name}' of network '{network}' does nothing without .*{needed}"):
        read_settings(network, pairs)
    with pytest.raises(UsageError, match="does nothing"):
        read_settings(network, pairs[:1], {other: refused})
    assert read_settings(network, [pairs[0], needed])[name] == read_settings(network, pairs[:1], {other: value})[name]


def test_settings_that_a_network_has_already_count_too() -> None:
    with pytest.raises(UsageError, match="setting 'threshold' of network 'iim-vgg' does nothing without binarisation="):
        read_settings("iim-vgg", ["threshold=0.8"])
    assert read_settings("iim-vgg", ["threshold=0.8"], {"binarisation": "fixed"}) == {"threshold": 0.8}
    options = TrainOptions(("csv:x",), Path("out"), "csrnet", recipe="gigazoom", settings=("loss=likelihood",))
    assert settings_of(options) == {"truth": "boxes", "loss": "likelihood"}  # the recipe's own is not complained about


def test_an_unknown_network_has_no_settings() -> None:
    with pytest.raises(UnknownNameError):
        read_settings("csrnett", ["sigma=3"])


@pytest.mark.parametrize("network", NETWORKS)
def test_every_setting_of_every_network_takes_text_or_refuses_it(network: str) -> None:
    """So the type of each is one that is told in words."""
    for name, hint in get_type_hints(find_class(network).__init__).items():
        if fits("a date", hint):
            assert read_settings(network, [f"{name}=a date"]) == {name: "a date"}
        elif name != "return":
            with pytest.raises(UsageError, match=f"'{name}'"):
                read_settings(network, [f"{name}=a date"])


@pytest.mark.parametrize("setting", ["width", "point_width"])
def test_a_network_too_large_for_memory_is_refused_before_it_is_made(setting: str) -> None:
    with pytest.raises(UsageError, match=f"'light' with {setting}=4000000 has [0-9,]+ parameters; at most 250,000,000"):
        build("light", **{setting: 4_000_000})
