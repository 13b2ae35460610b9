"""Keep the figures of the documents equal to the files of results.

    python benchmarks/tables.py --check
    python benchmarks/tables.py --write
    python benchmarks/tables.py --take zero_shot < printed.md
    python benchmarks/tables.py --model RUN/test/metrics.json

Every figure has one source, a file in ``benchmarks/results``. Documents show it in two ways: a line
``<!-- table: NAME -->`` stands above a table that is ``NAME.json`` whole, and ``quotes.json`` lists the sentences
and single rows that repeat figures, as ``{NAME/row/column}`` or ``{NAME/key}``. ``--write`` brings tables, quotes
and the bundle's ``metadata.json`` up to date. ``--take`` first puts a table that a benchmark has printed into
``NAME.json``, ``--model`` what the bundle's ``evaluating`` scored into ``model.json``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
METADATA = ROOT / "bundle" / "configs" / "metadata.json"
CONFIG = ROOT / "bundle" / "configs" / "train.json"
DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "docs" / "results.md",
    ROOT / "docs" / "performance.md",
    ROOT / "docs" / "training.md",
    ROOT / "docs" / "measuring.md",
    ROOT / "bundle" / "docs" / "README.md",
)
MARKED = re.compile(r"<!-- table: (\w+) -->\n(?P<table>(?:\|.*\n)*)")
NUMBER = r"\d(?:[\d,]*\d)?(?:\.\d+)?(?: ± \d+\.\d+)?"
PLACE = re.compile(r"\{([^{}]+)\}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Check or write all documents."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--check", action="store_true", help="name what differs, and end with 1 if anything does"
    )
    what.add_argument(
        "--write", action="store_true", help="write tables, quotes and metadata from the results"
    )
    what.add_argument(
        "--take", metavar="NAME", help="put the table on standard input into NAME.json, and write"
    )
    what.add_argument("--model", type=Path, metavar="JSON", help="metrics.json of the shipped model")
    options = parser.parse_args(arguments)
    if options.model:
        take_model_scores(options.model)
    if options.take:
        take_table(options.take, sys.stdin.read())
    if options.check:
        found = [line for document in (*DOCUMENTS, METADATA) for line in differences(document)]
        sys.exit("\n".join(found) or 0)
    for document in (*DOCUMENTS, METADATA):
        document.write_text(up_to_date(document), encoding="utf-8")


def differences(document: Path) -> Iterator[str]:
    """Yield a line for each figure in which a document is not what the results say."""
    name, text = document.relative_to(ROOT), document.read_text(encoding="utf-8")
    if document == METADATA:
        if json.loads(text)["eval_metrics"] != model_metrics():
            yield f"{name}: eval_metrics are not those of model.json"
        return
    for match in MARKED.finditer(text):
        if match["table"] != table(match[1]):
            yield f"{name}: the table {match[1]} is not the one in {match[1]}.json"
    for quote in quotes(document):
        found = pattern(quote).search(text)
        if found is None:
            yield f"{name}: the words of this quote are not there: {quote}"
            continue
        for place, met in zip(PLACE.findall(quote), found.groups()[1::2], strict=True):
            if met != figure(place):
                yield f"{name}: {met} in place of {figure(place)}, {place}"


def up_to_date(document: Path) -> str:
    """Return the text of a document with the figures of the results."""
    text = document.read_text(encoding="utf-8")
    if document == METADATA:
        metadata = json.loads(text)
        metadata["eval_metrics"] = model_metrics()
        return json.dumps(metadata, indent=4, ensure_ascii=False) + "\n"
    text = MARKED.sub(lambda match: f"<!-- table: {match[1]} -->\n{table(match[1])}", text)
    for quote in quotes(document):
        text = pattern(quote).sub(_with_figures(quote), text, count=1)
    return text


def _with_figures(quote: str) -> Callable[[re.Match[str]], str]:
    places = PLACE.findall(quote)

    def replace(match: re.Match[str]) -> str:
        words = list(match.groups())
        words[1::2] = [figure(place) for place in places]
        return "".join(words)

    return replace


def quotes(document: Path) -> list[str]:
    """Return the sentences of a document that repeat figures."""
    listed: dict[str, list[str]] = json.loads((RESULTS / "quotes.json").read_text(encoding="utf-8"))
    return listed.get(str(document.relative_to(ROOT)), [])


def pattern(quote: str) -> re.Pattern[str]:
    """Return what finds a quote, whatever its figures and line breaks; words and figures in turns, as groups."""
    words = [
        "(" + r"\s+".join(map(re.escape, re.split(r"\s+", part))) + ")" for part in PLACE.split(quote)[::2]
    ]
    return re.compile(rf"({NUMBER})".join(words))


def figure(place: str) -> str:
    """Return the figure at ``NAME/key`` or ``NAME/row/column``, as documents write it.

    A row is known by what stands in its first column; the first of that name is meant.

    Example:
        >>> figure("train/batch_size")
        '2'
    """
    name, *rest = place.split("/")
    if name == "train":
        value = json.loads(CONFIG.read_text(encoding="utf-8"))
        for key in rest:
            value = value[key]
        return str(value)
    results = read(name)
    if len(rest) == 1:
        return str(results[rest[0]])
    columns = {column["key"]: column for column in results["columns"]}
    first = next(iter(columns))
    row = next(row for row in results["rows"] if str(row[first]) == rest[0])
    return cell(row.get(rest[1]), columns[rest[1]])


def table(name: str) -> str:
    """Return the results of that name as a table in Markdown."""
    results = read(name)
    columns = results["columns"]
    lines = [
        [column["title"] for column in columns],
        *(
            [cell(row.get(column["key"]), column, strong=True) for column in columns]
            for row in results["rows"]
        ),
    ]
    rule = "".join("---:|" if column.get("right") else "---|" for column in columns)
    head, *body = (f"| {' | '.join(line)} |".replace("|  |", "| |").replace("|  |", "| |") for line in lines)
    return "\n".join([head, f"|{rule}", *body]) + "\n"


def cell(value: Any, column: dict[str, Any], *, strong: bool = False) -> str:
    """Return a value as text: rounded, with its spread if it is a pair, with commas from ten thousand on."""
    if value is None:
        return ""
    if isinstance(value, list):
        return " ± ".join(cell(part, column) for part in value)
    comma = "," if isinstance(value, int) and value >= 10_000 else ""
    text = value if isinstance(value, str) else f"{value:{comma}.{column.get('digits', 0)}f}"
    return f"**{text}**" if strong and column.get("strong") else text


def read(name: str) -> dict[str, Any]:
    """Return the results of that name."""
    results: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return results


def model_metrics() -> dict[str, float]:
    """Return the shipped model's scores under the names that ``metadata.json`` has."""
    *classes, foreground, everything = read("model")["rows"]
    metrics = {
        f"mean_{score}{suffix}": round(row[score], 3)
        for row, suffix in ((foreground, ""), (everything, "_with_background"))
        for score in ("iou", "dice")
    }
    return metrics | {f"iou_{row['class']}": round(row["iou"], 3) for row in classes}


