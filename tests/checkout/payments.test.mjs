// @ts-check
// The frontend's client (docs/frontend/payments.mjs), with everything around it made up: `node --test`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { END_STATUSES, newIdempotencyKey, PaymentError, Payments } from "../../docs/frontend/payments.mjs";

const PAYMENT = { id: "id-1", provider: "apolopay", status: "pending", amount: 25.5, currency: "USD", createdAt: "2026-01-01T00:00:00.000Z" };

/** @param {number} status @param {object} body @param {Record<string, string>} [headers] */
function answer(status, body, headers = {}) {
  return new Response(JSON.stringify(body), { status, headers });
}

/** @param {number} status @param {string} code @param {Record<string, string>} [headers] */
function problem(status, code, headers) {
  return answer(status, { type: "about:blank", title: "no", status, detail: `it is ${code}`, code }, headers);
}

/**
 * A world in which sleeping only moves the clock, and each call gets the next answer, the last one for ever.
 *
 * @param {(Response | Error | (() => Response | Promise<Response>))[]} answers
 * @param {{ random?: number }} [more]
 */
function world(answers, { random = 1 } = {}) {
  /** @type {{ url: string, init: RequestInit & { headers: Record<string, string> } }[]} */
  const calls = [];
  /** @type {number[]} */
  const waits = [];
  let now = 0;
  const page = new (class extends EventTarget {
    /** @type {DocumentVisibilityState} */
    visibilityState = "visible";
    /** @param {DocumentVisibilityState} state */
    turn(state) {
      this.visibilityState = state;
      this.dispatchEvent(new Event("visibilitychange"));
    }
  })();
  const payments = new Payments("https://api.example/", {
    fetch: async (url, init) => {
      calls.push({ url: String(url), init: /** @type {any} */ (init) });
      const next = answers.length > 1 ? answers.shift() : answers[0];
      if (next instanceof Error) throw next;
      return typeof next === "function" ? next() : /** @type {Response} */ (next).clone();
    },
    now: () => now,
    random: () => random,
    sleep: async (ms, signal) => {
      signal?.throwIfAborted();
      waits.push(ms);
      now += ms;
    },
    page: /** @type {any} */ (page),
  });
  return { payments, calls, waits, page };
}

const PREORDER = { amount: "25.50", orderId: "ORD-1" };

test("the amount goes out as the digits that were given, and comes back as a text", async () => {
  const { payments, calls } = world([answer(201, { ...PAYMENT, amount: 999999999.99 })]);
  const made = await payments.createPreorder(PREORDER, { idempotencyKey: "k" });
  assert.equal(made.amount, "999999999.99");
  assert.equal(calls[0]?.url, "https://api.example/preorders");
  assert.equal(calls[0]?.init.body, '{"amount":25.50,"orderId":"ORD-1"}');
  assert.deepEqual(calls[0]?.init.headers, { "content-type": "application/json", "idempotency-key": "k" });
  await payments.createPreorder({ amount: "007" }, { idempotencyKey: "k" });
  assert.equal(calls[1]?.init.body, '{"amount":7}');
  for (const amount of ["1e2", "-1", "1.234", "", " 1", "1.", ".5", /** @type {any} */ (25.5)]) {
    await assert.rejects(payments.createPreorder({ amount }, { idempotencyKey: "k" }), TypeError, String(amount));
  }
});

