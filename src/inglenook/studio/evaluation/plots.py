# SPDX-License-Identifier: Apache-2.0
"""Figures of an evaluation as PNG, to be put into a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from inglenook.studio.evaluation.canvas import FAINT, INK, MIDDLE, PALETTE, PAPER, Colour, Point, Sheet
from inglenook.studio.evaluation.fonts import HINT, drawable
from inglenook.studio.evaluation.model import Aggregate, CurvePoints

SIDE: Final = 420
"""Of the square in which curves are drawn, in pixels."""
LEFT, TOP, BOTTOM = 64, 64, 56
LEGEND: Final = 230
LARGEST: Final = 1600
"""Of the square of a confusion matrix."""


@dataclass(frozen=True, slots=True)
class _Axes:
    """A square from (0, 0), below on the left, to (1, 1)."""

    sheet: Sheet

    def at(self, x: float, y: float) -> Point:
        return (LEFT + x * SIDE, TOP + (1 - y) * SIDE)

    def draw(self, across: str, up: str) -> None:
        for step in range(6):
            share = step / 5
            self.sheet.line([self.at(share, 0), self.at(share, 1)], FAINT)
            self.sheet.line([self.at(0, share), self.at(1, share)], FAINT)
            x, y = self.at(share, 0)
            self.sheet.text((x, y + 8), f"{share:.1f}", size=12, anchor="ma")
            x, y = self.at(0, share)
            self.sheet.text((x - 8, y), f"{share:.1f}", size=12, anchor="rm")
        self.sheet.line([self.at(0, 0), self.at(1, 0)], INK)
        self.sheet.line([self.at(0, 0), self.at(0, 1)], INK)
        middle = self.at(0.5, 0)
        self.sheet.text((middle[0], middle[1] + 28), across, anchor="ma")
        self.sheet.text((18, self.at(0, 0.5)[1]), up, turned=True)


@dataclass(frozen=True, slots=True)
class _Names:
    """How classes are written: by their name, or by their number where no font here has its letters."""

    shown: Mapping[str, str]
    told: str

    @classmethod
    def of(cls, classes: Sequence[str]) -> "_Names":
        shown = {name: name if drawable(name) else f"class {number}" for number, name in enumerate(classes)}
        missing = sum(name != said for name, said in shown.items())
        if not missing:
            return cls(shown, "")
        many = "1 name is a number" if missing == 1 else f"{missing} names are numbers"
        return cls(shown, f"{many}: no font here has their letters; {HINT}")


def roc(found: Aggregate) -> bytes:
    """True positives against false alarms, a line a class, each against the rest."""
    areas = {name: one.roc_auc for name, one in found.per_class.items()}
    return _curves(
        found, "ROC, each class against the rest", "AUC", found.roc, areas,
        "false positive rate", "true positive rate", diagonal=True,
    )  # fmt: skip


def precision_recall(found: Aggregate) -> bytes:
    """Precision against recall, a line a class."""
    areas = {name: one.average_precision for name, one in found.per_class.items()}
    return _curves(
        found, "Precision and recall, each class against the rest", "AP", found.precision_recall, areas,
        "recall", "precision", diagonal=False,
    )  # fmt: skip


def _curves(
    found: Aggregate,
    title: str,
    area_name: str,
    curves: Mapping[str, CurvePoints],
    areas: Mapping[str, float | None],
    across: str,
    up: str,
    *,
    diagonal: bool,
) -> bytes:
    """Of too many classes, those with the smallest area: they are what one looks for."""
    sheet = Sheet(LEFT + SIDE + 24 + LEGEND, TOP + SIDE + BOTTOM)
    known = {name: area for name, area in areas.items() if area is not None and curves[name].x}
    shown = sorted(known, key=lambda name: known[name])[: len(PALETTE)]
    shown.sort(key=found.classes.index)
    _title(sheet, title, _counted(found, len(shown), len(known)))
    names = _Names.of(found.classes)
    axes = _Axes(sheet)
    axes.draw(across, up)
    if diagonal:
        sheet.dashed(axes.at(0, 0), axes.at(1, 1))
    for name, colour in zip(shown, PALETTE, strict=False):
        curve = curves[name]
        sheet.line(_path(axes, curve, stepped=not diagonal), colour, 1.8)
    left = LEFT + SIDE + 24
    for row, (name, colour) in enumerate(zip(shown, PALETTE, strict=False)):
        y = TOP + 12 + 22 * row
        sheet.line([(left, y), (left + 22, y)], colour, 3)
        label = sheet.fitted(names.shown[name], 13, LEGEND - 120)
        sheet.text((left + 30, y), f"{label}  {area_name} {known[name]:.3f}", anchor="lm")
    sheet.text((20, TOP + SIDE + BOTTOM - 10), names.told, size=10, colour=MIDDLE, anchor="lm")
    if not shown:
        sheet.text(axes.at(0.5, 0.5), "not defined for these pictures", anchor="mm", colour=MIDDLE)
    return sheet.png()


def _path(axes: _Axes, curve: CurvePoints, *, stepped: bool) -> list[Point]:
    """Precision holds from the recall before up to its own: straight lines would be too kind."""
    points: list[Point] = []
    before = 0.0
    for x, y in zip(curve.x, curve.y, strict=True):
        if stepped:
            points.append(axes.at(before, y))
        points.append(axes.at(x, y))
        before = x
    return points


def reliability(found: Aggregate) -> bytes:
    """How often it is right, by how sure it was; on the dashed line, confidence can be believed."""
    sheet = Sheet(LEFT + SIDE + 24 + LEGEND, TOP + SIDE + BOTTOM)
    _title(sheet, "Reliability", f"{found.count} pictures")
    axes = _Axes(sheet)
    axes.draw("confidence", "accuracy")
    most = max((one.count for one in found.calibration.bins), default=0)
    for one in found.calibration.bins:
        if one.accuracy is None or one.confidence is None:
            continue
        inset = (one.high - one.low) * 0.06
        left, top = axes.at(one.low + inset, one.accuracy)
        right, bottom = axes.at(one.high - inset, 0)
        sheet.box(left, top, right, bottom, _mixed(PALETTE[0], 0.35 + 0.65 * one.count / most))
        x, y = axes.at(one.confidence, one.accuracy)
        sheet.box(x - 3, y - 3, x + 3, y + 3, PALETTE[3])
    sheet.dashed(axes.at(0, 0), axes.at(1, 1))
    told = found.calibration
    lines = [f"ECE {_number(told.ece)}"]
    if told.temperature is not None:
        lines += [f"temperature {told.temperature:.3f}", f"fitted on {told.fitted_on}"]
        lines += [f"ECE after scaling {_number(told.ece_scaled)}"]
    lines += ["", "darker bars: more pictures", "squares: mean confidence"]
    for row, words in enumerate(lines):
        sheet.text((LEFT + SIDE + 24, TOP + 12 + 22 * row), words, anchor="lm")
    return sheet.png()


def confusion_matrix(found: Aggregate) -> bytes:
    """Rows are true classes; the colour is the share of the row, the number the count."""
    count = max(1, len(found.classes))
    cell = max(1.0, min(64.0, LARGEST / count, max(30.0, 480 / count)))
    side = cell * count
    named = cell >= 12
    size = 13 if cell >= 18 else 9
    probe = Sheet(1, 1)
    written = _Names.of(found.classes)
    names = [probe.fitted(written.shown[name], size, 150) for name in found.classes]
    edge = max((probe.measure(name, size) for name in names), default=0.0) if named else 0.0
    left, top = 56 + edge, 86 + edge
    sheet = Sheet(
        round(max(left + side + 24, 420, probe.measure(written.told, 10) + 40)), round(top + side + 28)
    )
    sheet.text((20, top + side + 16), written.told, size=10, colour=MIDDLE, anchor="lm")
    right = sum(row[number] for number, row in enumerate(found.confusion_matrix))
    _title(
        sheet, "Confusion matrix", f"{right} of {found.count} pictures are right; colour: share of the row"
    )
    sheet.text((left + side / 2, 62), "predicted", anchor="mm")
    sheet.text((18, top + side / 2), "true", turned=True)
    for number, row in enumerate(found.confusion_matrix):
        if named:
            middle = (number + 0.5) * cell
            sheet.text((left - 6, top + middle), names[number], size=size, anchor="rm")
            up = top - 8 - probe.measure(names[number], size) / 2
            sheet.text((left + middle, up), names[number], size=size, turned=True)
        _row(sheet, row, number, left, top + number * cell, cell)
    corners = [(left, top), (left + side, top), (left + side, top + side), (left, top + side), (left, top)]
    sheet.line(corners, MIDDLE)
    return sheet.png()


def _row(sheet: Sheet, counts: Sequence[int], number: int, left: float, top: float, cell: float) -> None:
    whole = sum(counts)
    for place, count in enumerate(counts):
        share = count / whole if whole else 0.0
        colour = PALETTE[2] if place == number else PALETTE[3]
        x = left + place * cell
        if count:
            sheet.box(x, top, x + cell, top + cell, _mixed(colour, 0.12 + 0.88 * share))
        if cell >= 22 and (count or cell >= 28):
            ink = PAPER if share > 0.55 else INK if count else MIDDLE
            size = 13 if cell >= 34 else 10
            sheet.text((x + cell / 2, top + cell / 2), _short(count), size=size, colour=ink, anchor="mm")


def _short(count: int) -> str:
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"


def _title(sheet: Sheet, title: str, below: str) -> None:
    sheet.text((20, 12), title, size=17)
    sheet.text((20, 36), below, size=12, colour=MIDDLE)


def _counted(found: Aggregate, shown: int, known: int) -> str:
    if shown < known:
        return f"{found.count} pictures; {shown} of {known} classes, those with the smallest area"
    return f"{found.count} pictures"


def _mixed(colour: Colour, share: float) -> Colour:
    """So much of the colour on paper."""
    red, green, blue = (
        round(paper + (own - paper) * share) for paper, own in zip(PAPER, colour, strict=True)
    )
    return (red, green, blue)


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"
