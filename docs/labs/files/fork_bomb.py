"""Makes processes until the kernel says no. A real fork bomb never stops; this one has manners: it stops at
700, and takes all of them away again."""

import os
import signal
import time

children = []
try:
    while len(children) < 700:
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        children.append(child)
    print("700 processes, and nobody has stopped me. I stop by myself.")
except OSError as error:
    print("The kernel says no:", error.strerror)
    print("I could make", len(children), "processes.")
finally:
    for child in children:
        os.kill(child, signal.SIGKILL)