test("what may still go through is tried again under the same key with the same body", async () => {
  const { payments, calls, waits } = world([
    new TypeError("Failed to fetch"),
    problem(502, "PROVIDER_ERROR"),
    problem(503, "UNAVAILABLE", { "retry-after": "7" }),
    problem(504, "PROVIDER_TIMEOUT"),
    problem(409, "IDEMPOTENCY_IN_PROGRESS", { "retry-after": "2" }),
    new Response("<html>", { status: 500 }),
    new Response("", { status: 429 }),
    answer(201, PAYMENT),
  ]);
  /** @type {string[]} */
  const told = [];
  const made = await payments.createPreorder(PREORDER, { idempotencyKey: "k", onRetry: ({ code }) => told.push(code) });
  assert.equal(made.id, "id-1");
  assert.equal(new Set(calls.map(({ init }) => `${init.headers["idempotency-key"]} ${init.body}`)).size, 1);
  assert.deepEqual(waits, [500, 1000, 7000, 4000, 8000, 10_000, 10_000]);
  assert.deepEqual(told, ["NO_ANSWER", "PROVIDER_ERROR", "UNAVAILABLE", "PROVIDER_TIMEOUT", "IDEMPOTENCY_IN_PROGRESS", "UNKNOWN", "UNKNOWN"]);
});

test("the jitter is full: a wait may be anything from none to the most", async () => {
  const { payments, waits } = world([problem(502, "PROVIDER_ERROR"), answer(201, PAYMENT)], { random: 0 });
  await payments.createPreorder(PREORDER, { idempotencyKey: "k" });
  assert.deepEqual(waits, [0]);
});

test("it is given up at the limit with the last trouble, never with a wait beyond it", async () => {
  const { payments, waits } = world([problem(503, "UNAVAILABLE", { "retry-after": "20" })]);
  const trying = payments.createPreorder(PREORDER, { idempotencyKey: "k", limitMs: 50_000 });
  await assert.rejects(trying, (error) => error instanceof PaymentError && error.isTemporary && error.retryAfterMs === 20_000);
  assert.deepEqual(waits, [20_000, 20_000]);
});

test("a refusal ends it at once, with everything that is wrong", async () => {
  const errors = [{ pointer: "/amount", detail: "must be positive" }];
  for (const [status, code] of /** @type {[number, string][]} */ ([
    [400, "MALFORMED_JSON"],
    [413, "PAYLOAD_TOO_LARGE"],
    [415, "UNSUPPORTED_MEDIA_TYPE"],
    [422, "VALIDATION_FAILED"],
    [422, "PROVIDER_REJECTED"],
    [422, "IDEMPOTENCY_KEY_REUSED"],
    [422, "QUOTE_INVALID"],
  ])) {
    const { payments, calls } = world([answer(status, { title: "no", status, detail: "why", code, errors, providerCode: "X" })]);
    const trying = payments.createApmPayment(/** @type {any} */ ({ amount: "1" }), { idempotencyKey: "k" });
    await assert.rejects(trying, (error) => {
      assert(error instanceof PaymentError);
      assert.deepEqual([error.status, error.code, error.message, error.errors, error.providerCode], [status, code, "why", errors, "X"]);
      return !error.isTemporary;
    });
    assert.equal(calls.length, 1);
  }
});

test("an answer that is no payment is as good as none", async () => {
  const { payments, calls } = world([new Response("<html>", { status: 200 }), answer(201, {}), answer(201, PAYMENT)]);
  await payments.createPreorder(PREORDER, { idempotencyKey: "k" });
  assert.equal(calls.length, 3);
});

test("the id of a payment whose answer is missing is told", async () => {
  const { payments } = world([answer(504, { code: "PROVIDER_TIMEOUT", title: "late", id: "id-9" })]);
  const trying = payments.createPreorder(PREORDER, { idempotencyKey: "k", limitMs: 0 });
  await assert.rejects(trying, (error) => error instanceof PaymentError && error.paymentId === "id-9");
});

test("following ends at every end, and at no other status", async () => {
  for (const status of ["completed", "review", "failed", "cancelled", "expired"]) {
    const { payments, calls } = world([
      ...["creating", "pending", "authorized"].map((status) => answer(200, { ...PAYMENT, status })),
      answer(200, { ...PAYMENT, status }),
    ]);
    /** @type {string[]} */
    const seen = [];
    const last = await payments.follow("id-1", { onChange: ({ status }) => seen.push(status) });
    assert.equal(last?.status, status);
    assert.deepEqual(seen, ["creating", "pending", "authorized", status]);
    assert.equal(calls.length, 4);
  }
  assert.equal(END_STATUSES.size, 5);
});

