"""How every plot looks: one fixed colour and marker per method, sizes, and writing as SVG and PNG.

Colours are Okabe and Ito's, which people with any colour vision tell apart; the marker says the same a second time.
The same figure gives the same bytes, and the inline SVG takes its ink from the page, so it is legible on light and
dark.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cat_bench.results.records.labels import parent, settings
from cat_bench.results.records.long_table import write_atomically

INK = "#1b1f24"  # text and axes
FAINT = "#6e7781"  # floor, ceiling, secondary text
RULE = "#d0d7de"  # grid
WHITE = "#fefefe"  # that is white on every page
PAPER = "#fffffe"  # what looks empty: white here, on a page whatever the page is
_INLINE = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
    "stroke: #ffffff": "stroke: var(--paper)",
}
_KNOWN = {
    "lora": "#d55e00",
    "cat": "#0072b2",
    "merge": "#e69f00",
    "ortho": "#009e73",
    "magmax": "#cc79a7",
    "clora": "#56b4e9",
}
# for all others, given out in the order of their names: Tol's muted set, then some of his light and vibrant ones
_SPARE = (
    *("#882255", "#44aa99", "#999933", "#aa4499", "#6699cc", "#661100", "#117733", "#332288"),
    *("#ee8866", "#994455", "#bbcc33", "#225555", "#ee3377", "#eecc66", "#6f4c9b", "#a6761d"),
)
_BROKEN = ((0, (4, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (8, 2)))  # lines of variants
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "h", "d", "*", "p", "8")


@dataclass(frozen=True)
class Look:
    """Colour and marker of one method, the same in every plot of every run.

    A variant has its parent's colour, another marker, and a line that is broken in a way of its own.
    """

    color: str
    marker: str
    line: Any = "-"


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """The look of each method. Known methods have their own for good; others get the spare ones by name."""
    strangers = sorted({parent(name) for name in methods} - set(_KNOWN))
    order = [*_KNOWN, *strangers]
    colors = _KNOWN | {name: _SPARE[i % len(_SPARE)] for i, name in enumerate(strangers)}
    found = {}
    for name in methods:
        family = parent(name)
        variants = [other for other in methods if parent(other) == family and settings(other)]
        turn = variants.index(name) + 1 if name in variants else 0
        marker = _MARKERS[(order.index(family) + 3 * turn) % len(_MARKERS)]
        found[name] = Look(colors[family], marker, _BROKEN[(turn - 1) % len(_BROKEN)] if turn else "-")
    return found


def of_method(name: str) -> str:
    """The gid of what is drawn of one method, by which a page can leave it out."""
    return f"method:{name}"


def _named(svg: str) -> str:
    """Methods as an attribute, for an id may stand there once and a method is drawn more often."""
    return re.sub(r' id="method:([^"]*)"', r' data-method="\1"', svg)


def headed(label: str) -> str:
    """A method's label as the head of a panel: the settings of a variant on a line of their own where it is long."""
    return label if len(label) <= 16 else label.replace("[", "\n[", 1)


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib settings of all plots, for the time of drawing only."""
    settings: dict[Any, Any] = {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 10,
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": 10,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "axes.edgecolor": INK,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.frameon": False,
        "legend.fontsize": 9.5,
        "lines.linewidth": 1.8,
        "lines.markersize": 5.5,
        "axes.facecolor": "none",
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "svg.fonttype": "path",
        "svg.hashsalt": "cat-bench",
        "axes.unicode_minus": True,
    }
    with matplotlib.rc_context(settings):
        yield


def settle(figure: Figure) -> None:
    """Fix where the panels are, once: not again for every format, and known to what is placed by them."""
    FigureCanvasAgg(figure)
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


@dataclass(frozen=True)
class Plot:
    """One finished plot. `description` is its text alternative."""

    name: str
    title: str
    description: str
    svg: str
    png: bytes

    @classmethod
    def of(cls, name: str, title: str, description: str, figure: Figure) -> "Plot":
        """Draws a figure as SVG text and PNG bytes (200 dpi), without dates, so that it can be repeated exactly."""
        svg, png = io.StringIO(), io.BytesIO()
        with styled():
            settle(figure)
            figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": "cat-bench"})
            figure.savefig(png, format="png", dpi=200, metadata={"Software": "cat-bench"})
        return cls(name, title, description, _named(svg.getvalue()), png.getvalue())

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Writes `<name>.svg` and `<name>.png` into the folder."""
        paths = folder / f"{self.name}.svg", folder / f"{self.name}.png"
        write_atomically(paths[0], self.svg.encode())
        write_atomically(paths[1], self.png)
        return paths

    @property
    def inline(self) -> str:
        """The SVG to put into a page: page colours for ink, no background, ids of its own, as wide as its column."""
        text = self.svg[self.svg.index("<svg") :]
        text = re.sub(r'<g id="patch_1">.*?</g>', "", text, count=1, flags=re.DOTALL)  # the white sheet
        text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        for color, variable in _INLINE.items():
            text = text.replace(color, variable)
        used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', text))
        text = re.sub(r' id="([^"]*)"', lambda m: f' id="{self.name}-{m[1]}"' if m[1] in used else "", text)
        text = text.replace('href="#', f'href="#{self.name}-').replace("url(#", f"url(#{self.name}-")
        width = re.search(r' width="([\d.]+)pt"', text)
        size = f"max-width: {float(width[1]) * 1.3:.0f}px; --w: {float(width[1]) * 1.3:.0f}px" if width else ""
        text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
        return text.replace("<svg", f'<svg role="img" aria-label="{escape(self.title)}" style="{size}"', 1)
