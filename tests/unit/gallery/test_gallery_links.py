# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from inglenook.base.errors import NotFound, Unavailable
from inglenook.base.ids import PictureId
from inglenook.gallery.links import PictureLinks
from inglenook.store.secret import kept_secret
from inglenook.testing.clock import FakeClock

PICTURE = PictureId("pic_01jd0000000000000000000000")


def links(clock: FakeClock, lifetime_s: float | None = None, secret: bytes = b"s" * 32) -> PictureLinks:
    return PictureLinks(secret=secret, lifetime_s=lifetime_s, clock=clock)


def test_an_address_leads_to_its_picture_for_ever_by_default(clock: FakeClock) -> None:
    name = links(clock).name(PICTURE, "image/webp")
    assert name.endswith(".webp")
    clock.advance(1e9)
    assert links(clock).picture(name) == PICTURE


def test_an_address_with_a_lifetime_ends(clock: FakeClock) -> None:
    name = links(clock, 60).name(PICTURE, "image/png")
    clock.advance(58)
    assert links(clock).picture(name) == PICTURE
    clock.advance(3)
    with pytest.raises(NotFound):
        links(clock).picture(name)


def test_an_end_cannot_be_moved_or_taken_out(clock: FakeClock) -> None:
    picture, expiry, signature, ending = links(clock, 60).name(PICTURE, "image/png").split(".")
    for forged in (
        f"{picture}.{int(expiry) + 1}.{signature}.{ending}",
        f"{picture}.{signature}.{ending}",
        f"{picture}.x.{signature}.{ending}",
    ):
        with pytest.raises(NotFound):
            links(clock).picture(forged)


def test_another_servers_address_is_none_of_ours(clock: FakeClock) -> None:
    name = links(clock, secret=b"t" * 32).name(PICTURE, "image/png")
    with pytest.raises(NotFound):
        links(clock).picture(name)


def test_the_secret_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "links.key"
    secret = kept_secret(path)
    assert len(secret) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert kept_secret(path) == secret


def test_a_damaged_secret_is_not_replaced_silently(tmp_path: Path) -> None:
    path = tmp_path / "links.key"
    path.write_bytes(b"short")
    with pytest.raises(Unavailable, match="5 bytes"):
        kept_secret(path)
    assert path.read_bytes() == b"short"
