"""A notebook for the example: POST adds a note, GET gives all of them. Keeps them in SQLite."""

import json
import os
import sqlite3
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATABASE = os.environ["DATABASE"]


def connect():
    # A freeze holds writers back for as long as the files are read: wait longer than that.
    connection = sqlite3.connect(DATABASE, timeout=100)
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


class Notebook(BaseHTTPRequestHandler):
    def do_GET(self):
        connection = connect()
        try:
            rows = connection.execute("SELECT id, text FROM note ORDER BY id").fetchall()
        finally:
            connection.close()
        self.answer([{"id": number, "text": text} for number, text in rows])

    def do_POST(self):
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        connection = connect()
        try:
            with connection:
                number = connection.execute("INSERT INTO note (text) VALUES (?)", (text,)).lastrowid
        finally:
            connection.close()
        self.answer({"id": number})

    def answer(self, content):
        body = json.dumps(content).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    first = connect()
    first.execute("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    first.commit()
    first.close()
    ThreadingHTTPServer(("", 8080), Notebook).serve_forever()
