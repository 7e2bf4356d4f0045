# SPDX-License-Identifier: Apache-2.0
"""What hardware is found and what is used of it: over a made-up /sys, a made-up NVML and this machine."""

import os
import platform
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from inglenook.base.errors import Invalid
from inglenook.base.ids import DeviceId
from inglenook.base.units import GIB, MIB
from inglenook.runtime.devices import (
    Amd,
    Cpu,
    Nvidia,
    SystemProbe,
    apple_chip,
    system_sources,
    tree_rss_bytes,
)
from inglenook.testing.devices import fake_device

ROCM0, ROCM1, CUDA0, CUDA1 = (DeviceId(name) for name in ("rocm:0", "rocm:1", "cuda:0", "cuda:1"))


class Kernel:
    """A made-up /sys/class/drm and /proc."""

    def __init__(self, root: Path) -> None:
        self.drm, self.proc, self._devices = root / "drm", root / "proc", root / "devices"
        self.drm.mkdir(parents=True)
        self.proc.mkdir()

    def card(self, number: int, address: str, *, vendor: str = "0x1002", **files: Any) -> None:
        device = self._devices / address
        device.mkdir(parents=True)
        entry = self.drm / f"card{number}"
        entry.mkdir()
        (entry / "device").symlink_to(device)
        (self.drm / f"card{number}-HDMI-A-1").mkdir()
        for name, value in {"vendor": vendor, "device": "0x744c", **files}.items():
            (device / name).write_text(f"{value}\n")

    def handle(self, pid: int, number: int, **fields: str) -> None:
        folder = self.proc / str(pid) / "fdinfo"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{name.replace('_', '-')}:\t{value}" for name, value in fields.items()]
        (folder / str(number)).write_text("\n".join(["pos:\t0", "flags:\t02", *lines]) + "\n")

    def source(self) -> Amd:
        return Amd(self.drm, self.proc, self.drm.parent / "nodes")

    def node(self, number: int, minor: int, version: int) -> None:
        """What can compute, as the kernel's driver for it lists it."""
        place = self.drm.parent / "nodes" / str(number)
        place.mkdir(parents=True)
        (place / "properties").write_text(
            f"cpu_cores_count 0\ngfx_target_version {version}\ndrm_render_minor {minor}\n"
        )


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def two_cards(kernel: Kernel) -> None:
    kernel.card(0, "0000:00:02.0", vendor="0x8086")  # another maker's
    kernel.card(
        1, "0000:03:00.0", product_name="Radeon RX 7900 XTX",
        mem_info_vram_total=24 * GIB, mem_info_vram_used=3 * GIB, mem_info_gtt_total=32 * GIB,
        mem_info_gtt_used=9 * GIB,
    )  # fmt: skip
    kernel.card(2, "0000:0a:00.0", mem_info_vram_total=16 * GIB, mem_info_vram_used=0)


def test_amd_cards_are_found_with_their_names_and_memory(kernel: Kernel) -> None:
    two_cards(kernel)
    first, second = kernel.source().devices()
    assert (first.id, first.kind, first.name, first.total_bytes, first.index) == (
        "rocm:0", "rocm", "Radeon RX 7900 XTX", 24 * GIB, 0,
    )  # fmt: skip
    assert (second.id, second.name, second.total_bytes) == ("rocm:1", "AMD 0x744c", 16 * GIB)


def test_the_architecture_is_that_of_the_node_with_the_cards_render_minor(kernel: Kernel) -> None:
    two_cards(kernel)
    for entry, minor in (("card1", 128), ("card2", 129)):
        (kernel.drm / entry / "device" / "drm" / f"renderD{minor}").mkdir(parents=True)
    kernel.node(0, 0, 0)  # the CPU
    kernel.node(1, 129, 110003)
    kernel.node(2, 128, 90010)
    assert [device.arch for device in kernel.source().devices()] == ["gfx90a", "gfx1103"]


def test_more_than_ten_cards_are_counted_in_the_kernels_order(kernel: Kernel) -> None:
    for number in range(12):
        kernel.card(number, f"0000:{number:02x}:00.0", product_name=f"card {number}", mem_info_vram_total=GIB)
    assert [device.name for device in kernel.source().devices()] == [f"card {n}" for n in range(12)]


def test_a_card_without_memory_of_its_own_and_one_that_cannot_be_read_are_left_out(kernel: Kernel) -> None:
    kernel.card(0, "0000:03:00.0")
    kernel.card(1, "0000:04:00.0", mem_info_vram_total="")
    assert kernel.source().devices() == []


def test_an_apu_counts_the_memory_that_it_may_map(kernel: Kernel) -> None:
    kernel.card(
        0, "0000:c4:00.0", mem_info_vram_total=512 * MIB, mem_info_vram_used=100 * MIB,
        mem_info_gtt_total=48 * GIB, mem_info_gtt_used=5 * GIB,
    )  # fmt: skip
    amd = kernel.source()
    (device,) = amd.devices()
    assert device.total_bytes == 48 * GIB
    usage = amd.usage(ROCM0, frozenset())
    assert usage is not None
    assert usage.used_bytes == 5 * GIB + 100 * MIB


