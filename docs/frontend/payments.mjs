// @ts-check
// A shop's page talks to payment-functions: begins payments, goes on with those whose answer was lost, and follows their
// status. No dependencies, no build step: copy this file. docs/frontend.md explains it.
//
// Guarantees:
// - One idempotency key, one payment: whatever is tried again goes out under the same key with the same body.
// - What may still be on its way is never reported as refused: only a definite answer ends the trying before its time.
// - Nothing but the API's word is a status. A page that came back from a provider has learnt nothing by that.

/**
 * @typedef {"creating" | "pending" | "expired" | "authorized" | "cancelled" | "failed" | "review" | "completed"} Status
 *
 * @typedef {object} Payment
 * @property {string} id unguessable: who has it may ask for the status
 * @property {"apolopay" | "finvypay"} provider
 * @property {Status} status
 * @property {string} amount in major units, as a decimal text
 * @property {string} currency an ISO 4217 code
 * @property {string} [orderId]
 * @property {string} [processId] what the SmartPay button needs, while it may be paid
 * @property {string} [paymentId] FinvyPay's own id
 * @property {string} [redirectUrl] where the buyer goes to pay, while it may be paid
 * @property {string} [paymentMethod]
 * @property {string} createdAt
 * @property {string} [updatedAt]
 * @property {string} [expiresAt]
 *
 * @typedef {object} Preorder
 * @property {string} amount US dollars as a decimal text such as "25.50"
 * @property {string} [orderId]
 * @property {string} [customerEmail]
 * @property {Record<string, unknown>} [metadata]
 * @property {string} [quote] what the shop's backend signed (docs/quotes.md)
 *
 * @typedef {object} ApmPayment
 * @property {string} amount a decimal text such as "25.50"
 * @property {string} orderId
 * @property {string} currency
 * @property {string} paymentMethod such as "apple_pay" or "google_pay"
 * @property {string} firstName
 * @property {string} lastName
 * @property {string} email
 * @property {string} returnUrl
 * @property {string} [cancelUrl]
 * @property {string} [description]
 * @property {string} [phoneNumber]
 * @property {number} [merchantProfileId]
 * @property {Record<string, unknown>} [metadata]
 * @property {string} [quote]
 *
 * @typedef {object} WrongField
 * @property {string} pointer a JSON pointer into the request's body
 * @property {string} detail
 *
 * @typedef {object} CreateOptions
 * @property {string} idempotencyKey from `newIdempotencyKey`, kept with the basket before the first call
 * @property {AbortSignal} [signal]
 * @property {number} [limitMs] for how long it is tried; the request goes on being safe to repeat for two days
 * @property {(trouble: PaymentError, waitMs: number) => void} [onRetry] told before each wait
 *
 * @typedef {object} FollowOptions
 * @property {(payment: Payment) => void} [onChange] told at first, of every change, and when trouble is over
 * @property {(trouble: PaymentError) => void} [onTrouble] told of each look that failed; the next may not
 * @property {AbortSignal} [signal]
 * @property {number} [limitMs] for how long is asked, while the page is shown
 *
 * @typedef {object} Surroundings what a test replaces
 * @property {typeof globalThis.fetch} [fetch]
 * @property {() => number} [now] milliseconds
 * @property {() => number} [random] from 0 to 1
 * @property {(ms: number, signal?: AbortSignal) => Promise<void>} [sleep]
 * @property {Pick<Document, "visibilityState" | "addEventListener" | "removeEventListener">} [page]
 */

/**
 * At these a page stops asking. Only `completed` is final: money that comes late still completes any other, so a page
 * that is opened again asks again. `authorized` is a promise and no payment, and is asked about further.
 *
 * @type {ReadonlySet<Status>}
 */
export const END_STATUSES = new Set(/** @type {Status[]} */ (["completed", "review", "failed", "cancelled", "expired"]));

/** How long one request may take. The API answers within 20 seconds. */
const REQUEST_MS = 25_000;
/** A key whose holder died is taken over after a minute at most. */
const CREATE_LIMIT_MS = 90_000;
const FOLLOW_LIMIT_MS = 15 * 60_000;

/** Waits grow from the first of these to the second. */
const RETRY_MS = { first: 500, most: 10_000 };
const POLL_MS = { first: 1_000, most: 15_000, growth: 1.5 };

