# SPDX-License-Identifier: Apache-2.0
"""The workspace: one server, documents that are whole or not there, and what is left after a kill."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.studio_bench import ANNA, fill, ids, project, studio_in

from inglenook.base.errors import Conflict, Failed, InglenookError
from inglenook.store.lock import ServerInfo
from inglenook.studio.datasets.model import ImageQuery
from inglenook.studio.documents import Document, Migration, read_document, write_document
from inglenook.studio.errors import CorruptDocument, ProjectNotFound
from inglenook.studio.studio import Studio
from inglenook.studio.workspace import Workspace
from inglenook.testing.clock import FakeClock


class Note(Document, frozen=True, kw_only=True):
    SCHEMA: ClassVar[int] = 3
    MIGRATIONS: ClassVar[Mapping[int, Migration]] = {
        1: lambda fields: {"text": fields["words"]},
        2: lambda fields: {**fields, "text": fields["text"].upper()},
    }
    version: int = 3

    text: str


# -- documents -------------------------------------------------------------------------------------------


def test_a_document_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_document(tmp_path / "note.json", Note(text="ü"))
    assert read_document(tmp_path / "note.json", Note) == Note(text="ü")
    assert (tmp_path / "note.json").read_text(encoding="utf-8") == '{\n  "version": 3,\n  "text": "ü"\n}\n'


def test_an_older_document_is_brought_to_the_newest_schema_step_by_step(tmp_path: Path) -> None:
    (tmp_path / "note.json").write_text('{"version": 1, "words": "hello"}')
    assert read_document(tmp_path / "note.json", Note) == Note(text="HELLO")


def test_a_document_of_a_newer_program_is_refused_with_both_numbers(tmp_path: Path) -> None:
    (tmp_path / "note.json").write_text('{"version": 4, "text": "x"}')
    with pytest.raises(Conflict, match="its schema is 4, and this one knows 3"):
        read_document(tmp_path / "note.json", Note)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"text": "x"}', '{"version": true}', '{"version": 3, "text": 5}', "[" * 100_000],
)
def test_a_corrupt_document_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "note.json").write_text(text)
    with pytest.raises(CorruptDocument, match=r"note\.json cannot be read"):
        read_document(tmp_path / "note.json", Note)


def test_a_full_disk_leaves_the_old_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "note.json"
    write_document(path, Note(text="old"))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Failed, match="no room on the disk"):
        write_document(path, Note(text="new"))
    monkeypatch.undo()
    assert read_document(path, Note).text == "old"
    assert [it.name for it in tmp_path.iterdir()] == ["note.json"]


# -- one server ------------------------------------------------------------------------------------------


def test_a_second_server_is_told_who_has_the_workspace(tmp_path: Path) -> None:
    with studio_in(tmp_path):
        second = Workspace(tmp_path / "studio", FakeClock())
        with pytest.raises(
            Conflict, match=r"http://here:1 \(process 4711\) already uses the studio's workspace"
        ):
            second.open(ServerInfo(1, "http://there:2", FakeClock().now()))
    second.open(ServerInfo(1, "http://there:2", FakeClock().now()))
    second.close()


def test_forty_projects_made_by_eight_threads_are_forty_entries(tmp_path: Path) -> None:
    with studio_in(tmp_path) as studio:
        failed: list[BaseException] = []

        def make(thread: int) -> None:
            try:
                for place in range(5):
                    studio.projects.create(ANNA, f"Project {thread} {place}", "classification")
            except InglenookError as error:
                failed.append(error)

        threads = [threading.Thread(target=make, args=(it,)) for it in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        listed = studio.projects.list(ANNA).projects
        folders = {it.name for it in (tmp_path / "studio" / "projects").iterdir()}
    assert len(listed) == 40
    assert {it.id for it in listed} == folders
    assert len({it.name for it in listed}) == 40


def test_threads_that_label_and_tag_at_once_lose_nothing(tmp_path: Path) -> None:
    with studio_in(tmp_path) as studio:
        pets = project(studio)
        fill(studio, pets.id, {"cats": 16})
        pictures = list(ids(studio, pets.id).values())

        def work(place: int) -> None:
            studio.datasets.tag(pets.id, [pictures[place]], add=[f"t{place}"], by=ANNA)
            studio.datasets.relabel(pets.id, [pictures[place]], f"class {place}", by=ANNA)

        threads = [threading.Thread(target=work, args=(it,)) for it in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        notes = studio.datasets.versions(pets.id)
        assert [it.number for it in notes] == list(range(1, 18))
        assert studio.datasets.tag_counts(pets.id) == {f"t{it}": 1 for it in range(8)}
        assert studio.datasets.count(pets.id, ImageQuery(labels=("cats",))) == 8


# -- what cannot be read ---------------------------------------------------------------------------------


def test_a_corrupt_project_is_named_and_takes_no_other_down(tmp_path: Path) -> None:
    with studio_in(tmp_path) as studio:
        first, second = project(studio, "First"), project(studio, "Second")
        path = tmp_path / "studio" / "projects" / first.id / "project.json"
        path.write_text("{")
        found = studio.projects.list(ANNA)
        assert [it.id for it in found.projects] == [second.id]
        assert len(found.problems) == 1
        assert str(path) in found.problems[0]
        with pytest.raises(CorruptDocument, match=r"project\.json"):
            studio.projects.get(ANNA, first.id)
    with studio_in(tmp_path) as studio:  # nor does it keep the next server from starting
        assert [it.id for it in studio.projects.list(ANNA).projects] == [second.id]


def test_a_corrupt_list_of_projects_is_put_aside_and_made_again(tmp_path: Path) -> None:
    with studio_in(tmp_path) as studio:
        made = {project(studio, name).id for name in ("First", "Second")}
    (tmp_path / "studio" / "workspace.json").write_text('{"version": 1, "projects"')
    with studio_in(tmp_path) as studio:
        assert {it.id for it in studio.projects.list(ANNA).projects} == made
    aside = list((tmp_path / "studio").glob("workspace.json.corrupt-*"))
    assert [it.read_text() for it in aside] == ['{"version": 1, "projects"']


def test_a_workspace_of_a_newer_program_is_not_opened(tmp_path: Path) -> None:
    with studio_in(tmp_path):
        pass
    (tmp_path / "studio" / "workspace.json").write_text('{"version": 2}')
    with pytest.raises(Conflict, match=r"schema is 2"), studio_in(tmp_path):
        pass
    assert (tmp_path / "studio" / "workspace.json").read_text() == '{"version": 2}'


def test_a_list_never_writes(tmp_path: Path) -> None:
    with studio_in(tmp_path) as studio:
        pets = project(studio)
        fill(studio, pets.id, {"cats": 3})
        studio.datasets.images(pets.id)
        before = written(tmp_path)
        studio.projects.list(ANNA)
        studio.projects.counts(pets.id)
        studio.datasets.images(pets.id, ImageQuery(sort="size"))
        studio.datasets.class_counts(pets.id)
        studio.splits.list(pets.id)
        assert written(tmp_path) == before


def written(folder: Path) -> dict[str, int]:
    """When each file was written; SQLite's files beside the index come and go with every look."""
    return {
        str(path): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


# -- killed ----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process has ended."""


_STEPS = ("open", "replace", "rename", "mkdir", "unlink", "rmdir", "fsync", "write")


@contextmanager
def killed_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """From the step of that number on, nothing reaches the disk any more, also not what cleans up."""
    done = 0

    def cut(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal done
            done += 1
            if done > steps:
                raise Killed
            return real(*arguments, **options)

        return call

    with monkeypatch.context() as patched:
        for name in _STEPS:
            patched.setattr(os, name, cut(getattr(os, name)))
        yield


def cut_everywhere(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Studio], str],
    act: Callable[[Studio, str], object],
    look: Callable[[Studio, str], Any],
) -> list[Any]:
    """What `look` sees after `act` was cut short at each of its steps, each time in a new workspace."""
    seen = []
    for steps in range(200):
        folder = tmp_path / str(steps)
        with studio_in(folder) as studio:
            subject = prepare(studio)
            whole = True
            try:
                with killed_after(steps, monkeypatch):
                    act(studio, subject)
            except Killed:
                whole = False
        with studio_in(folder) as studio:
            for document in (folder / "studio").rglob("*.json"):
                json.loads(document.read_bytes())
            seen.append(look(studio, subject))
        if whole:
            return seen
    raise AssertionError("it never came to its end")


