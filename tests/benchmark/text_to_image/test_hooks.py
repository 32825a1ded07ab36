"""What a method may ask for beyond its concept's batch: pools, a survey, routes; each against a computation by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.backbones.registry import entry_for
from cat_bench.benchmark.errors import AdapterError, TrainingError
from cat_bench.benchmark.learning.adapter_state import carried_bytes
from cat_bench.benchmark.learning.lora import LoraAdapter
from cat_bench.benchmark.learning.routed import learned, route_of
from cat_bench.benchmark.planning.seeds import generator, stream
from cat_bench.benchmark.planning.spec import Economy
from cat_bench.benchmark.system.determinism import deterministic
from cat_bench.benchmark.text_to_image.sampling import SamplerConfig, sample
from cat_bench.benchmark.text_to_image.training import train
from cat_bench.methods.base import Batch, Concept, Everything, Generated, Kept, Method, Pool, Query, mse
from cat_bench.methods.ewc import EWC
from cat_bench.methods.isolated import Isolated
from cat_bench.methods.replay import Replay
from cat_bench.methods.token import TextualInversion

QUICK = {"rank": 2, "alpha": 3.0, "lr": 1e-2, "steps": 3, "batch_size": 4, "max_grad_norm": 1e9}


def make(backbone: Backbone, method: Method) -> LoraAdapter:
    c = method.config
    return LoraAdapter(backbone, c.rank, c.alpha, c.targets, generator(0, "init"), c.token)


def stages(backbone: Backbone, method: Method, concepts: Sequence[Any], **options: Any) -> LoraAdapter:
    adapter = make(backbone, method)
    for number, concept in enumerate(concepts):
        list(train(backbone, adapter, method, concept, seed=5, earlier=concepts[:number], **options))
    return adapter


class Watching(Method):
    """Naive LoRA that writes down every batch, and asks about the pools without learning from them."""

    wanted: Mapping[str, Pool] = {}

    def __init__(self, config: Method.Config | None = None) -> None:
        super().__init__(config)
        self.batches: list[Batch] = []
        self.learned: list[Tensor] = []

    def pools(self, concept: Concept) -> Mapping[str, Pool]:
        return self.wanted

    def queries(self, batch: Batch) -> dict[str, Query]:
        asked = {name: Query(pool.prompt, items=name) for name, pool in batch.pools.items()}
        return {"learn": Query(batch.prompt), **asked}

    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Any) -> Tensor:
        self.batches.append(batch)
        return mse(predicted["learn"], batch.target)


def watched(backbone: Backbone, concepts: Any, wanted: Mapping[str, Pool], **options: Any) -> list[Batch]:
    method = Watching(Method.Config(**QUICK))
    method.wanted = wanted
    stages(backbone, method, concepts, **options).close()
    return method.batches


def test_a_pool_never_changes_what_the_concept_itself_draws(tiny: Backbone, toy_concepts: Any) -> None:
    alone = watched(tiny, toy_concepts, {})
    wanted = {"kept": Kept(1), "all": Everything(), "drawn": Generated(("a person",), 2)}
    beside = watched(tiny, toy_concepts, wanted)
    for one, other in zip(alone, beside, strict=True):
        assert one.prompt == other.prompt and torch.equal(one.target, other.target)
    assert [sorted(batch.pools) for batch in beside] == [["drawn"]] * 3 + [["all", "drawn", "kept"]] * 3
    last = beside[-1]
    assert not torch.equal(last.pools["kept"].target, last.target), "noise and time steps of its own"
    first = toy_concepts[0]
    assert set(last.pools["all"].prompt) <= {first.fill(caption, "trigger") for caption in first.train_captions}
    assert len(set(last.pools["kept"].prompt)) == 1 and last.pools["drawn"].prompt == ("a person",) * 4


def test_the_parts_of_a_batch_hold_their_share_of_every_pool(tiny: Backbone, toy_concepts: Any) -> None:
    whole = watched(tiny, toy_concepts, {"kept": Kept(2)})
    parts = watched(tiny, toy_concepts, {"kept": Kept(2)}, economy=Economy(micro_batch=2))
    assert len(parts) == 2 * len(whole)
    for number, batch in enumerate(whole[3:], 3):
        halves = parts[2 * number : 2 * number + 2]
        assert torch.equal(torch.cat([half.pools["kept"].target for half in halves]), batch.pools["kept"].target)
        assert tuple(text for half in halves for text in half.templates) == batch.templates


def test_what_is_kept_is_carried_and_counted(tiny: Backbone, toy_concepts: Any) -> None:
    config = Replay.configure(overrides={**QUICK, "kept": 2})

    def stage(adapter: LoraAdapter, number: int) -> dict[str, Tensor]:
        with deterministic(threads=1):
            concept, earlier = toy_concepts[number], toy_concepts[:number]
            list(train(tiny, adapter, Replay(config), concept, seed=5, earlier=earlier))
        return adapter.state_dict()

    adapter = make(tiny, Replay(config))
    stored = stage(adapter, 0)
    kept = stored["kept.first/latents"]
    own = tiny.encode_images(toy_concepts[0].train_images(tiny.resolution))
    assert kept.shape == (2, *own.shape[1:]) and all(any(torch.equal(k, o) for o in own) for k in kept)
    without = {key: value for key, value in stored.items() if not key.startswith("kept.")}
    assert carried_bytes(stored) - carried_bytes(without) == kept.numel() * 4 + len(stored["kept.first/captions"])
    uninterrupted = stage(adapter, 1)
    adapter.close()

    resumed = make(tiny, Replay(config))
    resumed.load_state_dict(stored)
    again = stage(resumed, 1)
    resumed.close()
    assert again.keys() == uninterrupted.keys() and all(torch.equal(again[k], uninterrupted[k]) for k in again)


def test_what_was_not_kept_cannot_be_asked_for(tiny: Backbone, toy_concepts: Any) -> None:
    adapter = stages(tiny, Method(Method.Config(**QUICK)), toy_concepts[:1])
    method = Replay(Replay.configure(overrides=QUICK))
    with pytest.raises(TrainingError, match=r"nothing of first was kept: .* from the first concept on"):
        list(train(tiny, adapter, method, toy_concepts[1], seed=5, earlier=toy_concepts[:1]))
    adapter.close()


@pytest.mark.parametrize("by", ["off", "previous"])
def test_generated_items_are_the_pictures_that_the_model_draws(tiny: Backbone, toy_concepts: Any, by: Any) -> None:
    seen: list[Tensor] = []
    encode = tiny.encode_images
    tiny.encode_images = lambda images: seen.append(encode(images)) or seen[-1]  # type: ignore[method-assign]
    try:
        config = Method.Config(**QUICK)
        adapter = stages(tiny, Method(config), toy_concepts[:1])
        before = adapter.deltas()
        method = Watching(config)
        method.wanted = {"drawn": Generated(("a person", "a zorvex person"), 2, by)}
        seen.clear()
        list(train(tiny, adapter, method, toy_concepts[1], seed=5, earlier=toy_concepts[:1]))
    finally:
        tiny.encode_images = encode  # type: ignore[method-assign]
    entry = entry_for(tiny.id, tiny.folder)
    prompts = ["a person"] * 2 + ["a zorvex person"] * 2
    seeds = [stream(5, "noise", "second", "drawn", "picture", number) for number in range(4)]
    sampler = SamplerConfig(entry.scheduler, entry.steps, entry.guidance)
    pictures = [
        p for _, part in sample(tiny, before if by == "previous" else None, prompts, seeds, sampler) for p in part
    ]
    assert torch.equal(seen[1], tiny.encode_images([Image.fromarray(picture) for picture in pictures]))
    adapter.close()


def test_a_survey_shows_each_items_gradient_and_changes_nothing(tiny: Backbone, toy_concepts: Any) -> None:
    shown: list[tuple[Mapping[str, Tensor], dict[str, Tensor]]] = []

    class Looking(Method):
        def survey(self) -> int:
            return 3

        def surveyed(self, gradients: Mapping[str, Tensor], adapter: Any) -> None:
            shown.append((gradients, {name: p.detach().clone() for name, p in adapter.named().items()}))

    config = Method.Config(**QUICK)
    adapter = stages(tiny, Looking(config), toy_concepts[:1])
    plain = {name: p.detach().clone() for name, p in adapter.named().items()}
    own = tiny.encode_images(toy_concepts[0].train_images(tiny.resolution))
    picks, stream_ = generator(5, "data", "first", "survey"), generator(5, "noise", "first", "survey")
    order = torch.randperm(len(own), generator=picks).tolist()
    for number, (gradients, values) in enumerate(shown):
        noise = torch.randn(1, *own.shape[1:], generator=stream_)
        times = tiny.schedule.times(1, stream_)
        clean, caption = own[[order[number]]], toy_concepts[0].train_captions[order[number]]
        context = tiny.encode_prompts([toy_concepts[0].fill(caption, "trigger")]).context
        with adapter.use("on"):
            answer = tiny.unet(tiny.schedule.noised(clean, noise, times), times, context).sample
        loss = (answer - tiny.schedule.target(clean, noise, times)).square().mean()
        by_hand = torch.autograd.grad(loss, adapter.parameters())
        assert gradients.keys() == values.keys() == plain.keys()
        for (name, gradient), expected in zip(gradients.items(), by_hand, strict=True):
            torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-4)
            assert torch.equal(values[name], plain[name])
    assert len(shown) == 3
    adapter.close()


def test_ewc_sums_the_squares_up(tiny: Backbone, toy_concepts: Any) -> None:
    method = EWC(EWC.configure(overrides={**QUICK, "items": 2}))
    stages(tiny, method, toy_concepts).close()
    assert all(bool((value >= 0).all()) for value in method.state().values())
    assert any(bool(value.any()) for value in method.state().values())


class Halved(Method):
    """Each concept is folded; a prompt takes half of every adapter whose trigger it names, and the others' twice."""

    def end(self, concept: Concept, adapter: Any) -> None:
        adapter.fold()

    def route(self, prompt: str, concepts: Sequence[Concept]) -> list[float] | None:
        return [0.5 if concept.trigger in prompt else 2.0 for concept in concepts] if "hat" not in prompt else None


