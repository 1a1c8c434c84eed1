"""A piece of memory that several processes share: one hangs it up, others read it.

python3 whiteboard.py           hangs it up, prints its number, and stays
python3 whiteboard.py NUMBER    reads what stands on it
"""

import ctypes
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
NEW_FOR_ME_ALONE, REMOVE, SIZE, FAILED = 0, 0, 4096, ctypes.c_void_p(-1).value


def attach(number):
    """Lays it into this process's own memory, shmat(2); tells where."""
    place = libc.shmat(number, None, 0)
    if place == FAILED:
        sys.exit(f"there is no whiteboard {number} that I may read")
    return place


if len(sys.argv) > 1:
    print(ctypes.string_at(attach(int(sys.argv[1]))).decode())
else:
    number = libc.shmget(NEW_FOR_ME_ALONE, SIZE, 0o600)
    place = attach(number)
    libc.shmctl(number, REMOVE, None)  # Not at once: when the last process has let it go.
    ctypes.memmove(place, b"The treasure lies below the oak.", 32)
    print("whiteboard", number, "hangs", flush=True)
    time.sleep(10000)
