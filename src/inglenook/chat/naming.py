# SPDX-License-Identifier: Apache-2.0
"""Which model a client means: by id, by an alias, by the last part of an id, or by naming none."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from inglenook.base.ids import ModelId
from inglenook.catalog.errors import ModelNotFound, ModelUnusable, unusable
from inglenook.catalog.model import LanguageTask, ModelKind, ModelRecord
from inglenook.catalog.service import AUTO, CatalogService
from inglenook.chat.errors import AliasTaken, WrongTask
from inglenook.chat.model import ModelOptions

ABLE: Final[Mapping[LanguageTask, tuple[LanguageTask, ...]]] = {
    LanguageTask.CHAT: (LanguageTask.CHAT,),
    LanguageTask.EMBEDDING: (LanguageTask.EMBEDDING, LanguageTask.CHAT),
    LanguageTask.RERANK: (LanguageTask.RERANK, LanguageTask.EMBEDDING),
}
"""What a model may be for that is asked for a task. A chat model can embed (in a process of its own); an
embedding model can rank, by how near its embeddings are."""

_WORDS: Final = {
    LanguageTask.CHAT: "chats",
    LanguageTask.EMBEDDING: "makes embeddings",
    LanguageTask.RERANK: "ranks documents",
}
_SETTING: Final = {
    LanguageTask.CHAT: "language.default_model",
    LanguageTask.EMBEDDING: "language.embedding_model",
    LanguageTask.RERANK: "language.embedding_model",
}

OptionsOf = Callable[[ModelId], ModelOptions]


class Names:
    """Args:
    defaults: names by task, as the settings say them; "auto" for the first usable: the person's own before
        those that came with the package, those that guess ahead for another last.
    options: of a model, for its aliases and its task.
    aliases: alias in lower case → id.
    """

    def __init__(
        self,
        *,
        catalog: CatalogService,
        defaults: Mapping[LanguageTask, str],
        options: OptionsOf,
        aliases: Callable[[], Mapping[str, ModelId]],
    ) -> None:
        self._catalog = catalog
        self._defaults = defaults
        self._options = options
        self._aliases = aliases

    def find(self, name: str | None) -> ModelRecord:
        """The model of any kind that is meant, usable or not; None and "auto": the one that chats by default,
        and where none can, the one that draws. Blocks.

        Raises ModelNotFound, ModelAmbiguous.
        """
        if is_auto(name):
            try:
                return self.default(LanguageTask.CHAT)
            except ModelNotFound:
                return self._catalog.find(AUTO)
        assert name is not None
        meant = self._aliases().get(name.strip().casefold())
        if meant is None:
            return self._catalog.find(name)
        if self._catalog.has(ModelId(name)):  # a model that came after the alias keeps its name
            return self._catalog.get(ModelId(name))
        try:
            return self._catalog.get(meant)
        except ModelNotFound as error:
            error.message = f"{name} stands for {meant}, which is not there (any more)."
            raise

    def known(self, name: str | None, task: LanguageTask | None = None) -> ModelRecord:
        """What `find`, or for a task `resolve`, would return, by what the last look at the folders found.

        Raises:
            LookupError: that takes another look, or cannot be had.
        """
        if is_auto(name):
            wanted = LanguageTask.CHAT if task is None else task
            if not is_auto(self._defaults[wanted]) or not self._catalog.has_looked:
                raise LookupError(name)
            able = ABLE[wanted] if wanted is LanguageTask.RERANK else (wanted,)
            first = self._first_of(self._catalog.known(ModelKind.LANGUAGE), able[0])
            if first is None:
                raise LookupError(name)
            return first
        assert name is not None
        if not self._catalog.has_looked:
            raise LookupError(name)
        own = ModelId(name)
        model = own if self._catalog.has(own) else self._aliases().get(name.strip().casefold())
        if model is None or not self._catalog.has(model):
            raise LookupError(name)
        record = self._catalog.get(model)
        if task is not None:
            self.check(record, task)
        return record

    def part(self, name: str | Path) -> ModelRecord:
        """The record of an id, or of a file that was found beside a model. Raises ModelNotFound."""
        if isinstance(name, str):
            return self._catalog.get(ModelId(name))
        for record in self._catalog.known():
            if record.path == name:
                return record
        raise ModelNotFound(f"There is no model at {name}.", field="model")

    def resolve(self, name: str | None, task: LanguageTask) -> ModelRecord:
        """The language model that is meant and that can do the task. Blocks.

        Raises:
            ModelNotFound, ModelAmbiguous: no model, or several, of that name; or none that could be the
                default.
            ModelUnusable: it has a problem.
            WrongTask: it is of another kind, or cannot do that.
        """
        if is_auto(name):
            return self.default(task)
        record = self.find(name)
        self.check(record, task)
        return record

    def default(self, task: LanguageTask) -> ModelRecord:
        """Raises as `resolve`."""
        name = self._defaults[task]
        if not is_auto(name) and task is not LanguageTask.RERANK:
            return self._named_by_settings(name, task)
        for wanted in ABLE[task] if task is LanguageTask.RERANK else (task,):
            named = self._defaults[wanted]
            if task is LanguageTask.RERANK and wanted is LanguageTask.EMBEDDING and not is_auto(named):
                return self._named_by_settings(named, wanted)
            found = self._first(wanted)
            if found is not None:
                return found
        raise ModelNotFound(
            f"There is no usable language model that {_WORDS[task]}.",
            hint="`inglenook starters install` brings a small one; `inglenook models` lists what is there",
            field="model",
        )

    def _named_by_settings(self, name: str, task: LanguageTask) -> ModelRecord:
        try:
            record = self.find(name)
            self.check(record, task)
        except (ModelNotFound, ModelUnusable, WrongTask) as error:
            error.message = f"{_SETTING[task]}: {error.message}"
            raise
        return record

    def _first(self, task: LanguageTask) -> ModelRecord | None:
        for listing in (self._catalog.known, self._catalog.list):  # the second looks at the folders again
            found = self._first_of(listing(ModelKind.LANGUAGE), task)
            if found is not None:
                return found
        return None

    def _first_of(self, records: Sequence[ModelRecord], task: LanguageTask) -> ModelRecord | None:
        """One that only guesses ahead for another of them comes last: nobody means it who names nothing."""
        able = [one for one in records if one.problem is None and self.task_of(one) is task]
        helpers = {self._options(one.id).draft for one in able}
        mains = (one for one in able if one.id not in helpers)
        return next(mains, able[0] if able else None)

    def task_of(self, record: ModelRecord) -> LanguageTask | None:
        """What a language model is for: by its options, else by its header."""
        said = self._options(record.id).task
        if said is not None:
            return LanguageTask(said)
        return None if record.language is None else record.language.task

    def check(self, record: ModelRecord, task: LanguageTask) -> None:
        """Raises ModelUnusable, WrongTask."""
        if record.problem is not None:
            raise unusable(record.id, record.problem)
        if record.kind is not ModelKind.LANGUAGE or record.language is None:
            raise WrongTask(
                f"{record.id} is a model of kind {record.kind}; this needs a language model that "
                f"{_WORDS[task]}.",
                hint="GET /v1/models lists all with their kinds; `auto` takes the default",
                field="model",
            )
        own = self.task_of(record)
        if own not in ABLE[task]:
            raise WrongTask(
                f"{record.id} is a language model that {_WORDS[own or LanguageTask.CHAT]}; this needs one "
                f"that {_WORDS[task]}.",
                hint="`auto` takes the default; the option `task` says otherwise where the header is wrong",
                field="model",
            )

    def check_aliases(self, model: ModelId, aliases: tuple[str, ...]) -> None:
        """Raises AliasTaken where one is a model's id, or means another model already. Blocks."""
        ids = {record.id.casefold(): record.id for record in self._catalog.list()}
        taken = self._aliases()
        for alias in aliases:
            folded = alias.casefold()
            other = ids.get(folded) or taken.get(folded)
            if folded == AUTO or (other is not None and (other != model or folded in ids)):
                whose = "stands for the default model" if folded == AUTO else f"means {other}"
                raise AliasTaken(
                    f"{alias} cannot be another name of {model}: it {whose}.",
                    field="aliases",
                    hint="choose another name, or take it away there first",
                )


def is_auto(name: str | None) -> bool:
    return name is None or name.strip().casefold() in ("", AUTO)
