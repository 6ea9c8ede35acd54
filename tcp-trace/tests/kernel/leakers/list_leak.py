"""A line server that remembers who was here: `list_leak.py leaky|healthy`.

The mistake: connections are kept in a list, for a status page that wants their addresses. A socket
object closes its descriptor when nothing refers to it any more, and here something always does.
"""

import socket
import sys
import threading

LEAKY = sys.argv[1] == "leaky"

seen = []


def serve(connection):
    for line in connection.makefile("rb"):
        connection.sendall(b"you said " + line)
    # The client has closed: the loop has read the end of file.
    seen.append(connection if LEAKY else connection.getpeername())


with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()
