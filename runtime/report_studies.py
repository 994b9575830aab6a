"""Sections of the report about INT8: sensitivity of the blocks, and the search for a mix."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from runtime import chart_bars, charts
from runtime.charts import Dot
from runtime.page_html import Column, card, details, legend, note, number, pair, signed, table

Content = Mapping[str, Any]

_MEASURES = {"label agreement": "agreement", "mIoU": "miou"}
# The steps of the search lie closer together than formats do.
_LEAST_POINTS = 0.4


def sensitivity_headline(content: Content) -> str:
    """The result in one sentence."""
    if "blocks" not in content:
        return f"Sensitivity: {content['done']} of {content['runs']} runs are done"
    worst = max(content["blocks"], key=lambda block: block["loss_points"]["agreement"])
    changed = 100 * (1 - worst["alone"]["agreement"])
    return f"INT8 hurts most in {words(worst['block'])}: it changes {changed:.2f} % of the labels"


def sensitivity(content: Content) -> str:
    """Bars of what INT8 costs in each block, and the table."""
    if "blocks" not in content:
        return card("", note(
            f"{content['done']} of {content['runs']} runs are done; run the command again, it goes "
            "on where it stopped."))  # fmt: skip
    blocks = sorted(content["blocks"], key=lambda block: -block["loss_points"]["agreement"])
    names = [words(block["block"]) for block in blocks]
    panels = [
        card(
            title,
            legend(list(_MEASURES), first=1),
            chart_bars.changes(
                names,
                {
                    label: [float(block[key][measure]) for block in blocks]
                    for label, measure in _MEASURES.items()
                },
                unit="points",
            ),
        )
        for title, key in (
            ("Lost with this block alone in INT8, points", "loss_points"),
            ("Gained with all but this block in INT8, points", "gain_points"),
        )
    ]
    formats = [(key.upper(), content[key]) for key in ("fp32", "fp16", "int8")]
    whole = " ".join(
        f"{form}: {100 * score['miou']:.2f} % mIoU, {100 * score['agreement']:.2f} % of the labels "
        "as FP32." for form, score in formats
    )  # fmt: skip
    return pair(*panels) + card(
        "", details("As a table", _blocks(blocks)), note(whole, _judged(content))
    )


def search_headline(content: Content) -> str:
    """The verdict of the search as a sentence."""
    text = re.sub(r"(?<!\w)-(?=\d)", "−", str(content["verdict"]))
    return text[:1].upper() + text[1:]


def search(content: Content) -> str:
    """The curve, the formats and why each block is where it is."""
    chosen = content["chosen"]
    limit = 100 * content["fp32"]["miou"] - content["max_drop_points"]
    dots = sorted(
        (_dot(point, chosen) for point in content["curve"]), key=lambda dot: dot.name != ""
    )
    lowest = min(dot.y for dot in dots)
    reach = max(dot.y for dot in dots) - lowest
    near = limit > lowest - 2 * max(reach, 0.25)
    curve = charts.scatter(
        dots,
        x=content["latency"],
        y="mIoU in %",
        front=True,
        limit=limit if near else None,
        least=_LEAST_POINTS,
    )
    allowed = f"Allowed from {limit:.2f} % on{', the red line' if near else ', far below'}."
    found = card(
        "Accuracy over latency of the mixes tried",
        curve,
        note(allowed, "The star is the mix chosen." if chosen is not None else ""),
    )
    sides = card("Formats", _formats(content), note(_judged(content)))
    return pair(found, sides) + card("Why each block is in its format", _reasons(content["blocks"]))


def words(block: str) -> str:
    """`pixel_decoder.mask_features` -> `pixel decoder mask features`."""
    return block.replace("_", " ").replace(".", " ")


def _dot(point: Content, chosen: Sequence[str] | None) -> Dot:
    name, count = str(point["name"]), len(point["int8"])
    star = chosen is not None and sorted(point["int8"]) == sorted(chosen) and name != "FP32"
    known = {"FP32": ("ring", 0), "FP16": ("square", 0), "INT8": ("triangle", 1)}
    shape, series = ("star", 2) if star else known.get(name, ("dot", 1))
    blocks = f"{count} block{'' if count == 1 else 's'} in INT8"
    return Dot(
        f"{name}, {blocks}: {point['ms']:.2f} ms, {100 * point['miou']:.2f} % mIoU",
        float(point["ms"]),
        100 * float(point["miou"]),
        series=series,
        shape=shape,
        name=f"{name}, chosen" if star and name in known else name if star or name in known else "",
    )


def _formats(content: Content) -> str:
    columns = [Column("version", text=True), Column("ms"), Column("mIoU %"), Column("Δ points"),
               Column("same labels %")]  # fmt: skip
    reference = content["fp32"]["miou"]
    rows = [
        [
            version["name"],
            number(version["ms"], "{:.2f}"),
            f"{100 * version['miou']:.2f}",
            signed(100 * (version["miou"] - reference)),
            f"{100 * version['agreement']:.2f}",
        ]
        for version in content["formats"]
    ]
    return table(columns, rows, caption="Speed and accuracy of the formats and the chosen mix")


def _reasons(blocks: Sequence[Content]) -> str:
    columns = [
        *(Column("block", text=True, wrap=True), Column("format", text=True), Column("layers")),
        *(Column("saves ms"), Column("same labels %"), Column("why", text=True)),
    ]
    rows = [
        [
            words(block["block"]),
            block["format"].upper(),
            str(block["layers"]),
            number(block["saves_ms"], "{:.2f}"),
            number(block["alone"] and block["alone"]["agreement"], "{:.2f}", 100),
            block["why"],
        ]
        for block in blocks
    ]
    return table(columns, rows, caption="The blocks, their formats and why")


def _blocks(blocks: Sequence[Content]) -> str:
    columns = [Column("block", text=True), Column("layers"),
               *(Column(f"{side}, {what}") for side in ("alone", "left out")
                 for what in ("same labels %", "Δ mIoU"))]  # fmt: skip
    rows = []
    for block in blocks:
        usual = "left_out" in block
        rest = block["left_out" if usual else "added"]
        gain = block["gain_points"]["miou"]
        rows.append(
            [
                words(block["block"]) + ("" if usual else " *"),
                str(block["layers"]),
                number(block["alone"]["agreement"], "{:.3f}", 100),
                signed(-block["loss_points"]["miou"]),
                number(rest["agreement"], "{:.3f}", 100),
                signed(gain if usual else -gain),
            ]
        )
    star = "" if all("left_out" in block for block in blocks) else (
        "* in FP16 unless asked for; left out: added to INT8."
    )  # fmt: skip
    return table(columns, rows, caption="What INT8 costs in each block") + note(star)


def _judged(content: Content) -> str:
    others, own = content["key"]["held_out"], content["calibration"]
    ranges = f"by {own['method']} on {len(own['images'])} images of {own['data']}"
    if own["method"] == "learnt":
        ranges = "learnt in training"
    return (
        f"Labels on {content['key']['backend']}; ranges {ranges}; judged on "
        f"{len(others['images'])} images of {others['data']} that no range comes from."
    )
