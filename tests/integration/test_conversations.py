# SPDX-License-Identifier: Apache-2.0
"""Conversations over a real database, on both of its kinds, and real files."""

import hashlib
import io
import json
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest

from inglenook.base.errors import Conflict, Invalid, NotFound
from inglenook.base.ids import OWNER, BlobId, ConversationId, MessageId, ModelId, PersonId
from inglenook.chat.conversations.documents import (
    archive,
    as_document,
    as_markdown,
    documents_in,
    read_document,
)
from inglenook.chat.conversations.errors import BadMessage
from inglenook.chat.conversations.model import (
    Conversation,
    Image,
    Message,
    MessageState,
    Reasoning,
    Role,
    Text,
    Tool,
    path_to,
)
from inglenook.chat.conversations.parameters import Parameters
from inglenook.chat.conversations.records import ConversationRecords, PresetRecords
from inglenook.chat.conversations.service import ConversationService
from inglenook.store.blobs import LocalBlobs
from inglenook.store.database import Database
from inglenook.testing.clock import FakeClock

ANN, BOB = PersonId("ann"), PersonId("bob")


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "blobs")


@pytest.fixture
def needed() -> set[BlobId]:
    """What the gallery needs."""
    return set()


@pytest.fixture
def talks(
    database: Database, blobs: LocalBlobs, clock: FakeClock, needed: set[BlobId]
) -> ConversationService:
    return ConversationService(
        records=ConversationRecords(database=database),
        presets=PresetRecords(database=database),
        blobs=blobs,
        clock=clock,
        in_use=needed.__contains__,
        keep_deleted=timedelta(days=30),
    )


class Talk:
    """A conversation in which things are said one after the other."""

    def __init__(self, talks: ConversationService, owner: PersonId = OWNER, **fields: object) -> None:
        self.talks = talks
        self.owner = owner
        self.id = talks.create(owner=owner, **fields).id  # type: ignore[arg-type] - the test's own words

    def ask(self, text: str, after: MessageId | None = None) -> MessageId:
        return self.talks.say(self.id, [Text(text)], parent=after, caller=self.owner).id

    def answer(self, to: MessageId, text: str, state: MessageState = MessageState.DONE) -> MessageId:
        begun = self.talks.begin(self.id, to, model="smol", caller=self.owner)
        end = Message(
            id=begun.id,
            parent=to,
            role=Role.ASSISTANT,
            state=state,
            parts=(Text(text),),
            created_at=begun.created_at,
            model="smol",
            finish_reason="stop",
            usage={"completion_tokens": 3},
            timings={"predicted_per_second": 12.5},
            finished_at=self.now.updated_at,
        )
        assert self.talks.finish(end)
        return begun.id

    @property
    def now(self) -> Conversation:
        return self.talks.get(self.id, caller=self.owner)

    @property
    def shown(self) -> list[str]:
        messages = self.talks.messages(self.id, caller=self.owner)
        return [turn.message.text for turn in path_to(messages, self.now.shown)]


def found(talks: ConversationService, search: str, owner: PersonId = OWNER) -> list[str]:
    return [one.title for one in talks.list(owner, limit=10, search=search, archived=None)]


def test_what_is_said_comes_back_as_it_was_and_the_first_words_are_the_title(
    talks: ConversationService, clock: FakeClock
) -> None:
    settings = Parameters(temperature=0.2, stop=("END",), json_mode=True, tools=("generate_image",))
    talk = Talk(talks, system="Be short.", model="smol", parameters=settings)
    clock.advance(5)
    asked = talk.ask("How do foxes \U0001f98a sleep in the winter when it is very cold outside and wet?")
    talk.answer(asked, "Curled up.")
    assert talk.shown == [
        "How do foxes \U0001f98a sleep in the winter when it is very cold outside and wet?",
        "Curled up.",
    ]
    now = talk.now
    assert now.title == "How do foxes \U0001f98a sleep in the winter when it is very cold…"
    assert (now.system, now.model, now.parameters) == ("Be short.", "smol", settings)
    assert now.updated_at == clock.now()
    answer = talks.messages(talk.id, caller=OWNER)[1]
    assert (answer.usage, answer.timings) == ({"completion_tokens": 3}, {"predicted_per_second": 12.5})
    assert answer.finished_at == clock.now()


