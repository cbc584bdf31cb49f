"""An app for the example: PUT /name stores a note, GET / gives all of them. It does not start without its configuration."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer

DATA = "/volume/data"
with open(f"{DATA}/app.conf", encoding="utf-8") as file:
    CONFIGURATION = dict(line.rstrip("\n").split(" = ", 1) for line in file)
with open(f"{DATA}/{CONFIGURATION['words']}", encoding="utf-8") as file:
    WORDS = file.read().split()
NOTES = f"{DATA}/notes"
os.makedirs(NOTES, exist_ok=True)


class App(BaseHTTPRequestHandler):
    def do_GET(self):
        lines = [CONFIGURATION["greeting"], f"{len(WORDS)} words"]
        for name in sorted(os.listdir(NOTES)):
            with open(f"{NOTES}/{name}", encoding="utf-8") as file:
                lines.append(f"{name}: {file.read()}")
        body = ("\n".join(lines) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        name = os.path.basename(self.path)
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with open(f"{NOTES}/{name}", "w", encoding="utf-8") as file:
            file.write(text)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


HTTPServer(("", 8080), App).serve_forever()
