"""An endless loop, the program of the lab (실습: 끝나지 않는 반복문).

    python while_loop.py      loops for ever; look at it with ps, end it with kill -9
    python while_loop.py 3    ends by itself after 3 seconds
"""

import os
import sys
import time

seconds = float(sys.argv[1]) if len(sys.argv) > 1 else float("inf")
end = time.monotonic() + seconds

# flush: the words must be out before the loop begins, or a pipe would hold them back.
print(f"I am process {os.getpid()} on host {os.uname().nodename}.", flush=True)
print(f"My parent is process {os.getppid()}. Now I loop (반복 시작) ...", flush=True)

turns = 0
while True:
    turns += 1
    if time.monotonic() > end:
        break

print(f"{turns:,} turns in {seconds:g} seconds. Bye!")
