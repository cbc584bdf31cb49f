"""All instants of cron expressions by cronsim, a library that follows Debian's cron.

Reads {"cases": [{"expressions": [...], "zone": ..., "after": SECONDS, "until": SECONDS}]} and prints a list for each
case: the instants of all its expressions after the one and up to the other, as seconds since 1970.
"""

import json
import sys
from datetime import datetime
from multiprocessing import Pool
from zoneinfo import ZoneInfo

from cronsim import CronSim


def instants(expression, zone, after, until):
    for time in CronSim(expression, datetime.fromtimestamp(after, zone)):
        instant = int(time.timestamp())
        if instant > until:
            return
        yield instant


def answer(case):
    zone = ZoneInfo(case["zone"])
    found = set()
    for expression in case["expressions"]:
        found.update(instants(expression, zone, case["after"], case["until"]))
    return sorted(found)


if __name__ == "__main__":
    with Pool() as pool:
        json.dump(pool.map(answer, json.load(sys.stdin)["cases"], chunksize=4), sys.stdout)
