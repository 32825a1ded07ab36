"""Stable Diffusion 1.5, 2.1 and XL in small, against the stock pipelines and against steps written with their parts."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, DPMSolverMultistepScheduler
from safetensors.torch import load_file
from torch import Tensor

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.backbones.folders import fingerprint
from cat_bench.benchmark.backbones.registry import entry_for, known_as, registered
from cat_bench.benchmark.backbones.text_encoders import TextEncoder
from cat_bench.benchmark.cli.flags import savings
from cat_bench.benchmark.errors import BackboneError, SpecError, TrainingError
from cat_bench.benchmark.execution.run import run
from cat_bench.benchmark.learning.lora import LoraAdapter
from cat_bench.benchmark.planning.events import Ended, StageEnded
from cat_bench.benchmark.planning.seeds import generator
from cat_bench.benchmark.planning.spec import Economy, RunSpec, Sampler, resolve
from cat_bench.benchmark.text_to_image import predictor
from cat_bench.benchmark.text_to_image.sampling import Capacity, SamplerConfig, initial_noise, sample
from cat_bench.benchmark.text_to_image.training import train
from cat_bench.methods.base import Method
from cat_bench.methods.registry import methods
from cat_bench.tasks.sequence import load_sequence

FAMILIES = ("sd15", "sd21", "sdxl")
PROMPTS = ["a hat", "the person", "a zorvex person with a hat"]
QUICK = Method.Config(rank=2, lr=1e-2, steps=2, batch_size=4, max_grad_norm=1e9)


@pytest.fixture(params=FAMILIES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def backbone(kind: str, tiny_families: dict[str, Path]) -> Backbone:
    return Backbone.load(tiny_families[kind], device="cpu")


@pytest.fixture
def pipe(kind: str, tiny_families: dict[str, Path]) -> Any:
    stock = DiffusionPipeline.from_pretrained(tiny_families[kind])
    stock.set_progress_bar_config(disable=True)
    return stock


def told(pipe: Any, prompts: list[str]) -> dict[str, Any]:
    """What the stock pipeline tells its UNet, without guidance."""
    encoded = pipe.encode_prompt(prompts, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    arguments: dict[str, Any] = {"encoder_hidden_states": encoded[0]}
    if len(encoded) == 4:  # XL: embeddings, negative ones, pooled, negative pooled
        ids = torch.tensor([[32, 32, 0, 0, 32, 32]] * len(prompts), dtype=torch.float32)
        arguments["added_cond_kwargs"] = {"text_embeds": encoded[2], "time_ids": ids}
    return arguments


@torch.no_grad()
def test_prompts_say_what_they_say_in_the_stock_pipeline(backbone: Backbone, pipe: Any) -> None:
    prompts = [*PROMPTS, "", "person " * 60]
    mine, stock = backbone.encode_prompts(prompts).arguments(torch.float32), told(pipe, prompts)
    torch.testing.assert_close(mine, stock, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_images_are_the_stock_pipelines(backbone: Backbone, pipe: Any, guidance: float) -> None:
    seeds = [11, 12, 13]
    sampler = SamplerConfig(steps=4, guidance=guidance)
    mine = np.concatenate([batch for _, batch in sample(backbone, None, PROMPTS, seeds, sampler)])
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, algorithm_type="dpmsolver++")
    noise = initial_noise(backbone, seeds)
    size = {"height": 32, "width": 32}
    stock = pipe(
        PROMPTS, num_inference_steps=4, guidance_scale=guidance, latents=noise, output_type="np", **size
    ).images
    assert mine.std() > 5
    assert np.abs(mine.astype(int) - (stock * 255).round().astype(int)).max() <= 1  # the edge of two levels


class Started(Method):
    """Naive LoRA whose B does not start at zero, so that A has a gradient at the first step."""

    def begin(self, concept: Any, adapter: Any) -> None:
        with torch.no_grad():
            for B in adapter.B.values():
                B.copy_(0.1 * torch.randn(B.shape, generator=adapter.generator))


def by_hand(pipe: Any, adapter: LoraAdapter, concept: Any) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of the first step, from diffusers' parts: W0 + ΔW written into the weights themselves."""
    schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    images = pipe.image_processor.preprocess(concept.train_images(32))
    captions = [concept.fill(caption, "trigger") for caption in concept.train_captions]
    with torch.no_grad():
        latents = pipe.vae.encode(images).latent_dist.mean * pipe.vae.config.scaling_factor
    picks, stream = generator(5, "data", concept.id), generator(5, "noise", concept.id)
    order = [i for _ in range(2) for i in torch.randperm(3, generator=picks).tolist()][:4]
    noise = torch.randn(4, *latents.shape[1:], generator=stream)
    times = torch.randint(1000, (4,), generator=stream)
    target = noise
    if schedule.config.prediction_type == "v_prediction":
        target = schedule.get_velocity(latents[order], noise, times)
    pipe.unet.requires_grad_(False)
    for name in adapter.names:
        layer = pipe.unet.get_submodule(name)
        layer.weight.data += adapter.delta(name).detach()
        layer.weight.requires_grad_(True)
    noisy = schedule.add_noise(latents[order], noise, times)
    answer = pipe.unet(noisy, times, **told(pipe, [captions[i] for i in order])).sample
    loss = torch.nn.functional.mse_loss(answer, target)
    loss.backward()
    # dL/dB = dL/dW Aᵀ and dL/dA = Bᵀ dL/dW, scaling being 1
    gradients = {}
    for name in adapter.names:
        of_weight = pipe.unet.get_submodule(name).weight.grad
        gradients[f"B.{name}"] = of_weight @ adapter.A[name].detach().T
        gradients[f"A.{name}"] = adapter.B[name].detach().T @ of_weight
    return loss.item(), gradients


