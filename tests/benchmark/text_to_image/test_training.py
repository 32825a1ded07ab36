from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.errors import TrainingError
from cat_bench.benchmark.learning.lora import LoraAdapter
from cat_bench.benchmark.planning.events import Learning
from cat_bench.benchmark.planning.seeds import generator
from cat_bench.benchmark.system.determinism import deterministic
from cat_bench.benchmark.text_to_image.training import train
from cat_bench.methods.base import Batch, Concept, Method, Query, mse

QUICK = Method.Config(rank=2, alpha=3.0, lr=1e-2, steps=3, batch_size=4, max_grad_norm=1e9)


class Started(Method):
    """Naive LoRA whose B does not start at zero, so that A has a gradient at the first step."""

    def begin(self, concept: Concept, adapter: Any) -> None:
        with torch.no_grad():
            for B in adapter.B.values():
                B.copy_(0.1 * torch.randn(B.shape, generator=adapter.generator))


def make(backbone: Backbone, config: Method.Config) -> LoraAdapter:
    stream = generator(0, "init")
    return LoraAdapter(backbone, config.rank, config.alpha, config.targets, stream, config.token)


def by_hand(folder: Path, start: Mapping[str, tuple[Tensor, Tensor]], concept: Any, config: Method.Config) -> Any:
    """Naive LoRA with diffusers and peft alone; yields each step's loss and, after backward, the parameters."""
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    schedule = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
    pipe.unet.requires_grad_(False)
    lora = LoraConfig(r=config.rank, lora_alpha=int(config.alpha or 0), target_modules=list(config.targets))
    inject_adapter_in_model(lora, pipe.unet)
    parameters = {}
    for name, (A, B) in start.items():
        layer = pipe.unet.get_submodule(name)
        parameters[name, "A"], parameters[name, "B"] = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        parameters[name, "A"].data.copy_(A)
        parameters[name, "B"].data.copy_(B)
    optimiser = torch.optim.AdamW(parameters.values(), lr=config.lr, weight_decay=config.weight_decay)
    images = pipe.image_processor.preprocess(concept.train_images(32))
    captions = [concept.fill(caption, "trigger") for caption in concept.train_captions]
    with torch.no_grad():
        latents = pipe.vae.encode(images).latent_dist.mean * pipe.vae.config.scaling_factor
        context = pipe.encode_prompt(captions, "cpu", 1, do_classifier_free_guidance=False)[0]
    picks, stream = generator(5, "data", concept.id), generator(5, "noise", concept.id)
    order: list[int] = []
    for _ in range(config.steps):
        while len(order) < config.batch_size:
            order += torch.randperm(len(captions), generator=picks).tolist()
        chosen, order = order[: config.batch_size], order[config.batch_size :]
        noise = torch.randn(len(chosen), 4, 8, 8, generator=stream)
        times = torch.randint(1000, (len(chosen),), generator=stream)
        noisy = schedule.add_noise(latents[chosen], noise, times)
        target = noise
        if schedule.config.prediction_type == "v_prediction":
            target = schedule.get_velocity(latents[chosen], noise, times)
        loss = torch.nn.functional.mse_loss(pipe.unet(noisy, times, context[chosen]).sample, target)
        optimiser.zero_grad()
        loss.backward()
        yield loss.item(), parameters
        optimiser.step()


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_step_is_the_step_written_by_hand(
    kind: str, tiny_epsilon_folder: Path, tiny_backbone_folder: Path, toy_concepts: Any
) -> None:
    folder = tiny_epsilon_folder if kind == "epsilon" else tiny_backbone_folder
    backbone, concept = Backbone.load(folder, device="cpu"), toy_concepts[0]
    assert backbone.schedule.prediction_type == kind
    adapter, method = make(backbone, QUICK), Started(QUICK)
    steps = train(backbone, adapter, method, concept, seed=5)
    stream = generator(5, "init", concept.id, "stage")  # what Started.begin() will draw from
    start = {
        name: (adapter.A[name].detach().clone(), 0.1 * torch.randn(adapter.B[name].shape, generator=stream))
        for name in adapter.names
    }
    for expected, parameters in by_hand(folder, start, concept, QUICK):
        step = next(steps)
        assert step.loss == pytest.approx(expected, abs=1e-5)
        for name in adapter.names:
            for factor, mine in (("A", adapter.A[name]), ("B", adapter.B[name])):
                torch.testing.assert_close(mine.grad, parameters[name, factor].grad, atol=1e-5, rtol=1e-4)
    assert list(steps) == []
    adapter.close()


