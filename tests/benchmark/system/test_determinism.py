from __future__ import annotations

import pytest
import torch

from cat_bench.benchmark.errors import SpecError
from cat_bench.benchmark.system.determinism import deterministic
from cat_bench.benchmark.system.device import resolve_device, resolve_precision


def test_settings_hold_within_and_are_put_back_even_after_an_error() -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with pytest.raises(KeyError), deterministic(threads=2):
        assert torch.get_num_threads() == 2
        assert torch.are_deterministic_algorithms_enabled()
        raise KeyError
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_devices_and_precisions() -> None:
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type in ("cpu", "cuda", "mps")
    assert resolve_precision("fp32", torch.device("cpu")) == "fp32"
    assert resolve_precision("bf16", torch.device("cpu")) == "bf16"
    assert resolve_precision("auto", torch.device("cpu")) in ("fp32", "bf16")
    with pytest.raises(SpecError, match="'gpu' is unknown"):
        resolve_device("gpu")
    with pytest.raises(SpecError, match="fp8"):
        resolve_precision("fp8", torch.device("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(SpecError, match=r"'cuda' is not available .* use auto or cpu"):
        resolve_device("cuda")