def test_a_training_step_is_the_one_of_diffusers_parts(backbone: Backbone, pipe: Any, toy_concepts: Any) -> None:
    adapter = LoraAdapter(backbone, 2, None, QUICK.targets, generator(0, "init"))
    Started(QUICK).begin(toy_concepts[0], adapter)
    loss, gradients = by_hand(pipe, adapter, toy_concepts[0])
    step = next(train(backbone, adapter, Method(QUICK.model_copy(update={"lr": 1e-30})), toy_concepts[0], seed=5))
    assert step.loss == pytest.approx(loss, abs=1e-5)
    for name in adapter.names:
        torch.testing.assert_close(adapter.A[name].grad, gradients[f"A.{name}"], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(adapter.B[name].grad, gradients[f"B.{name}"], atol=1e-5, rtol=1e-4)
    adapter.close()


def learned(backbone: Backbone, concept: Any, economy: Economy, precision: Any = "fp32") -> dict[str, Tensor]:
    """Two concepts' worth of sequential merging and what is left: a past and a gradient through it."""
    method = methods.get("merge")(QUICK)
    adapter = LoraAdapter(backbone, 2, None, QUICK.targets, generator(0, "init"))
    for _ in range(2):
        for _ in train(backbone, adapter, method, concept, seed=5, precision=precision, economy=economy):
            pass
    deltas = adapter.deltas()
    adapter.close()
    return deltas


@pytest.mark.parametrize(
    "economy", [Economy(micro_batch=3), Economy(checkpointing=True), Economy(checkpointing=True, micro_batch=1)]
)
def test_saving_memory_changes_nothing(backbone: Backbone, toy_concepts: Any, economy: Economy) -> None:
    plain, thrifty = (learned(backbone, toy_concepts[0], e) for e in (Economy(), economy))
    torch.testing.assert_close(thrifty, plain, atol=1e-5, rtol=1e-3)
    assert not backbone.unet.is_gradient_checkpointing


def test_out_of_memory_halves_the_micro_batch_and_begins_the_step_again(
    backbone: Backbone, toy_concepts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = learned(backbone, toy_concepts[0], Economy())
    forward, sizes = predictor.Predictor._forward, []

    def cramped(self: Any, mode: Any, noisy: Tensor, *rest: Any) -> Tensor:
        sizes.append(len(noisy))
        if len(noisy) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate a lot")
        return forward(self, mode, noisy, *rest)

    monkeypatch.setattr(predictor.Predictor, "_forward", cramped)
    torch.testing.assert_close(learned(backbone, toy_concepts[0], Economy()), plain, atol=1e-5, rtol=1e-3)
    assert sizes[:6] == [4, 2, 1, 1, 1, 1] and sizes[6:10] == [1, 1, 1, 1]  # it does not try again at every step

    monkeypatch.setattr(
        predictor.Predictor, "_forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory."))
    )
    with pytest.raises(torch.OutOfMemoryError):
        learned(backbone, toy_concepts[0], Economy())


