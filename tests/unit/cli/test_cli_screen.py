# SPDX-License-Identifier: Apache-2.0
"""Tables and progress, as a reader sees them."""

import io

from hypothesis import given
from hypothesis import strategies as st

from inglenook.cli.screen import Progress, bar_line, printable, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_is_as_wide_as_its_widest_cells_and_ends_no_line_in_blanks() -> None:
    assert table([["a", "bbb", ""], ["aaaa", "b", "c"]], header=["x", "y", "z"]) == (
        "x     y    z\n"  #
        "a     bbb\n"
        "aaaa  b    c"
    )


def test_an_empty_table_is_empty() -> None:
    assert table([]) == ""


def test_a_name_cannot_steer_the_terminal() -> None:
    assert printable("fox\x1b[2Jé\r\u202e") == "fox�[2Jé��"


def test_a_bar_tells_share_step_and_time() -> None:
    assert bar_line(0.5, "step 4 of 8", estimate_s=3.04, columns=80) == (
        "[############------------]   50 %  step 4 of 8  about 3.0 s left"
    )
    assert bar_line(1.0, "", estimate_s=0.0, columns=80) == "[########################]  100 %"


@given(
    fraction=st.floats(), label=st.text(), estimate=st.none() | st.floats(0, 1e9), columns=st.integers(1, 300)
)
def test_a_bar_never_passes_the_edge_of_the_screen(
    fraction: float, label: str, estimate: float | None, columns: int
) -> None:
    assert len(bar_line(fraction, label, estimate_s=estimate, columns=columns)) <= max(columns - 1, 1)


@given(fraction=st.floats(0, 1, exclude_max=True))
def test_a_bar_says_a_hundred_only_when_all_is_done(fraction: float) -> None:
    assert " 100 %" not in bar_line(fraction, "", estimate_s=None, columns=80)


def test_on_a_terminal_the_bar_is_drawn_over_and_a_message_takes_its_line() -> None:
    stream = Terminal()
    with Progress(stream, columns=60) as progress:
        progress.update(0.0, "encode")
        progress.update(0.0, "encode")
        progress.message("note: rounded to 512x512")
        progress.update(1.0, "")
    first, last = (
        bar_line(0, "encode", estimate_s=None, columns=60),
        bar_line(1, "", estimate_s=None, columns=60),
    )
    assert stream.getvalue() == f"\r{first}\r{' ' * len(first)}\rnote: rounded to 512x512\n\r{last}\n"


def test_a_shorter_bar_leaves_nothing_of_a_longer_one() -> None:
    stream = Terminal()
    progress = Progress(stream, columns=80)
    progress.update(0.5, "a long label")
    progress.update(0.5, "b")
    assert stream.getvalue().endswith(" b" + " " * len("a long labe"))


def test_a_wait_is_drawn_over_on_a_terminal_and_told_once_a_reason_in_a_file() -> None:
    waits = [("loading", "3 s"), ("loading", "2 s"), ("turn", "others"), ("turn", "others")]
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        with Progress(stream, columns=80) as progress:
            for topic, text in waits:
                progress.status(topic, f"waiting: {text}")
    assert terminal.getvalue() == "\rwaiting: 3 s\rwaiting: 2 s\rwaiting: others\n"
    assert file.getvalue() == "waiting: 3 s\nwaiting: others\n"


def test_in_a_file_there_are_messages_only_and_each_is_said_once() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.message("waiting: the model is being loaded")
        progress.message("waiting: the model is being loaded")
        progress.update(0.5, "step 4 of 8")
        progress.message("done in 2.0 s")
    assert stream.getvalue() == "waiting: the model is being loaded\ndone in 2.0 s\n"