def by_hand(adapter: LoraAdapter, weights: Sequence[float]) -> dict[str, Tensor]:
    return {
        name: sum((w * (f[name][1] @ f[name][0]) for w, f in zip(weights, adapter.factors, strict=True)))
        + adapter.delta(name).detach()
        for name in adapter.names
    }  # type: ignore[misc]


def test_each_prompt_of_a_step_is_answered_by_its_own_route(tiny: Backbone, toy_concepts: Any) -> None:
    checked = []

    class Mixed(Halved):
        def queries(self, batch: Batch) -> dict[str, Query]:
            texts = ("a zorvex person", "a person", "a zorvex hat", "the person")
            return {key: Query(texts, key) for key in ("on", "previous", "off")}  # type: ignore[arg-type]

        def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Any) -> Tensor:
            checked.append({key: value.detach() for key, value in predicted.items()})
            return mse(predicted["on"], predicted["off"])

    config = Method.Config(**{**QUICK, "steps": 1})
    adapter = stages(tiny, Halved(Method.Config(**QUICK)), toy_concepts[:1])
    stored = adapter.state_dict()
    noisy: list[Any] = []
    add_noise = tiny.schedule.scheduler.add_noise
    tiny.schedule.scheduler.add_noise = lambda z, e, t: noisy.append((add_noise(z, e, t), t)) or noisy[-1][0]
    try:
        list(train(tiny, adapter, Mixed(config), toy_concepts[1], seed=5, earlier=toy_concepts[:1]))
    finally:
        tiny.schedule.scheduler.add_noise = add_noise
    adapter.load_state_dict(stored)
    texts = ["a zorvex person", "a person", "a zorvex hat", "the person"]
    context = tiny.encode_prompts(texts).context
    for row, weight in enumerate((0.5, 2.0, 1.0, 2.0)):
        change = by_hand(adapter, [weight])
        for key in ("on", "previous", "off"):
            with adapter.use("off"), torch.no_grad():
                base = {name: adapter._base[name].weight.data.clone() for name in adapter.names}
                for name in adapter.names if key != "off" else ():
                    adapter._base[name].weight.data += change[name]
                answer = tiny.unet(noisy[0][0][[row]], noisy[0][1][[row]], context[[row]]).sample[0]
                for name in adapter.names:
                    adapter._base[name].weight.data.copy_(base[name])
            torch.testing.assert_close(checked[0][key][row], answer, atol=1e-5, rtol=1e-4)
    adapter.close()


