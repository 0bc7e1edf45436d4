// Code shared by the Node peers. They make the same calls to DynamoDB and Secrets Manager with the same items as the
// Rust functions, so that the bench compares runtimes and not designs.
import { DynamoDBClient, TransactWriteItemsCommand } from "@aws-sdk/client-dynamodb";
import { GetSecretValueCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";
import { createHash, randomUUID } from "node:crypto";

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const NO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(" ");
const THREE_DECIMALS = "BHD IQD JOD KWD LYD OMR TND".split(" ");

export const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
export const table = process.env.PAYMENTS_TABLE;
export const dynamodb = new DynamoDBClient({});

export class HttpError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export function check(isValid, detail) {
  if (!isValid) throw new HttpError(422, detail);
}

export function reply(status, body, headers) {
  return {
    statusCode: status,
    headers: { "content-type": "application/json", "cache-control": "no-store", ...headers },
    body: JSON.stringify(body),
  };
}

export function serve(name, handle) {
  return async (event, context) => {
    let response, error;
    try {
      response = await handle(event);
    } catch (caught) {
      error = caught;
      const isHttpError = caught instanceof HttpError;
      response = reply(isHttpError ? caught.status : 503, { error: isHttpError ? caught.message : "try again in a moment" });
    }
    const line = {
      timestamp: new Date().toISOString(),
      level: error ? "WARN" : "INFO",
      message: error ? `${error.name}: ${error.message}` : "request completed",
      function: name,
      requestId: context.awsRequestId,
      status: response.statusCode,
    };
    process.stdout.write(`${JSON.stringify(line)}\n`);
    return response;
  };
}

export function bodyOf(event) {
  return Buffer.from(event.body ?? "", event.isBase64Encoded ? "base64" : "utf8");
}

export function readJson(event) {
  try {
    const body = JSON.parse(bodyOf(event).toString());
    check(isObject(body), "the body must be a JSON object");
    return body;
  } catch (error) {
    throw error instanceof HttpError ? error : new HttpError(400, "the body is not JSON");
  }
}

export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isText(value, most) {
  return typeof value === "string" && value.length >= 1 && value.length <= most;
}

function decimalsOf(currency) {
  if (NO_DECIMALS.includes(currency)) return 0;
  return THREE_DECIMALS.includes(currency) ? 3 : 2;
}

export function toMinor(amount, currency) {
  const decimals = decimalsOf(currency);
  const isAmount = typeof amount === "number" && amount > 0 && amount <= 999_999_999.99;
  check(isAmount && Number(amount.toFixed(Math.min(decimals, 2))) === amount, "amount is not valid for the currency");
  return Math.round(amount * 10 ** decimals);
}

export function toMajor(minor, currency) {
  return minor / 10 ** decimalsOf(currency);
}

let secretsManager;

export function secretOf(id, { rotating = false } = {}) {
  secretsManager ??= new SecretsManagerClient({});
  const stage = (VersionStage) => secretsManager.send(new GetSecretValueCommand({ SecretId: id, VersionStage }));
  let versions;
  let freshUntil = 0;
  return async () => {
    const now = Date.now();
    if (now < freshUntil) return versions;
    const current = await stage("AWSCURRENT");
    const fetched = [current];
    if (rotating && current.CreatedDate.getTime() > now - DAY) {
      try {
        fetched.push(await stage("AWSPREVIOUS"));
      } catch (error) {
        if (error.name !== "ResourceNotFoundException") throw error;
      }
    }
    versions = fetched.map((version) => JSON.parse(version.SecretString));
    freshUntil = now + 5 * MINUTE;
    return versions;
  };
}

export function attributes(values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given.map(([name, value]) => [name, attribute(value)]));
}

function attribute(value) {
  if (typeof value === "number") return { N: String(value) };
  if (value instanceof Set) return { SS: [...value] };
  return isObject(value) ? { M: attributes(value) } : { S: value };
}

export async function transact(steps) {
  const TransactItems = steps.map((step) => {
    const [[kind, fields]] = Object.entries(step);
    return { [kind]: { TableName: table, ...fields } };
  });
  await dynamodb.send(new TransactWriteItemsCommand({ TransactItems }));
}

export function failedConditions(error) {
  return error.CancellationReasons?.map(({ Code }) => Code === "ConditionalCheckFailed") ?? [];
}

export function stateKey(id) {
  return attributes({ pk: `PAYMENT#${id}`, sk: "STATE" });
}

export function newPayment(payment) {
  return { id: randomUUID(), status: "creating", createdAt: Date.now(), ...payment };
}

export function keyOf(event, name) {
  const key = event.headers["idempotency-key"];
  if (key === undefined) return undefined;
  if (!/^[\x21-\x7e]{1,255}$/.test(key)) throw new HttpError(400, "Idempotency-Key must be 1 to 255 visible ASCII characters");
  return { pk: `KEY#${name}#${key}`, fingerprint: createHash("sha256").update(bodyOf(event)).digest("hex") };
}

