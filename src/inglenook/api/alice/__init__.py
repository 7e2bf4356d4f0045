# SPDX-License-Identifier: Apache-2.0
"""ALICE's dialect. Its clients work unchanged; where ALICE is wrong, the answer is right.

chat.py      a message to a model that draws
fields.py    `sam_config`: types, bounds, both spellings
inputs.py    input pictures: base64, data addresses, addresses that are fetched
names.py     names of models, LoRAs and schedulers as its clients write them
requests.py  all of it → `ImageRequest`
answers.py   a job → its answer, whole or in pieces
models.py    refresh, info, LoRAs, defaults, delete
pictures.py  /images/{name}, by signed addresses
pages.py     /web/… leads to our pages
spelling.py  both spellings of names
"""

from pathlib import Path

from fastapi import APIRouter

from inglenook.api.alice.chat import PictureChat
from inglenook.api.alice.inputs import Intake
from inglenook.api.alice.models import models_router
from inglenook.api.alice.pages import pages_router
from inglenook.api.alice.pictures import images_router
from inglenook.api.chat import ChatHandler, Find, chat_router
from inglenook.base.clock import Clock
from inglenook.catalog.model import ModelKind
from inglenook.door.routes import joined
from inglenook.door.services import Catalog, Gallery, Images, Jobs, Links, Outgoing, Runtime

__all__ = ["alice_router"]


def alice_router(
    *,
    images: Images,
    jobs: Jobs,
    gallery: Gallery,
    catalog: Catalog,
    runtime: Runtime,
    links: Links,
    outgoing: Outgoing,
    clock: Clock,
    max_body_bytes: int,
    own_models: Path,
    find: Find,
    language: ChatHandler,
) -> APIRouter:
    """All routes of the dialect. Add it before OpenAI's, whose `/v1/models/{id}` would take its paths.

    Args:
        max_body_bytes: of a chat, which may hold input pictures, and of a picture that is fetched.
        own_models: the folder of which models may be deleted.
        find: a model of any kind by what a client calls it.
        language: answers chats with language models.
    """
    intake = Intake(images=images, outgoing=outgoing, clock=clock, max_bytes=max_body_bytes)
    drawing = PictureChat(images=images, jobs=jobs, catalog=catalog, links=links, intake=intake, clock=clock)
    return joined(
        chat_router(
            catalog=catalog,
            find=find,
            handlers={ModelKind.IMAGE: drawing, ModelKind.LANGUAGE: language},
            max_body_bytes=max_body_bytes,
        ),
        models_router(catalog=catalog, runtime=runtime, own_models=own_models),
        images_router(gallery=gallery, links=links),
        pages_router(),
    )