def test_naive_lora_on_one_concept_is_a_plain_peft_run(tiny: Backbone, toy_concepts: Any) -> None:
    config = QUICK.model_copy(update={"steps": 8, "lr": 1e-3})
    adapter = make(tiny, config)
    start = {name: (adapter.A[name].detach().clone(), adapter.B[name].detach().clone()) for name in adapter.names}
    losses = [step.loss for step in train(tiny, adapter, Method(config), toy_concepts[0], seed=5)]
    hand = by_hand(tiny.folder, start, toy_concepts[0], config.model_copy(update={"steps": 9}))
    expected = [loss for loss, _ in (next(hand) for _ in range(8))]
    _, parameters = next(hand)  # after the eighth update
    assert losses == pytest.approx(expected, abs=1e-5)
    for name in adapter.names:
        torch.testing.assert_close(adapter.A[name].data, parameters[name, "A"].data, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(adapter.B[name].data, parameters[name, "B"].data, atol=1e-5, rtol=1e-4)
    adapter.close()


class Checked(Started):
    """Asks everything there is to ask, and holds each answer against a forward of its own."""

    seen: tuple[Tensor, Tensor]  # z_t and t of this step
    backbone: Backbone
    checked = 0

    def queries(self, batch: Batch) -> dict[str, Query]:
        return {
            "learn": Query(batch.prompt),
            "original": Query(batch.prompt_without_trigger, "off"),
            "keep": Query(batch.prompt_without_trigger),
            "before": Query(batch.prompt, "previous"),
        }

    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Any) -> Tensor:
        own = {}
        for name, query in self.queries(batch).items():
            with adapter.use(query.adapter):
                noisy, times = self.seen
                own[name] = self.backbone.unet(noisy, times, self.backbone.encode_prompts(query.prompt).context).sample
            torch.testing.assert_close(predicted[name], own[name], atol=1e-5, rtol=1e-4)
            assert predicted[name].requires_grad == (query.adapter == "on")
        assert not torch.allclose(own["learn"], own["before"], atol=1e-3)
        total, expected = (
            mse(answers["learn"], batch.target) + 2 * mse(answers["keep"], answers["original"].detach())
            for answers in (predicted, own)
        )
        grads = (torch.autograd.grad(x, adapter.parameters(), retain_graph=True) for x in (total, expected))
        for mine, theirs in zip(*grads, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)
        self.checked += 1
        return total


