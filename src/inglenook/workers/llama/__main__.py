# SPDX-License-Identifier: Apache-2.0
"""`python -m inglenook.workers.llama FILE`: serve what the file says (a `wire.llama.Launch`) until ended."""

import signal
import sys
from pathlib import Path

import msgspec

from inglenook.wire.llama import Launch
from inglenook.workers.llama.apart import leave_network


def main() -> int:
    launch = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Launch)
    if launch.load.mmproj is not None and launch.socket is not None and not leave_network():
        sys.stderr.write("0.00.000.000 W this system gives no network of its own to a program\n")
    import xllamacpp

    from inglenook.workers.llama.parameters import parameters

    try:
        server = xllamacpp.Server(parameters(launch, xllamacpp))
    except (RuntimeError, MemoryError, OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")  # why stands in the lines above it, in llama.cpp's own words
        return 1
    sys.stderr.write(f"listening on {server.listening_address}\n")
    signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
