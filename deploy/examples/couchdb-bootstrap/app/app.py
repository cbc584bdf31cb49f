"""An app for the example: PUT /name stores a page in CouchDB, GET / gives all of them, as the user `wiki`."""

import base64
import json
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATABASE = "http://couchdb:5984/wiki"
with open("/run/secrets/wiki_password", encoding="utf-8") as file:
    CREDENTIALS = base64.b64encode(b"wiki:" + file.read().strip().encode()).decode()


def ask(method, path, content=None):
    body = None if content is None else json.dumps(content).encode()
    headers = {"Authorization": "Basic " + CREDENTIALS, "Content-Type": "application/json"}
    request = urllib.request.Request(DATABASE + path, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


class Wiki(BaseHTTPRequestHandler):
    def do_GET(self):
        rows = ask("GET", "/_all_docs?include_docs=true")["rows"]
        self.answer("".join(f"{row['id']}: {row['doc']['text']}\n" for row in rows))

    def do_PUT(self):
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        ask("PUT", self.path, {"text": text})
        self.answer("")

    def answer(self, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8080), Wiki).serve_forever()
