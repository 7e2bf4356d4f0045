# SPDX-License-Identifier: Apache-2.0
"""What hardware there is, what is used of it, and by which process.

| kind | found through                       | total                     | used, by process               |
|------|-------------------------------------|---------------------------|--------------------------------|
| cuda | NVML (`nvidia-ml-py`)               | NVML                      | NVML, per process              |
| rocm | `/sys/class/drm/card*/device`       | `mem_info_vram_total`     | `fdinfo` of each process       |
| mps  | macOS on Apple silicon              | physical memory (unified) | resident memory (a lower bound)|
| cpu  | always                              | physical memory or cgroup | resident memory                |

Vulkan devices come with the engine that uses them. Not run by us so far: rocm and mps.
"""

import contextlib
import ctypes
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import psutil

from inglenook.base.errors import Invalid
from inglenook.base.ids import DeviceId
from inglenook.base.units import GIB, KIB, MIB
from inglenook.runtime import cgroup
from inglenook.runtime.contracts import Device, DeviceUsage

AMD_VENDOR = "0x1002"
CPU_SHARE = 0.7
"""Of the machine's memory, by default: the rest is for the system, the browser and this server."""
ASK_S = 2.0
"""How long a program of the system may take to tell a name."""

APPLE_SHARE = 0.7
"""Metal's recommended working set is about two thirds to three quarters of unified memory."""


class Source(Protocol):
    """One way to find devices."""

    def devices(self) -> list[Device]: ...

    def usage(self, device: DeviceId, pids: frozenset[int]) -> DeviceUsage | None:
        """None when the device is not this source's."""
        ...


class SystemProbe:
    """All sources together; the order in which devices are listed is the order of preference: the one in
    which `only` names them, else the one in which they are found.

    Args:
        budgets: by device id, bytes that may be reserved; overrides the default.
        reserve_bytes: left free on each accelerator when no budget is set.
        only: device ids to use, None for all.
    """

    def __init__(
        self,
        *,
        sources: Sequence[Source],
        budgets: Mapping[str, int],
        reserve_bytes: int,
        only: Sequence[str] | None,
    ) -> None:
        self._sources = sources
        self._budgets = budgets
        self._reserve_bytes = reserve_bytes
        self._only = only

    def devices(self) -> list[Device]:
        """Raises `Invalid` when a setting names a device that is not here."""
        found = [device for source in self._sources for device in source.devices()]
        names = [device.id for device in found]
        for wanted in (*(self._only or ()), *self._budgets):
            if wanted not in names:
                raise Invalid(
                    f"There is no device {wanted!r} on this machine; there are: {', '.join(names)}.",
                    code="device.unknown",
                    hint="correct runtime.devices or runtime.budgets",
                )
        devices = {device.id: self._with_budget(device) for device in found}
        if self._only is None:
            return list(devices.values())
        return [devices[DeviceId(name)] for name in dict.fromkeys(self._only)]

    def _with_budget(self, device: Device) -> Device:
        budget = self._budgets.get(device.id)
        if budget is None:
            budget = device.budget_bytes
            if device.kind in ("cuda", "rocm"):
                budget = max(0, device.total_bytes - self._reserve_bytes)
        elif budget > device.total_bytes:
            raise Invalid(
                f"runtime.budgets: {device.id} has {device.total_bytes} bytes, not {budget}.",
                code="device.budget",
                hint="a budget cannot be larger than the device",
            )
        return replace(device, budget_bytes=budget)

    def usage(self, device: DeviceId, pids: frozenset[int]) -> DeviceUsage:
        for source in self._sources:
            reading = source.usage(device, pids)
            if reading is not None:
                return reading
        raise Invalid(f"There is no device {device!r}.", code="device.unknown")


def system_sources() -> list[Source]:
    """The sources that can find something here: accelerators first, the CPU last."""
    sources: list[Source] = []
    nvidia = Nvidia.open()
    if nvidia is not None:
        sources.append(nvidia)
    if sys.platform == "linux":
        sources.append(Amd(Path("/sys/class/drm"), Path("/proc"), Path("/sys/class/kfd/kfd/topology/nodes")))
    if sys.platform == "darwin" and platform.machine() == "arm64":
        sources.append(Apple())
    sources.append(Cpu())
    return sources


