"""A process with a crew: three threads beside the main one. `loop` works, the others wait."""

import os
import threading
import time


def named(name, work):
    """Gives this thread its name, so that ps can show it, and begins."""
    with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w") as file:
        file.write(name)
    work()


def loop():
    turns = 0
    while True:
        turns += 1


def wait():
    time.sleep(1e6)


for name, work in [("cook", wait), ("waiter", wait), ("loop", loop)]:
    # daemon: a thread that does not keep the process alive
    threading.Thread(target=named, args=(name, work), daemon=True).start()

print(f"I am process {os.getpid()}, and we are {threading.active_count()} threads.", flush=True)
wait()
