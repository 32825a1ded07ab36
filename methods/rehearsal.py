"""Methods that see further items at each step: what they ask of them, and the loss."""

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from cat_bench.methods.base import Adapter, Batch, Method, Query, mse


class Rehearsal(Method):
    """Naive LoRA that learns the items of its pools, too; a subclass says in `pools` what they are.

    L = ‖ε_on(z_t, t, c_T) − ε‖² + w · Σ_pools ‖ε_on(z'_t', t', c') − ε'‖²
    """

    knob = ("weight", (1.0, 4.0))

    class Config(Method.Config):
        weight: float = Field(default=1.0, ge=0, description="w, of the further items; 0 is naive LoRA")

    config: Config

    def queries(self, batch: Batch) -> dict[str, Query]:
        return super().queries(batch) | {name: Query(pool.prompt, items=name) for name, pool in batch.pools.items()}

    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        total = mse(predicted["learn"], batch.target)
        for name, pool in batch.pools.items():
            total = total + self.config.weight * mse(predicted[name], pool.target)
        return total
