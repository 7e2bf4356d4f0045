# SPDX-License-Identifier: Apache-2.0
"""Our own tools, as a model that talks calls them."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from tests.unit.api.services import Catalog, Gallery, Images, Jobs

from inglenook.api.conversations.drawing import SIZES, DrawingTools
from inglenook.base.cancel import StopReason
from inglenook.base.errors import InglenookError, Invalid
from inglenook.base.ids import OWNER
from inglenook.chat.conversations.answering import Result
from inglenook.chat.conversations.model import Image
from inglenook.chat.conversations.parameters import TOOLS

pytestmark = pytest.mark.anyio


class Caller:
    """A model that calls, over small services, and what it was told meanwhile."""

    def __init__(self) -> None:
        self.heard: list[Mapping[str, Any]] = []
        self.gallery = Gallery()
        self.jobs = Jobs()
        self.images = Images(self.jobs, self.gallery)
        catalog: Any = Catalog()
        images: Any = self.images
        gallery: Any = self.gallery
        self.tools = DrawingTools(images=images, jobs=self.jobs, gallery=gallery, catalog=catalog)

    async def hear(self, explanation: Mapping[str, Any]) -> None:
        self.heard.append(explanation)

    async def call(self, name: str, arguments: str, *given: Image) -> Result:
        return await self.tools.call(name, arguments, person=OWNER, given=given, hear=self.hear)


@pytest.fixture
def caller() -> Caller:
    return Caller()


async def test_what_a_model_may_call_is_described_and_nothing_else(caller: Caller) -> None:
    described = caller.tools.described(TOOLS)
    assert [one["function"]["name"] for one in described] == list(TOOLS)
    assert caller.tools.described(()) == []
    with pytest.raises(Invalid, match="no tool"):
        await caller.call("rm", "{}")


async def test_a_picture_is_drawn_with_the_default_model_and_named(caller: Caller) -> None:
    result = await caller.call("generate_image", '{"prompt": "a red fox", "size": null}')
    (asked,) = caller.images.requests
    assert (asked.prompt, asked.n) == ("a red fox", 1)
    assert list(result.pictures) == list(caller.gallery.pictures)
    assert result.pictures[0] in result.text


async def test_every_size_that_is_offered_is_one_that_can_be_asked_for(caller: Caller) -> None:
    for size in SIZES:
        await caller.call("generate_image", f'{{"prompt": "x", "size": "{size}"}}')
    asked = [(one.width, one.height) for one in caller.images.requests]
    assert asked[1:3] == [(512, 512), (768, 512)]


async def test_the_last_picture_is_changed_unless_another_is_named(caller: Caller) -> None:
    fox, owl = (caller.gallery.add(data).id for data in (b"fox", b"owl"))
    given = (Image(picture=fox), Image(picture=owl))
    await caller.call("edit_image", '{"prompt": "in the snow"}', *given)
    await caller.call("edit_image", f'{{"prompt": "in the snow", "picture": "{fox}"}}', *given)
    assert caller.images.inputs == [b"owl", b"fox"]
    with pytest.raises(Invalid, match="no picture 'pic_x'") as refused:
        await caller.call("edit_image", '{"prompt": "x", "picture": "pic_x"}', *given)
    assert fox in str(refused.value.hint)
    with pytest.raises(Invalid, match="no picture in this conversation"):
        await caller.call("edit_image", '{"prompt": "x"}')


@pytest.mark.parametrize(
    "arguments", ["{", "[]", '{"prompt": 7}', "{}", '{"prompt": "x", "n": 9}', "[" * 9999, '{"size": "0x0"}']
)
async def test_arguments_that_cannot_be_are_refused(caller: Caller, arguments: str) -> None:
    with pytest.raises(InglenookError):
        await caller.call("generate_image", arguments)
    assert caller.images.requests == []


async def test_a_picture_that_fails_is_told_with_its_reason(caller: Caller) -> None:
    caller.images.plan = caller.images.fail
    with pytest.raises(InglenookError, match="4 GiB") as refused:
        await caller.call("generate_image", '{"prompt": "x"}')
    assert (refused.value.code, refused.value.hint) == ("draw.out_of_memory", "draw smaller")


async def test_an_answer_that_is_stopped_cancels_its_picture(caller: Caller) -> None:
    caller.images.plan = caller.images.hang
    calling = asyncio.ensure_future(caller.call("generate_image", '{"prompt": "x"}'))
    async with asyncio.timeout(60):
        while not caller.images.requests:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        while not caller.jobs.cancelled:
            await asyncio.sleep(0)
    assert [reason for _, reason in caller.jobs.cancelled] == [StopReason.CLIENT_GONE]