export async function insertPayment(payment, key) {
  const { id, provider, orderId, createdAt } = payment;
  const state = attributes({
    ...payment,
    pk: `PAYMENT#${id}`,
    sk: "STATE",
    rank: 0,
    updatedAt: createdAt,
    version: 1,
    dueQueue: `${provider}#${parseInt(id.slice(0, 2), 16) % 8}`,
    dueAt: createdAt + (provider === "apolopay" ? DAY : MINUTE),
  });
  const steps = [{ Put: { Item: state, ConditionExpression: "attribute_not_exists(pk)" } }];
  if (orderId) {
    const { amount, currency } = payment;
    const order = { paymentId: id, amount, currency, createdAt };
    steps.push({ Put: { Item: attributes({ pk: `ORDER#${provider}#${orderId}`, sk: `PAYMENT#${id}`, ...order }) } });
  }
  if (key) {
    const expiresAt = createdAt + 2 * DAY;
    steps.push({
      Put: {
        Item: attributes({
          pk: key.pk,
          sk: "KEY",
          fingerprint: key.fingerprint,
          paymentId: id,
          fence: 1,
          attempt: 1,
          leaseUntil: createdAt + MINUTE / 2,
          expiresAt,
          ttl: Math.floor(expiresAt / 1000),
        }),
        ConditionExpression: "attribute_not_exists(pk) OR expiresAt <= :now",
        ExpressionAttributeValues: attributes({ ":now": createdAt }),
        ReturnValuesOnConditionCheckFailure: "ALL_OLD",
      },
    });
  }
  try {
    await transact(steps);
  } catch (error) {
    if (failedConditions(error).includes(true)) throw new HttpError(409, "the Idempotency-Key is in use");
    throw error;
  }
}

export async function acceptPayment(payment, checkoutSession, key) {
  const { id, provider } = payment;
  const pending = { ...payment, status: "pending", checkoutSession };
  const response = { status: 201, body: JSON.stringify(view(pending)) };
  const changed = {
    status: "pending",
    rank: 1,
    updatedAt: Date.now(),
    version: 2,
    references: new Set([checkoutSession.reference]),
    checkoutSession,
  };
  const names = Object.keys(changed);
  const steps = [
    {
      Update: {
        Key: stateKey(id),
        UpdateExpression: `SET ${names.map((name) => `#${name} = :${name}`).join(", ")}`,
        ConditionExpression: "#version = :before",
        ExpressionAttributeNames: Object.fromEntries(names.map((name) => [`#${name}`, name])),
        ExpressionAttributeValues: attributes({
          ":before": 1,
          ...Object.fromEntries(Object.entries(changed).map(([name, value]) => [`:${name}`, value])),
        }),
        ReturnValuesOnConditionCheckFailure: "ALL_OLD",
      },
    },
    {
      Put: {
        Item: attributes({ pk: `REF#${provider}#${checkoutSession.reference}`, sk: "REF", paymentId: id }),
        ConditionExpression: "attribute_not_exists(pk) OR paymentId = :id",
        ExpressionAttributeValues: attributes({ ":id": id }),
        ReturnValuesOnConditionCheckFailure: "ALL_OLD",
      },
    },
    {
      ConditionCheck: {
        Key: attributes({ pk: `UNMATCHED#${provider}#${checkoutSession.reference}`, sk: "UNMATCHED" }),
        ConditionExpression: "attribute_not_exists(pk)",
        ReturnValuesOnConditionCheckFailure: "ALL_OLD",
      },
    },
  ];
  if (key) {
    steps.push({
      Update: {
        Key: attributes({ pk: key.pk, sk: "KEY" }),
        UpdateExpression: "SET #response = :response",
        ConditionExpression: "fence = :fence AND attribute_not_exists(#response)",
        ExpressionAttributeNames: { "#response": "response" },
        ExpressionAttributeValues: attributes({ ":response": response, ":fence": 1 }),
        ReturnValuesOnConditionCheckFailure: "ALL_OLD",
      },
    });
  }
  await transact(steps);
  return reply(response.status, view(pending), { location: `/payments/${id}` });
}

export function view({ id, provider, status, checkoutSession, orderId, amount, currency, paymentMethod, createdAt, updatedAt }, isCurrent = false) {
  const { reference, redirectUrl, expiresAt } = ["creating", "pending"].includes(status) && checkoutSession ? checkoutSession : {};
  return {
    id,
    provider,
    status,
    processId: provider === "apolopay" ? reference : undefined,
    paymentId: provider === "finvypay" && !isCurrent ? reference : undefined,
    redirectUrl,
    orderId,
    amount: toMajor(amount, currency),
    currency,
    paymentMethod: isCurrent ? undefined : paymentMethod,
    createdAt: new Date(createdAt).toISOString(),
    updatedAt: isCurrent ? new Date(updatedAt).toISOString() : undefined,
    expiresAt: expiresAt && new Date(expiresAt).toISOString(),
  };
}

export async function post(url, headers, body) {
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
      redirect: "error",
      signal: AbortSignal.timeout(15_000),
    });
    if (response.ok) return await response.json();
  } catch {}
  throw new HttpError(502, "the payment provider gave no usable response");
}
