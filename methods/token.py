"""Textual inversion: only the word is learned."""

from collections.abc import Mapping

from torch import Tensor

from cat_bench.methods.base import Adapter, Concept, Method
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON


@register("token")
class TextualInversion(Method):
    """Textual inversion: only the embedding of the trigger is learned, and no weight of the model is changed.

    v* = argmin ‖ε_off(z_t, t, c(v)) − ε‖²; each concept has an embedding of its own, so nothing can be forgotten. It
    starts at random; the paper starts it at the embedding of the class noun.
    """

    title = "Textual inversion"
    source = "Gal et al. 2023, arXiv 2208.01618"
    carries = "one embedding a concept"
    uses_noun = False
    learns_token = True
    presets = {**COMMON, "avatars64.v2": {"steps": 80, "lr": 5e-3}}

    def __init__(self, config: Method.Config | None = None) -> None:
        super().__init__(config)
        self.tokens: dict[str, Tensor] = {}

    def begin(self, concept: Concept, adapter: Adapter) -> None:
        for name in adapter.names:
            adapter.A[name].requires_grad_(False)
            adapter.B[name].requires_grad_(False)

    def end(self, concept: Concept, adapter: Adapter) -> None:
        assert adapter.token is not None
        self.tokens[concept.id] = adapter.token.detach().clone()
        adapter.reset()  # the next concept's is drawn anew

    def token(self, concept: Concept) -> Tensor | None:
        return self.tokens.get(concept.id)

    def state(self) -> dict[str, Tensor]:
        return {f"token.{id}": token for id, token in self.tokens.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.tokens = {key.removeprefix("token."): token for key, token in state.items()}