class Cpu:
    """Memory of the machine, or of our control group or one above it where that is less."""

    def __init__(self, root: Path = cgroup.ROOT, own: Path = cgroup.OWN) -> None:
        self._root = root
        self._own = own

    def devices(self) -> list[Device]:
        total = psutil.virtual_memory().total
        for group in cgroup.groups(self._root, self._own):
            with contextlib.suppress(OSError, ValueError):  # "max": no limit
                total = min(total, int((group / "memory.max").read_text()))
        return [Device(DeviceId("cpu"), "cpu", _cpu_name(), total, int(total * CPU_SHARE))]

    def usage(self, device: DeviceId, pids: frozenset[int]) -> DeviceUsage | None:
        if device != "cpu":
            return None
        memory = psutil.virtual_memory()
        return DeviceUsage(memory.total - memory.available, {pid: tree_rss_bytes(pid) for pid in pids})


class Apple:
    """Unified memory: one pool for the CPU and the GPU."""

    def devices(self) -> list[Device]:
        total = psutil.virtual_memory().total
        return [Device(DeviceId("mps"), "mps", apple_chip(), total, int(total * APPLE_SHARE))]

    def usage(self, device: DeviceId, pids: frozenset[int]) -> DeviceUsage | None:
        if device != "mps":
            return None
        memory = psutil.virtual_memory()
        return DeviceUsage(memory.total - memory.available, {pid: tree_rss_bytes(pid) for pid in pids})


