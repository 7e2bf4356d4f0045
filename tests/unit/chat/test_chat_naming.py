# SPDX-License-Identifier: Apache-2.0
"""Which model is meant: ids, last parts, aliases, defaults; and what is said when it cannot do the task."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.gguf_files import write_llama
from tests.model_files import flux_shapes, write_tensors
from tests.unit.chat.bench import AUTO, Bench, bench, write_models
from tests.unit.runtime.bench import run

from inglenook.base.ids import OWNER
from inglenook.catalog.errors import ModelNotFound, ModelUnusable
from inglenook.catalog.model import LanguageTask
from inglenook.chat.errors import AliasTaken, WrongTask
from inglenook.store.database import Database

CHAT, EMBEDDING, RERANK = LanguageTask.CHAT, LanguageTask.EMBEDDING, LanguageTask.RERANK
Act = Callable[[Bench], Awaitable[None]]


def within(models: Path, database: Database, act: Act, **more: object) -> None:
    async def main() -> None:
        async with bench(models, database, **more) as made:  # type: ignore[arg-type]  # named by each test
            await act(made)

    run(main())


def test_a_model_is_found_by_its_id_and_by_the_last_part_of_it(models: Path, sqlite: Database) -> None:
    async def act(b: Bench) -> None:
        assert b.chat.resolve("group/other").id == "group/other"
        assert b.chat.resolve("other").id == "group/other"
        assert b.chat.resolve("OTHER").id == "group/other"

    within(models, sqlite, act)


@pytest.mark.parametrize("name", [None, "", "auto", "AUTO"])
def test_naming_nothing_takes_the_first_that_can(models: Path, sqlite: Database, name: str | None) -> None:
    async def act(b: Bench) -> None:
        assert [b.chat.resolve(name, task).id for task in LanguageTask] == ["chat", "embed", "rank"]

    within(models, sqlite, act)


def test_the_settings_name_the_defaults(models: Path, sqlite: Database) -> None:
    async def act(b: Bench) -> None:
        assert b.chat.resolve(None).id == "group/other"
        with pytest.raises(
            WrongTask, match=r"^language.embedding_model: rank is a language model that ranks"
        ):
            b.chat.resolve(None, EMBEDDING)

    within(models, sqlite, act, names={**AUTO, CHAT: "other", EMBEDDING: "rank"})


def test_a_default_that_is_not_there_is_said_to_be_the_settings(models: Path, sqlite: Database) -> None:
    async def act(b: Bench) -> None:
        with pytest.raises(ModelNotFound, match=r"^language.default_model: There is no model 'gone'"):
            b.chat.resolve("auto")

    within(models, sqlite, act, names={**AUTO, CHAT: "gone"})


def test_the_persons_own_models_come_before_those_of_the_package(tmp_path: Path, sqlite: Database) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "builtin").mkdir()
    write_llama(tmp_path / "builtin" / "a.gguf")
    write_llama(tmp_path / "own" / "z.gguf")

    async def act(b: Bench) -> None:
        assert b.chat.resolve(None).id == "z"

    within(tmp_path / "own", sqlite, act, builtin=tmp_path / "builtin")


def test_one_that_guesses_ahead_for_another_is_not_meant_by_naming_nothing(
    tmp_path: Path, sqlite: Database
) -> None:
    (tmp_path / "a").mkdir()
    write_llama(tmp_path / "a" / "small.gguf")
    write_llama(tmp_path / "big.gguf")

    async def act(b: Bench) -> None:
        assert b.chat.resolve(None).id == (await b.chat.named(None)).id == "a/small"
        await b.chat.set_options(b.model("big"), {"draft": "a/small"}, person=OWNER)
        assert b.chat.resolve(None).id == (await b.chat.named(None)).id == "big"
        await b.chat.set_options(b.model("a/small"), {"draft": "big"}, person=OWNER)
        assert b.chat.resolve(None).id == "a/small", "each of all helps another: the first"

    within(tmp_path, sqlite, act)


def test_without_a_reranker_an_embedding_model_ranks(tmp_path: Path, sqlite: Database) -> None:
    folder = write_models(tmp_path / "models")
    (folder / "rank.gguf").unlink()

    async def act(b: Bench) -> None:
        record = b.chat.resolve(None, RERANK)
        assert record.id == "embed"
        async with b.exchange("embed", task=RERANK) as exchange:
            assert exchange.mode == "embedding"
        assert b.chat.task_of(record) is EMBEDDING

    within(folder, sqlite, act)


def test_where_nothing_can_do_it_that_is_said(tmp_path: Path, sqlite: Database) -> None:
    async def act(b: Bench) -> None:
        with pytest.raises(ModelNotFound, match="no usable language model that makes embeddings"):
            b.chat.resolve(None, EMBEDDING)

    within(tmp_path, sqlite, act)


@pytest.mark.parametrize(
    ("name", "task", "says"),
    [
        ("embed", CHAT, "embed is a language model that makes embeddings; this needs one that chats"),
        ("rank", EMBEDDING, "rank is a language model that ranks documents; this needs one that makes"),
        ("chat", RERANK, "chat is a language model that chats; this needs one that ranks documents"),
    ],
)
def test_a_model_for_another_task_is_refused_in_words(
    models: Path, sqlite: Database, name: str, task: LanguageTask, says: str
) -> None:
    async def act(b: Bench) -> None:
        with pytest.raises(WrongTask, match=says):
            b.chat.resolve(name, task)

    within(models, sqlite, act)


def test_a_picture_model_is_refused_where_chat_is_meant_and_found_where_any_kind_is(
    tmp_path: Path, sqlite: Database
) -> None:
    folder = write_models(tmp_path / "models")
    write_tensors(folder / "painter.safetensors", flux_shapes(guided=False))

    async def act(b: Bench) -> None:
        assert b.chat.find("painter").id == "painter"
        with pytest.raises((WrongTask, ModelUnusable), match="painter"):
            b.chat.resolve("painter")

    within(folder, sqlite, act)


def test_a_chat_model_is_good_for_embeddings(models: Path, sqlite: Database) -> None:
    async def act(b: Bench) -> None:
        assert b.chat.resolve("chat", EMBEDDING).id == "chat"

    within(models, sqlite, act)


def test_an_option_says_what_a_model_is_for_where_its_header_is_wrong(models: Path, sqlite: Database) -> None:
    async def act(b: Bench) -> None:
        await b.chat.set_options(b.model("chat"), {"task": "rerank"}, person=OWNER)
        assert b.chat.resolve("chat", RERANK).id == "chat"
        with pytest.raises(WrongTask):
            b.chat.resolve("chat")
        assert b.chat.resolve(None).id == "group/other"

    within(models, sqlite, act)


def test_a_model_is_found_by_an_alias_in_any_case(models: Path, sqlite: Database) -> None:
    async def act(b: Bench) -> None:
        await b.chat.set_options(b.model("group/other"), {"aliases": ["GPT-4", "chatty"]}, person=OWNER)
        assert b.chat.resolve("gpt-4").id == "group/other"
        assert b.chat.find("GPT-4").id == "group/other"
        assert b.chat.aliases() == {"GPT-4": "group/other", "chatty": "group/other"}
        await b.chat.set_options(b.model("group/other"), {"aliases": None}, person=OWNER)
        with pytest.raises(ModelNotFound):
            b.chat.resolve("gpt-4")

    within(models, sqlite, act)


@pytest.mark.parametrize(
    ("alias", "says"),
    [
        ("auto", "stands for the default model"),
        ("EMBED", "means embed"),
        ("taken", "means group/other"),
    ],
)
def test_an_alias_that_means_something_already_is_refused(
    models: Path, sqlite: Database, alias: str, says: str
) -> None:
    async def act(b: Bench) -> None:
        await b.chat.set_options(b.model("group/other"), {"aliases": ["taken"]}, person=OWNER)
        with pytest.raises(AliasTaken, match=says):
            await b.chat.set_options(b.model("chat"), {"aliases": [alias]}, person=OWNER)
        assert b.chat.options(b.model("chat").id).options.aliases == ()

    within(models, sqlite, act)


def test_a_model_keeps_its_own_alias_when_it_is_set_again(models: Path, sqlite: Database) -> None:
    async def act(b: Bench) -> None:
        for aliases in (["mine"], ["mine", "more"]):
            await b.chat.set_options(b.model("chat"), {"aliases": aliases}, person=OWNER)
        assert b.chat.resolve("more").id == "chat"

    within(models, sqlite, act)


def test_a_model_that_comes_after_an_alias_keeps_its_name(tmp_path: Path, sqlite: Database) -> None:
    folder = write_models(tmp_path / "models")

    async def act(b: Bench) -> None:
        await b.chat.set_options(b.model("chat"), {"aliases": ["late"]}, person=OWNER)
        write_llama(folder / "late.gguf", seed=3)
        b.catalog.refresh()
        assert b.chat.resolve("late").id == "late"

    within(folder, sqlite, act)


def test_an_alias_of_a_model_that_is_gone_says_so(tmp_path: Path, sqlite: Database) -> None:
    folder = write_models(tmp_path / "models")

    async def act(b: Bench) -> None:
        await b.chat.set_options(b.model("chat"), {"aliases": ["mine"]}, person=OWNER)
        (folder / "chat.gguf").unlink()
        b.catalog.refresh()
        with pytest.raises(ModelNotFound, match="mine stands for chat, which is not there"):
            b.chat.resolve("mine")

    within(folder, sqlite, act)


def test_known_names_are_answered_from_memory(models: Path, sqlite: Database) -> None:
    async def act(b: Bench) -> None:
        await b.chat.set_options(b.model("chat"), {"aliases": ["mine"]}, person=OWNER)
        looks = b.catalog.refresh
        b.catalog.refresh = None  # type: ignore[assignment, method-assign]  # a look at the folders is a mistake
        for name in ("chat", "mine", "auto", None, "group/other"):
            assert await b.chat.named(name) is b.chat.resolve(name)
            assert await b.chat.found(name) is b.chat.find(name)
        with pytest.raises(WrongTask):
            await b.chat.named("embed")
        b.catalog.refresh = looks  # type: ignore[method-assign]  # put back
        assert (await b.chat.named("other")).id == "group/other"
        with pytest.raises(ModelNotFound):
            await b.chat.named("gone")

    within(models, sqlite, act)
