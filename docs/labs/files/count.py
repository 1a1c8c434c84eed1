"""Counts for some seconds, and says how far it has come: how much CPU was there?

    python count.py 2
"""

import sys
import time

seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2
end = time.monotonic() + seconds
turns = 0
while time.monotonic() < end:
    turns += 1
print(f"{turns:,} turns in {seconds:g} seconds")