def test_editing_and_asking_again_branch_and_each_branch_can_be_shown(talks: ConversationService) -> None:
    talk = Talk(talks)
    first = talk.ask("one")
    a = talk.answer(first, "A")
    b = talk.answer(first, "B")
    assert talk.shown == ["one", "B"]
    more = talk.ask("more", after=a)
    talk.answer(more, "A more")
    assert talk.shown == ["one", "A", "more", "A more"]
    talks.show(talk.id, b, caller=OWNER)
    assert talk.shown == ["one", "B"]
    talks.show(talk.id, a, caller=OWNER)
    assert talk.shown == ["one", "A", "more", "A more"]
    edited = talk.ask("uno")
    assert talk.shown == ["uno"]
    turns = path_to(talks.messages(talk.id, caller=OWNER), edited)
    assert (turns[0].brothers, turns[0].place) == ((first, edited), 1)
    with pytest.raises(NotFound):
        talks.show(talk.id, MessageId("msg_none"), caller=OWNER)


def test_two_pages_that_speak_at_once_make_two_branches_and_lose_nothing(talks: ConversationService) -> None:
    talk = Talk(talks)
    a = talk.answer(talk.ask("one"), "A")
    left, right = talk.ask("left", after=a), talk.ask("right", after=a)
    talk.answer(right, "R")
    talk.answer(left, "L")
    texts = {message.text for message in talks.messages(talk.id, caller=OWNER)}
    assert texts == {"one", "A", "left", "right", "L", "R"}
    assert talk.shown == ["one", "A", "left", "L"]


def test_nobody_sees_another_persons_conversation(talks: ConversationService) -> None:
    talk = Talk(talks, ANN, title="secret")
    asked = talk.ask("hidden")
    for act in (
        lambda: talks.get(talk.id, caller=BOB),
        lambda: talks.messages(talk.id, caller=BOB),
        lambda: talks.say(talk.id, [Text("x")], parent=None, caller=BOB),
        lambda: talks.begin(talk.id, asked, model="smol", caller=BOB),
        lambda: talks.change(talk.id, caller=BOB, title="mine"),
        lambda: talks.show(talk.id, asked, caller=BOB),
        lambda: talks.trash(talk.id, caller=BOB),
        lambda: talks.delete(talk.id, caller=BOB),
        lambda: talks.list(BOB, limit=3, before=talk.id),
    ):
        with pytest.raises(NotFound):
            act()
    assert talks.list(BOB, limit=9) == []
    assert found(talks, "hidden", BOB) == []
    assert found(talks, "hidden", ANN) == ["secret"]
    talks.trash(talk.id, caller=ANN)
    with pytest.raises(NotFound):
        talks.restore(talk.id, caller=BOB)
    assert talks.empty_trash(caller=BOB) == 0


def test_words_are_found_in_titles_and_in_everything_that_was_said(talks: ConversationService) -> None:
    foxes = Talk(talks, title="Füchse im Winter")
    foxes.answer(foxes.ask("Where do they sleep?"), "In a **den**, curled up.")
    Talk(talks, title="Bread").ask("How long does rye dough rest?")
    assert found(talks, "fuchse") == ["Füchse im Winter"]
    assert found(talks, "DEN sleep") == ["Füchse im Winter"]
    assert found(talks, "cur") == ["Füchse im Winter"]
    assert found(talks, "cur ") == []  # a whole word, and there is none
    assert found(talks, "rye den") == []
    assert found(talks, '" OR NEAR(') == []
    assert len(found(talks, "  ")) == 2
    talks.change(foxes.id, caller=OWNER, title="Animals")
    assert found(talks, "fuchse") == []
    assert found(talks, "animals den") == ["Animals"]
    talks.delete(foxes.id, caller=OWNER)
    assert found(talks, "den") == []


def test_pinned_ones_come_first_then_what_was_spoken_in_last_and_pages_meet(
    talks: ConversationService, clock: FakeClock
) -> None:
    made = []
    for number in range(6):
        made.append(Talk(talks, title=str(number)))
        clock.advance(1 if number != 3 else 0)
    talks.change(made[1].id, caller=OWNER, pinned=True)
    made[0].ask("again")
    talks.change(made[5].id, caller=OWNER, archived=True)
    order = [one.title for one in talks.list(OWNER, limit=10)]
    assert order == ["1", "0", "4", "3", "2"]
    pages: list[str] = []
    last: ConversationId | None = None
    while page := talks.list(OWNER, limit=2, before=last):
        pages += [one.title for one in page]
        last = page[-1].id
    assert pages == order
    assert [one.title for one in talks.list(OWNER, limit=9, archived=True)] == ["5"]
    with pytest.raises(Invalid):
        talks.list(OWNER, limit=0)