def test_queries_of_one_step_share_latents_and_each_is_answered_by_its_own_model(
    tiny: Backbone, toy_concepts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, method = make(tiny, QUICK), Checked(QUICK)
    list(train(tiny, adapter, Started(QUICK), toy_concepts[0], seed=5))
    adapter.fold()
    method.backbone = tiny
    add_noise = tiny.schedule.scheduler.add_noise

    def spy(clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        method.seen = (add_noise(clean, noise, times), times)
        return method.seen[0]

    monkeypatch.setattr(tiny.schedule.scheduler, "add_noise", spy)
    list(train(tiny, adapter, method, toy_concepts[1], seed=5))
    assert method.checked == QUICK.steps
    adapter.close()


class Merge(Method):
    def end(self, concept: Concept, adapter: Any) -> None:
        adapter.fold()


def test_after_a_merge_the_next_start_is_a_new_one(tiny: Backbone, toy_concepts: Any) -> None:
    stream = generator(5, "init", toy_concepts[0].id)
    adapter = LoraAdapter(tiny, QUICK.rank, QUICK.alpha, QUICK.targets, stream)
    start = {name: A.detach().clone() for name, A in adapter.A.items()}
    list(train(tiny, adapter, Merge(QUICK), toy_concepts[0], seed=5))
    assert not any(torch.allclose(adapter.A[name], start[name]) for name in adapter.names)
    adapter.close()


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_stopped_between_concepts_and_continued_is_the_same_bit_for_bit(
    tiny: Backbone, toy_concepts: Any, token: bool, precision: Any
) -> None:
    config = QUICK.model_copy(update={"token": token})

    def stage(adapter: LoraAdapter, concept: Any) -> list[float]:
        with deterministic(threads=1):
            return [s.loss for s in train(tiny, adapter, Merge(config), concept, seed=5, precision=precision)]

    through = make(tiny, config)
    stage(through, toy_concepts[0])
    stored = through.state_dict()
    losses = stage(through, toy_concepts[1])
    final = through.state_dict()
    through.close()

    resumed = LoraAdapter(tiny, QUICK.rank, QUICK.alpha, QUICK.targets, generator(77, "init"), token)
    resumed.load_state_dict(stored)
    assert stage(resumed, toy_concepts[1]) == losses
    again = resumed.state_dict()
    assert again.keys() == final.keys() and all(torch.equal(again[key], final[key]) for key in final)
    resumed.close()


def test_bf16_learns_what_fp32_learns(tiny: Backbone, toy_concepts: Any) -> None:
    runs = {}
    for precision in ("fp32", "bf16"):
        adapter = make(tiny, QUICK)
        runs[precision] = [
            s.loss for s in train(tiny, adapter, Method(QUICK), toy_concepts[0], seed=5, precision=precision)
        ]
        adapter.close()
    assert runs["bf16"] != runs["fp32"]
    assert runs["bf16"] == pytest.approx(runs["fp32"], rel=0.02)


def test_a_learned_token_is_trained_and_the_shared_table_is_not(tiny: Backbone, toy_concepts: Any) -> None:
    class Token(Method):
        def begin(self, concept: Concept, adapter: Any) -> None:
            self.before = adapter.token.detach().clone()

    config = QUICK.model_copy(update={"noun": False, "token": True})
    adapter, method = make(tiny, config), Token(config)
    list(train(tiny, adapter, method, toy_concepts[0], seed=5))
    assert adapter.token is not None and not torch.equal(adapter.token, method.before)
    adapter.close()


def test_a_method_knows_the_concepts_before_its_own(tiny: Backbone, toy_concepts: Any) -> None:
    seen: list[tuple[str, tuple[str, ...]]] = []

    class Curious(Method):
        def begin(self, concept: Concept, adapter: Any) -> None:
            seen.append((concept.id, tuple(c.trigger for c in self.earlier)))

    first, second = toy_concepts
    adapter = make(tiny, QUICK)
    for concept, earlier in ((first, ()), (second, (first,))):
        list(train(tiny, adapter, Curious(QUICK), concept, seed=5, earlier=earlier))
    adapter.close()
    assert seen == [("first", ()), ("second", ("zorvex",))]


def test_steps_are_numbered_and_the_loss_falls(tiny: Backbone, toy_concepts: Any) -> None:
    config = QUICK.model_copy(update={"steps": 60, "rank": 4, "max_grad_norm": 1.0})
    adapter = make(tiny, config)
    steps = list(train(tiny, adapter, Method(config), toy_concepts[0], seed=5))
    assert [step.step for step in steps] == list(range(1, 61)) and isinstance(steps[0], Learning)
    assert {step.steps for step in steps} == {60}
    assert sum(s.loss for s in steps[-10:]) < 0.9 * sum(s.loss for s in steps[:10])
    adapter.close()


@pytest.mark.parametrize("every", [1, 10])
def test_a_loss_that_is_not_finite_is_one_clear_line(
    tiny: Backbone, toy_concepts: Any, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cat_bench.benchmark.learning.trainer.LOOKS", {"cpu": every})

    class Broken(Method):
        def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Any) -> Tensor:
            return mse(predicted["learn"], batch.target) * (float("nan") if batch.step == 1 else 1.0)

    adapter = make(tiny, QUICK)
    steps = train(tiny, adapter, Broken(QUICK), toy_concepts[0], seed=5)
    assert math.isfinite(next(steps).loss)
    with pytest.raises(TrainingError, match=r"^first: the loss is nan at step 2 of 3; lower lr \(0.01\)$"):
        list(steps)
    adapter.close()


def test_concepts_and_queries_that_do_not_fit_are_refused(tiny: Backbone, toy_concepts: Any) -> None:
    from dataclasses import replace

    adapter, concept = make(tiny, QUICK), toy_concepts[0]

    class Short(Method):
        def queries(self, batch: Batch) -> dict[str, Query]:
            return {"learn": Query(batch.prompt[:1])}

    class Few(type(concept)):  # type: ignore[misc]  # the fixture's class
        def train_images(self, size: int) -> list[Any]:
            return super().train_images(size)[:2]

    cases = [
        (Short(QUICK), concept, "query 'learn' has 1 prompts for a batch of 4"),
        (Method(QUICK), replace(concept, train_captions=("no place for it",)), "must be in 'no place for it'"),
        (Method(QUICK), replace(concept, trigger="hat"), "must not be in 'a person with a hat'"),
        (Method(QUICK), Few("few", "zorvex"), "few: 2 training images but 3 captions"),
    ]
    for method, case, message in cases:
        with pytest.raises(TrainingError, match=message):
            next(train(tiny, adapter, method, case, seed=5))
    adapter.close()