def test_sampling_takes_fewer_at_once_where_memory_is_short(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = SamplerConfig(steps=2, guidance=4.0)
    prompts, seeds = [*PROMPTS, "", "a person"], [1, 2, 3, 4, 5]
    plain = np.concatenate([batch for _, batch in sample(backbone, None, prompts, seeds, sampler)])
    decode, seen = backbone.decode, []

    def cramped(latents: Tensor) -> Any:
        seen.append(len(latents))
        if len(latents) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate a lot")
        return decode(latents)

    monkeypatch.setattr(backbone, "decode", cramped)
    capacity = Capacity()
    for expected in ([5, 2, 2, 1], [2, 2, 1]):  # it does not try again what did not fit
        seen.clear()
        parts = [batch for _, batch in sample(backbone, None, prompts, seeds, sampler, capacity=capacity)]
        assert [len(part) for part in parts] == [5] and seen == expected
        assert np.abs(parts[0].astype(int) - plain).max() <= 1


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_about_the_same(backbone: Backbone, toy_concepts: Any, precision: str) -> None:
    plain, half = (learned(backbone, toy_concepts[0], Economy(), p) for p in ("fp32", precision))
    assert all(torch.isfinite(delta).all() for delta in half.values())
    flat, other = (torch.cat([delta.flatten() for delta in d.values()]) for d in (plain, half))
    assert torch.nn.functional.cosine_similarity(flat, other, dim=0) > 0.9


def test_weights_can_be_held_in_half_precision(kind: str, tiny_families: dict[str, Path], toy_concepts: Any) -> None:
    backbone = Backbone.load(tiny_families[kind], device="cpu", weights="bf16")
    assert (backbone.unet.dtype, backbone.vae.dtype) == (torch.bfloat16, torch.float32)
    deltas = learned(backbone, toy_concepts[0], Economy(), "bf16")
    assert all(delta.dtype == torch.float32 and torch.isfinite(delta).all() for delta in deltas.values())
    ((_, images),) = sample(backbone, deltas, PROMPTS, [1, 2, 3], SamplerConfig(steps=2), precision="bf16")
    assert images.std() > 5
    with pytest.raises(SpecError, match="fp16 cannot be computed with on a CPU"):
        Backbone.load(tiny_families[kind], device="cpu", weights="fp16")


def test_one_learned_token_speaks_to_every_text_encoder(backbone: Backbone) -> None:
    widths = [encoder.table.shape[1] for encoder in backbone.text_encoders]
    assert backbone.token_width == sum(widths)
    token = backbone.random_token(generator(0, "init")).requires_grad_()
    for encoder, part in zip(backbone.text_encoders, token.detach().split(widths, dim=1), strict=True):
        assert 0.3 < float(part.std() / encoder.table.std()) < 3
    encoded = backbone.encode_prompts(["a zorvex", "a hat"], {"zorvex": token})
    encoded.context[0].square().sum().backward()
    assert token.grad is not None
    assert all(part.abs().sum() > 0 for part in token.grad.split(widths, dim=1))
    with torch.no_grad():  # the oracle: a word's own rows in place of the learned ones change nothing
        rows = [e.tokenizer("the", add_special_tokens=False).input_ids for e in backbone.text_encoders]
        own = torch.cat([e.table[row] for e, row in zip(backbone.text_encoders, rows, strict=True)], dim=1)
        mine, plain = backbone.encode_prompts(["the hat"], {"the": own}), backbone.encode_prompts(["the hat"])
    torch.testing.assert_close(mine.arguments(torch.float32), plain.arguments(torch.float32), atol=0, rtol=0)


def test_registered_backbones_are_known_by_their_facts(tmp_path: Path) -> None:
    assert set(registered()) == {"avatars64.v2", *FAMILIES}
    for name, entry in registered().items():
        assert known_as(name, None) == name and entry_for(name, None) is entry
        assert entry.hub is None or len(entry.hub.split("/")) == 2
        folder = tmp_path / name
        (folder / "unet").mkdir(parents=True)
        (folder / "unet" / "config.json").write_text(f'{{"cross_attention_dim": {entry.context}}}')
        assert known_as("mine", folder) == name  # a finetune of it takes its settings
    assert known_as("mine", tmp_path) is None and entry_for("mine", tmp_path).guidance == 7.5
    shipped = Backbone.load("avatars64.v2", device="cpu")  # raises if resolution or prediction are not as registered
    assert shipped.unet.config.cross_attention_dim == registered()["avatars64.v2"].context


def test_a_pipeline_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(BackboneError, match=r"is a FluxPipeline; supported are StableDiffusionPipeline and"):
        Backbone.load(tmp_path)


def test_every_method_learns_two_concepts_and_goes_on_where_it_stopped(
    kind: str, tiny_families: dict[str, Path], tiny_metric_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / kind).symlink_to(tiny_families[kind])  # the metric model is looked for beside the backbone
    (tmp_path / f"{kind}-clip").symlink_to(tiny_metric_folder)
    few = {"dreambooth": {"images": 2}, "genreplay": {"images": 2}, "ewc": {"items": 2}}
    quick = {name: {"steps": 2, "batch_size": 2, "rank": 2, **few.get(name, {})} for name in methods.names()}
    count = len(quick)
    spec = RunSpec(
        sequence="smoke2",
        backbone=str(tmp_path / kind),
        methods=methods.names(),
        images_per_prompt=1,
        sampler=Sampler(steps=2),
        device="cpu",
        overrides=quick,
    )
    *_, end = run(spec, tmp_path / "runs", "all")
    assert isinstance(end, Ended) and (end.ok, end.troubled) == (count, 0)
    folder = tmp_path / "runs" / "all"
    adapters = {path: path.read_bytes() for path in folder.glob("*/*/*/adapter.safetensors")}
    assert len(adapters) == 2 * count
    for path in adapters:
        state = load_file(path)
        assert all(torch.isfinite(tensor).all() for tensor in state.values())
        moved = [
            tensor for key, tensor in state.items() if key.startswith(("B.", "dense.", "tokens.")) or key.endswith(".B")
        ]
        assert any(tensor.abs().max() > 0 for tensor in moved)
    for cell in folder.glob("*/order0-seed0"):
        shutil.rmtree(next(cell.glob("02-*")))
    events = list(run(spec, tmp_path / "runs", "all"))
    origins = [event.origin for event in events if isinstance(event, StageEnded) and event.cell]
    assert origins == ["ready", "made"] * count
    assert {path: path.read_bytes() for path in adapters} == adapters


def test_while_an_adapter_trains_on_a_gpu_the_other_networks_are_elsewhere_and_come_back_when_asked() -> None:
    """There may be no GPU here: networks that only write down where they were sent."""
    sent: list[str] = []

    class Network:
        def __init__(self, name: str) -> None:
            self.name, self.place = name, torch.device("cuda")

        def to(self, place: Any) -> None:
            self.place = torch.device(place)
            sent.append(f"{self.name} to {self.place.type}")

        def parameters(self) -> Any:
            return iter([SimpleNamespace(device=self.place)])

    words, pictures = Network("words"), Network("pictures")
    encoder: Any = TextEncoder(words, None)  # type: ignore[arg-type]
    backbone = Backbone("there", Path(), torch.device("cuda"), Network("unet"), pictures, (encoder,), None)
    with backbone.only_unet():
        assert sent == ["pictures to cpu", "words to cpu"]
        backbone._fetch(words)
        assert sent[2:] == ["words to cuda"]
        backbone._fetch(words)
        assert len(sent) == 3
    assert sent[3:] == ["pictures to cuda"]


def test_an_optimizer_that_is_not_installed_is_one_line(
    tiny: Backbone, toy_concepts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    adapter = LoraAdapter(tiny, 2, None, QUICK.targets, generator(0, "init"))
    steps = train(tiny, adapter, Method(QUICK), toy_concepts[0], seed=5, economy=Economy(optimizer="adamw8bit"))
    with pytest.raises(TrainingError, match=r"adamw8bit needs bitsandbytes: pip install bitsandbytes"):
        next(steps)
    adapter.close()


def test_economy_is_written_as_words() -> None:
    given = savings(["checkpointing,adamw8bit", "micro_batch=2"])
    assert Economy(**given) == Economy(checkpointing=True, optimizer="adamw8bit", micro_batch=2)
    with pytest.raises(SpecError, match=r"there is no key 'economy.checkpoint'; did you mean 'checkpointing'"):
        resolve({"economy": savings(["checkpoint"])})


@pytest.mark.parametrize(("precision", "weights"), [("fp16", torch.float32), ("bf16", torch.bfloat16)])
def test_the_autoencoder_never_decodes_in_fp16(
    tiny: Backbone, precision: Any, weights: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, seen = tiny.decode, []

    def watched(latents: Tensor) -> Any:
        seen.append((tiny.vae.decoder.conv_in.weight.dtype, torch.is_autocast_enabled("cpu")))
        return decode(latents)

    monkeypatch.setattr(tiny, "decode", watched)
    ((_, images),) = sample(tiny, None, PROMPTS, [1, 2, 3], SamplerConfig(steps=2), precision=precision)
    assert seen == [(weights, precision == "bf16")] and images.std() > 5


def test_what_the_empty_prompt_is_counts_for_the_fingerprint(tiny_families: dict[str, Path], tmp_path: Path) -> None:
    found = {}
    for kind in ("sd15", "sdxl"):
        folder = Path(shutil.copytree(tiny_families[kind], tmp_path / kind))
        index = json.loads((folder / "model_index.json").read_text("utf-8"))
        before = fingerprint(folder)
        (folder / "model_index.json").write_text(json.dumps({**index, "force_zeros_for_empty_prompt": False}), "utf-8")
        found[kind] = fingerprint(folder) != before
    assert found == {"sd15": False, "sdxl": True}


def test_gradients_that_pass_through_half_weights_are_scaled_in_any_precision(
    tiny_families: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    real = torch.amp.GradScaler

    def scaler(device: str, enabled: bool) -> Any:
        asked.append(enabled)
        return real(device, enabled=False)

    monkeypatch.setattr(torch.amp, "GradScaler", scaler)
    for half in (False, True):
        backbone = Backbone.load(tiny_families["sd15"], device="cpu")
        if half:
            backbone.unet.half()
        adapter = LoraAdapter(backbone, 2, None, QUICK.targets, generator(0, "init"))
        with suppress(Exception):  # not every machine multiplies fp16 on the CPU
            next(train(backbone, adapter, Method(QUICK), load_sequence("smoke2").concepts[0], seed=0, precision="fp32"))
        adapter.close()
    assert asked == [False, True]
