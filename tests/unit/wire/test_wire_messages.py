# SPDX-License-Identifier: Apache-2.0
"""Every message survives the wire unchanged, and what is no message is refused by name."""

import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inglenook.wire import image
from inglenook.wire.families import FAMILIES
from inglenook.wire.image import FromImageWorker, ToImageWorker
from inglenook.wire.message import PROTOCOL, Decoder, Hello, Message, OutOfMemory, WireError, encode
from inglenook.wire.schedulers import (
    ALIASES,
    SCHEDULERS,
    Chosen,
    chosen,
    fitting,
    is_flow,
    takes_sigmas,
)

BOTH = [(kind, union) for union in (ToImageWorker, FromImageWorker) for kind in get_args(union)]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)

st.register_type_strategy(str, TEXT)
st.register_type_strategy(int, st.integers(-(2**63), 2**63 - 1))
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))


def messages(kind: type[Message]) -> st.SearchStrategy[Message]:
    """From the message's own types, with its optional fields left out or not."""
    required, optional = {}, {}
    for field in msgspec.structs.fields(kind):
        strategy = st.from_type(field.type)
        is_optional = field.default is not msgspec.NODEFAULT
        (optional if is_optional else required)[field.name] = strategy
    return st.fixed_dictionaries(required, optional=optional).map(lambda given: kind(**given))


@pytest.mark.parametrize(("kind", "union"), BOTH, ids=lambda value: getattr(value, "__name__", ""))
def test_every_message_arrives_as_it_was_sent(kind: type[Message], union: Any) -> None:
    decoder = Decoder(union)

    @settings(max_examples=40, deadline=None)
    @given(messages(kind))
    def there_and_back(message: Message) -> None:
        line = encode(message)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1, "a message is one line, whatever its text holds"
        arrived = decoder.decode(line)
        assert arrived == message
        assert type(arrived) is kind

    there_and_back()


def test_every_message_has_a_kind_of_its_own() -> None:
    for union in (ToImageWorker, FromImageWorker):
        kinds = [kind.__struct_config__.tag for kind in get_args(union)]
        assert len(set(kinds)) == len(kinds)
        assert all(kinds)


@pytest.mark.parametrize("kind", dict.fromkeys(kind for kind, _ in BOTH), ids=lambda kind: kind.__name__)
def test_every_message_is_frozen_and_takes_no_field_that_it_does_not_know(kind: type[Message]) -> None:
    assert kind.__struct_config__.frozen
    assert kind.__struct_config__.forbid_unknown_fields


HELLO = {"kind": "hello", "protocol": PROTOCOL, "worker": "image", "pid": 1, "token": "t"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "surprise"}, "surprise"),
        ({"kind": None}, "kind"),
        ({"extra": 1}, "extra"),
        ({"pid": "one"}, "pid"),
        ({"pid": 1.5}, "pid"),
        ({"pid": True}, "pid"),
        ({"worker": None}, "worker"),
        ({"token": ...}, "token"),
    ],
)
def test_what_is_no_message_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    said = {key: value for key, value in {**HELLO, **change}.items() if value is not ...}
    with pytest.raises(WireError, match=named):
        Decoder(FromImageWorker).decode(json.dumps(said).encode())


@pytest.mark.parametrize("line", [b"", b"\n", b"{", b"[]", b"null", b"\xff\xfe", b'"hello"', b'{"kind": []}'])
def test_what_is_no_object_is_refused(line: bytes) -> None:
    with pytest.raises(WireError):
        Decoder(FromImageWorker).decode(line)


def test_a_message_for_the_other_side_is_refused() -> None:
    line = encode(image.Cancel(job="j"))
    assert Decoder(ToImageWorker).decode(line) == image.Cancel(job="j")
    with pytest.raises(WireError, match="cancel"):
        Decoder(FromImageWorker).decode(line)


def test_an_error_shows_only_the_beginning_of_a_line() -> None:
    with pytest.raises(WireError) as refused:
        Decoder(FromImageWorker).decode(b'{"kind": "' + b"x" * 10_000_000 + b'"}')
    assert len(str(refused.value)) < 600


def test_text_that_is_no_unicode_is_refused_as_a_wire_error() -> None:
    """A lone surrogate can stand in a JSON request, and in no UTF-8."""
    with pytest.raises(WireError, match="Unicode"):
        encode(Hello(protocol=1, worker="\ud800", pid=1, token="t"))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_cannot_hold_is_refused_where_it_is_sent(number: float) -> None:
    with pytest.raises(WireError, match="finite"):
        encode(image.Loaded(seconds=number, weights_bytes=1))


def test_evidence_of_memory_may_leave_out_what_the_allocator_did_not_say() -> None:
    failed = image.LoadFailed(code="c", message="m", out_of_memory=OutOfMemory(requested_bytes=1))
    assert Decoder(FromImageWorker).decode(encode(failed)) == failed


def test_families_and_schedulers_are_what_their_names_say() -> None:
    assert all(family.name == name and family.multiple > 0 for name, family in FAMILIES.items())
    assert all(name == name.lower() and text for name, text in SCHEDULERS.items())


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_stands_for_what_the_table_says(alias: str) -> None:
    scheduler, sigmas = ALIASES[alias]
    assert scheduler in SCHEDULERS
    assert sigmas is None or takes_sigmas(scheduler, sigmas)
    assert chosen(f" {alias.upper()} ") == Chosen(scheduler, sigmas)


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [
        ("DPM++ 2M Karras", Chosen("dpm++_2m_karras")),
        ("DPM++ SDE Karras", Chosen("dpm++_sde_karras")),
        ("dpm++_karras", Chosen("dpm++_2m_karras")),
        ("DPM++ 2M Exponential", Chosen("dpm++_2m", "exponential")),
        ("dpmpp_2m_k", Chosen("dpm++_2m_karras")),
        ("dpmpp_2m_sde_karras", Chosen("dpm++_2m_sde", "karras")),
        ("LMS Karras", Chosen("lms", "karras")),
        ("Euler SGM Uniform", Chosen("euler", "sgm_uniform")),
        ("Euler  A", Chosen("euler_a")),
        ("DDIM", Chosen("ddim")),
        ("ddim_trailing_karras", None),
        ("karras", None),
        ("_karras", None),
        ("", None),
        ("eulerr", None),
        ("DPM fast", None),
    ],
)
def test_a_spelling_is_read_with_the_schedule_at_its_end(spelled: str, meant: Chosen | None) -> None:
    assert chosen(spelled) == meant


def test_a_flow_is_known_by_the_schedulers_that_fit() -> None:
    assert is_flow(fitting(flow=True))
    assert not is_flow(fitting(flow=False))
