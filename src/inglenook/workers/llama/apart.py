# SPDX-License-Identifier: Apache-2.0
"""Without a network: `python -m inglenook.workers.llama.apart PROGRAM [ARGUMENT…]` runs a program that has
none.

llama.cpp fetches a picture whose address stands in a request, and no option of it turns that off. Such
addresses are resolved or refused at the door; this is the wall behind it. It stands where the kernel lets
us build it (Linux: for root, and for others where unprivileged user namespaces are allowed); elsewhere the
program runs as it is.
"""

import ctypes
import os
import sys
from typing import Final

CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000


def leave_network() -> bool:
    """Move this process into a network of its own, with nothing in it. Unix sockets are files, and stay
    reachable.

    To be called before the first thread is started. Returns whether it has worked.
    """
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    return library.unshare(CLONE_NEWNET) == 0 or library.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0


def main() -> None:
    if not leave_network():
        sys.stderr.write("0.00.000.000 W this system gives no network of its own to a program\n")
        sys.stderr.flush()
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - the engine's own command


if __name__ == "__main__":
    main()
