# SPDX-License-Identifier: Apache-2.0
"""A chat that draws: the loop between a language model and the queue of pictures."""

import asyncio
import io
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.unit.api.relayed import Asked, ScriptedLanguage, writes
from tests.unit.api.services import Workshop, model
from tests.unit.api.test_api_hang_up import Connection

from inglenook.base.cancel import StopReason
from inglenook.catalog.model import LanguageFacts, LanguageTask, ModelKind
from inglenook.images.model import ImageRequest, Mode
from inglenook.jobs.model import Job

HELLO = [{"role": "user", "content": "Draw me a fox."}]
PROPERTIES = {"x": {"type": "string"}}
THEIRS = {"type": "function", "function": {"name": "theirs", "parameters": {"properties": PROPERTIES}}}


@pytest.fixture
def language(workshop: Workshop) -> ScriptedLanguage:
    facts = LanguageFacts(task=LanguageTask.CHAT, architecture="llama", context=2048)
    record = replace(model("chatty", kind=ModelKind.LANGUAGE), language=facts, image=None)
    workshop.language.records = {"chatty": record}
    return workshop.language


def says(language: ScriptedLanguage, *answers: Any) -> None:
    """What the model writes, one answer a round; the last one again and again."""

    def answer(asked: Asked) -> Any:
        written = answers[min(len(language.asked), len(answers)) - 1]
        return writes(json.dumps(written))

    language.answers = answer


def draws(prompt: str = "a red fox", **more: Any) -> dict[str, Any]:
    return {"tool": "generate_image", "arguments": {"prompt": prompt, **more}}


def ask(client: TestClient, **body: Any) -> Any:
    sent = {"model": "auto", "messages": HELLO, "inglenook_tools": ["generate_image", "edit_image"], **body}
    return client.post("/v1/chat/completions", json=sent)


def sent(language: ScriptedLanguage, index: int = -1) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(language.asked[index].body)
    return found


def test_a_picture_stands_in_the_answer_with_an_address_that_works(
    client: TestClient, language: ScriptedLanguage, workshop: Workshop
) -> None:
    says(language, draws(), {"answer": "Here it is."})
    body = ask(client).json()
    message = body["choices"][0]["message"]
    [image] = message["images"]
    assert message["content"] == f"![a red fox]({image['url']})\n\nHere it is."
    assert image["url"].startswith("http://127.0.0.1:8190/images/pic_")
    assert client.get(image["url"]).status_code == 200
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["total_tokens"] == 24
    [request] = workshop.images.requests
    assert (request.prompt, request.mode) == ("a red fox", Mode.TEXT)


def test_the_models_place_is_given_back_while_the_picture_is_drawn(
    client: TestClient, language: ScriptedLanguage, workshop: Workshop
) -> None:
    held: list[int] = []

    def plan(job: Job, request: ImageRequest) -> None:
        held.append(language.held)
        workshop.images.succeed(job, request)

    workshop.images.plan = plan
    says(language, draws(), {"answer": "Done."})
    assert ask(client).status_code == 200
    assert held == [0]


def test_the_model_is_told_what_came_of_it(client: TestClient, language: ScriptedLanguage) -> None:
    says(language, draws(), {"answer": "Done."})
    ask(client)
    result = sent(language)["messages"][-1]
    assert result["role"] == "user"
    assert result["content"].startswith("Result of generate_image:")
    assert json.loads(result["content"].partition(": ")[2])["pictures"] == [1]


def test_a_stream_shows_the_picture_as_soon_as_it_is_there(
    client: TestClient, language: ScriptedLanguage
) -> None:
    says(language, draws(), {"answer": "Done."})
    text = ask(client, stream=True).text
    pieces = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    deltas = [piece["choices"][0]["delta"] for piece in pieces if piece["choices"]]
    [shown] = [delta for delta in deltas if "images" in delta]
    assert shown["content"].startswith("![a red fox](")
    assert "".join(delta.get("content") or "" for delta in deltas).endswith("Done.")
    assert len([delta for delta in deltas if "role" in delta]) == 1
    assert len({piece["id"] for piece in pieces}) == 1
    assert text.endswith("data: [DONE]\n\n")


def test_what_goes_wrong_with_a_picture_is_told_to_the_model(
    client: TestClient, language: ScriptedLanguage, workshop: Workshop
) -> None:
    workshop.images.plan = workshop.images.fail
    says(language, draws(), {"answer": "It did not work."})
    message = ask(client).json()["choices"][0]["message"]
    assert message["content"] == "It did not work."
    assert "images" not in message
    assert "6 GiB were needed" in sent(language)["messages"][-1]["content"]


def test_a_model_that_never_stops_drawing_is_made_to_answer(
    client: TestClient, language: ScriptedLanguage, workshop: Workshop
) -> None:
    says(language, draws())
    assert ask(client).status_code == 200
    assert len(workshop.images.requests) == 4
    assert "json_schema" not in sent(language)