def test_a_process_is_charged_for_each_drm_client_of_a_card_once(kernel: Kernel) -> None:
    two_cards(kernel)
    mine = {"drm_driver": "amdgpu", "drm_pdev": "0000:03:00.0"}
    kernel.handle(7, 3, **mine, drm_client_id="1", drm_memory_vram="1024 KiB", drm_memory_gtt="64 KiB")
    kernel.handle(7, 4, **mine, drm_client_id="1", drm_memory_vram="1024 KiB")  # the same client again
    kernel.handle(7, 5, **mine, drm_client_id="2", drm_memory_vram="3 MiB")
    kernel.handle(7, 6, drm_pdev="0000:0a:00.0", drm_client_id="3", drm_memory_vram="7 MiB")
    kernel.handle(7, 7)  # no graphics at all
    kernel.handle(8, 3, **mine, drm_client_id="9", drm_memory_vram="4096")  # no unit: bytes
    usage = kernel.source().usage(ROCM0, frozenset({7, 8, 9}))
    assert usage is not None
    assert usage.used_bytes == 3 * GIB
    assert usage.by_pid == {7: 4 * MIB, 8: 4096, 9: 0}


def test_amd_says_nothing_of_devices_that_are_not_its_own(kernel: Kernel) -> None:
    assert kernel.source().usage(CUDA0, frozenset()) is None
    assert kernel.source().usage(DeviceId("cpu"), frozenset()) is None


# -- NVIDIA -----------------------------------------------------------------------------------------------


class Nvml:
    """As much of NVIDIA's library as is used, over a table."""

    class NVMLError(Exception):
        pass

    def __init__(self, cards: list[dict[str, Any]]) -> None:
        self._cards = cards

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - the library's names
        return len(self._cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802
        return self._cards[index]

    def nvmlDeviceGetName(self, card: dict[str, Any]) -> Any:  # noqa: N802
        return card["name"]

    def nvmlDeviceGetMemoryInfo(self, card: dict[str, Any]) -> Any:  # noqa: N802
        return SimpleNamespace(total=card["total"], used=card["used"])

    def nvmlDeviceGetComputeRunningProcesses(self, card: dict[str, Any]) -> list[Any]:  # noqa: N802
        if card["processes"] is None:
            raise self.NVMLError("not supported")
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in card["processes"]]


def two_gpus(processes: Any = ((7, 2 * GIB), (8, None))) -> Nvidia:
    card = {"name": "GeForce", "total": 24 * GIB, "used": 5 * GIB, "processes": processes}
    return Nvidia(Nvml([card, card | {"name": b"Old", "total": 8 * GIB}]))


def test_nvidia_cards_are_found_also_where_names_are_bytes() -> None:
    devices = two_gpus().devices()
    assert [(d.id, d.name, d.total_bytes, d.index) for d in devices] == [
        ("cuda:0", "GeForce", 24 * GIB, 0),
        ("cuda:1", "Old", 8 * GIB, 1),
    ]


def test_a_process_that_the_driver_names_without_bytes_counts_as_none() -> None:
    usage = two_gpus().usage(CUDA0, frozenset({7, 8, 9}))
    assert usage is not None
    assert usage.used_bytes == 5 * GIB
    assert usage.by_pid == {7: 2 * GIB, 8: 0, 9: 0}


def test_a_driver_that_does_not_list_processes_still_tells_what_is_used() -> None:
    usage = two_gpus(processes=None).usage(CUDA0, frozenset({7}))
    assert usage is not None
    assert usage.used_bytes == 5 * GIB
    assert usage.by_pid == {7: 0}


def test_nvidia_says_nothing_of_other_devices() -> None:
    assert two_gpus().usage(ROCM0, frozenset()) is None


# -- the CPU ----------------------------------------------------------------------------------------------


def limited(tmp_path: Path, limits: dict[str, str], own: str = "0::/system.slice/ours\n") -> Cpu:
    """A CPU in a tree of control groups with these limits."""
    (tmp_path / "own").write_text(own)
    root = tmp_path / "cgroup"
    (root / "system.slice" / "ours").mkdir(parents=True)
    for group, text in limits.items():
        (root / group / "memory.max").write_text(text)
    return Cpu(root, tmp_path / "own")


@pytest.mark.parametrize("group", ["", "system.slice", "system.slice/ours"])
def test_the_limit_of_our_control_group_or_one_above_it_counts_where_it_is_lower(
    group: str, tmp_path: Path
) -> None:
    (device,) = limited(tmp_path, {group: f"{GIB}\n"}).devices()
    assert device.total_bytes == GIB
    assert device.budget_bytes == int(0.7 * GIB)


