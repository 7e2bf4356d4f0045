# SPDX-License-Identifier: Apache-2.0
"""Coming, going and being refused: the dialog says so in one line and is usable again."""

from pathlib import Path

from tests.clients.aseprite.host import Aseprite, started
from tests.clients.aseprite.server import Server

SPRITE = bytes(range(256)) * 16  # 32 x 32


def begin(aseprite: Aseprite, server: Server, **values: object) -> str:
    """Ask for a picture of 32 x 32; the id of the work."""
    aseprite.write(prompt="a fox", size="32 x 32", **values)
    aseprite.press("generate")
    asked, _ = server.asked()
    return str(asked["id"])


def test_it_introduces_itself_with_the_key_in_the_message_and_never_in_the_address(extension: Path) -> None:
    with started(extension, 'host.plugin.preferences.key = "s3cret"') as aseprite:
        aseprite.command()
        [connected] = aseprite.taken()
        assert connected.data == b"ws://127.0.0.1:8190/pixel/ws"
        aseprite.hear("open")
        [hello] = aseprite.taken()
        assert hello.message == {"type": "hello", "key": "s3cret", "client": "aseprite", "version": 1}


def test_the_lists_come_from_the_server_and_generate_waits_for_them(aseprite: Aseprite) -> None:
    aseprite.command()
    assert not aseprite.look("generate")["enabled"]
    Server(aseprite).welcome()
    assert aseprite.look("generate")["enabled"]
    assert aseprite.look("model")["options"] == ["Automatic", "starter-339", "pixel-xl"]
    assert aseprite.look("engine")["options"] == ["Automatic", "torch", "mlx", "sdcpp"]
    assert aseprite.look("server_palette")["options"] == ["None", "two"]
    assert aseprite.look("size")["options"] == [
        "32 x 32", "64 x 64", "64 x 96", "As the canvas", "As the selection", "Other",
    ]  # fmt: skip
    assert aseprite.status() == "Ready: Inglenook 0.6.0 at 127.0.0.1:8190."


def test_an_absent_server_is_told_in_one_line_with_what_to_do(aseprite: Aseprite) -> None:
    aseprite.command()
    aseprite.hear("error")
    assert aseprite.status() == (
        "Offline: nothing answers at 127.0.0.1:8190. "
        "Start Inglenook there (make serve), or change the address."
    )
    assert all(entry[0] == "rect" or len(entry[1]) * 6 <= 280 for entry in aseprite.painted(1, "status"))
    assert not aseprite.look("generate")["enabled"]
    Server(aseprite).welcome()  # Aseprite's socket tries again by itself
    assert aseprite.look("generate")["enabled"]


def test_a_wrong_key_is_said_and_not_tried_again_and_again(aseprite: Aseprite) -> None:
    aseprite.command()
    server = Server(aseprite)
    aseprite.hear("open")
    server.say(type="error", code="UNAUTHORIZED", error="The key is wrong.")
    assert aseprite.taken()[-1].what == "close"
    assert "wants another key" in aseprite.status()
    aseprite.hear("close")
    assert "wants another key" in aseprite.status()
    aseprite.write(key="right")
    aseprite.press("connect")
    again = Server(aseprite, 2)
    again.welcome()
    assert [a.message["key"] for a in aseprite.taken() if a.what == "text"] == ["right"]
    assert aseprite.status().startswith("Ready")


def test_something_else_at_the_address_is_noticed_after_ten_seconds(aseprite: Aseprite) -> None:
    aseprite.command()
    aseprite.hear("open")
    aseprite.pass_seconds(9)
    assert "Connected" in aseprite.status()
    aseprite.pass_seconds(1)
    assert "is no Inglenook that draws pixels" in aseprite.status()
    assert aseprite.taken()[-1].what == "close"


def test_an_address_that_is_none_is_said(aseprite: Aseprite) -> None:
    aseprite.command()
    aseprite.write(address="ftp://x")
    aseprite.press("connect")
    assert aseprite.status() == "The address begins with something else than http:// or https://."


