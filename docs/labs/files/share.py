"""Two workers count: as two threads of one process, or as two processes.

    python3 share.py threads
    python3 share.py processes
"""

import os
import sys
import threading
import time

ours = 0  # a global variable: it lies in the data


def work(name, ready=None):
    global ours
    mine = 0  # a local variable: it lies on the stack of whoever runs this
    for turn in range(1000):
        mine += 1
        ours += 1
    print(f"{name}: mine is {mine}, ours is {ours}", flush=True)
    os.chdir("/")
    if ready:
        ready.set()
    time.sleep(1e6)


for name in ["worker 1", "worker 2"]:
    if sys.argv[1] == "threads":
        ready = threading.Event()
        threading.Thread(target=work, args=(name, ready), daemon=True).start()
        ready.wait()
    elif os.fork() == 0:
        work(name)
    else:
        time.sleep(0.1)

print(f"main: ours is {ours}", flush=True)
while sys.argv[1] == "threads":
    time.sleep(1e6)

for _ in range(2):
    child, status = os.wait()
    print(f"main: my child {child} has ended, and I go on", flush=True)
time.sleep(1e6)
