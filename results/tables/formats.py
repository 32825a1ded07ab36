"""The summary as people read it: text cells for the console and HTML, Markdown, LaTeX, CSV."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cat_bench.results.measures.figures import GROUPS, HEADLINE, Figure
from cat_bench.results.measures.marks import MARK
from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables.notes import carried, gaps, note
from cat_bench.results.tables.summary import Row, Summary, Value, summarise

MISSING = "–"
_READ = ("part_accuracy", "scene_accuracy")  # left out of the headline where nothing was read
_LATEX = str.maketrans(
    {
        **{c: f"\\{c}" for c in "&%_#"},
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "–": "--",
        "−": "$-$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "†": r"$\dagger$",
        "<": "$<$",
        "[": "{[}",
        "]": "{]}",
        "²": "$^2$",
    }
)


@dataclass(frozen=True)
class Entry:
    """One cell of a printed table. mark: "best", "tie" or "". reason: why it is empty, or what was left out."""

    text: str
    mark: str = ""
    reason: str | None = None


@dataclass(frozen=True)
class Table:
    """A titled table. columns: heads with direction arrows; rows: entries, the first of each is the row's name."""

    id: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    roles: tuple[str, ...]
    note: str
    gaps: tuple[str, ...] = ()  # what is missing, and why
    doubts: tuple[str, ...] = ()  # which metrics failed a test of the instrument; their heads have a mark


def text_of(value: Value, figure: Figure, row: Row) -> str:
    """`0.812 ± 0.010`: half the width of the interval, none when n = 1; `–` when missing.

    (n=…) where it is not the row's number of cells.
    """
    if value.mean is None:
        return MISSING
    # adding zero turns a rounded -0.0 into 0.0
    text = f"{round(value.mean, figure.digits) + 0.0:.{figure.digits}f}".replace("-", "−")
    if value.half is not None:
        text += f" ± {value.half:.{figure.digits}f}"
    return text + (f" (n={value.n})" if value.n != row.cells else "")


def table(summary: Summary, name: str, title: str, chosen: Sequence[Figure]) -> Table:
    """Rows of the summary under the chosen figures, best and ties marked, with n."""
    marks = {figure.id: summary.best(figure) for figure in chosen}
    rows, shown = [], [row for row in summary.rows if row.role != "noise" or _has(row, chosen)]
    for row in shown:
        n = f"{row.cells}" if row.cells == row.planned else f"{row.cells} of {row.planned}"
        line = [Entry(row.title), Entry(n)]
        for figure in chosen:
            value = row.values[figure.id]
            line.append(Entry(text_of(value, figure, row), marks[figure.id].get(row.name, ""), value.reason))
        rows.append(tuple(line))
    columns = ("method", "n", *(marked(figure.label, figure, summary) for figure in chosen))
    roles = tuple(row.role for row in shown)
    doubts = dict.fromkeys(summary.doubts[f.metric] for f in chosen if f.metric in summary.doubts)
    said = note(summary) + carried(shown)
    return Table(name, title, columns, tuple(rows), roles, said, gaps(shown, chosen), tuple(doubts))


def marked(label: str, figure: Figure, summary: Summary) -> str:
    """A column's head, with a mark where the figure's metric failed a test of the instrument."""
    return f"{label} {MARK}" if figure.metric in summary.doubts else label


def _has(row: Row, chosen: Sequence[Figure]) -> bool:
    """Whether a row has any of these figures."""
    return any(row.values[figure.id].mean is not None for figure in chosen)


def headline(summary: Summary) -> Table:
    """The figures to look at first, as far as the run has them: its strata are the sequence's own, and of photos
    nothing is read.
    """
    known = {figure.id: figure for figure in summary.figures}
    read = {f.id for f in known.values() if any(row.values[f.id].mean is not None for row in summary.rows)}
    figures = [known[name] for name in HEADLINE if name in known and (name in read or not name.startswith(_READ))]
    prefixes = {"concept_accuracy": "accuracy ", "clip_i": "CLIP-I ", "kps": "KPS "}
    labels = [next((p for id, p in prefixes.items() if f.id.startswith(id)), "") + f.label for f in figures]
    labels = [marked(label, figure, summary) for label, figure in zip(labels, figures, strict=True)]
    made = table(summary, "headline", "Summary", figures)
    return replace(made, columns=(*made.columns[: -len(labels)], *labels))


def group_tables(summary: Summary) -> tuple[Table, ...]:
    """One table a group of figures, in order."""
    groups = {group: [f for f in summary.figures if f.group == group] for group in GROUPS}
    return tuple(table(summary, group, GROUPS[group], chosen) for group, chosen in groups.items() if chosen)


def summary_table(run_folder: Path | str) -> Table:
    """The headline table of a run, for the console: `columns` and rows of entries. Raises ResultError as `Run.open`."""
    return headline(summarise(Run.open(run_folder)))


def markdown(tables: Sequence[Table], trouble: Sequence[str] = (), mixtures: Sequence[str] = ()) -> str:
    """All tables as Markdown; troubled cells, and what was not made alike, listed at the end.

    A note that the table above has as well is not repeated.
    """
    parts, said = [], ""
    for t in tables:
        head = "| " + " | ".join(t.columns) + " |"
        rule = "| --- |" + " ---: |" * (len(t.columns) - 1)
        lines = ["| " + " | ".join(f"**{e.text}**" if e.mark else e.text for e in row) + " |" for row in t.rows]
        notes = [t.note] if t.note != said else []
        listed = "\n".join(f"- – {gap}" for gap in t.gaps)
        below = (part for part in (*notes, *t.doubts, listed) if part)
        parts.append("\n\n".join(["\n".join([f"## {t.title}", "", head, rule, *lines]), *below]))
        said = t.note
    if trouble:
        parts.append("\n".join(["## Cells without figures", "", *(f"- {line}" for line in trouble)]))
    if mixtures:
        parts.append("\n".join(["## Not made with the same", "", *(f"- {line}" for line in mixtures)]))
    return "\n\n".join(parts) + "\n"


def latex(tables: Sequence[Table]) -> str:
    """All tables as LaTeX (needs the package booktabs), one `table` each, labelled `tab:<id>`."""
    parts = ["% needs \\usepackage{booktabs}"]
    for t in tables:
        body = []
        for role, row, following in zip(t.roles, t.rows, (*t.roles[1:], ""), strict=True):
            body.append(" & ".join(_tex(e) for e in row) + r" \\")
            if {"method", "reference"} & {role, following} and role != following and following:
                body.append("\\midrule")
        lines = [
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{' '.join([f'{t.title}.', t.note, *t.doubts]).translate(_LATEX)}}}",
            f"\\label{{tab:{t.id.replace('_', '-')}}}",
            f"\\begin{{tabular}}{{l{'r' * (len(t.columns) - 1)}}}",
            "\\toprule",
            " & ".join(c.translate(_LATEX) for c in t.columns) + r" \\",
            "\\midrule",
            *body,
            "\\bottomrule",
            "\\end{tabular}",
            "\\end{table}",
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _tex(entry: Entry) -> str:
    text = entry.text.translate(_LATEX)
    return f"\\textbf{{{text}}}" if entry.mark else text
