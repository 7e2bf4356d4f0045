# SPDX-License-Identifier: Apache-2.0
"""Hardware that is not there, and a book of footprints without a database."""

from collections.abc import Iterable, Mapping

from inglenook.base.errors import Invalid
from inglenook.base.ids import DeviceId
from inglenook.runtime.contracts import Device, DeviceKind, DeviceUsage, FootprintKey


def fake_device(name: str, budget_bytes: int, total_bytes: int | None = None) -> Device:
    """A device whose kind is the part of `name` before the colon."""
    kinds: dict[str, DeviceKind] = {
        "cuda": "cuda",
        "rocm": "rocm",
        "mps": "mps",
        "vulkan": "vulkan",
        "cpu": "cpu",
    }
    kind, _, index = name.partition(":")
    total = budget_bytes if total_bytes is None else total_bytes
    number = int(index) if index else None
    return Device(DeviceId(name), kinds[kind], f"Fake {name}", total, budget_bytes, number)


class FakeProbe:
    """A `DeviceProbe` that tells what the test says.

    Attributes:
        held: bytes by process; change it while the test runs.
        readings: how often it was asked.
        broken: raised by each reading, while it is there.
    """

    def __init__(self, devices: Iterable[Device]) -> None:
        self._devices = {device.id: device for device in devices}
        self.held: dict[int, int] = {}
        self.readings = 0
        self.broken: Exception | None = None

    def devices(self) -> list[Device]:
        return list(self._devices.values())

    def usage(self, device: DeviceId, pids: frozenset[int]) -> DeviceUsage:
        if device not in self._devices:
            raise Invalid(f"There is no device {device!r}.", code="device.unknown")
        self.readings += 1
        if self.broken is not None:
            raise self.broken
        return DeviceUsage(sum(self.held.values()), {pid: self.held.get(pid, 0) for pid in pids})


class FakeBook:
    """A `FootprintBook` in memory."""

    def __init__(self, learned: Mapping[FootprintKey, tuple[int, float]] | None = None) -> None:
        self.rows: dict[FootprintKey, tuple[int, float]] = {} if learned is None else dict(learned)

    def learned(self) -> Mapping[FootprintKey, tuple[int, float]]:
        return dict(self.rows)

    def learn(self, key: FootprintKey, *, peak_bytes: int, load_s: float) -> None:
        old_bytes, old_s = self.rows.get(key, (0, 0.0))
        self.rows[key] = (peak_bytes or old_bytes, load_s or old_s)