def test_a_container_that_sees_its_own_group_as_the_root_is_limited_too(tmp_path: Path) -> None:
    (device,) = limited(tmp_path, {"": f"{GIB}\n"}, own="0::/docker/0123\n").devices()
    assert device.total_bytes == GIB


@pytest.mark.parametrize("text", ["max\n", "", str(2**62)])
def test_without_a_limit_the_machines_memory_counts(text: str, tmp_path: Path) -> None:
    (device,) = limited(tmp_path, {"": text}).devices()
    assert device.total_bytes == psutil.virtual_memory().total
    assert 0 < device.budget_bytes < device.total_bytes


def test_a_system_without_control_groups_has_the_machines_memory(tmp_path: Path) -> None:
    (device,) = Cpu(tmp_path / "nowhere", tmp_path / "nothing").devices()
    assert device.total_bytes == psutil.virtual_memory().total


def test_the_resident_memory_of_a_process_is_read_and_one_that_is_gone_has_none() -> None:
    usage = Cpu().usage(DeviceId("cpu"), frozenset({os.getpid(), 2**30}))
    assert usage is not None
    assert usage.used_bytes > 0
    assert usage.by_pid[os.getpid()] > 10 * MIB
    assert usage.by_pid[2**30] == 0
    assert tree_rss_bytes(2**30) == 0
    assert Cpu().usage(CUDA0, frozenset()) is None


# -- all together -----------------------------------------------------------------------------------------


class Listed:
    """A source with the devices that it is given."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def devices(self) -> list[Any]:
        return [fake_device(name, 10 * GIB, total_bytes=16 * GIB) for name in self._names]

    def usage(self, device: DeviceId, pids: frozenset[int]) -> Any:
        return SimpleNamespace(used_bytes=1, by_pid=dict.fromkeys(pids, 0)) if device in self._names else None


def probe(**settings: Any) -> SystemProbe:
    given = {"budgets": {}, "reserve_bytes": GIB, "only": None} | settings
    return SystemProbe(sources=[Listed("cuda:0", "cuda:1"), Listed("cpu")], **given)


def test_an_accelerator_keeps_the_reserve_free_and_a_cpu_its_share() -> None:
    budgets = {device.id: device.budget_bytes for device in probe().devices()}
    assert budgets == {"cuda:0": 15 * GIB, "cuda:1": 15 * GIB, "cpu": 10 * GIB}


def test_a_reserve_larger_than_the_device_leaves_nothing_rather_than_less() -> None:
    assert probe(reserve_bytes=20 * GIB).devices()[0].budget_bytes == 0


def test_a_budget_of_the_settings_is_taken_as_it_is() -> None:
    budgets = {"cuda:0": 3 * GIB, "cpu": 16 * GIB}
    assert [d.budget_bytes for d in probe(budgets=budgets).devices()] == [3 * GIB, 15 * GIB, 16 * GIB]


def test_only_the_named_devices_are_used_the_first_named_first() -> None:
    assert [d.id for d in probe(only=["cpu", "cuda:1"]).devices()] == ["cpu", "cuda:1"]


@pytest.mark.parametrize("settings", [{"only": ["cuda:7"]}, {"budgets": {"cuda:7": 1}}])
def test_a_device_that_is_not_here_is_named_with_those_that_are(settings: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        probe(**settings).devices()
    assert "cuda:7" in refused.value.message
    assert "cuda:0, cuda:1, cpu" in refused.value.message
    assert refused.value.code == "device.unknown"


def test_a_budget_larger_than_the_device_is_refused_with_both_numbers() -> None:
    with pytest.raises(Invalid, match=f"{16 * GIB} bytes, not {17 * GIB}"):
        probe(budgets={"cuda:0": 17 * GIB}).devices()


def test_usage_is_asked_of_the_source_that_has_the_device() -> None:
    assert probe().usage(DeviceId("cpu"), frozenset({5})).by_pid == {5: 0}
    with pytest.raises(Invalid, match="'mps'"):
        probe().usage(DeviceId("mps"), frozenset())


def test_this_machine_has_a_cpu_and_lists_it_last() -> None:
    devices = SystemProbe(sources=system_sources(), budgets={}, reserve_bytes=0, only=None).devices()
    assert devices[-1].id == "cpu"
    assert len({device.id for device in devices}) == len(devices)


def test_an_apple_chip_is_called_as_the_system_calls_it() -> None:
    assert apple_chip((sys.executable, "-c", "print('Apple M2 Pro')")) == "Apple M2 Pro"


def test_a_chip_that_nobody_names_is_called_by_its_architecture() -> None:
    for asks in (
        ("/nowhere/sysctl",),
        (sys.executable, "-c", "raise SystemExit(1)"),
        (sys.executable, "-c", ""),
    ):
        assert apple_chip(asks) in (platform.processor(), platform.machine())
