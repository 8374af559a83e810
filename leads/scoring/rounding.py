"""From natural points to whole points that sum to the total."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import lcm

from leads.scoring.config import IcpConfig
from leads.scoring.values import CRITERIA, GROUPS


class Scale:
    """Natural points -> whole points under the weights; exact, by whole-number arithmetic.

    Every share is a fraction over one common denominator, so nothing depends on float noise.
    Results are remembered: there are few distinct combinations of points.
    """

    _REMEMBERED = 100_000

    def __init__(self, config: IcpConfig) -> None:
        shares = config.counted()
        total = sum(shares.values())
        natural = {
            group: sum(maximum for criterion, maximum in rows if criterion not in config.off)
            for group, rows in GROUPS.items()
        }
        # What one natural point of a group is worth in points of the total.
        worth = {
            group: shares[group] * 100 / total / natural[group] if group in shares else Fraction(0)
            for group in GROUPS
        }
        self._unit = lcm(*(value.denominator for value in worth.values()))
        self._groups = tuple(int(worth[group] * self._unit) for group in GROUPS)
        self._worth = tuple(
            0 if criterion in config.off else int(worth[group] * self._unit)
            for group, criterion, _maximum in CRITERIA
        )
        self._maxima = tuple(
            value * maximum for value, (_g, _c, maximum) in zip(self._worth, CRITERIA, strict=True)
        )
        self._known: dict[tuple[int, ...], tuple[int, tuple[int, ...], tuple[int, ...]]] = {}

    def apply(self, earned: tuple[int, ...]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        """Total, points and maxima; points sum to the total, maxima to 100, points <= maxima.

        The total is rounded half up, the lines share it by largest remainder. Under weights that
        leave fractions a line's maximum may differ by one from lead to lead: with fixed maxima
        the two sums cannot always both be kept.
        """
        known = self._known.get(earned)
        if known is None:
            if len(self._known) >= self._REMEMBERED:
                self._known.clear()
            known = self._known[earned] = self._share(earned)
        return known

    def total(self, sums: Sequence[int]) -> int:
        """The total alone, from each group's natural points of the criteria that are not off."""
        exact = sum(points * worth for points, worth in zip(sums, self._groups, strict=True))
        return (2 * exact + self._unit) // (2 * self._unit)

    def _share(self, earned: tuple[int, ...]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        unit = self._unit
        exact = [points * worth for points, worth in zip(earned, self._worth, strict=True)]
        total = (2 * sum(exact) + unit) // (2 * unit)
        points = [value // unit for value in exact]
        maxima = [value // unit for value in self._maxima]
        spare = 100 - sum(maxima)
        # Points above the floor of their maximum are only possible where the maximum is rounded
        # up as well, and there are `spare` of those to give.
        raised: set[int] = set()
        left = total - sum(points)
        for index in sorted(range(len(exact)), key=lambda at: (-(exact[at] % unit), at)):
            if not left or not exact[index] % unit:
                break
            if points[index] == maxima[index]:
                if len(raised) == spare:
                    continue
                raised.add(index)
            points[index] += 1
            left -= 1
        rest = sorted(
            (at for at in range(len(exact)) if at not in raised),
            key=lambda at: (-(self._maxima[at] % unit), at),
        )
        for index in [*raised, *rest[: spare - len(raised)]]:
            maxima[index] += 1
        return total, tuple(points), tuple(maxima)