def test_a_picture_is_drawn_with_the_weights_of_its_prompt(tiny: Backbone, toy_concepts: Any) -> None:
    method = Halved(Method.Config(**{**QUICK, "lr": 0.1}))
    adapter = stages(tiny, method, toy_concepts)
    prompts = ["a zorvex person", "a plimba person", "a person", "a zorvex thing", "a hat"]
    change = learned(adapter, route_of(method, toy_concepts), prompts)
    sampler = SamplerConfig(steps=3, batch=4)
    seeds = list(range(5))
    mixed = np.concatenate([part for _, part in sample(tiny, change, prompts, seeds, sampler)])
    for number, weights in enumerate([(0.5, 2), (2, 0.5), (2, 2), (0.5, 2), (1, 1)]):
        alone = next(sample(tiny, by_hand(adapter, weights), [prompts[number]], [number], sampler))[1][0]
        assert np.abs(mixed[number].astype(int) - alone).max() <= 2
    assert isinstance(learned(adapter, route_of(Method(), toy_concepts), prompts), dict), "unrouted: as ever"
    adapter.close()


def test_an_isolated_concept_is_learned_on_the_untouched_backbone(tiny: Backbone, toy_concepts: Any) -> None:
    method = Isolated(Isolated.configure(overrides={**QUICK, "lr": 0.1}))
    adapter = make(tiny, method)
    list(train(tiny, adapter, method, toy_concepts[0], seed=5))
    start = {key: value for key, value in adapter.state_dict().items() if key.startswith(("A.", "B."))}
    list(train(tiny, adapter, method, toy_concepts[1], seed=5, earlier=toy_concepts[:1]))
    own = adapter.factors[1]
    adapter.close()
    alone = make(tiny, method)
    alone.load_state_dict(start)
    list(train(tiny, alone, Method(method.config), toy_concepts[1], seed=5))
    for name, (A, B) in alone.current().items():
        torch.testing.assert_close(own[name][0], A)
        torch.testing.assert_close(own[name][1], B)
    alone.close()


