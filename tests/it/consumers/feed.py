"""Feeds docs/consumers/consumer.py with histories: see consumers.rs."""

import json
import os
import signal
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parents[3] / "docs" / "consumers"))

from consumer import handle, open_store  # noqa: E402

for line in sys.stdin:
    case = json.loads(line)
    for sequence in case["sequences"]:
        db = open_store(case["store"])
        with db:
            db.executemany("INSERT OR IGNORE INTO orders VALUES (?, ?, ?)", case["orders"])
        if case["killed"]:
            db.create_function("kill", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
            db.execute("CREATE TEMP TRIGGER t AFTER INSERT ON main.deliveries BEGIN SELECT kill(); END")
        deliveries = []
        for index in sequence:
            handle(case["events"][index], db)
            deliveries.append([row[0] for row in db.execute("SELECT payment FROM deliveries ORDER BY rowid")])
        payments = [json.loads(row[0]) for row in db.execute("SELECT detail FROM payments")]
        review = [row[0] for row in db.execute("SELECT id FROM manual_review")]
        print(json.dumps({"deliveries": deliveries, "payments": payments, "review": review}))
        db.close()