def test_the_trash_gives_back_and_forgets_in_the_end(talks: ConversationService, clock: FakeClock) -> None:
    talk, kept = Talk(talks, title="gone"), Talk(talks, title="kept")
    talk.ask("words")
    talks.trash(talk.id, caller=OWNER)
    assert [one.title for one in talks.list(OWNER, limit=9)] == ["kept"]
    assert [one.title for one in talks.list(OWNER, limit=9, trashed=True)] == ["gone"]
    assert found(talks, "words") == []
    with pytest.raises(NotFound):
        talk.ask("into the trash")
    assert talks.restore(talk.id, caller=OWNER).deleted_at is None
    assert found(talks, "words") == ["gone"]
    talks.trash(talk.id, caller=OWNER)
    clock.advance(29 * 86400)
    assert talks.sweep() == 0
    clock.advance(2 * 86400)
    assert talks.sweep() == 1
    with pytest.raises(NotFound):
        talks.get(talk.id, caller=OWNER, trashed=True)
    assert kept.now.title == "kept"


def test_a_picture_that_was_given_goes_with_the_last_conversation_that_has_it(
    talks: ConversationService, blobs: LocalBlobs, needed: set[BlobId], database: Database
) -> None:
    records = ConversationRecords(database=database)
    fox, owl = blobs.put(b"fox").id, blobs.put(b"owl").id
    one, two = Talk(talks), Talk(talks)
    talks.say(one.id, [Text("see"), Image(blob=fox), Image(blob=owl)], parent=None, caller=OWNER)
    talks.say(two.id, [Image(blob=fox)], parent=None, caller=OWNER)
    assert two.now.title == "Pictures"
    assert records.mentions(fox)
    needed.add(owl)
    talks.trash(one.id, caller=OWNER)
    talks.empty_trash(caller=OWNER)
    assert blobs.exists(fox)
    assert blobs.exists(owl)
    assert not records.mentions(owl)
    talks.delete(two.id, caller=OWNER)
    assert not blobs.exists(fox)
    with pytest.raises(BadMessage, match="not here"):
        talks.say(Talk(talks).id, [Image(blob=fox)], parent=None, caller=OWNER)


def test_a_message_must_say_something_and_follow_a_finished_answer(talks: ConversationService) -> None:
    talk = Talk(talks)
    for parts in ([], [Text("  \n")], [Reasoning("hm")], [Text("x" * 1_000_001)], [Image(picture="p")] * 17):
        with pytest.raises(BadMessage):
            talks.say(talk.id, parts, parent=None, caller=OWNER)  # type: ignore[arg-type] - wrong on purpose
    first = talk.ask("one")
    with pytest.raises(BadMessage, match="follows an answer"):
        talk.ask("two", after=first)
    begun = talks.begin(talk.id, first, model="smol", caller=OWNER)
    with pytest.raises(Conflict):
        talk.ask("two", after=begun.id)
    with pytest.raises(BadMessage, match="Only a message of the user"):
        talks.begin(talk.id, begun.id, model="smol", caller=OWNER)


def test_an_answer_ends_once_and_what_a_dead_server_left_is_stopped(talks: ConversationService) -> None:
    talk = Talk(talks)
    begun = talks.begin(talk.id, talk.ask("one"), model="smol", caller=OWNER)
    assert talks.write(begun.id, [Text("so f")])
    assert talks.repair() == 1
    after = talks.messages(talk.id, caller=OWNER)[1]
    assert (after.state, after.finish_reason, after.text) == (MessageState.STOPPED, "interrupted", "so f")
    assert not talks.write(begun.id, [Text("so far")])
    assert not talks.finish(begun)
    assert talks.repair() == 0


def test_presets_are_kept_by_name(talks: ConversationService) -> None:
    talks.keep_preset("Pirate", "Talk like one.", caller=OWNER)
    kept = talks.keep_preset("  Pirate ", "Arr.", caller=OWNER)
    talks.keep_preset("Chef", "Cook.", caller=OWNER)
    talks.keep_preset("Chef", "Cuire.", caller=ANN)
    assert [(one.name, one.text) for one in talks.presets(caller=OWNER)] == [
        ("Chef", "Cook."),
        ("Pirate", "Arr."),
    ]
    with pytest.raises(NotFound):
        talks.delete_preset(kept.id, caller=ANN)
    talks.delete_preset(kept.id, caller=OWNER)
    assert len(talks.presets(caller=OWNER)) == 1
    for name, text in (("", "x"), ("n", " "), ("n" * 81, "x")):
        with pytest.raises(BadMessage):
            talks.keep_preset(name, text, caller=OWNER)


# -- documents -------------------------------------------------------------------------------------------


