"""A process whose memory can be watched.

    python3 memory.py           does nothing, and stays
    python3 memory.py library   loads a library, with its code and its data
    python3 memory.py heap      keeps 2 megabytes more, four times a second, up to 64
    python3 memory.py stack     calls itself, deeper and deeper, up to 2000 times
    python3 memory.py promise   asks for 500 megabytes, and writes nothing into them
"""

import sys
import time

kept = []  # a global variable: a list of what the heap is filled with


def grow_heap():
    for _ in range(32):
        kept.extend(bytearray(10_000) for _ in range(200))
        time.sleep(0.25)


def deeper(depth):
    if depth % 50 == 0:
        time.sleep(0.1)
    if depth == 2000:
        stay()
    try:
        # By way of `map`, which is written in C: calls from Python to Python leave the stack alone.
        list(map(deeper, [depth + 1]))
    except RecursionError:
        stay()


def stay():
    time.sleep(1e6)


what = sys.argv[1] if len(sys.argv) > 1 else ""
if what == "library":
    import ssl
elif what == "heap":
    grow_heap()
elif what == "stack":
    sys.setrecursionlimit(10_000)
    deeper(0)
elif what == "promise":
    kept.append(bytes(500_000_000))
stay()