def take_model_scores(path: Path) -> None:
    """Put the scores of an evaluation into ``model.json``."""
    scores, results = json.loads(path.read_text(encoding="utf-8")), read("model")
    classes = [
        {"class": row["name"], **{key: row[key] for key in ("iou", "dice", "voxels")}}
        for row in scores["classes"]
    ]
    means = [
        {
            "class": name,
            "iou": scores[f"mean_iou{suffix}"],
            "dice": scores[f"mean_dice{suffix}"],
            "voxels": sum(row["voxels"] for row in classes[start:]),
        }
        for name, suffix, start in (
            ("mean foreground", "", 1),
            ("mean with background", "_with_background", 0),
        )
    ]
    write("model", results | {"rows": [*classes, *means]})


def take_table(name: str, text: str) -> None:
    """Put a table in Markdown into a file of results; columns that the file knows keep their keys."""
    known_already = (RESULTS / f"{name}.json").exists()
    results: dict[str, Any] = read(name) if known_already else {"measured": name, "columns": []}
    lines = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[part.strip() for part in line] for line in lines]
    head, rule, body = cells[0], cells[1], cells[2:]
    known = {column["title"]: column for column in results["columns"]}
    columns = [
        known.get(title) or _column(title, right.endswith(":"), [line[at] for line in body])
        for at, (title, right) in enumerate(zip(head, rule, strict=True))
    ]
    rows = [
        {column["key"]: _value(part) for column, part in zip(columns, line, strict=True) if part}
        for line in body
    ]
    write(name, results | {"columns": columns, "rows": rows})


def _column(title: str, right: bool, cells: list[str]) -> dict[str, Any]:
    places = [len(digits) for part in cells for digits in re.findall(r"\d\.(\d+)", part)]
    key = re.sub(r"\W+", "_", title.lower()).strip("_")
    column = {"title": title, "key": key, "right": right, "digits": max(places, default=0)}
    return {name: value for name, value in column.items() if value}


def _value(part: str) -> Any:
    part = part.strip("*")
    if not re.fullmatch(NUMBER, part):
        return part
    numbers = [float(n) if "." in n else int(n.replace(",", "")) for n in part.split(" ± ")]
    return numbers if len(numbers) > 1 else numbers[0]


def write(name: str, results: dict[str, Any]) -> None:
    """Write results, one line for each column and row."""

    def listed(value: Any) -> str:
        if not isinstance(value, list):
            return json.dumps(value, ensure_ascii=False)
        return "[\n    " + ",\n    ".join(json.dumps(part, ensure_ascii=False) for part in value) + "\n  ]"

    entries = [f"  {json.dumps(key)}: {listed(value)}" for key, value in results.items()]
    (RESULTS / f"{name}.json").write_text("{\n" + ",\n".join(entries) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