def names(studio: Studio, subject: str = "") -> list[str]:
    found = studio.projects.list(ANNA)
    assert not found.problems
    return [it.name for it in found.projects]


def test_making_a_project_may_be_cut_short_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = cut_everywhere(
        tmp_path,
        monkeypatch,
        lambda studio: project(studio, "First").id,
        lambda studio, _: project(studio, "Second"),
        names,
    )
    assert seen[0] == ["First"]
    assert seen[-1] == ["First", "Second"]
    assert all(it in (["First"], ["First", "Second"]) for it in seen)
    assert len(seen) > 5


def test_renaming_and_deleting_a_project_may_be_cut_short_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(studio: Studio, subject: str) -> None:
        studio.projects.update(ANNA, subject, name="Other")
        studio.projects.delete(ANNA, subject)

    seen = cut_everywhere(tmp_path, monkeypatch, lambda studio: project(studio, "One").id, act, names)
    assert (seen[0], seen[-1]) == (["One"], [])
    order = [["One"], ["Other"], []]
    assert [order.index(it) for it in seen] == sorted(order.index(it) for it in seen)


def state(studio: Studio, subject: str) -> tuple[int, dict[str, int], list[str]]:
    head = studio.datasets.head(subject)
    pictures = list(studio.datasets.iterate(subject))
    assert all(studio.datasets.file(subject, it).is_file() for it in pictures)
    assert len(pictures) == head.image_stats.num_images == studio.datasets.count(subject)
    assert len(studio.datasets.versions(subject)) == head.current
    return head.current, dict(studio.datasets.class_counts(subject)), [it.filename for it in pictures]