def test_a_required_call_is_required_once(client: TestClient, language: ScriptedLanguage) -> None:
    says(language, draws(), {"answer": "Done."})
    ask(client, tool_choice="required")
    assert '"answer"' not in json.dumps(sent(language, 0)["json_schema"])
    assert '"answer"' in json.dumps(sent(language, 1)["json_schema"])


def test_the_last_picture_is_edited_and_so_is_any_other_by_its_number(
    client: TestClient, language: ScriptedLanguage, workshop: Workshop
) -> None:
    edit = {"tool": "edit_image", "arguments": {"prompt": "a blue fox"}}
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "PNG")
    first, second = workshop.gallery.add(out.getvalue()), workshop.gallery.add(out.getvalue() + b"2")
    names = [workshop.links.name(one.id, "image/png") for one in (first, second)]
    messages = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"/images/{names[0]}"}}]},
        {"role": "assistant", "content": f"![x](http://127.0.0.1:8190/images/{names[1]})"},
        *HELLO,
    ]
    says(language, edit, {**edit, "arguments": {"prompt": "b b", "picture": 1}}, {"answer": "Done."})
    assert ask(client, messages=messages).status_code == 200
    assert [request.mode for request in workshop.images.requests] == [Mode.IMAGE, Mode.IMAGE]
    assert workshop.images.inputs[0].endswith(b"2")
    assert workshop.images.inputs[1].startswith(b"\x89PNG")
    assert not workshop.images.inputs[1].endswith(b"2")
    # A model that sees nothing speaks of them by number.
    assert sent(language, 0)["messages"][1]["content"] == [{"type": "text", "text": "[picture 1]"}]


def test_there_must_be_a_picture_to_edit(client: TestClient, language: ScriptedLanguage) -> None:
    says(language, {"tool": "edit_image", "arguments": {"prompt": "a fox"}}, {"answer": "There is none."})
    assert ask(client).status_code == 200
    assert "There is no picture in this conversation yet." in sent(language)["messages"][-1]["content"]


def test_what_the_caller_decides_is_not_the_models(
    client: TestClient, language: ScriptedLanguage, workshop: Workshop
) -> None:
    tool = {"type": "inglenook", "name": "generate_image", "steps": 3, "size": "64x48"}
    says(language, draws(shape="portrait"), {"answer": "Done."})
    ask(client, inglenook_tools=None, tools=[tool])
    [request] = workshop.images.requests
    assert (request.steps, request.width, request.height) == (3, 64, 48)


def test_the_callers_own_calls_go_to_the_caller(
    client: TestClient, language: ScriptedLanguage, workshop: Workshop
) -> None:
    says(language, {"tool": "theirs", "arguments": {"x": "1"}})
    [choice] = ask(client, tools=[THEIRS]).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["theirs"]
    assert workshop.images.requests == []


@pytest.mark.parametrize(
    ("tools", "field"),
    [
        (["rm"], "inglenook_tools.0"),
        ([{"name": "generate_image", "steps": -1}], "steps"),
        ([{"name": "generate_image", "nonsense": 1}], "nonsense"),
        ("generate_image", "inglenook_tools"),
    ],
)
def test_tools_that_are_not_ours_are_refused(
    client: TestClient, language: ScriptedLanguage, tools: Any, field: str
) -> None:
    answer = ask(client, inglenook_tools=tools)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field
    assert language.asked == []


def test_a_hang_up_cancels_the_picture_that_is_being_drawn() -> None:
    async def main() -> None:
        workshop = Workshop()
        facts = LanguageFacts(task=LanguageTask.CHAT, architecture="llama", context=2048)
        record = replace(model("chatty", kind=ModelKind.LANGUAGE), language=facts, image=None)
        workshop.language.records = {"chatty": record}
        says(workshop.language, draws())
        submitted = asyncio.Event()
        workshop.images.plan = lambda job, request: submitted.set()
        body = {"model": "auto", "messages": HELLO, "inglenook_tools": ["generate_image"], "stream": True}
        connection = Connection(body, {})
        path = "/v1/chat/completions"
        connection.scope |= {"path": path, "raw_path": path.encode()}
        serving = asyncio.create_task(workshop.app(connection.scope, connection.receive, connection.send))
        await submitted.wait()
        connection.gone.set()
        await serving
        while not workshop.jobs.cancelled:
            await asyncio.sleep(0)
        assert [reason for _, reason in workshop.jobs.cancelled] == [StopReason.CLIENT_GONE]

    asyncio.run(asyncio.wait_for(main(), 60))


def test_words_of_a_prompt_cannot_break_out_of_the_markdown(
    client: TestClient, language: ScriptedLanguage
) -> None:
    says(language, draws("a ](http://evil.example) [\nfox"), {"answer": "Done."})
    content = ask(client).json()["choices"][0]["message"]["content"]
    assert re.match(r"!\[a \)\(http://evil\.example\) \( fox\]\(http://127\.0\.0\.1:8190/images/", content)
