# SPDX-License-Identifier: Apache-2.0
"""Which size is drawn, and which is delivered, for the size that was asked for. Pure."""

from dataclasses import dataclass
from math import log, sqrt

from inglenook.base.errors import Invalid
from inglenook.catalog.model import ImageDefaults

Size = tuple[int, int]
"""(width, height) in pixels."""


@dataclass(frozen=True, slots=True)
class SizePlan:
    """Attributes:
    draw_w, draw_h: pixels that the model draws.
    factor: whole, at least 1; every drawn pixel becomes `factor` × `factor`.
    out_w, out_h: pixels as delivered: the drawn ones times `factor`.
    note: what differs from the size that was asked for, as a sentence for a person; None when nothing does.
    """

    draw_w: int
    draw_h: int
    out_w: int
    out_h: int
    factor: int
    note: str | None


def plan_size(
    requested: Size | None, defaults: ImageDefaults, *, max_side_px: int, max_pixels: int
) -> SizePlan:
    """Plan one picture.

    Args:
        requested: width and height as asked for; None takes the model's default, made smaller with its
            proportions where it passes a bound.
        max_side_px, max_pixels: bounds of the request and of the delivered picture.

    A model of any size: each side is rounded to the nearest multiple that the model can do (half goes up;
    never below its smallest side, never above the bound). A model of fixed sizes: the one whose proportions
    are nearest to the request's is drawn, and enlarged by the largest whole factor that fits into the
    request, at least 1.

    Raises:
        Invalid: `picture.size`: a side below the model's smallest or above the bound, or too many pixels.
    """
    if requested is None:
        requested = (defaults.width, defaults.height)
        wanted = _shrunk(requested, max_side_px=max_side_px, max_pixels=max_pixels)
    else:
        _check(requested, defaults, max_side_px=max_side_px, max_pixels=max_pixels)
        wanted = requested
    if defaults.fixed:
        plan = _fixed(wanted, defaults.fixed)
    else:
        plan = _rounded(wanted, defaults, max_side_px=max_side_px, max_pixels=max_pixels)
    if max(plan.out_w, plan.out_h) > max_side_px or plan.out_w * plan.out_h > max_pixels:
        raise _invalid(
            f"The model's smallest picture has {plan.out_w} × {plan.out_h} pixels", max_side_px, max_pixels
        )
    return SizePlan(
        plan.draw_w, plan.draw_h, plan.out_w, plan.out_h, plan.factor, _note(requested, plan, defaults)
    )


def _check(requested: Size, defaults: ImageDefaults, *, max_side_px: int, max_pixels: int) -> None:
    width, height = requested
    if min(requested) < defaults.min_px:
        raise Invalid(
            f"A size of {width}x{height} is too small for this model: "
            f"its smallest side is {defaults.min_px} pixels.",
            code="picture.size",
            hint=f"ask for {defaults.min_px} to {max_side_px} pixels a side, "
            f"as in {defaults.width}x{defaults.height}",
            field="size",
        )
    if max(requested) > max_side_px or width * height > max_pixels:
        raise _invalid(f"A size of {width}x{height} is too large", max_side_px, max_pixels)


def _invalid(fact: str, max_side_px: int, max_pixels: int) -> Invalid:
    return Invalid(
        f"{fact}: at most {max_side_px} pixels a side and {max_pixels} pixels in all are drawn here.",
        code="picture.size",
        hint="ask for a smaller size",
        field="size",
    )


def _shrunk(size: Size, *, max_side_px: int, max_pixels: int) -> Size:
    """`size`, or the largest of its proportions within the bounds."""
    width, height = size
    scale = min(1.0, max_side_px / max(size), sqrt(max_pixels / (width * height)))
    return max(1, int(width * scale)), max(1, int(height * scale))


def _rounded(wanted: Size, defaults: ImageDefaults, *, max_side_px: int, max_pixels: int) -> SizePlan:
    step = defaults.multiple
    lowest = -(-defaults.min_px // step) * step
    highest = max(lowest, max_side_px // step * step)
    width, height = (min(max(_nearest(side, step), lowest), highest) for side in wanted)
    if width * height > max_pixels:  # rounding up passed the bound
        width, height = (max(side // step * step, lowest) for side in wanted)
    return SizePlan(width, height, width, height, 1, None)


def _nearest(side: int, step: int) -> int:
    return max(step, (side + step // 2) // step * step)


def _fixed(wanted: Size, sizes: tuple[Size, ...]) -> SizePlan:
    def unlike(size: Size) -> float:
        return abs(log(size[0] / size[1]) - log(wanted[0] / wanted[1]))

    def factor_of(size: Size) -> int:
        return max(1, min(wanted[0] // size[0], wanted[1] // size[1]))

    def rank(size: Size) -> tuple[float, bool, int, int]:
        """Of equal proportions those that fit go first: the larger result, then the more detailed one.
        Of those that do not fit, the smallest."""
        area = size[0] * size[1]
        if size[0] > wanted[0] or size[1] > wanted[1]:
            return round(unlike(size), 9), True, area, 0
        return round(unlike(size), 9), False, -(factor_of(size) ** 2) * area, -area

    width, height = min(sizes, key=rank)
    factor = factor_of((width, height))
    return SizePlan(width, height, width * factor, height * factor, factor, None)


def _note(requested: Size, plan: SizePlan, defaults: ImageDefaults) -> str | None:
    if (plan.out_w, plan.out_h) == requested:
        return None
    asked, given = f"{requested[0]}x{requested[1]}", f"{plan.out_w}x{plan.out_h}"
    if defaults.fixed:
        drawn = f"draws {plan.draw_w}x{plan.draw_h} and enlarges it by a whole factor, here {plan.factor}"
        return f"The picture has {given} instead of {asked} pixels: this model {drawn}."
    rule = f"sides are multiples of {defaults.multiple} within bounds"
    return f"The picture has {given} instead of {asked} pixels: {rule}."
