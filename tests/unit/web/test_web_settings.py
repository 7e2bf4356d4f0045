# SPDX-License-Identifier: Apache-2.0
"""The page of settings and the login, over the real configuration and a real database."""

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.staticfiles import StaticFiles
from tests.databases import fresh_sqlite

from inglenook.base.ids import OWNER
from inglenook.door.administrator import ATTEMPTS, COOKIE, Administration
from inglenook.door.caller import MachineOwner
from inglenook.door.frame import frame
from inglenook.settings import load
from inglenook.settings.declaration import sections
from inglenook.settings.problems import all_keys
from inglenook.store.configuration import Configuration
from inglenook.store.database import Database
from inglenook.store.overrides import SettingOverrides
from inglenook.testing.clock import FakeClock
from inglenook.web.login_pages import HOME, login_router, safe_place
from inglenook.web.settings_pages import settings_router
from inglenook.web.templating import STATIC, render_problem

pytestmark = pytest.mark.anyio
PASSWORD = "a long enough word"
SECRETS = {"INGLENOOK_STORE__DATABASE_URL": "postgresql://me:pssst@db/x"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    made = fresh_sqlite(tmp_path_factory.mktemp("settings") / "inglenook.db")
    yield made
    made.close()


class House:
    def __init__(self, database: Database, password: str | None = None) -> None:
        clock = FakeClock()
        given = load(file=None, environ=SECRETS)
        self.overrides = SettingOverrides(database=database, clock=clock)
        self.configuration = Configuration(
            given=given, running=given, overrides=self.overrides, trial=lambda _: None
        )
        self.administration = Administration(password=password, secret=b"s" * 32, clock=clock)
        self.app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        self.app.state.administration = self.administration
        self.app.include_router(login_router())
        self.app.include_router(settings_router(configuration=self.configuration))
        self.app.mount("/static", StaticFiles(directory=STATIC))
        frame(
            self.app,
            identity=MachineOwner(),
            renderers={"": render_problem},
            allowed_hosts=[],
            max_body_bytes=1 << 20,
            clock=clock,
        )

    @asynccontextmanager
    async def browser(self) -> AsyncGenerator[httpx.AsyncClient, None]:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


@pytest.fixture
def house(database: Database) -> Iterator[House]:
    made = House(database)
    yield made
    for key in all_keys():
        made.overrides.clear(*key.split("."))


def token_of(page: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([^"]*)"', page.text)
    assert found is not None
    return found[1]


async def test_every_setting_stands_there_under_its_section_and_no_secret(house: House) -> None:
    async with house.browser() as client:
        page = (await client.get("/settings")).text
    assert re.findall(r'id="section-(\w+)"', page) == list(sections())
    for key in all_keys():
        assert f'id="{key.replace(".", "-")}"' in page
    assert "pssst" not in page
    assert "It is set; it is not shown." in page
    assert 'action="/settings/server.port"' not in page, "early ones have no form"
    assert "from 1 to 604800, or never" in page, "bounds are told"


@pytest.mark.parametrize("htmx", [False, True])
async def test_a_value_is_kept_and_taken_back(house: House, htmx: bool) -> None:
    headers = {"hx-request": "true"} if htmx else {}
    async with house.browser() as client:
        csrf = token_of(await client.get("/settings"))
        saved = await client.post(
            "/settings/runtime.idle_unload_s", data={"csrf": csrf, "value": "120"}, headers=headers
        )
        if htmx:
            assert "After a restart." in saved.text
            assert "Saved." in saved.text
            assert "Reset runtime.idle_unload_s" in saved.text
        else:
            assert (saved.status_code, saved.headers["location"]) == (303, "/settings#runtime-idle_unload_s")
        entry = house.configuration.entry("runtime.idle_unload_s")
        assert (entry.next_text, entry.changed_by) == ("120", OWNER)
        assert "runtime.idle_unload_s</a> becomes <strong>120" in (await client.get("/settings")).text
        await client.post("/settings/runtime.idle_unload_s/reset", data={"csrf": csrf}, headers=headers)
        assert house.overrides.listing() == []


@pytest.mark.parametrize("htmx", [False, True])
async def test_a_value_that_may_not_be_is_shown_again_with_its_error(house: House, htmx: bool) -> None:
    headers = {"hx-request": "true"} if htmx else {}
    async with house.browser() as client:
        csrf = token_of(await client.get("/settings"))
        answer = await client.post(
            "/settings/runtime.idle_unload_s", data={"csrf": csrf, "value": "<soon>"}, headers=headers
        )
    assert answer.status_code == 422
    assert 'value="&lt;soon&gt;"' in answer.text
    assert "must be a number" in answer.text
    assert "<soon>" not in answer.text
    assert ("<!doctype html>" in answer.text) is not htmx
    assert house.overrides.listing() == []


async def test_what_is_read_only_and_what_there_is_not_are_refused(house: House) -> None:
    async with house.browser() as client:
        csrf = token_of(await client.get("/settings"))
        for key, status in (("server.port", 403), ("store.database_url", 403), ("no.such", 404)):
            for path in (f"/settings/{key}", f"/settings/{key}/reset"):
                answer = await client.post(path, data={"csrf": csrf, "value": "1"})
                assert answer.status_code == status
                assert "pssst" not in answer.text


async def test_a_form_without_its_token_changes_nothing(house: House) -> None:
    async with house.browser() as client:
        await client.get("/settings")
        for data in ({"value": "120"}, {"value": "120", "csrf": "x" * 43}):
            answer = await client.post("/settings/runtime.idle_unload_s", data=data)
            assert answer.status_code == 403
    assert house.overrides.listing() == []


# -- the login -------------------------------------------------------------------------------------------


async def test_with_a_password_the_page_leads_to_the_login_and_back(database: Database) -> None:
    house = House(database, PASSWORD)
    async with house.browser() as client:
        away = await client.get("/settings?x=1")
        assert (away.status_code, away.headers["location"]) == (303, "/login?next=%2Fsettings%3Fx%3D1")
        form = await client.get(away.headers["location"])
        assert 'name="next" value="/settings?x=1"' in form.text
        data = {"csrf": token_of(form), "next": "/settings?x=1", "password": PASSWORD}
        entered = await client.post("/login", data=data)
        assert (entered.status_code, entered.headers["location"]) == (303, "/settings?x=1")
        cookie = entered.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        page = await client.get("/settings")
        assert page.status_code == 200
        left = await client.post("/logout", data={"csrf": token_of(page)})
        assert left.status_code == 303
        assert COOKIE not in client.cookies
        assert (await client.get("/settings")).status_code == 303


async def test_changes_need_the_login_too(database: Database) -> None:
    house = House(database, PASSWORD)
    async with house.browser() as client:
        csrf = token_of(await client.get("/login"))
        data = {"csrf": csrf, "value": "120"}
        assert (await client.post("/settings/runtime.idle_unload_s", data=data)).status_code == 401
        part = await client.post("/settings/runtime.idle_unload_s", data=data, headers={"hx-request": "true"})
        assert (part.status_code, part.headers["hx-redirect"]) == (401, "/login")
    assert house.overrides.listing() == []


async def test_a_wrong_password_is_told_and_guessing_is_slowed_down(database: Database) -> None:
    house = House(database, PASSWORD)
    async with house.browser() as client:
        csrf = token_of(await client.get("/login"))
        for _ in range(ATTEMPTS):
            wrong = await client.post("/login", data={"csrf": csrf, "password": "guess"})
            assert (wrong.status_code, "not the administrator" in wrong.text) == (401, True)
            assert COOKIE not in client.cookies
        late = await client.post("/login", data={"csrf": csrf, "password": PASSWORD})
        assert late.status_code == 429
        assert "guess" not in late.text


async def test_without_a_password_the_login_leads_on(house: House) -> None:
    async with house.browser() as client:
        answer = await client.get("/login", params={"next": "/activity"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/activity")


@pytest.mark.parametrize(
    "place",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/ok\r\nset-cookie: a=b",
        "",
        "evil",
        "/a\\b",
    ],
)
def test_the_login_leads_to_no_other_host(place: str) -> None:
    assert safe_place(place) == HOME


@given(st.text(max_size=40) | st.from_regex(r"\A[/\\:@a-z.]{0,20}\Z"))
def test_a_safe_place_is_always_a_path_of_ours(place: str) -> None:
    found = safe_place(place)
    assert re.match(r"/(?![/\\])", found)
    assert httpx.URL("http://localhost:8190").join(found).host == "localhost"
