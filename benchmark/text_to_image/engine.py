"""The engine: a backbone, an adapter in it, models that judge, on one device with one CPU thread and fixed kernels."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.errors import RunError
from cat_bench.benchmark.extractors.base import Extractor
from cat_bench.benchmark.extractors.clip import MetricModel
from cat_bench.benchmark.extractors.dino import DinoModel
from cat_bench.benchmark.extractors.folders import metric_for
from cat_bench.benchmark.learning.adapter_state import carried_bytes
from cat_bench.benchmark.learning.lora import LoraAdapter
from cat_bench.benchmark.learning.routed import Routed, learned, route_of
from cat_bench.benchmark.planning.engine import Pictures
from cat_bench.benchmark.planning.events import Learning
from cat_bench.benchmark.planning.identity import CLIP, DINO, THREADS
from cat_bench.benchmark.planning.plan import CellPlan, StagePlan
from cat_bench.benchmark.planning.seeds import generator, stream
from cat_bench.benchmark.planning.spec import RunSpec
from cat_bench.benchmark.store.files import write_bytes
from cat_bench.benchmark.system.determinism import deterministic
from cat_bench.benchmark.system.device import resolve_device, resolve_precision
from cat_bench.benchmark.text_to_image.sampling import Capacity, SamplerConfig, sample
from cat_bench.benchmark.text_to_image.training import train
from cat_bench.methods.base import Concept, Method


class TorchEngine:
    """A context manager: inside it PyTorch is deterministic and uses one CPU thread."""

    def __init__(self, spec: RunSpec) -> None:
        self.sampler = SamplerConfig(**spec.sampler.model_dump())
        self.capacity = Capacity()
        self.device = resolve_device(spec.device)
        self.precision = resolve_precision(spec.precision, self.device)
        self.economy = spec.economy
        self._exit = ExitStack()
        self.backbone = Backbone.load(spec.backbone, self.device, spec.weights)
        metric = spec.metric or metric_for(self.backbone.id, self.backbone.folder)
        self.clip = MetricModel.load(metric, self.device)
        self.extractors: dict[str, Extractor] = {CLIP: self.clip}
        if spec.dino:
            self.extractors[DINO] = DinoModel.load(spec.dino, self.device)
        if self.economy.channels_last:
            self.backbone.unet.to(memory_format=torch.channels_last)
        if self.economy.compile:
            self.backbone.unet.compile_repeated_blocks()

    def __enter__(self) -> TorchEngine:
        self._exit.enter_context(deterministic(THREADS))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    @property
    def batch(self) -> int:
        return self.sampler.batch

    def tokens(self, text: str) -> int:
        found = (encoder.tokenizer(text, add_special_tokens=False) for encoder in self.backbone.text_encoders)
        return max(len(ids["input_ids"]) for ids in found)

    def inputs(self) -> dict[str, int]:
        modules = self.backbone.network.named_modules()
        return {name: module.in_features for name, module in modules if isinstance(module, torch.nn.Linear)}

    def learn(self, cell: CellPlan, stage: StagePlan, target: Path) -> Generator[Learning, None, dict[str, Any]]:
        assert stage.concept is not None
        seed = cell.cell.seed
        # A method should draw from the adapter's generator alone; if it does not, it still repeats itself.
        torch.manual_seed(stream(seed, "init", stage.concept.id, "global"))
        with closing(self._adapter(cell, generator(seed, "init", stage.concept.id))) as adapter:
            method = self._method(cell, adapter, stage.previous)
            yield from train(
                self.backbone,
                adapter,
                method,
                stage.concept,
                seed=seed,
                earlier=stage.earlier,
                precision=self.precision,
                tokens=self._tokens(method, stage, False),
                economy=self.economy,
            )
            state = adapter.state_dict(extra=method.state())
            write_bytes(target, save(state))
            deltas, before = adapter.deltas(), adapter.entered()
            return {
                "trainable_parameters": sum(p.numel() for p in adapter.parameters() if p.requires_grad),
                "bytes_carried": carried_bytes(state),
                "delta_norm": _norm(deltas.values()),
                "change_norm": _norm(delta - before[name] for name, delta in deltas.items()),
            }

    def sample(
        self, cell: CellPlan | None, stage: StagePlan, adapter: Path | None, start: int
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        deltas: Mapping[str, Tensor] | Routed | None = None
        tokens: Mapping[str, Tensor] = {}
        if cell is not None and adapter is not None:
            with closing(self._adapter(cell, torch.Generator())) as loaded:
                method = self._method(cell, loaded, adapter)
                route = route_of(method, self._concepts(stage, True))
                deltas = learned(loaded, route, [item.text for item in stage.items])
                tokens = self._tokens(method, stage, True)
        items = stage.items[start:]
        batches = sample(
            self.backbone,
            deltas,
            [item.text for item in items],
            [item.seed for item in items],
            self.sampler,
            kinds=[item.company for item in items],
            tokens=tokens or None,
            precision=self.precision,
            capacity=self.capacity,
        )
        for first, pictures in batches:
            yield start + first, pictures

    def embed(self, role: str, pictures: Pictures) -> NDArray[np.float32]:
        return self.extractors[role].images(pictures)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.clip.texts(list(texts))

    def _adapter(self, cell: CellPlan, init: torch.Generator) -> LoraAdapter:
        config = cell.config
        return LoraAdapter(self.backbone, config.rank, config.alpha, config.targets, init, config.token)

    def _method(self, cell: CellPlan, adapter: LoraAdapter, state: Path | None) -> Method:
        """The method as it was when `state` was written, and the adapter with it; fresh if there is none."""
        method = cell.method(cell.config)
        if state is not None:
            try:
                tensors = dict(sorted(load(state.read_bytes()).items()))  # safetensors' own order changes by chance
            except (OSError, ValueError) as error:
                raise RunError(f"{state} cannot be read: delete its folder and give the command again") from error
            method.load(adapter.load_state_dict(tensors))
            method.tokens = adapter.tokens
        return method

    def _tokens(self, method: Method, stage: StagePlan, with_own: bool) -> dict[str, Tensor]:
        """Learned embeddings by trigger, of the concepts that have one."""
        known = self._concepts(stage, with_own)
        return {concept.trigger: method.tokens[concept.id] for concept in known if concept.id in method.tokens}

    def _concepts(self, stage: StagePlan, with_own: bool) -> tuple[Concept, ...]:
        assert stage.concept is not None
        return (*stage.earlier, stage.concept) if with_own else stage.earlier


def _norm(deltas: Iterable[Tensor]) -> float:
    """Frobenius norm of all layers' changes together."""
    return float(sum(float(delta.double().square().sum()) for delta in deltas) ** 0.5)
