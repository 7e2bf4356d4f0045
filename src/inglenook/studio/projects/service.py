# SPDX-License-Identifier: Apache-2.0
"""Projects: who has which, and who may do what in them. Everything here blocks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import msgspec

from inglenook.base.clock import Clock
from inglenook.base.errors import Denied, InglenookError, Invalid
from inglenook.studio.documents import stamp
from inglenook.studio.errors import InUse, ProjectNotFound
from inglenook.studio.projects.model import (
    MAX_SHARES,
    TASK_NAMES,
    Project,
    Share,
    described,
    named,
)
from inglenook.studio.workspace import PROJECT, Workspace

Count = Callable[[str], int]
"""How many of something a project has, by its id."""
Running = Callable[[str], str | None]
"""Why nothing under a project may be deleted now, in words that follow "because"; None where it may."""


@dataclass(frozen=True, slots=True)
class Projects:
    """`problems`: what could not be read, each in a sentence that names the document."""

    projects: tuple[Project, ...]
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class ProjectsService:
    workspace: Workspace
    clock: Clock
    _counters: dict[str, Count] = field(default_factory=dict)
    _guards: list[Running] = field(default_factory=list)

    # -- what other parts add ----------------------------------------------------------------------------

    def count_with(self, name: str, count: Count) -> None:
        """From now on, cards show how many `name` (`images`, `experiments` …) a project has."""
        self._counters[name] = count

    def guard_with(self, running: Running) -> None:
        """From now on, `running` is asked before anything is deleted under a project."""
        self._guards.append(running)

    # -- reading -----------------------------------------------------------------------------------------

    def list(self, person: str) -> Projects:
        """All that the person sees, in the order in which they were made. One that cannot be read does not
        take the others down: it is told of in `problems`.
        """
        found: list[Project] = []
        problems: list[str] = []
        for project_id in self.workspace.projects():
            try:
                project = self._read(project_id)
            except ProjectNotFound:
                continue  # deleted meanwhile
            except InglenookError as error:
                problems.append(error.message)
            else:
                if project.may(person, write=False):
                    found.append(project)
        return Projects(tuple(found), tuple(problems))

    def get(self, person: str, project_id: str) -> Project:
        """Raises ProjectNotFound (also where the person may not see it), CorruptDocument."""
        return self.require(person, project_id, write=False)

    def require(self, person: str, project_id: str, *, write: bool) -> Project:
        """The project, where the person may read it, or also change what is in it.

        Raises:
            ProjectNotFound: there is none, or the person may not know of it.
            Denied: the person may only look.
            CorruptDocument: its document cannot be read.
        """
        project = self._read(project_id)
        if not project.may(person, write=False):
            raise _unknown(project_id)
        if write and not project.may(person, write=True):
            raise Denied(
                f"The project {project.name!r} is shared with you to look at only.",
                code="project.read_only",
                hint="ask its owner for the right to change it",
            )
        return project

    def counts(self, project_id: str) -> Mapping[str, int]:
        """How much a project holds, by the names of `count_with`."""
        return {name: count(project_id) for name, count in self._counters.items()}

    # -- changing ----------------------------------------------------------------------------------------

    def create(self, person: str, name: str, task: str, description: str | None = None) -> Project:
        """Raises Invalid: a field cannot be accepted."""
        if task not in TASK_NAMES:
            near = get_close_matches(task, TASK_NAMES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(TASK_NAMES)}"
            raise Invalid(f"There is no task {task[:60]!r}.", field="task", hint=hint)
        now = stamp(self.clock.now())
        project = msgspec.convert(
            {
                "id": self.workspace.new_project_id(),
                "name": named(name),
                "task": task,
                "description": described(description),
                "owner": person,
                "created_at": now,
                "updated_at": now,
            },
            Project,
        )
        self.workspace.add(project.id, project)
        return project

    def update(
        self,
        person: str,
        project_id: str,
        *,
        name: str | None = None,
        description: str | msgspec.UnsetType | None = msgspec.UNSET,
    ) -> Project:
        """Args:
            name: None leaves it.
            description: None or blank clears it.

        Raises:
            Invalid, ProjectNotFound. Denied: the person is not the owner.
        """
        with self.workspace.locked(project_id):
            project = self._owned(person, project_id)
            changes: dict[str, str | None] = {"updated_at": stamp(self.clock.now())}
            if name is not None:
                changes["name"] = named(name)
            if description is not msgspec.UNSET:
                changes["description"] = described(description)
            return self._write(msgspec.structs.replace(project, **changes))

    def share(self, person: str, project_id: str, people: Sequence[Share]) -> Project:
        """Share with these people and nobody else.

        Raises:
            Invalid: somebody twice, the owner, or too many. Denied: the person is not the owner.
        """
        with self.workspace.locked(project_id):
            project = self._owned(person, project_id)
            names = [it.person for it in people]
            if len(set(names)) != len(names) or project.owner in names or len(names) > MAX_SHARES:
                raise Invalid(
                    f"A project is shared with {MAX_SHARES} people at most, each named once, not the owner.",
                    field="people",
                )
            return self._write(
                msgspec.structs.replace(
                    project, shared_with=tuple(people), updated_at=stamp(self.clock.now())
                )
            )

    def delete(self, person: str, project_id: str) -> None:
        """Delete it with all that is in it.

        Raises:
            InUse: an experiment of it runs. Denied: the person is not the owner.
        """
        with self.workspace.locked(project_id):
            self._owned(person, project_id)
            self.require_idle(project_id)
            self.workspace.remove(project_id)

    def require_idle(self, project_id: str) -> None:
        """Raises InUse: something runs that needs what is in the project."""
        for guard in self._guards:
            why = guard(project_id)
            if why is not None:
                raise InUse(f"It cannot be deleted now, because {why}.", hint="stop that first")

    def _owned(self, person: str, project_id: str) -> Project:
        project = self.require(person, project_id, write=False)
        if project.owner != person:
            raise Denied(f"Only the owner of the project {project.name!r} may do that.", code="project.owner")
        return project

    def _read(self, project_id: str) -> Project:
        folder = self.workspace.project_folder(project_id)
        return self.workspace.read(folder / PROJECT, Project)

    def _write(self, project: Project) -> Project:
        self.workspace.write(self.workspace.project_folder(project.id) / PROJECT, project)
        return project


def _unknown(project_id: str) -> ProjectNotFound:
    return ProjectNotFound(f"There is no project {project_id[:60]!r}.")