def test_a_connection_that_the_artist_did_not_allow_can_be_asked_for_again(aseprite: Aseprite) -> None:
    aseprite.lua("host.sockets.denied = true")
    aseprite.command()
    assert "did not allow" in aseprite.status()
    aseprite.lua("host.sockets.denied = false")
    aseprite.press("connect")
    Server(aseprite).welcome()
    assert aseprite.status().startswith("Ready")


def test_a_server_that_goes_in_mid_job_leaves_the_sprite_alone_and_the_dialog_usable(
    aseprite: Aseprite, server: Server
) -> None:
    aseprite.open_sprite(32, 32)
    work = begin(aseprite, server)
    server.frame(work, SPRITE, 32, 32, count=2)
    aseprite.hear("close")
    assert aseprite.sprite()["undo"] == 0
    assert not aseprite.look("cancel")["enabled"]
    assert not aseprite.look("generate")["enabled"]
    assert "Offline" in aseprite.status()
    server.welcome()
    second = begin(aseprite, server)
    assert second != work
    server.frame(second, SPRITE, 32, 32)
    server.done(second)
    assert aseprite.sprite()["undo"] == 1


def test_lost_work_stays_said_until_something_new_is_asked_for(aseprite: Aseprite, server: Server) -> None:
    begin(aseprite, server)
    aseprite.hear("close")
    lost = "127.0.0.1:8190 went away in the middle of the work; nothing was placed."
    assert aseprite.status().startswith(f"{lost} Offline: ")
    aseprite.hear("error")
    assert aseprite.status().startswith(f"{lost} Offline: ")
    server.welcome()
    assert aseprite.status() == f"{lost} Ready: Inglenook 0.6.0 at 127.0.0.1:8190."
    server.mine()
    begin(aseprite, server)
    assert aseprite.status() == "Sent; waiting for the server."


def test_a_server_that_falls_silent_is_asked_and_then_given_up(aseprite: Aseprite, server: Server) -> None:
    begin(aseprite, server)
    aseprite.pass_seconds(29)
    assert aseprite.taken() == []
    aseprite.pass_seconds(1)
    assert [action.what for action in aseprite.taken()] == ["ping"]
    aseprite.hear("pong")
    aseprite.pass_seconds(89)
    assert {action.what for action in aseprite.taken()} == {"ping"}
    aseprite.pass_seconds(1)
    assert [(a.socket, a.what) for a in aseprite.taken()] == [(1, "close"), (2, "connect")]
    Server(aseprite, 2).welcome()
    assert aseprite.look("generate")["enabled"]


def test_cancel_asks_the_server_and_nothing_is_placed(aseprite: Aseprite, server: Server) -> None:
    work = begin(aseprite, server)
    aseprite.press("cancel")
    [asked] = aseprite.taken()
    assert asked.message == {"type": "cancel", "id": work}
    server.say(type="cancelling", id=work)
    server.say(type="error", id=work, code="CANCELED", error="generation canceled")
    assert aseprite.status() == "Cancelled; nothing was placed."
    assert aseprite.look("generate")["enabled"]
    assert not aseprite.look("cancel")["enabled"]