test("following asks ever more slowly, starts anew at a change, and ends at its limit", async () => {
  const pending = answer(200, PAYMENT);
  const { payments, waits } = world([pending, pending, pending, answer(200, { ...PAYMENT, status: "authorized" })], { random: 0.5 });
  const last = await payments.follow("id-1", { limitMs: 60_000 });
  assert.equal(last?.status, "authorized");
  assert.deepEqual(waits.slice(0, 6), [1000, 1500, 2250, 1000, 1500, 2250]);
  assert(Math.max(...waits) <= 15_000);
  assert(waits.reduce((sum, wait) => sum + wait, 0) <= 60_000);
});

test("trouble does not end following, but a payment that nobody knows does", async () => {
  const { payments, waits } = world([new TypeError("offline"), problem(503, "UNAVAILABLE", { "retry-after": "30" }), problem(404, "NOT_FOUND")], {
    random: 0.5,
  });
  /** @type {string[]} */
  const troubles = [];
  const following = payments.follow("id-1", { onTrouble: ({ code }) => troubles.push(code) });
  await assert.rejects(following, (error) => error instanceof PaymentError && error.code === "NOT_FOUND");
  assert.deepEqual(troubles, ["NO_ANSWER", "UNAVAILABLE"]);
  assert.equal(waits[1], 30_000);
});

test("the end of trouble is told", async () => {
  const pending = answer(200, PAYMENT);
  const { payments } = world([pending, new TypeError("offline"), pending, pending]);
  /** @type {string[]} */
  const told = [];
  await payments.follow("id-1", { limitMs: 10_000, onChange: () => told.push("seen"), onTrouble: () => told.push("trouble") });
  assert.deepEqual(told, ["seen", "trouble", "seen"]);
});

test("nothing is asked while the page is hidden, and at once when it is shown", async () => {
  const { payments, calls, page } = world([answer(200, PAYMENT), answer(200, { ...PAYMENT, status: "completed" })]);
  page.turn("hidden");
  const following = payments.follow("id-1");
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(calls.length, 0);
  page.turn("visible");
  await following;
  assert.equal(calls.length, 2);
});

test("a wait ends when the page is hidden", async () => {
  const { payments, calls, page } = world([answer(200, PAYMENT), answer(200, { ...PAYMENT, status: "completed" })]);
  /** @type {Promise<void>} */
  const asleep = new Promise((resolve) => {
    payments.sleep = () => (resolve(), new Promise(() => {}));
  });
  const following = payments.follow("id-1");
  await asleep;
  page.turn("hidden");
  page.turn("visible");
  await following;
  assert.equal(calls.length, 2);
});

test("a signal ends everything with its own reason", async () => {
  const reason = new Error("left");
  const patience = new AbortController();
  const { payments, waits } = world([() => (patience.abort(reason), Promise.reject(new DOMException("", "AbortError")))]);
  const onRetry = () => assert.fail("it was left, and there is no trouble");
  await assert.rejects(payments.createPreorder(PREORDER, { idempotencyKey: "k", signal: patience.signal, onRetry }), reason);
  await assert.rejects(payments.follow("id-1", { signal: patience.signal }), reason);
  await assert.rejects(payments.get("id-1", { signal: patience.signal }), reason);
  assert.deepEqual(waits, []);
});

test("an id cannot lead elsewhere, and keys are new", async () => {
  const { payments, calls } = world([answer(200, PAYMENT)]);
  await payments.get("../x?y");
  assert.equal(calls[0]?.url, "https://api.example/payments/..%2Fx%3Fy");
  assert.notEqual(newIdempotencyKey(), newIdempotencyKey());
});