/** An answer that is not a payment, or no answer. */
export class PaymentError extends Error {
  /**
   * @param {object} seen
   * @param {number} seen.status HTTP's; 0 without an answer
   * @param {string} seen.code the API's, or `NO_ANSWER`, or `UNKNOWN` where something else answered for it
   * @param {string} seen.message
   * @param {WrongField[]} [seen.errors]
   * @param {string} [seen.providerCode]
   * @param {string} [seen.paymentId]
   * @param {number} [seen.retryAfterMs]
   * @param {unknown} [seen.cause]
   */
  constructor({ status, code, message, errors = [], providerCode, paymentId, retryAfterMs, cause }) {
    super(message, { cause });
    this.name = "PaymentError";
    /** HTTP's status; 0 without an answer. */
    this.status = status;
    /** The API's stable code. */
    this.code = code;
    /** Every wrong field, each with its JSON pointer. */
    this.errors = errors;
    /** The provider's code for its refusal. */
    this.providerCode = providerCode;
    /** The payment that was begun all the same, where the API says so. */
    this.paymentId = paymentId;
    /** How long the API asks to wait. */
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the same request, under the same key, may still go through. */
  get isTemporary() {
    return this.status === 0 || this.status === 409 || this.status === 429 || this.status >= 500;
  }
}

/** A key for one attempt to pay. Keep it with the basket, so that a reload or a second click goes on with it. */
export function newIdempotencyKey() {
  return crypto.randomUUID();
}

/** The API, as a browser uses it. */
export class Payments {
  /**
   * @param {string} baseUrl the API's, such as `https://….execute-api.….amazonaws.com`
   * @param {Surroundings} [surroundings]
   */
  constructor(baseUrl, surroundings = {}) {
    this.baseUrl = baseUrl.replace(/\/+$/, "");
    this.fetch = surroundings.fetch ?? globalThis.fetch.bind(globalThis);
    this.now = surroundings.now ?? (() => performance.now());
    this.random = surroundings.random ?? Math.random;
    this.sleep = surroundings.sleep ?? sleep;
    this.page = surroundings.page ?? globalThis.document;
  }

  /**
   * Begins a payment through ApoloPay, or goes on with the one that the key has begun. A payment that is already beyond
   * `pending` has no `processId`: there is nothing left to pay.
   *
   * @param {Preorder} preorder
   * @param {CreateOptions} options
   * @returns {Promise<Payment>}
   * @throws {PaymentError} a refusal, or after `limitMs` the last trouble: the same key may still succeed later
   */
  createPreorder(preorder, options) {
    return this.#create("/preorders", preorder, options);
  }

  /**
   * Begins a payment through FinvyPay, or goes on with the one that the key has begun. Send the buyer to `redirectUrl` if
   * there is one.
   *
   * @param {ApmPayment} payment
   * @param {CreateOptions} options
   * @returns {Promise<Payment>}
   * @throws {PaymentError} as `createPreorder`
   */
  createApmPayment(payment, options) {
    return this.#create("/apm-payments", payment, options);
  }

  /**
   * Asks once.
   *
   * @param {string} id
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<Payment>}
   * @throws {PaymentError}
   */
  get(id, { signal } = {}) {
    return this.#request("GET", `/payments/${encodeURIComponent(id)}`, { signal });
  }

