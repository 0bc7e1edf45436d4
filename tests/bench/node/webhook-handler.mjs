// POST /webhooks/{provider} as a shop would write it in Node. Makes the same calls as the Rust webhook-handler for a
// webhook that names its payment, but does not store unmatched webhooks.
import { HttpError, UUID, attributes, bodyOf, check, failedConditions, reply, secretOf, serve, stateKey, toMinor, transact } from "./shared.mjs";
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

const RANKS = { pending: 1, authorized: 3, cancelled: 4, failed: 5, completed: 7 };
const SIGNATURES = { apolopay: ["x-signature", "x-apolopay-signature"], finvypay: ["fs-webhook-hash"] };
const secrets = {
  apolopay: secretOf(process.env.APOLOPAY_SECRET_ID, { rotating: true }),
  finvypay: secretOf(process.env.FINVYPAY_SECRET_ID, { rotating: true }),
};

async function isSigned(provider, headers, body) {
  const signatures = SIGNATURES[provider].map((name) => headers[name]).filter((signature) => signature !== undefined);
  if (signatures.length === 0 || !signatures.every((signature) => /^[0-9a-f]{64}$/.test(signature))) return false;
  const keys = (await secrets[provider]()).map(({ webhookSecret }) => webhookSecret).filter(Boolean);
  const expected = keys.map((key) => createHmac("sha256", key).update(body).digest());
  return signatures.every((signature) => expected.some((valid) => timingSafeEqual(valid, Buffer.from(signature, "hex"))));
}

function read(provider, body) {
  let webhook;
  try {
    webhook = JSON.parse(body.toString());
  } catch {
    throw new HttpError(400, "the body is not JSON");
  }
  const id = webhook.metadata?.paymentFunctionsId;
  check(UUID.test(id), "the body has no id of a payment");
  const statuses = [webhook.status, webhook.event].filter((status) => status !== undefined);
  const outcomes = new Set(statuses.map((status) => status.toLowerCase().replace(/^payment\./, "")));
  const [outcome] = outcomes;
  check(outcomes.size === 1 && Object.hasOwn(RANKS, outcome), "the body has no known status");
  const isApoloPay = provider === "apolopay";
  const fact = {
    provider,
    payment: isApoloPay ? (webhook.processId ?? webhook.id)?.toLowerCase() : webhook.paymentId,
    orderId: isApoloPay ? webhook.metadata.orderId : webhook.orderId,
    outcome,
    rawStatus: statuses.join(" "),
    amount: webhook.amount === undefined ? undefined : String(Number(webhook.amount)),
    currency: isApoloPay ? undefined : webhook.currency?.toUpperCase(),
    occurredAt: webhook.finalizedAt ?? webhook.completedAt ?? webhook.timestamp,
  };
  check(fact.payment, "the body has no provider reference");
  return { id: id.toLowerCase(), fact };
}

function digestOf({ provider, payment, orderId, outcome, amount, currency }) {
  const hash = createHash("sha256");
  for (const part of [provider, payment, undefined, orderId, outcome, "", amount, currency, undefined, undefined]) {
    hash.update(part === undefined ? "n0:" : `s${Buffer.byteLength(part)}:${part}`);
  }
  return hash.digest("hex");
}

function raise(id, { provider, payment, outcome, amount, currency }, now) {
  const isCompleted = outcome === "completed";
  const names = ["status", "rank", "updatedAt", "version", "provider", "references"];
  const values = { ":status": outcome, ":rank": RANKS[outcome], ":now": now, ":one": 1, ":provider": provider, ":reference0": payment };
  let changes = "SET #status = :status, #rank = :rank, #updatedAt = :now, #version = #version + :one";
  let conditions = "#provider = :provider AND #rank < :rank AND contains(#references, :reference0)";
  if (isCompleted) {
    names.push("amount", "currency", "captureReferences", "dueQueue", "dueAt");
    values[":currency"] = currency ?? "USD";
    values[":amount"] = toMinor(Number(amount), values[":currency"]);
    values[":captureReferences"] = new Set([`payment:${payment}`]);
    changes += " REMOVE #dueQueue, #dueAt ADD #captureReferences :captureReferences";
    conditions += " AND #amount = :amount AND #currency = :currency";
  }
  return {
    Key: stateKey(id),
    UpdateExpression: changes,
    ConditionExpression: conditions,
    ExpressionAttributeNames: Object.fromEntries(names.map((name) => [`#${name}`, name])),
    ExpressionAttributeValues: attributes(values),
    ReturnValuesOnConditionCheckFailure: "ALL_OLD",
  };
}

export const handler = serve("webhook-handler", async (event) => {
  const provider = /^\/webhooks\/(apolopay|finvypay)$/.exec(event.rawPath)?.[1];
  if (!provider) throw new HttpError(404, "no such path");
  if (event.requestContext.http.method !== "POST") throw new HttpError(405, "only POST is allowed here");
  const body = bodyOf(event);
  if (!(await isSigned(provider, event.headers, body))) throw new HttpError(401, "the signature is missing, malformed or wrong");

  const { id, fact } = read(provider, body);
  const now = Date.now();
  const item = attributes({ ...fact, pk: `PAYMENT#${id}`, sk: `FACT#${digestOf(fact)}`, receivedAt: now });
  try {
    await transact([
      { Put: { Item: item, ConditionExpression: "attribute_not_exists(pk)" } },
      { Update: raise(id, fact, now) },
    ]);
  } catch (error) {
    const [isDuplicate, needsSlowPath] = failedConditions(error);
    if (!isDuplicate) throw needsSlowPath ? new HttpError(409, "the webhook does not match its payment") : error;
  }
  return reply(200, { received: true });
});
