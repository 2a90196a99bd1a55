"""The tables as Markdown, CSV and JSON, and a plot of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gigacount.ablate.measure import Measurement
from gigacount.ablate.run import Ablation, Cell
from gigacount.ablate.variants import TABLES
from gigacount.atomic import replacing, write_whole
from gigacount.evaluate.reports import image_row
from gigacount.metrics.counting import counting_metrics
from gigacount.metrics.heads import mean_of_known
from gigacount.output.tables import csv_text

Values = dict[str, Any]
BAR_HEIGHT = 0.38

NUMBERS = {  # value -> heading and form
    "mae": ("MAE", ".1f"),
    "relative_error": ("relative error", ".3f"),
    "bias": ("bias", "+.1f"),
    "grid_error": ("grid error", ".3f"),
    "looks": ("looks", ".4g"),
    "megapixels": ("megapixels", ".1f"),
    "seconds": ("seconds", ".1f"),
}
LEVEL_NUMBERS = {
    "level": ("level", "d"),
    "scale": ("read px per px", ".3f"),
    "area": ("share of the area", ".3f"),
    "truth": ("people", "d"),
    "count": ("counted", ".0f"),
    "ratio": ("counted / people", ".2f"),
    "head_px": ("head, read px", ".1f"),
}

MEANING = (
    "Means over the images of a row. MAE: people; relative error: |counted - true| / true; bias: counted - true,"
    " above 0 where too many are counted; grid error: absolute differences in the cells of an 8 x 8 grid, added up,"
    " over the true count. Looks and megapixels are what the network is shown. Seconds: reading and network of every"
    " look, one after another, as measured when it was first taken, and the strategy's own work; looks that rows share"
    " were taken once and count in full in each. `count` reads ahead while the network works, and is faster by that."
)


def write_tables(ablation: Ablation) -> list[Path]:
    """Write tables.md, tables.csv, tables.json, images.csv and, where matplotlib is installed, a PNG for each table.

    Raises OutputError.
    """
    out, cells = ablation.options.out, ablation.cells()
    texts = {
        "tables.md": markdown(ablation, cells),
        "tables.csv": _csv([_flat(row_values(cell)) for cell in cells]),
        "tables.json": json.dumps(report(ablation, cells), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "images.csv": _csv([line for cell in cells for line in image_rows(cell)]),
    }
    for name, text in texts.items():
        write_whole(out / name, text.encode())
    paths = [out / name for name in texts]
    if find_spec("matplotlib"):
        for name, rows in by_table(cells):
            with replacing(out / f"{name}.png", overwrite=True) as fresh:
                plot_table(TABLES[name][0], [row_values(cell) for cell in rows], fresh)
            paths.append(out / f"{name}.png")
    return paths


def report(ablation: Ablation, cells: Sequence[Cell]) -> Values:
    """Everything as JSON knows it."""
    options = ablation.options
    networks = {name: predictor.record.sha256 for name, predictor in ablation.predictors.items()}
    predictor = next(iter(ablation.predictors.values()))
    return {
        "data": options.data,
        "split": options.split,
        "images": [sample.image.name for sample in ablation.samples],
        "networks": networks,
        "device": predictor.device,
        "precision": predictor.precision,
        "backend": predictor.backend,
        "tables": [
            {"name": name, "title": TABLES[name][0], "rows": [row_values(cell) for cell in rows]}
            for name, rows in by_table(cells)
        ],
    }


def row_values(cell: Cell) -> Values:
    """A row as JSON knows it; values are None until an image is measured."""
    measured = cell.measured
    metrics = counting_metrics([one.counted for one in measured]) if measured else None
    return {
        "table": cell.table,
        "row": cell.variant.label,
        "network": cell.networks[0],
        "coarse_network": cell.networks[1],
        "images": len(measured),
        "left_out": cell.left_out,
        "mae": metrics and metrics.mae,
        "mae_interval": metrics and metrics.mae_interval,
        "relative_error": metrics and metrics.nae,
        "bias": metrics and metrics.bias,
        "grid_error": metrics and metrics.grid_error,
        "looks": mean_of_known(one.inferences for one in measured),
        "megapixels": mean_of_known(one.pixels / 1e6 for one in measured),
        "seconds": mean_of_known(one.seconds for one in measured),
        "strategy": cell.variant.strategy,
        "options": asdict(cell.variant.looking),
        "by_level": list(by_level(measured)),
    }


def by_level(measured: Sequence[Measurement]) -> Iterator[Values]:
    """Where people were last seen, over all images: a line per zoom level, empty where looks are averaged."""
    for level in sorted({seen.level for one in measured for seen in one.seen}):
        found = [seen for one in measured for seen in one.seen if seen.level == level]
        truth, count = sum(seen.truth for seen in found), sum(seen.count for seen in found)
        yield {
            "level": level,
            "scale": mean_of_known(seen.scale for seen in found),
            "area": sum(seen.area for seen in found) / len(measured),
            "truth": truth,
            "count": count,
            "ratio": count / truth if truth else None,
            "head_px": mean_of_known(seen.head_px for seen in found),
        }


def image_rows(cell: Cell) -> Iterator[Values]:
    """A line for each image of a row."""
    for one in cell.measured:
        about = {"table": cell.table, "row": cell.variant.label, "network": cell.by}
        effort = {"looks": one.inferences, "megapixels": one.pixels / 1e6, "seconds": one.seconds}
        yield about | image_row(one.counted) | effort


def markdown(ablation: Ablation, cells: Sequence[Cell]) -> str:
    """The tables as a page."""
    images = len(ablation.samples)
    parts = [f"# Ablation on {ablation.options.data}, {images} image{'s' if images != 1 else ''}", MEANING]
    for name, rows in by_table(cells):
        headings = [heading for heading, _ in NUMBERS.values()]
        lines = [_markdown_row(["row", "network", "images", *headings])]
        lines.append(_markdown_row(["---", "---", "---:", *["---:"] * len(NUMBERS)]))
        parts += [f"## {TABLES[name][0]}", "\n".join([*lines, *(_markdown_cell(cell) for cell in rows)])]
        if len({len(cell.measured) for cell in rows if cell.measured}) > 1:
            parts.append("Rows of different numbers of images cannot be compared.")
    for cell in {cell.by: cell for cell in cells if _is_base(cell, ablation)}.values():
        parts += [f"## Where GigaZoom looked ({cell.by})", _markdown_levels(cell)]
    return "\n\n".join(parts) + "\n"


def by_table(cells: Sequence[Cell]) -> list[tuple[str, list[Cell]]]:
    """The cells by the name of their table, in order."""
    return [(name, [cell for cell in cells if cell.table == name]) for name in dict.fromkeys(c.table for c in cells)]


def _csv(rows: Sequence[Values]) -> str:
    return csv_text(list(rows[0]), rows) if rows else ""


def _flat(values: Values) -> Values:
    """A row without what does not fit a cell of a CSV file."""
    low, high = values["mae_interval"] or (None, None)
    kept = {name: value for name, value in values.items() if name not in ("mae_interval", "options", "by_level")}
    return kept | {"mae_low": low, "mae_high": high}


def _is_base(cell: Cell, ablation: Ablation) -> bool:
    """Whether a row is GigaZoom with the options that all rows have in common."""
    return (
        cell.variant.strategy == "gigazoom" and cell.variant.looking == ablation.options.looking and bool(cell.measured)
    )


def _markdown_cell(cell: Cell) -> str:
    if not cell.measured:
        why = "left out: too many looks" if cell.left_out else "not yet measured"
        return _markdown_row([cell.variant.label, cell.by, why, *[""] * len(NUMBERS)])
    return _markdown_row([cell.variant.label, cell.by, str(len(cell.measured)), *_formatted(row_values(cell), NUMBERS)])


def _markdown_levels(cell: Cell) -> str:
    lines = [_markdown_row([heading for heading, _ in LEVEL_NUMBERS.values()])]
    lines.append(_markdown_row(["---:"] * len(LEVEL_NUMBERS)))
    lines += [_markdown_row(_formatted(seen, LEVEL_NUMBERS)) for seen in by_level(cell.measured)]
    return "\n".join(lines)


def _formatted(values: Values, numbers: dict[str, tuple[str, str]]) -> list[str]:
    """The values that `numbers` names, None as nothing."""
    return ["" if values[name] is None else format(values[name], form) for name, (_, form) in numbers.items()]


def _markdown_row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def plot_table(title: str, rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the rows of a table as PNG; rows without measurements are left blank, undefined errors have no bar."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.4 + 0.55 * len(rows)), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    several = len({(row["network"], row["coarse_network"]) for row in rows}) > 1
    bars = (
        ("relative_error", "relative error of the count", -BAR_HEIGHT / 2),
        ("grid_error", "8 x 8 grid error", BAR_HEIGHT / 2),
    )
    for name, label, offset in bars:
        known = [(number, row[name]) for number, row in enumerate(rows) if row[name] is not None]
        places = [number + offset for number, _ in known]
        drawn = axes.barh(places, [value for _, value in known], BAR_HEIGHT, label=label)
        axes.bar_label(drawn, fmt="%.3f", fontsize=7, padding=2)
    axes.set_yticks(range(len(rows)), [_bar_label(row, several) for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15 * max([row[name] for name, _, _ in bars for row in rows if row[name] is not None], default=1))
    axes.set_title(title, fontsize=10)
    figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    figure.savefig(path, format="png")


def _bar_label(row: dict[str, Any], several: bool) -> str:
    looks = "not measured" if row["looks"] is None else f"looks: {row['looks']:.4g}"
    network = f" ({row['network']})" if several else ""
    return f"{row['row']}{network}\n{looks}"
