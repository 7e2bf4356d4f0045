# SPDX-License-Identifier: Apache-2.0
"""Which archive of a release of llama.cpp fits which machine."""

import json

import pytest

from inglenook.engines.llamacpp.errors import NoFittingArchive, ReleaseUnreadable
from inglenook.engines.llamacpp.releases import Asset, Machine, Release, checked_tag, choose, parse_releases

NAMES = (
    "cudart-llama-b11462-bin-ubuntu-cuda-13.4-x64.tar.gz",
    "cudart-llama-bin-win-cuda-12.4-x64.zip",
    "cudart-llama-bin-win-cuda-13.4-x64.zip",
    "llama-b11462-bin-android-arm64.tar.gz",
    "llama-b11462-bin-macos-arm64.tar.gz",
    "llama-b11462-bin-macos-x64.tar.gz",
    "llama-b11462-bin-ubuntu-arm64.tar.gz",
    "llama-b11462-bin-ubuntu-cuda-12.8-x64.tar.gz",
    "llama-b11462-bin-ubuntu-cuda-13.4-x64.tar.gz",
    "llama-b11462-bin-ubuntu-openvino-2026.4.1-x64.tar.gz",
    "llama-b11462-bin-ubuntu-rocm-10.0-x64.tar.gz",
    "llama-b11462-bin-ubuntu-s390x.tar.gz",
    "llama-b11462-bin-ubuntu-sycl-fp16-x64.tar.gz",
    "llama-b11462-bin-ubuntu-vulkan-arm64.tar.gz",
    "llama-b11462-bin-ubuntu-vulkan-x64.tar.gz",
    "llama-b11462-bin-ubuntu-x64.tar.gz",
    "llama-b11462-bin-win-cpu-arm64.zip",
    "llama-b11462-bin-win-cpu-x64.zip",
    "llama-b11462-bin-win-cuda-12.4-x64.zip",
    "llama-b11462-bin-win-cuda-13.4-x64.zip",
    "llama-b11462-bin-win-hip-radeon-x64.zip",
    "llama-b11462-bin-win-vulkan-x64.zip",
    "llama-b11462-ui.tar.gz",
    "llama-b11462-xcframework.zip",
)
"""As the project named them in October 2026."""

DIGEST = "sha256:" + "a" * 64


def asset(name: str, **changes: object) -> Asset:
    said = {"name": name, "browser_download_url": f"https://example.org/{name}", "size": 10, "digest": DIGEST}
    return Asset(**(said | changes))  # type: ignore[arg-type]


RELEASE = Release(tag_name="b11462", assets=tuple(map(asset, NAMES)))
LINUX = Machine("linux", "x86_64")


def chosen(machine: Machine, backend: str, *releases: Release) -> list[str]:
    return [archive.name for archive in choose(releases or (RELEASE,), machine, backend).archives]


@pytest.mark.parametrize(
    ("platform", "machine", "backend", "names"),
    [
        ("linux", "x86_64", "cpu", ["llama-b11462-bin-ubuntu-x64.tar.gz"]),
        ("linux", "aarch64", "cpu", ["llama-b11462-bin-ubuntu-arm64.tar.gz"]),
        ("linux", "x86_64", "vulkan", ["llama-b11462-bin-ubuntu-vulkan-x64.tar.gz"]),
        ("linux", "x86_64", "rocm", ["llama-b11462-bin-ubuntu-rocm-10.0-x64.tar.gz"]),
        ("darwin", "arm64", "metal", ["llama-b11462-bin-macos-arm64.tar.gz"]),
        ("darwin", "x86_64", "cpu", ["llama-b11462-bin-macos-x64.tar.gz"]),
        ("win32", "AMD64", "cpu", ["llama-b11462-bin-win-cpu-x64.zip"]),
        ("win32", "ARM64", "cpu", ["llama-b11462-bin-win-cpu-arm64.zip"]),
        ("win32", "AMD64", "rocm", ["llama-b11462-bin-win-hip-radeon-x64.zip"]),
    ],
)
def test_the_archive_follows_system_processor_and_backend(
    platform: str, machine: str, backend: str, names: list[str]
) -> None:
    assert chosen(Machine(platform, machine), backend) == names


