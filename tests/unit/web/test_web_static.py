# SPDX-License-Identifier: Apache-2.0
"""The files that are sent as they are: whole, licensed, and without a way to another host."""

import re
from pathlib import Path

import pytest
from jinja2.nodes import Filter
from tests.unit.web.services import House

from inglenook.web.templating import HERE, STATIC, environment, static_url

OURS = sorted(path for path in STATIC.iterdir() if path.is_file())
VENDORED = sorted((STATIC / "vendor").glob("*.js"))


def test_every_template_compiles() -> None:
    names = environment().list_templates()
    assert len(names) > 10
    for name in names:
        environment().get_template(name)


def test_every_filter_of_a_template_is_there() -> None:
    """In a condition Jinja2 tells of a missing one only when the page is shown."""
    for name in environment().list_templates():
        source = (HERE / "templates" / name).read_text()
        used = {found.name for found in environment().parse(source).find_all(Filter)}
        assert used <= environment().filters.keys(), name


def test_everything_is_escaped() -> None:
    assert environment().from_string("{{ it }}").render(it="<&\"'>") == "&lt;&amp;&#34;&#39;&gt;"


def test_no_template_switches_escaping_off() -> None:
    for path in (HERE / "templates").rglob("*.html"):
        assert not re.search(r"\|\s*safe|autoescape|Markup", path.read_text()), path.name


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_no_file_of_ours_names_another_host(path: Path) -> None:
    named = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", path.read_text()))
    assert named <= {"http://www.w3.org/2000/svg"}


def test_what_is_vendored_has_its_version_and_its_licence_beside_it() -> None:
    assert [path.name for path in VENDORED] == [
        "highlight-11.12.0.min.js",
        "htmx-2.0.11.min.js",
        "marked-18.2.1.min.js",
    ]
    for path in VENDORED:
        licence = path.with_name(path.name.removesuffix(".min.js") + ".LICENSE.txt")
        assert "WARRANT" in licence.read_text()


def test_an_address_changes_with_the_file_behind_it() -> None:
    found = re.fullmatch(r"/static/inglenook\.css\?v=([0-9a-f]{12})", static_url("inglenook.css"))
    assert found is not None
    assert found[1] != static_url("favicon.svg").rpartition("=")[2]


@pytest.mark.anyio
async def test_every_file_that_the_page_names_is_served_with_a_type_browsers_run() -> None:
    async with House().browser() as browser:
        page = await browser.open()
        named = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
        answers = {path: await browser.client.get(path) for path in named}
    assert len(named) == len(set(named)) >= 8
    for path, answer in answers.items():
        assert answer.status_code == 200
        kind = answer.headers["content-type"].split(";")[0]
        suffix = path.split("?")[0].rpartition(".")[2]
        assert kind in {"js": ("text/javascript",), "css": ("text/css",), "svg": ("image/svg+xml",)}[suffix]


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`, after WCAG 2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def schemes() -> dict[str, dict[str, str]]:
    sheet = (STATIC / "inglenook.css").read_text()
    pairs = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", sheet)
    return {
        "light": {name: light for name, light, _ in pairs},
        "dark": {name: dark for name, _, dark in pairs},
    }


def test_the_browser_s_own_bars_have_the_colour_of_the_paper() -> None:
    paper = {scheme: colours["paper"] for scheme, colours in schemes().items()}
    layout = (HERE / "templates" / "layout.html").read_text()
    script = (STATIC / "theme.js").read_text()
    assert re.findall(r'name="theme-color" content="(#\w+)"', layout) == [paper["light"], paper["dark"]]
    assert f'light: "{paper["light"]}", dark: "{paper["dark"]}"' in script


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("front", "back", "least"),
    [
        *((text, back, 4.5) for text in ("ink", "soft", "ember") for back in ("paper", "raised")),
        ("soft", "sunk", 4.5),
        ("on-ember", "ember", 4.5),
        ("on-ember", "ember-strong", 4.5),
        ("ember-strong", "glow", 4.5),
        ("bad", "raised", 4.5),
        ("bad", "bad-back", 4.5),
        ("good", "raised", 4.5),
        ("line-strong", "raised", 3.0),  # borders of fields
        ("line-strong", "paper", 3.0),
        ("coal-0", "sunk", 3.0),
    ],
)
def test_the_colours_can_be_told_apart(scheme: str, front: str, back: str, least: float) -> None:
    colours = schemes()[scheme]
    assert contrast(colours[front], colours[back]) >= least