def test_a_route_of_the_wrong_length_is_named(tiny: Backbone, toy_concepts: Any) -> None:
    class Short(Halved):
        def route(self, prompt: str, concepts: Sequence[Concept]) -> list[float]:
            return []

    method = Short(Method.Config(**QUICK))
    adapter = make(tiny, method)
    list(train(tiny, adapter, method, toy_concepts[0], seed=5))
    with pytest.raises(AdapterError, match="0 weights for 1 folded adapters"):
        list(train(tiny, adapter, method, toy_concepts[1], seed=5, earlier=toy_concepts[:1]))
    adapter.close()


def test_checkpointing_and_two_routes_in_a_step_do_not_go_together(tiny: Backbone, toy_concepts: Any) -> None:
    class Both(Halved):
        def queries(self, batch: Batch) -> dict[str, Query]:
            return {"learn": Query(batch.prompt), "other": Query(("a zorvex",) * len(batch.prompt))}

    method = Both(Method.Config(**QUICK))
    adapter = make(tiny, method)
    list(train(tiny, adapter, method, toy_concepts[0], seed=5))
    with pytest.raises(TrainingError, match="gradient checkpointing needs prompts of one route"):
        economy = Economy(checkpointing=True)
        list(train(tiny, adapter, method, toy_concepts[1], seed=5, earlier=toy_concepts[:1], economy=economy))
    adapter.close()


def test_only_the_token_moves_in_textual_inversion(tiny: Backbone, toy_concepts: Any) -> None:
    method = TextualInversion(TextualInversion.configure(overrides=QUICK))
    adapter = make(tiny, method)
    assert adapter.token is not None
    before = adapter.token.detach().clone()
    for _ in train(tiny, adapter, method, toy_concepts[0], seed=5):
        assert not any(bool(delta.any()) for delta in adapter.deltas().values())
    assert not torch.equal(method.tokens[toy_concepts[0].id], before)
    adapter.close()
