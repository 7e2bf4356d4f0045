# SPDX-License-Identifier: Apache-2.0
"""What all pages of a project have around them: its name, its task, the way from part to part."""

from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from inglenook.base.ids import PersonId
from inglenook.studio.projects.model import Project
from inglenook.studio.studio import Studio
from inglenook.studio.tasks.registry import require_task
from inglenook.web import csrf
from inglenook.web.templating import html

TABS: Final = (
    ("dataset", "Data"),
    ("split", "Splits"),
    ("training", "Training"),
    ("evaluation", "Evaluation"),
    ("export", "Export"),
)
"""The parts of a project: the last piece of their address, and their words."""


@dataclass(frozen=True, slots=True)
class Tab:
    name: str
    words: str
    place: str


@dataclass(frozen=True, slots=True)
class Frame:
    """Attributes:
    task: its title, for people. may_write: whether the reader may change what is in it.
    owned: whether the reader may also rename, share and delete it.
    """

    id: str
    name: str
    description: str
    task: str
    task_name: str
    may_write: bool
    owned: bool
    tabs: tuple[Tab, ...]

    @property
    def place(self) -> str:
        return f"/projects/{self.id}"


def frame_of(studio: Studio, person: PersonId, project_id: str, *, write: bool = False) -> Frame:
    """Blocks.

    Raises:
        ProjectNotFound: there is none, or the person may not see it.
        Denied: `write`, and the person may only read.
    """
    return _frame(studio.projects.require(person, project_id, write=write), person)


def _frame(project: Project, person: PersonId) -> Frame:
    return Frame(
        id=project.id,
        name=project.name,
        description=project.description or "",
        task=require_task(project.task).title,
        task_name=project.task,
        may_write=project.may(person, write=True),
        owned=project.owner == person,
        tabs=tuple(Tab(name, words, f"/projects/{project.id}/{name}") for name, words in TABS),
    )


def studio_page(request: Request, template: str, context: dict[str, Any], *, status: int = 200) -> Response:
    """A whole page, with the token that its forms send back. A template that extends `studio/frame.html` also
    needs `project` (a `Frame`) and sets `tab`.
    """
    token = csrf.token_for(request)
    answer = html(template, {**context, "csrf": token}, status=status)
    csrf.keep(answer, token, secure=request.url.scheme == "https")
    return answer
