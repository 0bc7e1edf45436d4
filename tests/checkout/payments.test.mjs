// @ts-check
// Tests of the frontend's client (docs/frontend/payments.mjs) with a fake network, clock and page: `node --test`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { END_STATUSES, newIdempotencyKey, PaymentError, Payments } from "../../docs/frontend/payments.mjs";

const PAYMENT = { id: "id-1", provider: "apolopay", status: "pending", amount: 25.5, currency: "USD", createdAt: "2026-01-01T00:00:00.000Z" };

/** @param {number} status @param {object} body @param {Record<string, string>} [headers] */
function response(status, body, headers = {}) {
  return new Response(JSON.stringify(body), { status, headers });
}

/** @param {number} status @param {string} code @param {Record<string, string>} [headers] */
function problem(status, code, headers) {
  return response(status, { type: "about:blank", title: "no", status, detail: `it is ${code}`, code }, headers);
}

/**
 * A client whose sleep only advances the clock. Each call gets the next response; the last one repeats.
 *
 * @param {(Response | Error | (() => Response | Promise<Response>))[]} responses
 * @param {{ random?: number }} [options]
 */
function setup(responses, { random = 1 } = {}) {
  /** @type {{ url: string, init: RequestInit & { headers: Record<string, string> } }[]} */
  const calls = [];
  /** @type {number[]} */
  const waits = [];
  let now = 0;
  const page = new (class extends EventTarget {
    /** @type {DocumentVisibilityState} */
    visibilityState = "visible";
    /** @param {DocumentVisibilityState} state */
    setVisibility(state) {
      this.visibilityState = state;
      this.dispatchEvent(new Event("visibilitychange"));
    }
  })();
  const payments = new Payments("https://api.example/", {
    fetch: async (url, init) => {
      calls.push({ url: String(url), init: /** @type {any} */ (init) });
      const next = responses.length > 1 ? responses.shift() : responses[0];
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

test("the amount is sent with the given digits and returned as a string", async () => {
  const { payments, calls } = setup([response(201, { ...PAYMENT, amount: 999999999.99 })]);
  const created = await payments.createPreorder(PREORDER, { idempotencyKey: "k" });
  assert.equal(created.amount, "999999999.99");
  assert.equal(calls[0]?.url, "https://api.example/preorders");
  assert.equal(calls[0]?.init.body, '{"amount":25.50,"orderId":"ORD-1"}');
  assert.deepEqual(calls[0]?.init.headers, { "content-type": "application/json", "idempotency-key": "k" });
  await payments.createPreorder({ amount: "007" }, { idempotencyKey: "k" });
  assert.equal(calls[1]?.init.body, '{"amount":7}');
  for (const amount of ["1e2", "-1", "1.234", "", " 1", "1.", ".5", /** @type {any} */ (25.5)]) {
    await assert.rejects(payments.createPreorder({ amount }, { idempotencyKey: "k" }), TypeError, String(amount));
  }
});

test("a request that may still succeed is retried with the same key and body", async () => {
  const { payments, calls, waits } = setup([
    new TypeError("Failed to fetch"),
    problem(502, "PROVIDER_ERROR"),
    problem(503, "UNAVAILABLE", { "retry-after": "7" }),
    problem(504, "PROVIDER_TIMEOUT"),
    problem(409, "IDEMPOTENCY_IN_PROGRESS", { "retry-after": "2" }),
    new Response("<html>", { status: 500 }),
    new Response("", { status: 429 }),
    response(201, PAYMENT),
  ]);
  /** @type {string[]} */
  const retried = [];
  const created = await payments.createPreorder(PREORDER, { idempotencyKey: "k", onRetry: ({ code }) => retried.push(code) });
  assert.equal(created.id, "id-1");
  assert.equal(new Set(calls.map(({ init }) => `${init.headers["idempotency-key"]} ${init.body}`)).size, 1);
  assert.deepEqual(waits, [500, 1000, 7000, 4000, 8000, 10_000, 10_000]);
  assert.deepEqual(retried, ["NO_RESPONSE", "PROVIDER_ERROR", "UNAVAILABLE", "PROVIDER_TIMEOUT", "IDEMPOTENCY_IN_PROGRESS", "UNKNOWN", "UNKNOWN"]);
});

test("waits have full jitter, from zero to the maximum", async () => {
  const { payments, waits } = setup([problem(502, "PROVIDER_ERROR"), response(201, PAYMENT)], { random: 0 });
  await payments.createPreorder(PREORDER, { idempotencyKey: "k" });
  assert.deepEqual(waits, [0]);
});

test("retries end at the time limit with the last error, without waiting beyond it", async () => {
  const { payments, waits } = setup([problem(503, "UNAVAILABLE", { "retry-after": "20" })]);
  const request = payments.createPreorder(PREORDER, { idempotencyKey: "k", limitMs: 50_000 });
  await assert.rejects(request, (error) => error instanceof PaymentError && error.isTemporary && error.retryAfterMs === 20_000);
  assert.deepEqual(waits, [20_000, 20_000]);
});

test("a client error is thrown at once with all its details", async () => {
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
    const { payments, calls } = setup([response(status, { title: "no", status, detail: "why", code, errors, providerCode: "X" })]);
    const request = payments.createApmPayment(/** @type {any} */ ({ amount: "1" }), { idempotencyKey: "k" });
    await assert.rejects(request, (error) => {
      assert(error instanceof PaymentError);
      assert.deepEqual([error.status, error.code, error.message, error.errors, error.providerCode], [status, code, "why", errors, "X"]);
      return !error.isTemporary;
    });
    assert.equal(calls.length, 1);
  }
});

test("a response that is not a payment is retried", async () => {
  const { payments, calls } = setup([new Response("<html>", { status: 200 }), response(201, {}), response(201, PAYMENT)]);
  await payments.createPreorder(PREORDER, { idempotencyKey: "k" });
  assert.equal(calls.length, 3);
});

test("the error has the id of a payment that the provider did not confirm", async () => {
  const { payments } = setup([response(504, { code: "PROVIDER_TIMEOUT", title: "late", id: "id-9" })]);
  const request = payments.createPreorder(PREORDER, { idempotencyKey: "k", limitMs: 0 });
  await assert.rejects(request, (error) => error instanceof PaymentError && error.paymentId === "id-9");
});

test("following ends at every final status and at no other", async () => {
  for (const status of ["completed", "review", "failed", "cancelled", "expired"]) {
    const { payments, calls } = setup([
      ...["creating", "pending", "authorized"].map((status) => response(200, { ...PAYMENT, status })),
      response(200, { ...PAYMENT, status }),
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

test("following polls more and more slowly, speeds up after a change, and ends at its time limit", async () => {
  const pending = response(200, PAYMENT);
  const { payments, waits } = setup([pending, pending, pending, response(200, { ...PAYMENT, status: "authorized" })], { random: 0.5 });
  const last = await payments.follow("id-1", { limitMs: 60_000 });
  assert.equal(last?.status, "authorized");
  assert.deepEqual(waits.slice(0, 6), [1000, 1500, 2250, 1000, 1500, 2250]);
  assert(Math.max(...waits) <= 15_000);
  assert(waits.reduce((sum, wait) => sum + wait, 0) <= 60_000);
});

test("following continues after errors, but ends for an unknown payment", async () => {
  const { payments, waits } = setup([new TypeError("offline"), problem(503, "UNAVAILABLE", { "retry-after": "30" }), problem(404, "NOT_FOUND")], {
    random: 0.5,
  });
  /** @type {string[]} */
  const troubles = [];
  const following = payments.follow("id-1", { onTrouble: ({ code }) => troubles.push(code) });
  await assert.rejects(following, (error) => error instanceof PaymentError && error.code === "NOT_FOUND");
  assert.deepEqual(troubles, ["NO_RESPONSE", "UNAVAILABLE"]);
  assert.equal(waits[1], 30_000);
});

test("following reports the status again after an error", async () => {
  const pending = response(200, PAYMENT);
  const { payments } = setup([pending, new TypeError("offline"), pending, pending]);
  /** @type {string[]} */
  const reported = [];
  await payments.follow("id-1", { limitMs: 10_000, onChange: () => reported.push("seen"), onTrouble: () => reported.push("trouble") });
  assert.deepEqual(reported, ["seen", "trouble", "seen"]);
});

test("following pauses while the page is hidden and polls at once when it is shown", async () => {
  const { payments, calls, page } = setup([response(200, PAYMENT), response(200, { ...PAYMENT, status: "completed" })]);
  page.setVisibility("hidden");
  const following = payments.follow("id-1");
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(calls.length, 0);
  page.setVisibility("visible");
  await following;
  assert.equal(calls.length, 2);
});

test("hiding the page ends a wait", async () => {
  const { payments, calls, page } = setup([response(200, PAYMENT), response(200, { ...PAYMENT, status: "completed" })]);
  /** @type {Promise<void>} */
  const asleep = new Promise((resolve) => {
    payments.sleep = () => (resolve(), new Promise(() => {}));
  });
  const following = payments.follow("id-1");
  await asleep;
  page.setVisibility("hidden");
  page.setVisibility("visible");
  await following;
  assert.equal(calls.length, 2);
});

test("an abort signal ends every call with its reason", async () => {
  const reason = new Error("left");
  const controller = new AbortController();
  const { payments, waits } = setup([() => (controller.abort(reason), Promise.reject(new DOMException("", "AbortError")))]);
  const onRetry = () => assert.fail("an aborted request must not be retried");
  await assert.rejects(payments.createPreorder(PREORDER, { idempotencyKey: "k", signal: controller.signal, onRetry }), reason);
  await assert.rejects(payments.follow("id-1", { signal: controller.signal }), reason);
  await assert.rejects(payments.get("id-1", { signal: controller.signal }), reason);
  assert.deepEqual(waits, []);
});

test("ids are escaped in URLs, and keys are unique", async () => {
  const { payments, calls } = setup([response(200, PAYMENT)]);
  await payments.get("../x?y");
  assert.equal(calls[0]?.url, "https://api.example/payments/..%2Fx%3Fy");
  assert.notEqual(newIdempotencyKey(), newIdempotencyKey());
});
