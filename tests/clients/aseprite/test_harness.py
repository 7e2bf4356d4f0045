# SPDX-License-Identifier: Apache-2.0
"""The stand-in for Aseprite is strict: whoever uses what is not documented, or stops Aseprite, fails."""

from pathlib import Path

import pytest

from tests.clients.aseprite.host import Aseprite, LuaError, started


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("app.httpRequest{}", "app.httpRequest is not in Aseprite's reference"),
        ("app.alert('x')", "blocks Aseprite"),
        ("os.execute('curl')", "os.execute asks the artist"),
        ("io.popen('curl')", "io.popen asks the artist"),
        ("loadstring('x')", "the global loadstring"),
        ("typo = 1", "the global typo is set"),
        ("require('json')", "finds nothing"),
        ("Dialog{ title='x' }:show()", "blocks Aseprite"),
        ("Dialog{ title='x' }:progress{}", "Dialog.progress"),
        ("Dialog{ title='x' }:entry{ id='a', password=true }", "Dialog:entry{} has no field password"),
        ("Dialog{ title='x' }:number{ id='a', text=5 }", "Dialog:number{}.text should be string"),
        ("Dialog{ title='x' }:modify{ id='nothing', text='' }", "not found in dialog"),
        ("Sprite(8, 8, ColorMode.RGB).pixels = 1", "Sprite.pixels cannot be set"),
        ("local _ = Sprite(8, 8, ColorMode.RGB).scale", "Sprite.scale is not in Aseprite's reference"),
        ("local _ = ColorMode.CMYK", "ColorMode.CMYK"),
        ("Image(4, 4, ColorMode.RGB):resize(8, 8)", "Image.resize"),
        (
            "local s = Sprite(4, 4, 2); s:newCel(s.layers[1], 1, Image(4, 4, 0), Point(0, 0))",
            "another colour mode",
        ),
        ("pcall(WebSocket, { url='ws://a/b', onreceive=print })", "ask in the name of that"),
        (
            "pcall(function() return WebSocket{ url='ws://a/b', onreceive=print } end)",
            "ask in the name of that",
        ),
        ("pcall(Palette, { fromFile='x' })", "ask in the name of that"),
        ("WebSocket{ url='127.0.0.1', onreceive=print }", "is no address of a WebSocket"),
        ("local ok = pcall(function() return app.secret end)", "app.secret"),  # a pcall does not hide it
    ],
)
def test_what_is_not_documented_fails(tmp_path: Path, source: str, words: str) -> None:
    command = f"{{ id='InglenookSprites', onclick=function() {source} end }}".replace(
        "=print", "=function() end"
    )
    main = f"function init(plugin) plugin:newCommand{command} end\nfunction exit() end\n"
    (tmp_path / "main.lua").write_text(main)

    def use() -> None:
        with started(tmp_path) as aseprite:
            aseprite.command()

    with pytest.raises((LuaError, AssertionError), match=words.replace("(", r"\(").replace("{", r"\{")):
        use()


def test_closed_sprites_raise_as_aseprites_do(aseprite: Aseprite) -> None:
    aseprite.open_sprite(4, 4)
    with pytest.raises(LuaError, match="Using a nil 'Sprite' object"):
        aseprite.lua(
            "local s = host.active.sprite(); host.documents.close(host.documents.open[1]); return s.width"
        )


def test_a_change_outside_a_transaction_is_a_step_of_its_own(aseprite: Aseprite) -> None:
    aseprite.open_sprite(4, 4)
    aseprite.lua("local s = host.active.sprite(); s:newLayer(); s:crop(0, 0, 9, 9)")
    assert aseprite.sprite()["undo"] == 2


def test_an_error_in_a_transaction_takes_everything_back(aseprite: Aseprite) -> None:
    aseprite.open_sprite(4, 4)
    before = aseprite.sprite()
    with pytest.raises(LuaError, match="halt"):
        aseprite.lua(
            "local s = host.active.sprite()"
            " host.documents.transaction('x', function() s:newLayer(); s:crop(0, 0, 9, 9); error('halt') end)"
        )
    assert aseprite.sprite() == before
