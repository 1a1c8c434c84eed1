"""A server that greets whoever comes, and the visitor who asks it.

python3 greeter.py          waits on the port that the kernel gives it
python3 greeter.py PORT     goes there and prints what it hears
"""

import socket
import sys

if len(sys.argv) > 1:
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as visitor:
            print(visitor.recv(100).decode())
    except OSError as error:
        print("nobody answers:", error)
else:
    with socket.create_server(("127.0.0.1", 0)) as server:
        print("I listen on port", server.getsockname()[1], flush=True)
        while True:
            visitor, _ = server.accept()
            with visitor:
                visitor.sendall(b"Welcome. The word of the day is lighthouse.")
