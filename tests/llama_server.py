# SPDX-License-Identifier: Apache-2.0
"""A `llama-server` for tests: a program that reads its arguments with llama.cpp's own parser and serves with
llama.cpp's own server, both out of the library that the package ships.

The library does not hand its parser to Python. It stands in the shared object as a C++ function, and the
struct that it fills lies in the Python object, behind its header: so it is called by its symbol. A library
that is built otherwise is noticed, and the tests are skipped.
"""

import ctypes
import importlib.util
import struct
import sys
from pathlib import Path

from inglenook.testing import parts

SYMBOL = "_Z19common_params_parseiPPcR13common_params13llama_examplePFviS0_E"
HEADER_BYTES = 16
SERVER = 12
"""llama.cpp's number for the program whose arguments are meant (`LLAMA_EXAMPLE_SERVER`)."""

PROGRAM = f"""#!{sys.executable}
import ctypes, signal, sys
import xllamacpp
parse = ctypes.CDLL(xllamacpp.xllamacpp.__file__).{SYMBOL}
parse.restype = ctypes.c_bool
params = xllamacpp.CommonParams()
given = ["llama-server", *sys.argv[1:]]
values = (ctypes.c_char_p * (len(given) + 1))(*[one.encode() for one in given], None)
if not parse(len(given), values, ctypes.c_void_p(id(params) + {HEADER_BYTES}), {SERVER}, None):
    sys.exit(1)
try:
    server = xllamacpp.Server(params)
except RuntimeError as error:
    sys.exit(f"error: {{error}}")
signal.pause()
"""


def write_llama_server(folder: Path) -> Path:
    """An executable file in `folder`."""
    require_library()
    program = folder / "llama-server"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return program


def require_library() -> None:
    """Skip, or in CI fail, where the library is missing or its struct does not lie where we look for it."""
    parts.require(importlib.util.find_spec("xllamacpp") is not None, "xllamacpp is not installed")
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.n_ctx = 0x12345678
    found = ctypes.string_at(id(params) + HEADER_BYTES, 8) == struct.pack("<ii", -1, 0x12345678)
    known = hasattr(ctypes.CDLL(xllamacpp.xllamacpp.__file__), SYMBOL)
    parts.require(found and known, "this build of xllamacpp keeps its parameters elsewhere")