@pytest.mark.parametrize(
    ("driver", "names"),
    [
        (
            (13, 4),
            [
                "llama-b11462-bin-ubuntu-cuda-13.4-x64.tar.gz",
                "cudart-llama-b11462-bin-ubuntu-cuda-13.4-x64.tar.gz",
            ],
        ),
        ((12, 9), ["llama-b11462-bin-ubuntu-cuda-12.8-x64.tar.gz"]),
        (None, ["llama-b11462-bin-ubuntu-cuda-12.8-x64.tar.gz"]),
    ],
)
def test_cuda_follows_the_driver_and_brings_its_libraries(
    driver: tuple[int, int] | None, names: list[str]
) -> None:
    assert chosen(Machine("linux", "x86_64", driver), "cuda") == names


def test_windows_gets_the_cuda_libraries_of_the_same_version() -> None:
    assert chosen(Machine("win32", "AMD64", (12, 4)), "cuda") == [
        "llama-b11462-bin-win-cuda-12.4-x64.zip",
        "cudart-llama-bin-win-cuda-12.4-x64.zip",
    ]


def test_a_driver_older_than_every_build_is_told_so() -> None:
    with pytest.raises(NoFittingArchive, match=r"cuda that CUDA 11\.8 runs"):
        choose([RELEASE], Machine("linux", "x86_64", (11, 8)), "cuda")


def test_a_release_that_is_being_made_is_passed_over() -> None:
    newest = Release(tag_name="b11463")
    uploading = Release(
        tag_name="b11464", assets=(asset("llama-b11464-bin-ubuntu-x64.tar.gz", state="starting"),)
    )
    assert choose([uploading, newest, RELEASE], LINUX, "cpu").tag == "b11462"


def test_a_stable_tag_is_known_by_the_build_in_its_archives() -> None:
    stable = Release(tag_name="v0.3.0", assets=(asset("llama-b10621-bin-ubuntu-x64.tar.gz"),))
    choice = choose([stable], LINUX, "cpu")
    assert (choice.tag, choice.build) == ("v0.3.0", 10621)


def test_what_does_not_fit_is_said_with_what_there_is() -> None:
    with pytest.raises(NoFittingArchive) as caught:
        choose([RELEASE], Machine("linux", "aarch64"), "cuda")
    assert caught.value.message == "No release has a build for cuda on linux aarch64 (looked at: b11462)."
    assert caught.value.hint == "there are builds for cpu, vulkan: --build"
    with pytest.raises(NoFittingArchive, match="no archives for freebsd14 on amd64"):
        choose([RELEASE], Machine("freebsd14", "amd64"), "cpu")


@pytest.mark.parametrize("digest", [None, "", "md5:abc", "sha256:123", "sha256:" + "G" * 64])
def test_an_archive_without_a_sha256_is_refused(digest: str | None) -> None:
    release = Release(tag_name="b1", assets=(asset("llama-b1-bin-ubuntu-x64.tar.gz", digest=digest),))
    with pytest.raises(NoFittingArchive, match="without a SHA-256"):
        choose([release], LINUX, "cpu")


def test_one_release_and_a_list_are_read_whatever_else_they_say() -> None:
    one = {"tag_name": "b1", "url": "x", "assets": [{"name": "n", "browser_download_url": "u", "id": 7}]}
    assert parse_releases(json.dumps(one).encode())[0].assets[0].name == "n"
    assert [found.tag_name for found in parse_releases(json.dumps([one, one]).encode())] == ["b1", "b1"]


@pytest.mark.parametrize("data", [b"", b"<html>", b"[1]", b'{"tag_name": 1}', b"[" * 100_000, b"\xff"])
def test_what_is_no_list_of_releases_is_said(data: bytes) -> None:
    with pytest.raises(ReleaseUnreadable):
        parse_releases(data)


@pytest.mark.parametrize("tag", ["", "../x", "b1/../../x", "b1?x", "-b1", "b" * 65, "b1..2"])
def test_a_tag_that_would_change_the_address_is_refused(tag: str) -> None:
    with pytest.raises(NoFittingArchive):
        checked_tag(tag)
