// Feeds docs/consumers/consumer.mjs with histories: see consumers.rs.

import { createInterface } from "node:readline";

import { handle, open } from "../../../docs/consumers/consumer.mjs";

for await (const line of createInterface({ input: process.stdin })) {
  const { store, orders, events, sequences, killed } = JSON.parse(line);
  for (const sequence of sequences) {
    const db = open(store);
    const insert = db.prepare("INSERT OR IGNORE INTO orders VALUES (?, ?, ?)");
    for (const order of orders) insert.run(...order);
    if (killed) {
      db.function("kill", () => process.kill(process.pid, "SIGKILL"));
      db.exec("CREATE TEMP TRIGGER t AFTER INSERT ON main.deliveries BEGIN SELECT kill(); END");
    }
    const rows = (sql) => db.prepare(sql).all();
    const deliveries = sequence.map((index) => {
      handle(events[index], db);
      return rows("SELECT payment FROM deliveries ORDER BY rowid").map(({ payment }) => payment);
    });
    const payments = rows("SELECT detail FROM payments").map(({ detail }) => JSON.parse(detail));
    const review = rows("SELECT id FROM manual_review").map(({ id }) => id);
    console.log(JSON.stringify({ deliveries, payments, review }));
    db.close();
  }
}
