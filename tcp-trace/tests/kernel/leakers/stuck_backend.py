"""A service that answers one request at a time: `stuck_backend.py leaky|healthy PORT`.

The mistake: the thread that tidies up every now and then takes the lock and comes to an exit that
does not give it back. From then on every request is read, and waits for the lock for ever.
"""

import http.server
import sys
import threading

LEAKY = sys.argv[1] == "leaky"

database = threading.Lock()


def tidy_up():
    database.acquire()
    if LEAKY:
        return  # There was nothing to tidy up.
    database.release()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with database:
            body = b"done\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


threading.Thread(target=tidy_up).start()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