def with_cats(studio: Studio) -> str:
    pets = project(studio)
    fill(studio, pets.id, {"cats": 2})
    return pets.id


def test_a_change_of_labels_may_be_cut_short_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(studio: Studio, subject: str) -> None:
        studio.datasets.relabel(subject, [ids(studio, subject)["cats_0.png"]], "dogs", by=ANNA)

    seen = cut_everywhere(tmp_path, monkeypatch, with_cats, act, state)
    files = ["cats_0.png", "cats_1.png"]
    assert seen[0] == (1, {"cats": 2}, files)
    assert seen[-1] == (2, {"cats": 1, "dogs": 1}, files)
    assert all(it in (seen[0], seen[-1]) for it in seen)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["add", "replace"])
def test_an_import_may_be_cut_short_anywhere_and_the_old_set_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Any
) -> None:
    seen = cut_everywhere(
        tmp_path,
        monkeypatch,
        with_cats,
        lambda studio, subject: fill(studio, subject, {"dogs": 2}, mode=mode),
        state,
    )
    old = ["cats_0.png", "cats_1.png"]
    new = ["dogs_0.png", "dogs_1.png"]
    assert seen[0] == (1, {"cats": 2}, old)
    assert seen[-1][2] == (old + new if mode == "add" else new)
    assert all(it in (seen[0], seen[-1]) for it in seen)
    assert not list((tmp_path).glob("*/studio/projects/*/dataset/.new-*"))


_WRITER = """
import sys
from pathlib import Path
from tests.studio_bench import ANNA, fill, ids, project, studio_in
from inglenook.base.clock import SystemClock

with studio_in(Path(sys.argv[1]), SystemClock()) as studio:
    print("open", flush=True)
    kept = next(iter(studio.projects.list(ANNA).projects), None) or project(studio, "Kept")
    while True:
        fill(studio, kept.id, {"cats": 3}, mode="add")
        some = list(ids(studio, kept.id).values())[:2]
        studio.datasets.relabel(kept.id, some, "dogs", by=ANNA)
        other = project(studio, "Other")
        studio.projects.update(ANNA, other.id, name="Renamed")
        studio.projects.delete(ANNA, other.id)
        print("round", flush=True)
"""


@pytest.mark.slow
def test_a_writer_that_is_killed_again_and_again_leaves_a_workspace_that_can_be_read(tmp_path: Path) -> None:
    before = 0
    for attempt in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        # Killed after more and more lines of its own, and a little work beyond the last of them.
        for _ in range(attempt % 3):
            assert child.stdout.readline() == "round\n"
        sum(range(attempt * 200_000))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with studio_in(tmp_path) as studio:
            found = studio.projects.list(ANNA)
            assert not found.problems
            assert len([it for it in found.projects if it.name == "Kept"]) <= 1
            assert all(it.name in ("Kept", "Other", "Renamed") for it in found.projects)
            for one in found.projects:
                if studio.datasets.size(one.id):
                    pictures = state(studio, one.id)[2]
                    assert len(pictures) >= before
                    before = len(pictures)
    assert before > 0


def test_what_was_being_written_in_an_experiment_is_swept_at_the_next_start(tmp_path: Path) -> None:
    with studio_in(tmp_path) as studio:
        folder = studio.workspace.project_folder(project(studio).id)
    left = [
        folder / "experiments" / "exp-00000001" / ".experiment.json.0123.tmp",
        folder
        / "experiments"
        / "exp-00000001"
        / "evaluations"
        / "eval-00000001"
        / ".aggregate.json.0123.tmp",
        folder / "exports" / "export-00000001" / ".export.json.0123.tmp",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{")
    with studio_in(tmp_path):
        assert not [path for path in left if path.exists()]


def test_a_project_that_is_gone_keeps_no_lock(tmp_path: Path) -> None:
    with studio_in(tmp_path) as studio:
        pets = project(studio)
        studio.projects.delete(ANNA, pets.id)
        with pytest.raises(ProjectNotFound), studio.workspace.locked(pets.id):
            pass
        with pytest.raises(ProjectNotFound):
            studio.workspace.project_folder("../../etc")
        assert not studio.workspace._projects