def test_pictures_of_work_that_was_given_up_are_dropped(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(32, 32)
    old = begin(aseprite, server)
    server.say(type="error", id=old, code="CANCELED", error="x")
    new = begin(aseprite, server)
    server.frame(old, SPRITE, 32, 32)
    server.done(old)
    assert aseprite.sprite()["undo"] == 0
    server.frame(new, SPRITE[::-1], 32, 32)
    server.frame(old, SPRITE, 32, 32)
    server.done(new)
    assert aseprite.sprite()["layers"][1]["cels"]["1"]["bytes"] == SPRITE[::-1]


def test_refused_work_is_said_with_what_to_do(aseprite: Aseprite, server: Server) -> None:
    work = begin(aseprite, server)
    server.say(
        type="error", id=work, code="NO_MODEL_LOADED", error="No model is loaded.", hint="choose a model"
    )
    assert aseprite.status() == "No model is loaded. Choose a model."
    assert aseprite.look("generate")["enabled"]


def test_an_upload_that_is_refused_ends_the_work(aseprite: Aseprite, server: Server) -> None:
    begin(aseprite, server)
    server.say(type="error", code="VALIDATION_ERROR", error="The upload is too large.")
    assert aseprite.status() == "The upload is too large."
    assert aseprite.look("generate")["enabled"]


def test_queue_progress_and_previews_are_shown(aseprite: Aseprite, server: Server) -> None:
    work = begin(aseprite, server)
    server.say(type="queued", id=work, position=3, why="a training runs")
    assert ["text", "Number 3 in the queue: a training runs", 3, 2] in aseprite.painted()
    server.say(type="progress", id=work, progress=40, stage="denoise", step=8, steps=20, eta_s=2.2)
    assert ["rect", 0, 0, 64, 12] in aseprite.painted()
    assert ["text", "denoise, step 8 of 20, about 3 s more", 3, 2] in aseprite.painted()
    server.say(type="preview", id=work, width=8, height=8, bytes=256)
    server.send(bytes(range(256)))
    assert [entry[1:5] for entry in aseprite.painted() if entry[0] == "image"] == [[8, 8, 128, 128]]


def test_nonsense_from_the_server_ends_the_work_with_its_reason(aseprite: Aseprite, server: Server) -> None:
    for words, nonsense in {
        "7 bytes for a picture of 32 x 32": lambda work: server.frame(work, b"1234567", 32, 32),
        "4 bytes came that were not announced": lambda _: server.send(b"1234"),
        "JSON, line 1": lambda _: aseprite.hear("text", b"{oops"),
        "a message that is no object": lambda _: aseprite.hear("text", b"1"),
        "picture 2 of 2 is missing": lambda work: (
            server.frame(work, SPRITE, 32, 32, count=2),
            server.done(work),
        ),
        "picture 1 of 1 is missing": server.done,
        "a picture without its number": lambda work: server.frame(work, SPRITE, 32, 32, index=-1),
    }.items():
        work = begin(aseprite, server)
        nonsense(work)
        assert words in aseprite.status()
        assert [a.message for a in server.mine()] == [{"type": "cancel", "id": work}]
        assert aseprite.look("generate")["enabled"]


def test_a_mistake_of_the_extension_is_said_and_the_dialog_stays_usable(
    aseprite: Aseprite, server: Server
) -> None:
    aseprite.lua("host.loaded.place.place = function() error('halt') end")
    work = begin(aseprite, server)
    server.frame(work, SPRITE, 32, 32)
    server.done(work)
    assert "The extension made a mistake" in aseprite.status()
    assert aseprite.look("generate")["enabled"]
    assert not aseprite.look("cancel")["enabled"]


def test_two_dialogs_have_a_socket_each_and_know_nothing_of_each_other(aseprite: Aseprite) -> None:
    aseprite.open_sprite(32, 32)
    servers = []
    for number in (1, 2):
        assert aseprite.command() == number
        servers.append(Server(aseprite, number))
        servers[-1].welcome()
        servers[-1].mine()
    works = []
    for number, server in enumerate(servers, 1):
        aseprite.write(number, prompt=f"dialog {number}", size="32 x 32")
        aseprite.press("generate", number)
        works.append(server.asked()[0]["id"])
    assert works[0] != works[1]
    servers[1].frame(works[1], SPRITE, 32, 32)
    servers[1].done(works[1])
    assert aseprite.status(2).startswith("Done")
    assert aseprite.look("cancel", 1)["enabled"]
    aseprite.close(2)
    servers[0].frame(works[0], SPRITE, 32, 32)
    servers[0].done(works[0])
    assert [layer["name"] for layer in aseprite.sprite()["layers"]] == [
        "Layer 1", "dialog 2 | seed 7", "dialog 1 | seed 7",
    ]  # fmt: skip


def test_closing_the_dialog_closes_the_socket_and_late_messages_do_nothing(
    aseprite: Aseprite, server: Server
) -> None:
    work = begin(aseprite, server)
    aseprite.close()
    assert [action.what for action in aseprite.taken()] == ["close"]
    server.frame(work, SPRITE, 32, 32)
    server.done(work)
    aseprite.hear("close")
    aseprite.pass_seconds(200)
    assert aseprite.taken() == []
    assert aseprite.lua("return host.sockets.timers[1].running") is False


def test_aseprites_end_closes_every_dialog(aseprite: Aseprite, server: Server) -> None:
    aseprite.command()
    aseprite.taken()
    aseprite.lua("host.stop()")
    assert [(a.socket, a.what) for a in aseprite.taken()] == [(1, "close"), (2, "close")]


def test_what_is_written_is_there_the_next_time(extension: Path) -> None:
    with started(extension) as aseprite:
        aseprite.command()
        Server(aseprite).welcome()
        aseprite.write(
            prompt="ein Möwe", size="64 x 96", steps=33, guidance=4.5, seed=12, input="The canvas",
            strength=40, model="pixel-xl", lora="pixel-art-xl", lora_strength=0.65, key="k",
            remove_background=True,
        )  # fmt: skip
        aseprite.close()
        kept = aseprite.lua("return host.plugin.preferences")
    assert kept["prompt"] == "ein Möwe"
    given = " ".join(
        f"host.plugin.preferences[{name!r}] = {value!r}".replace("True", "true").replace("False", "false")
        for name, value in kept.items()
    )
    with started(extension, given) as aseprite:
        aseprite.command()
        Server(aseprite).welcome()
        names = (
            "size",
            "steps",
            "guidance",
            "seed",
            "strength",
            "model",
            "lora",
            "lora_strength",
            "remove_background",
        )
        seen = {name: aseprite.look(name)["value"] for name in names}
    assert seen == {
        "size": "64 x 96", "steps": 33, "guidance": 4.5, "seed": 12, "strength": 40, "model": "pixel-xl",
        "lora": "pixel-art-xl", "lora_strength": 0.65, "remove_background": True,
    }  # fmt: skip


def test_preferences_of_another_version_do_not_stop_the_dialog(extension: Path) -> None:
    with started(
        extension, "host.plugin.preferences.steps = {1}; host.plugin.preferences.model = 5"
    ) as aseprite:
        aseprite.command()
        assert aseprite.look("steps")["value"] == 0
        assert aseprite.look("model")["value"] == "Automatic"


def test_a_choice_that_the_server_no_longer_offers_falls_back(extension: Path) -> None:
    with started(extension, 'host.plugin.preferences.model = "gone"') as aseprite:
        aseprite.command()
        assert aseprite.look("model")["value"] == "gone"
        Server(aseprite).welcome()
        assert aseprite.look("model")["value"] == "Automatic"


def test_loras_follow_the_model_and_the_engine_says_what_it_can(aseprite: Aseprite, server: Server) -> None:
    assert aseprite.look("lora")["options"] == ["None", "pixel-art-xl", "old-games"]
    aseprite.write(model="starter-339")
    assert aseprite.look("lora")["options"] == ["None", "old-games"]
    aseprite.write(engine="mlx")
    assert aseprite.look("lora")["options"] == ["None"]
    assert aseprite.words("engine_words") == "Without LoRA."
    aseprite.write(engine="sdcpp")
    assert aseprite.words("engine_words") == "The package cyllama is not installed. Install it."
    aseprite.write(engine="torch")
    assert aseprite.words("engine_words") == "Does everything offered here."


def test_a_preset_writes_the_words_that_the_model_understands(aseprite: Aseprite, server: Server) -> None:
    assert aseprite.look("preset")["options"] == ["Presets", "Magic item"]
    aseprite.write(model="pixel-xl", preset="Magic item")
    assert aseprite.look("prompt")["value"] == "a flask of potion, glowing"
    aseprite.write(model="starter-339", preset="Presets")
    aseprite.write(preset="Magic item")
    assert aseprite.look("prompt")["value"] == "a potion"


def test_an_old_aseprite_gets_no_command_instead_of_errors(extension: Path) -> None:
    with started(extension, "host.active.apiVersion = function() return 22 end") as aseprite:
        assert aseprite.lua("return host.commands()") == []
