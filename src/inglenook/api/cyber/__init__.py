# SPDX-License-Identifier: Apache-2.0
"""Cyber-Inference's dialect: /admin/…, /ws/logs, /ws/status. What it serves under /v1 is `api.openai`'s.

shapes.py     errors as its clients read them: ``{"detail": …}``
login.py      the administrator's token
models.py     models: list, load, unload, options, delete; what needs a hub is refused
machine.py    status, resources, sessions, shutdown
keys.py       its configuration keys ↔ settings of ours; pure
config.py     /admin/config
sockets.py    the log and the state, live
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from fastapi import APIRouter

from inglenook.api.cyber.config import config_routes
from inglenook.api.cyber.login import login_routes
from inglenook.api.cyber.machine import Machine, machine_routes
from inglenook.api.cyber.models import model_routes
from inglenook.api.cyber.shapes import render_detail
from inglenook.api.cyber.sockets import KEEPALIVE_AFTER_S, STATUS_EVERY_S, socket_routes
from inglenook.api.studio.models import Load
from inglenook.base.clock import Clock
from inglenook.base.journal import Journal
from inglenook.catalog.model import ModelKind
from inglenook.door.routes import add_routes
from inglenook.door.services import Catalog, Language, Runtime
from inglenook.settings import Settings
from inglenook.store.configuration import Configuration

__all__ = ["cyber_router", "render_detail"]


def cyber_router(
    *,
    language: Language,
    catalog: Catalog,
    runtime: Runtime,
    configuration: Configuration,
    settings: Settings,
    journal: Journal,
    clock: Clock,
    own_models: Path,
    loads: Mapping[ModelKind, Load],
    version: str,
    shut_down: Callable[[], None],
    status_every_s: float = STATUS_EVERY_S,
    keepalive_after_s: float = KEEPALIVE_AFTER_S,
) -> APIRouter:
    """All routes of the dialect. The uptime counts from this call.

    Args:
        settings: that count now.
        own_models: the folder of which models may be deleted.
        loads: what loads a model of another kind than language, by its kind.
        shut_down: asks the server to stop, and returns at once.
        status_every_s: how often /ws/status tells the state.
        keepalive_after_s: after so long without a word a socket says that it is there.
    """
    machine = Machine(language=language, catalog=catalog, runtime=runtime, clock=clock)
    router = APIRouter()
    add_routes(router, login_routes())
    add_routes(router, machine_routes(machine, version=version, own_models=own_models, shut_down=shut_down))
    add_routes(router, config_routes(configuration=configuration, settings=settings, runtime=runtime))
    add_routes(router, model_routes(machine, own_models=own_models, loads=loads))
    add_routes(
        router,
        socket_routes(
            machine, journal=journal, status_every_s=status_every_s, keepalive_after_s=keepalive_after_s
        ),
    )
    return router
