"""Settings are resolved, and mistakes in them are one clear line."""

import math

import pytest
import torch

from cat_bench.methods.base import Method, MethodError, mse
from cat_bench.methods.cat import CAT
from cat_bench.methods.clora import CLoRA
from cat_bench.methods.registry import methods
from cat_bench.methods.testing.toy import ToyAdapter


class Tuned(Method):
    presets = {"paper": {"rank": 64, "lr": 1e-5}, "avatars64.v2": {"steps": 40}}


def test_defaults_then_preset_then_overrides() -> None:
    assert Tuned.configure() == Method.Config() == Tuned().config
    assert Tuned.configure(backbone="avatars64.v2").steps == 40
    assert Tuned.configure(backbone="some/other") == Method.Config()
    named = Tuned.configure("paper", backbone="avatars64.v2", overrides={"rank": 32})
    assert (named.rank, named.lr, named.steps) == (32, 1e-5, 150), "a named preset stands instead of the backbone's"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"wieght": 2.0}, r"^method cat: no setting 'wieght'; did you mean 'weight'\?$"),
        ({"zzz": 2.0}, r"^method cat: no setting 'zzz'; it has: rank, alpha"),
        ({"rank": 0}, r"^method cat: rank = 0: Input should be greater than or equal to 1$"),
        ({"lr": "fast"}, r"^method cat: lr = 'fast': Input should be a valid number"),
    ],
)
def test_wrong_settings(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        CAT.configure(overrides=overrides)


def test_a_setting_without_a_default_is_named() -> None:
    class Demanding(Method):
        class Config(Method.Config):
            weight: float

    with pytest.raises(
        MethodError, match=r"^method Demanding: setting 'weight' has no default; give it one in Config$"
    ):
        Demanding.configure(overrides={"steps": 2})


def test_settings_are_finite_and_a_preset_is_a_name() -> None:
    for setting in ("lr", "alpha", "max_grad_norm"):
        with pytest.raises(MethodError, match=f"{setting} = inf"):
            methods.get("lora").configure(overrides={setting: math.inf})
    with pytest.raises(MethodError, match="no preset"):
        methods.get("lora").configure(["paper"])  # type: ignore[arg-type]


def test_unknown_preset() -> None:
    with pytest.raises(MethodError, match=r"^method cat: no preset 'papr'; it has: paper, sd15, .*, avatars64.v2$"):
        CAT.configure("papr")


@pytest.mark.parametrize("name", methods.names())
def test_every_preset_is_valid_and_a_config_survives_json(name: str) -> None:
    cls = methods.get(name)
    assert {"avatars64.v2", "sd15", "sd21", "sdxl"} <= set(cls.presets)
    for preset in cls.presets:
        config = cls.configure(preset)
        assert cls.Config.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValueError, match="frozen"):
        config.rank = 3


def test_mse_is_fp32_and_refuses_to_broadcast() -> None:
    a = torch.tensor([1.0, 3.0], dtype=torch.bfloat16)
    assert mse(a, torch.zeros(2)).item() == 5.0 and mse(a, a).dtype == torch.float32
    with pytest.raises(MethodError, match=r"\(2,\) against \(1,\)"):
        mse(a, a[:1])


def test_targets_that_name_no_layer() -> None:
    with pytest.raises(MethodError, match="name no layer"):
        ToyAdapter(CLoRA.configure(overrides={"targets": ("attn3.to_k",)}))