def apple_chip(asks: Sequence[str] = ("/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string")) -> str:
    """`Apple M2 Pro`, as the system calls it; the architecture where it does not say.

    Args:
        asks: the program that tells, and its arguments.
    """
    try:
        told = subprocess.run(asks, capture_output=True, text=True, timeout=ASK_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return platform.processor() or platform.machine()
    return told.stdout.strip() or platform.processor() or platform.machine()


def _has_nvml() -> bool:
    """Whether the driver's library is where every machine with the driver has it. Its Python part takes 2 MB,
    which most machines can do without. On Windows only that part knows where the library is."""
    if sys.platform == "win32":
        return True
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


class Nvidia:
    """NVIDIA's management library."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml

    @classmethod
    def open(cls) -> "Nvidia | None":
        """None where there is no driver."""
        if not _has_nvml():
            return None
        import pynvml

        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return None
        return cls(pynvml)

    def devices(self) -> list[Device]:
        return [self._device(index) for index in range(self._nvml.nvmlDeviceGetCount())]

    def _device(self, index: int) -> Device:
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        name = self._nvml.nvmlDeviceGetName(handle)
        total = int(self._nvml.nvmlDeviceGetMemoryInfo(handle).total)
        text = name.decode() if isinstance(name, bytes) else name
        return Device(DeviceId(f"cuda:{index}"), "cuda", text, total, total, index)

    def usage(self, device: DeviceId, pids: frozenset[int]) -> DeviceUsage | None:
        kind, _, index = device.partition(":")
        if kind != "cuda":
            return None
        handle = self._nvml.nvmlDeviceGetHandleByIndex(int(index))
        used = int(self._nvml.nvmlDeviceGetMemoryInfo(handle).used)
        by_pid = dict.fromkeys(pids, 0)
        try:
            running = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        except self._nvml.NVMLError:  # some drivers do not list processes
            running = []
        for process in running:
            # In a container the driver may name no bytes: then nothing is learned, rather than zero.
            if process.usedGpuMemory is not None:
                by_pid[process.pid] = int(process.usedGpuMemory)
        return DeviceUsage(used, by_pid)


class Amd:
    """AMD GPUs through the kernel's files: no ROCm tools are needed.

    Args:
        drm: where the kernel lists cards.
        proc: where it lists processes.
        kfd: where it lists what can compute, with the architecture.
    """

    def __init__(self, drm: Path, proc: Path, kfd: Path | None = None) -> None:
        self._drm = drm
        self._proc = proc
        self._kfd = kfd

    def devices(self) -> list[Device]:
        return [
            Device(
                DeviceId(f"rocm:{index}"),
                "rocm",
                _read(card / "product_name") or f"AMD {_read(card / 'device') or 'GPU'}",
                self._total_bytes(card),
                self._total_bytes(card),
                index,
                self._arch(card),
            )
            for index, card in enumerate(self._cards())
        ]

    def usage(self, device: DeviceId, pids: frozenset[int]) -> DeviceUsage | None:
        kind, _, index = device.partition(":")
        if kind != "rocm":
            return None
        card = list(self._cards())[int(index)]
        used = sum(_number(card / f"mem_info_{pool}_used") for pool in self._pools(card))
        return DeviceUsage(used, {pid: self._process_bytes(pid, card) for pid in pids})

    def _cards(self) -> Iterator[Path]:
        """In the kernel's order: card2 before card10."""
        for entry in sorted(self._drm.glob("card[0-9]*"), key=lambda path: (len(path.name), path.name)):
            card = entry / "device"
            if "-" not in entry.name and _read(card / "vendor") == AMD_VENDOR and self._total_bytes(card):
                yield card

    def _arch(self, card: Path) -> str | None:
        """`gfx1103` for a node of version 110003: major, minor and step, the last two in hexadecimal."""
        renders = {place.name.removeprefix("renderD") for place in (card / "drm").glob("renderD*")}
        for node in () if self._kfd is None else sorted(self._kfd.glob("*/properties")):
            facts = dict(line.split(" ", 1) for line in (_read(node) or "").splitlines() if " " in line)
            version = facts.get("gfx_target_version", "0")
            if facts.get("drm_render_minor") in renders and version.isdecimal() and int(version):
                major, rest = divmod(int(version), 10_000)
                minor, step = divmod(rest, 100)
                return f"gfx{major}{minor:x}{step:x}"
        return None

    def _total_bytes(self, card: Path) -> int:
        """VRAM; for an APU what it may map of the system's memory (GTT)."""
        return max(_number(card / f"mem_info_{pool}_total") for pool in self._pools(card))

    def _pools(self, card: Path) -> tuple[str, ...]:
        """Where a model may lie: VRAM, on an APU with a small carve-out also GTT."""
        vram, gtt = (_number(card / f"mem_info_{pool}_total") for pool in ("vram", "gtt"))
        return ("vram", "gtt") if 0 < vram < 4 * GIB and gtt > vram else ("vram",)

    def _process_bytes(self, pid: int, card: Path) -> int:
        """Sum over the process's handles of the card, each drm client counted once."""
        address = card.resolve().name
        fields_of = [f"drm-memory-{pool}" for pool in self._pools(card)]
        clients: dict[str, int] = {}
        try:
            handles = list((self._proc / str(pid) / "fdinfo").iterdir())
        except OSError:
            return 0
        for handle in handles:
            fields = dict(line.split(":", 1) for line in (_read(handle) or "").splitlines() if ":" in line)
            if fields.get("drm-pdev", "").strip() == address:
                client = fields.get("drm-client-id", handle.name).strip()
                held = sum(_amount(fields.get(name, "0")) for name in fields_of)
                clients[client] = max(held, clients.get(client, 0))
        return sum(clients.values())


def tree_rss_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; 0 when it is gone."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for member in family:
        with contextlib.suppress(psutil.Error):
            total += member.memory_info().rss
    return total


def _cpu_name() -> str:
    """As the kernel calls it; the architecture where it does not say."""
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _number(path: Path) -> int:
    """0 where there is none."""
    text = _read(path)
    return int(text) if text is not None and text.isdecimal() else 0


def _amount(text: str) -> int:
    """`1024 KiB` in bytes; without a unit it is bytes."""
    number, _, unit = text.strip().partition(" ")
    return int(number) * {"KiB": KIB, "MiB": MIB, "GiB": GIB}.get(unit.strip(), 1)
