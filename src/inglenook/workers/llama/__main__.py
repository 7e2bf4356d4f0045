# SPDX-License-Identifier: Apache-2.0
"""`python -m inglenook.workers.llama FILE`: serve what the file says (a `wire.llama.Launch`) until ended."""

import signal
import sys
from pathlib import Path

import msgspec

from inglenook.wire.llama import Launch


def main() -> int:
    launch = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Launch)
    import xllamacpp

    from inglenook.workers.llama.parameters import parameters

    server = xllamacpp.Server(parameters(launch, xllamacpp))
    sys.stderr.write(f"listening on {server.listening_address}\n")
    signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
