"""Every figure that an embedded backbone and its metric model are held to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.backbones.registry import entry_for
from cat_bench.benchmark.extractors.clip import MetricModel
from cat_bench.benchmark.extractors.part_reader import PartReader
from cat_bench.benchmark.pretrain.figures.backbone import backbone_figures
from cat_bench.benchmark.pretrain.figures.figure import Figure
from cat_bench.benchmark.pretrain.figures.judge import judge_figures
from cat_bench.benchmark.pretrain.figures.learnable import learnable
from cat_bench.benchmark.pretrain.figures.reader import reader_figures
from cat_bench.benchmark.text_to_image.sampling import SamplerConfig


def evaluate(backbone_folder: Path, metric_folder: Path, device: str = "auto", scale: float = 1.0) -> Iterator[Figure]:
    """Measure all figures one by one, the judge's first; `scale` < 1 takes fewer pictures and trains no adapters.

    Sampling is the backbone's own: as a run samples from it.
    """
    judge, reader = MetricModel.load(metric_folder, device=device), PartReader.load(metric_folder)
    yield from judge_figures(judge, scale)
    yield from reader_figures(judge, reader, scale)
    backbone = Backbone.load(str(backbone_folder), device=device)
    own = entry_for(backbone.id, backbone.folder)
    sampler = SamplerConfig(own.scheduler, own.steps, own.guidance)
    yield from backbone_figures(backbone, judge, reader, sampler, scale)
    if scale >= 1:
        yield from learnable(backbone, judge, sampler)
