"""The page of `runtime.certify` as text: takes plain values, reads and measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import PurePath
from typing import Any

from runtime import chart_bars
from runtime.page_html import (
    Column,
    Html,
    Panel,
    colours,
    details,
    document,
    machine_facts,
    made_with,
    note,
    number,
    section,
    signed,
    strips,
    table,
    tiles,
)

# Data sets with more classes show the rest folded up, those that lose most first.
CLASSES_SHOWN = 24
TITLE = "Parity certificate"


def page(
    content: Mapping[str, Any],
    *,
    palette: Sequence[Sequence[int]],
    panels: Sequence[Panel],
    present: Sequence[int],
    legend: Sequence[tuple[str, Sequence[int]]] = (),
) -> str:
    """The whole page.

    Args:
        content: what CANDIDATE.certificate.json holds.
        palette: one RGB colour per class.
        panels: pictures of the images labelled least alike; empty when there are none.
        present: ids of the classes to be seen in the pictures.
        legend: colours of the pictures of differences and what they mean.
    """
    sections = [
        _header(content),
        section("Measures", measures(content), note(*content["notes"])),
        _classes(content),
        _pictures(content, palette, panels, present, legend),
        section("How it was measured", _method(content)),
        section("Made with", made_with(content["command"], _facts(content))),
    ]
    return document(f"{TITLE}: {file_name(content, 'candidate')}", sections)


def _header(content: Mapping[str, Any]) -> str:
    candidate, reference = file_name(content, "candidate"), file_name(content, "reference")
    mark, word = ("good", "Certified") if content["certified"] else ("bad", "Not certified")
    head = f'<span class="{mark}">{word}:</span> {escape(candidate)} in place of '
    lines = "<br>".join(escape(line) for line in content["missed"])
    reasons = f'<p class="warning">{lines}</p>' if lines else ""
    files = " · ".join(
        f"{file_name(content, key)}: {content[key]['precision']} on {content[key]['backend']}"
        for key in ("reference", "candidate")
    )
    images = f"{content['images']} images of {content['data']} · {content['date'][:10]}"
    figures = [
        (check["name"], f"{_value(check, 'value')} {check['unit']}")
        for check in content["checks"]
        if check["bound"] is not None and check["value"] is not None
    ]
    return (
        f'<header><p class="kicker">{TITLE}</p><h1>{head}{escape(reference)}</h1>'
        f'<p class="facts">{escape(images)}<br>{escape(files)}</p>{reasons}'
        f"{tiles([*figures[:3], ('images', str(content['images']))])}</header>"
    )


def measures(content: Mapping[str, Any]) -> str:
    """The table of the measures and whether each is met."""
    columns = [
        *(
            Column("measure", text=True, wrap=True),
            Column("value"),
            Column("95 % interval", wide=True),
        ),
        *(Column("at least"), Column("verdict", text=True)),
    ]
    rows = [
        [
            Html(
                f"{escape(check['name'])}, {check['unit']}"
                + (f"<br><small>{escape(check['remark'])}</small>" if check["remark"] else "")
            ),
            _value(check, "value"),
            _span(check),
            _value(check, "bound"),
            _mark(check["passed"]),
        ]
        for check in content["checks"]
    ]
    return table(columns, rows, caption="Measures and thresholds", sort=False)


def _classes(content: Mapping[str, Any]) -> str:
    text = classes(content)
    return section("IoU of each class", text) if text else ""


def classes(content: Mapping[str, Any]) -> str:
    """Every class as a row; of many, those that lose most are shown and the others folded."""
    rows = content["iou"]
    known = [row for row in rows if row["delta"] is not None]
    if not known:
        return ""
    ends = [abs(row[key]) for row in known for key in ("low", "high", "delta")]
    limit = content["thresholds"]["max_class_drop"]
    reach = max(*ends, limit or 0, 0.1)
    folded: Sequence[Mapping[str, Any]] = []
    if len(rows) > CLASSES_SHOWN:
        ordered = sorted(rows, key=lambda row: (row["delta"] is None, row["delta"] or 0))
        rows, folded = ordered[:CLASSES_SHOWN], ordered[CLASSES_SHOWN:]
    text = _class_table(rows, reach, limit)
    if folded:
        text += details(f"{len(folded)} more classes", _class_table(folded, reach, limit))
    return text + note(
        f"The drawings reach from −{reach:.1f} to +{reach:.1f} points; left of the middle the "
        "candidate is worse."
    )


def _class_table(rows: Sequence[Mapping[str, Any]], reach: float, limit: float | None) -> str:
    columns = [
        *(Column("class", text=True), Column("reference %", wide=True)),
        *(Column("candidate %", wide=True), Column("Δ points")),
        *(Column("95 % interval", wide=True), Column("")),
    ]
    cells = [
        [
            row["name"],
            number(row["reference"], "{:.2f}", 100),
            number(row["candidate"], "{:.2f}", 100),
            signed(row["delta"]),
            _ends(row),
            _whisker(row, reach, limit),
        ]
        for row in rows
    ]
    return table(columns, cells, caption="IoU of each class")


def _whisker(row: Mapping[str, Any], reach: float, limit: float | None) -> str:
    if row["delta"] is None:
        return ""
    drawing = chart_bars.whisker(
        *(row["delta"], row["low"], row["high"]),
        reach=reach,
        mark=None if limit is None else -limit,
        title=f"{row['name']}: {signed(row['delta'])} points, {_ends(row)}",
    )
    return Html(drawing)


def _pictures(
    content: Mapping[str, Any],
    palette: Sequence[Sequence[int]],
    panels: Sequence[Panel],
    present: Sequence[int],
    legend: Sequence[tuple[str, Sequence[int]]],
) -> str:
    if not panels:
        return ""
    names = content["classes"]
    marks = colours([text for text, _ in legend], [rgb for _, rgb in legend], range(len(legend)))
    return section(
        "Images labelled least alike",
        colours(names, palette, present),
        marks,
        strips(panels, left="reference", right="candidate"),
    )


def _method(content: Mapping[str, Any]) -> str:
    """The measures in words."""
    width = content["boundary"]
    lines = [
        "Label agreement is the share of all pixels that both files label alike, at the size of "
        "each image.",
        f"Boundary agreement is the same among the pixels that have another class of the "
        f"reference's labels within {width} pixel{'s' if width > 1 else ''} along either axis.",
    ]
    if content["labelled"]:
        lines.append(
            "ΔmIoU is the candidate's mIoU less the reference's; pixels that the truth ignores "
            "and classes that are absent do not count."
        )
    lines.append(
        f"The 95 % intervals are percentiles over {content['resamples']} resamples of the images "
        f"with replacement (seed {content['seed']}), both files on the same resample. They cover "
        "the choice of images, not training."
    )
    if content["batches"]["images"]:
        lines.append(
            f"For the batches {content['batches']['images']} of the images were labelled one by "
            "one and together with others; the least equal batch size is given."
        )
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _facts(content: Mapping[str, Any]) -> dict[str, Any]:
    files = {
        f"SHA-256 of {file_name(content, key)}, {key}": content[key]["sha256"]
        for key in ("reference", "candidate")
    }
    return {
        **machine_facts(content["machine"], content["threads"]),
        **content["versions"],
        **files,
    }


def file_name(content: Mapping[str, Any], key: str) -> str:
    """The name of a file, with its folder where both files have one name."""
    paths = {key: PurePath(content[key]["path"]) for key in ("reference", "candidate")}
    alike = paths["reference"].name == paths["candidate"].name
    return "/".join(paths[key].parts[-2:]) if alike else paths[key].name


def _value(check: Mapping[str, Any], key: str) -> str:
    """An entry of a measure; differences have a sign."""
    value = check[key]
    return signed(value) if check["unit"] == "points" else number(value, "{:.2f}")


def _span(check: Mapping[str, Any]) -> str:
    if check["low"] is None:
        return "–"
    return f"{_value(check, 'low')} … {_value(check, 'high')}"


def _ends(row: Mapping[str, Any]) -> str:
    return "–" if row["low"] is None else f"{signed(row['low'])} … {signed(row['high'])}"


def _mark(passed: bool | None) -> str:
    if passed is None:
        return ""
    name, word = ("good", "✓ met") if passed else ("bad", "✗ missed")
    return Html(f'<span class="{name}">{word}</span>')
