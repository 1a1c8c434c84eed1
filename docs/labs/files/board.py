"""A board in shared memory: two programs, and one piece of RAM that belongs to both.

    python board.py read            shows whatever comes to stand on the board
    python board.py write hello     writes on it, and ends
"""

import mmap
import sys
import time

SIZE = 4096

with open("/dev/shm/board", "a+b") as file:
    file.truncate(SIZE)
    board = mmap.mmap(file.fileno(), SIZE)  # from here on it is a part of this process's memory

if sys.argv[1] == "write":
    board[:] = " ".join(sys.argv[2:]).encode().ljust(SIZE, b"\0")  # an assignment, no message
    sys.exit()

seen = b""
while True:
    text = board[:].rstrip(b"\0")
    if text != seen:
        print("on the board:", text.decode(), flush=True)
    seen = text
    time.sleep(0.1)
