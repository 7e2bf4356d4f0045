# SPDX-License-Identifier: Apache-2.0
"""The log that is shown: bounded, followed from any thread, and without secrets."""

import asyncio
import logging
import threading

import pytest

from inglenook.base.journal import KEPT, Journal, without_secrets


def logger_of(journal: Journal) -> logging.Logger:
    made = logging.getLogger(f"test.{id(journal)}")
    made.setLevel(logging.DEBUG)
    made.addHandler(journal)
    return made


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("postgresql://me:hunter2@host/db cannot be used", "hunter2"),
        ("GET https://x.example/file?token=abc123&x=1", "abc123"),
        ("fetching /v1?api_key=k-123", "k-123"),
        ("Authorization: Bearer abc.def.ghi", "abc.def"),
        ("password=letmein, and more", "letmein"),
        ("the key sk-abcdefghijklmnopqrstuvwxyz012345 is wrong", "abcdefghijkl"),
        ("hf_ABCDEFGHIJKLMNOPQRSTUV", "ABCDEFGH"),
        ("PA\u017f\u017fWORD: letmein", "letmein"),
        ("GHP-ABCDEFGHIJKLMNOPQRSTUV", "ABCDEFGH"),
        ("/a?SIG=deadbeef", "deadbeef"),
    ],
)
def test_secrets_are_blotted_out(text: str, secret: str) -> None:
    journal = Journal()
    logger_of(journal).warning("%s", text)
    [line] = journal.lines()
    assert secret not in line.text
    assert "…" in line.text


def test_ordinary_words_stay_as_they_are() -> None:
    for text in ("loading lab/fox on cuda:0: 2 GiB reserved", "job_01abc is gone: ended after 0.1 s", "a: b"):
        assert without_secrets(text) == text


def test_only_the_kind_of_an_error_is_told_not_what_it_said() -> None:
    journal = Journal()
    try:
        raise ValueError("a prompt that nobody should read")
    except ValueError:
        logger_of(journal).exception("it broke")
    assert [line.text for line in journal.lines()] == ["it broke (ValueError)"]


def test_lines_are_bounded_numbered_and_filtered_by_level() -> None:
    journal = Journal()
    log = logger_of(journal)
    for number in range(KEPT + 5):
        log.info("%d", number)
    log.error("bad")
    log.debug("not kept")
    assert len(journal.lines()) == KEPT
    assert [line.text for line in journal.lines(level="warning")] == ["bad"]
    last = journal.lines()[-1].number
    assert last == KEPT + 6
    assert [line.text for line in journal.lines(last - 2)] == [str(KEPT + 4), "bad"]


def test_a_reader_hears_what_other_threads_say() -> None:
    async def main() -> list[str]:
        journal = Journal()
        log = logger_of(journal)
        log.info("before")
        heard = []
        thread = threading.Thread(target=lambda: log.info("from elsewhere"))
        async for line in journal.follow():
            heard.append(line.text)
            if line.text == "before":
                thread.start()
            else:
                break
        thread.join()
        return heard

    assert asyncio.run(asyncio.wait_for(main(), 60)) == ["before", "from elsewhere"]