  /**
   * Asks until the payment is at one of `END_STATUSES`, or `limitMs` have passed: soon at first, then ever more slowly,
   * not at all while the page is hidden, and at once when it is shown again.
   *
   * @param {string} id
   * @param {FollowOptions} [options]
   * @returns {Promise<Payment | undefined>} as it was last seen, which after `limitMs` need not be at an end
   * @throws {PaymentError} where no such payment is known; no other trouble ends it
   */
  async follow(id, { onChange, onTrouble, signal, limitMs = FOLLOW_LIMIT_MS } = {}) {
    /** @type {Payment | undefined} */
    let seen;
    let troubled = false;
    let wait = POLL_MS.first;
    let left = limitMs;
    for (;;) {
      if (await this.#untilShown(signal)) wait = POLL_MS.first;
      const asked = this.now();
      try {
        const payment = await this.get(id, { signal });
        const changed = seen?.status !== payment.status || seen.updatedAt !== payment.updatedAt;
        if (seen && changed) wait = POLL_MS.first;
        if (changed || troubled) onChange?.(payment);
        seen = payment;
        troubled = false;
        if (END_STATUSES.has(payment.status)) return payment;
      } catch (error) {
        if (!(error instanceof PaymentError) || !error.isTemporary) throw error;
        onTrouble?.(error);
        troubled = true;
        wait = Math.max(wait, error.retryAfterMs ?? 0);
      }
      // Pages that were opened together do not ask together.
      const pause = wait * (0.75 + 0.5 * this.random());
      left -= this.now() - asked + pause;
      if (left <= 0) return seen;
      await this.#pause(pause, signal);
      wait = Math.min(wait * POLL_MS.growth, POLL_MS.most);
    }
  }

  /**
   * @param {string} route
   * @param {Preorder | ApmPayment} request
   * @param {CreateOptions} options
   */
  async #create(route, request, { idempotencyKey, signal, limitMs = CREATE_LIMIT_MS, onRetry }) {
    const body = bodyOf(request);
    const deadline = this.now() + limitMs;
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#request("POST", route, { body, idempotencyKey, signal });
      } catch (error) {
        if (!(error instanceof PaymentError) || !error.isTemporary) throw error;
        const most = Math.min(RETRY_MS.first * 2 ** attempt, RETRY_MS.most);
        const wait = Math.max(this.random() * most, error.retryAfterMs ?? 0);
        if (this.now() + wait > deadline) throw error;
        onRetry?.(error, wait);
        await this.sleep(wait, signal);
      }
    }
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {{ body?: string, idempotencyKey?: string, signal?: AbortSignal }} options
   * @returns {Promise<Payment>}
   */
  async #request(method, path, { body, idempotencyKey, signal }) {
    signal?.throwIfAborted();
    /** @type {Record<string, string>} */
    const headers = {};
    if (body !== undefined) headers["content-type"] = "application/json";
    if (idempotencyKey !== undefined) headers["idempotency-key"] = idempotencyKey;
    const patience = new AbortController();
    const stop = () => patience.abort(signal?.reason);
    const timer = setTimeout(() => patience.abort(new DOMException("no answer in time", "TimeoutError")), REQUEST_MS);
    signal?.addEventListener("abort", stop, { once: true });
    let response, text;
    try {
      const init = { method, headers, body, signal: patience.signal, cache: /** @type {const} */ ("no-store") };
      response = await this.fetch(`${this.baseUrl}${path}`, init);
      text = await response.text();
    } catch (cause) {
      signal?.throwIfAborted();
      throw new PaymentError({ status: 0, code: "NO_ANSWER", message: "the payment service does not answer", cause });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
    }
    const answer = parsed(text);
    if (response.ok && typeof answer?.id === "string" && typeof answer.status === "string") {
      // A double has fifteen digits to spare an amount's eleven: its text is the decimal that was sent.
      return /** @type {Payment} */ (/** @type {unknown} */ ({ ...answer, amount: String(answer.amount) }));
    }
    throw problem(response, answer);
  }

  /**
   * Waits until the page is shown, and says whether it had to.
   *
   * @param {AbortSignal} [signal]
   */
  async #untilShown(signal) {
    signal?.throwIfAborted();
    if (this.page?.visibilityState !== "hidden") return false;
    await this.#visibility("visible", signal);
    return true;
  }

  /**
   * A wait that ends when the page is hidden: the next look comes when it is shown again.
   *
   * @param {number} ms
   * @param {AbortSignal} [signal]
   */
  async #pause(ms, signal) {
    const over = new AbortController();
    const stop = () => over.abort(signal?.reason);
    signal?.addEventListener("abort", stop, { once: true });
    try {
      await Promise.race([
        this.sleep(ms, over.signal),
        ...(this.page ? [this.#visibility("hidden", over.signal)] : []),
      ]);
    } finally {
      signal?.removeEventListener("abort", stop);
      over.abort();
    }
    signal?.throwIfAborted();
  }

  /**
   * @param {DocumentVisibilityState} state
   * @param {AbortSignal} [signal]
   * @returns {Promise<void>}
   */
  #visibility(state, signal) {
    const page = this.page;
    return new Promise((resolve, reject) => {
      const look = () => {
        if (page.visibilityState === state) done(resolve);
      };
      const abort = () => done(() => reject(signal?.reason));
      /** @param {() => void} settle */
      const done = (settle) => {
        page.removeEventListener("visibilitychange", look);
        signal?.removeEventListener("abort", abort);
        settle();
      };
      page.addEventListener("visibilitychange", look);
      signal?.addEventListener("abort", abort, { once: true });
      look();
    });
  }
}

/**
 * The request as JSON. The amount goes out as the digits that it was given in: it is never a float.
 *
 * @param {Preorder | ApmPayment} request
 */
function bodyOf({ amount, ...rest }) {
  if (typeof amount !== "string" || !/^\d{1,9}(\.\d{1,2})?$/.test(amount)) {
    throw new TypeError('the amount must be a decimal text such as "25.50"');
  }
  const digits = amount.replace(/^0+(?=\d)/, "");
  const members = JSON.stringify(rest).slice(1, -1);
  return `{"amount":${digits}${members ? `,${members}` : ""}}`;
}

/**
 * @param {string} text
 * @returns {Record<string, any> | undefined}
 */
function parsed(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param {Response} response
 * @param {Record<string, any> | undefined} answer
 */
function problem(response, answer) {
  const seconds = Number(response.headers.get("retry-after") ?? NaN);
  const isOurs = typeof answer?.code === "string";
  return new PaymentError({
    // A 2xx that is no payment came from something in between: as good as no answer.
    status: response.ok ? 502 : response.status,
    code: isOurs ? answer.code : "UNKNOWN",
    message: isOurs ? String(answer.detail ?? answer.title) : `the payment service answers ${response.status}`,
    errors: Array.isArray(answer?.errors) ? answer.errors : [],
    providerCode: answer?.providerCode,
    paymentId: isOurs ? answer.id : undefined,
    retryAfterMs: Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined,
  });
}

/**
 * @param {number} ms
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort, { once: true });
  });
}
