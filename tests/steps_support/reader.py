"""An app that reads its file of configuration in a tight loop, in a process of its own, and judges what it reads.

    reader.py FILE PATTERN

Whole is what the pattern is with one number in all places of @RACK@, and no lower one than was read before: the old file
or the new one. All else is half done: missing, empty, cut, with places left or with different numbers in them.

Each line on stdin is an order: `restart` has another process take over, as when all containers are started again;
`reads N` is answered when N more reads were made, with a line of JSON about all reads so far.
"""

import json
import mmap
import os
import signal
import sys
import time

PLACE = b"@RACK@"
PATIENCE = 120


class Counts:
    """Of all processes that come one after another: in memory that they share."""

    def __init__(self):
        memory = mmap.mmap(-1, 16384)
        # Each is written at once, so that whoever reads meanwhile sees no half of it.
        self.words = memoryview(memory)[:64].cast("Q")
        self.example = memoryview(memory)[64:264]
        self.seen = memoryview(memory)[4096:]

    reads = property(lambda self: self.words[0], lambda self, value: self.words.__setitem__(0, value))
    half = property(lambda self: self.words[1], lambda self, value: self.words.__setitem__(1, value))
    last = property(lambda self: self.words[2], lambda self, value: self.words.__setitem__(2, value))


def main():
    file, pattern = sys.argv[1], open(sys.argv[2], "rb").read()
    counts = Counts()
    reader = start(file, pattern, counts)
    for line in sys.stdin:
        order, *rest = line.split()
        if order == "restart":
            # The next one reads before the last one is gone, so that there is no moment without a reader.
            before, reader = reader, start(file, pattern, counts)
            end(before)
        else:
            wait_for(counts, int(rest[0]))
            print(json.dumps(report(counts)), flush=True)
    end(reader)


def start(file, pattern, counts):
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        read_all_the_time(file, pattern, counts, parent)
    return child


def end(reader):
    os.kill(reader, signal.SIGKILL)
    os.waitpid(reader, 0)


def read_all_the_time(file, pattern, counts, parent):
    lowest = counts.last
    while os.getppid() == parent:
        try:
            with open(file, "rb", buffering=0) as opened:
                found = opened.read()
        except FileNotFoundError:
            found = b"nothing"
        number = number_of_whole(pattern, found)
        if number is None or number < lowest:
            # The end of it, which is where it is cut.
            counts.example[:] = found[-200:].ljust(200)
            counts.half += 1
        else:
            counts.last = lowest = number
            counts.seen[number] = 1
        counts.reads += 1
    os._exit(0)


def number_of_whole(pattern, found):
    number = found[pattern.index(PLACE) :].split(b"\n", 1)[0]
    if not number.isdigit() or found != pattern.replace(PLACE, number):
        return None
    return int(number)


def wait_for(counts, more):
    wanted, limit = counts.reads + more, time.monotonic() + PATIENCE
    while counts.reads < wanted:
        if time.monotonic() > limit:
            sys.exit("nobody reads")
        time.sleep(0.0002)


def report(counts):
    return {
        "reads": counts.reads,
        "half": counts.half,
        "last": counts.last,
        "seen": sum(counts.seen),
        "example": bytes(counts.example).decode(errors="replace"),
    }


if __name__ == "__main__":
    main()