def whole(talks: ConversationService, blobs: LocalBlobs) -> Talk:
    """One with branches, reasoning, a tool, a picture and an error."""
    talk = Talk(talks, title="Foxes", system="Be short.", parameters=Parameters(seed=7))
    given = Image(blob=blobs.put(b"png of a fox").id)
    asked = talks.say(talk.id, [Text("Who?\x00"), given], parent=None, caller=OWNER)
    begun = talks.begin(talk.id, asked.id, model="smol", caller=OWNER)
    tool = Tool("c1", "generate_image", '{"prompt": "fox"}', "done", pictures=("pic_1",))
    talks.finish(
        Message(
            id=begun.id,
            parent=asked.id,
            role=Role.ASSISTANT,
            state=MessageState.FAILED,
            parts=(Reasoning("hm"), tool, Text("A fox.")),
            created_at=begun.created_at,
            model="smol",
            finish_reason="error",
            error={"code": "child.killed", "message": "It died.", "hint": None},
        )
    )
    talk.answer(asked.id, "Another.")
    talks.show(talk.id, begun.id, caller=OWNER)
    return talk


def test_a_document_brings_back_every_branch_with_its_pictures_for_another_person(
    talks: ConversationService, blobs: LocalBlobs, clock: FakeClock
) -> None:
    talk = whole(talks, blobs)
    messages = talks.messages(talk.id, caller=OWNER)
    document = as_document(talk.now, messages, blobs.read)
    talks.delete(talk.id, caller=OWNER)
    kept: list[bytes] = []

    def keep(data: bytes) -> BlobId:
        kept.append(data)
        return blobs.put(data).id

    back = talks.bring([document], owner=ANN, keep=keep)[0]
    assert kept == [b"png of a fox"]
    now = talks.get(back.id, caller=ANN)
    assert (now.title, now.system, now.parameters, now.owner) == (
        "Foxes",
        "Be short.",
        Parameters(seed=7),
        ANN,
    )
    came = talks.messages(back.id, caller=ANN)
    assert [one.parts for one in came] == [one.parts for one in messages]
    assert [one.state for one in came] == ["done", "failed", "done"]
    assert not {one.id for one in came} & {one.id for one in messages}
    assert [turn.message.text for turn in path_to(came, now.shown)] == ["Who?\ufffd", "A fox."]
    assert found(talks, "another", ANN) == ["Foxes"]


def test_markdown_tells_the_branch_that_is_shown(talks: ConversationService, blobs: LocalBlobs) -> None:
    talk = whole(talks, blobs)
    text = as_markdown(talk.now, path_to(talks.messages(talk.id, caller=OWNER), talk.now.shown))
    assert text.startswith("# Foxes\n")
    for said in (
        "## System\n\nBe short.",
        "## You\n\nWho?",
        "## smol",
        "A fox.",
        "(failed: It died.)",
        "pic_1",
    ):
        assert said in text
    assert "Another." not in text


def test_all_of_them_fit_into_a_zip_file_that_can_be_read_again(
    talks: ConversationService, blobs: LocalBlobs, clock: FakeClock
) -> None:
    all_of = [whole(talks, blobs), Talk(talks, title="../../etc/passwd")]
    pairs = [(one.now, talks.messages(one.id, caller=OWNER)) for one in all_of]
    data = b"".join(archive(pairs, blobs.read))
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    assert len(names) == 4
    assert not [name for name in names if "/" in name or ".." in name]
    documents = list(documents_in(data))
    read = [
        read_document(one, owner=OWNER, now=clock.now(), keep=lambda d: blobs.put(d).id) for one in documents
    ]
    assert [one.title for one, _ in read] == ["Foxes", "../../etc/passwd"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "other"}, "format"),
        ({"version": 2}, "version 2"),
        (
            {"messages": [{"id": "a", "parent": "b", "role": "user", "created_at": "2026-01-01T00:00:00Z"}]},
            "before",
        ),
        ({"messages": [{"id": "a", "role": "king", "created_at": "2026-01-01T00:00:00Z"}]}, "king"),
        ({"parameters": {"temprature": 1}}, "temprature"),
        ({"parameters": {"temperature": 99}}, "0 to 5"),
        ({"files": {"x": "%%%"}}, "picture"),
        ({"messages": 7}, "array"),
    ],
)
def test_a_document_that_cannot_be_is_refused_with_the_reason(change: dict[str, object], says: str) -> None:
    document = {
        "format": "inglenook.conversation",
        "version": 1,
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    }
    text = json.dumps(document | change).encode()
    with pytest.raises(BadMessage, match=says):
        read_document(
            text,
            owner=OWNER,
            now=FakeClock().now(),
            keep=lambda data: BlobId(hashlib.sha256(data).hexdigest()),
        )


def test_a_zip_file_that_is_none_or_holds_nothing_is_refused() -> None:
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").writestr("readme.txt", "x")
    for data in (b"PK\x03\x04garbage", empty.getvalue()):
        with pytest.raises(BadMessage):
            list(documents_in(data))


def test_model_ids_are_kept_as_they_are(talks: ConversationService) -> None:
    talk = Talk(talks, model="lab/SmolLM2 135M")
    assert talk.now.model == ModelId("lab/SmolLM2 135M")
