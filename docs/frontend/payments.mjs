// @ts-check
// The client of payment-functions for a shop's page. It creates payments, continues those whose response was lost, and
// follows their status. No dependencies, no build step: copy this file. docs/frontend.md explains it.
//
// Guarantees:
// - One idempotency key, one payment: every retry uses the same key and the same body.
// - A payment that may still go through is never reported as refused: only a definite response ends the retries early.
// - Only the API's response is a status. The buyer's return from the provider proves nothing.

/**
 * @typedef {"creating" | "pending" | "expired" | "authorized" | "cancelled" | "failed" | "review" | "completed"} Status
 *
 * @typedef {object} Payment
 * @property {string} id unguessable: anyone who has it can read the status
 * @property {"apolopay" | "finvypay"} provider
 * @property {Status} status
 * @property {string} amount in major units, as a decimal text
 * @property {string} currency an ISO 4217 code
 * @property {string} [orderId]
 * @property {string} [processId] for the SmartPay button, while the payment can be paid
 * @property {string} [paymentId] FinvyPay's own id
 * @property {string} [redirectUrl] the page where the buyer pays, while the payment can be paid
 * @property {string} [paymentMethod]
 * @property {string} createdAt
 * @property {'sandbox' | 'production'} environment
 * @property {string} [updatedAt]
 * @property {string} [expiresAt]
 *
 * @typedef {object} Preorder
 * @property {string} amount US dollars as a decimal text such as "25.50"
 * @property {string} [orderId]
 * @property {string} [customerEmail]
 * @property {Record<string, unknown>} [metadata]
 * @property {string} [quote] the token from the shop's backend (docs/quotes.md)
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
 * @property {string} idempotencyKey from `newIdempotencyKey`, saved with the basket before the first call
 * @property {AbortSignal} [signal]
 * @property {number} [limitMs] stop retrying after this time; the request stays safe to repeat for two days
 * @property {(error: PaymentError, waitMs: number) => void} [onRetry] called before each wait
 *
 * @typedef {object} FollowOptions
 * @property {(payment: Payment) => void} [onChange] called at first, on every change, and after an error is over
 * @property {(error: PaymentError) => void} [onTrouble] called on each failed poll; the next may succeed
 * @property {AbortSignal} [signal]
 * @property {number} [limitMs] stop polling after this time, not counting the time in which the page is hidden
 *
 * @typedef {object} Overrides dependencies that a test replaces
 * @property {typeof globalThis.fetch} [fetch]
 * @property {() => number} [now] milliseconds
 * @property {() => number} [random] from 0 to 1
 * @property {(ms: number, signal?: AbortSignal) => Promise<void>} [sleep]
 * @property {Pick<Document, "visibilityState" | "addEventListener" | "removeEventListener">} [page]
 */

/**
 * The statuses at which a page stops polling. Only `completed` is final: late money can still complete a payment in any
 * of the others, so poll again when the page is opened again. `authorized` is not paid yet, so polling continues.
 *
 * @type {ReadonlySet<Status>}
 */
export const END_STATUSES = new Set(/** @type {Status[]} */ (["completed", "review", "failed", "cancelled", "expired"]));

/** Time limit of one request. The API responds within 20 seconds. */
const REQUEST_MS = 25_000;
/** Enough for a retry to take over a key whose holder died, which takes at most a minute. */
const CREATE_LIMIT_MS = 90_000;
const FOLLOW_LIMIT_MS = 15 * 60_000;

/** Waits grow from `first` to `most`. */
const RETRY_MS = { first: 500, most: 10_000 };
const POLL_MS = { first: 1_000, most: 15_000, growth: 1.5 };

/** A response that is not a payment, or no response. */
export class PaymentError extends Error {
  /**
   * @param {object} details
   * @param {number} details.status HTTP's; 0 without a response
   * @param {string} details.code the API's; `NO_RESPONSE`; or `UNKNOWN` for a response that is not from the API
   * @param {string} details.message
   * @param {WrongField[]} [details.errors]
   * @param {string} [details.providerCode]
   * @param {string} [details.paymentId]
   * @param {number} [details.retryAfterMs]
   * @param {unknown} [details.cause]
   */
  constructor({ status, code, message, errors = [], providerCode, paymentId, retryAfterMs, cause }) {
    super(message, { cause });
    this.name = "PaymentError";
    /** HTTP's status; 0 without a response. */
    this.status = status;
    /** The API's stable code. */
    this.code = code;
    /** Every wrong field, each with its JSON pointer. */
    this.errors = errors;
    /** The provider's code for its refusal. */
    this.providerCode = providerCode;
    /** The payment that exists despite the error, if the API names one. */
    this.paymentId = paymentId;
    /** The wait that the API requests. */
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the same request under the same key may still succeed. */
  get isTemporary() {
    return this.status === 0 || this.status === 409 || this.status === 429 || this.status >= 500;
  }
}

/** Returns a key for one attempt to pay. Save it with the basket, so that a reload or a second click reuses it. */
export function newIdempotencyKey() {
  return crypto.randomUUID();
}

/** The API's client for a browser. */
export class Payments {
  /**
   * @param {string} baseUrl the API's URL, such as `https://….execute-api.….amazonaws.com`
   * @param {Overrides} [overrides]
   */
  constructor(baseUrl, overrides = {}) {
    this.baseUrl = baseUrl.replace(/\/+$/, "");
    this.fetch = overrides.fetch ?? globalThis.fetch.bind(globalThis);
    this.now = overrides.now ?? (() => performance.now());
    this.random = overrides.random ?? Math.random;
    this.sleep = overrides.sleep ?? sleep;
    this.page = overrides.page ?? globalThis.document;
  }

  /**
   * Creates a payment through ApoloPay, or continues the payment of this key. A payment beyond `pending` has no
   * `processId`: there is nothing left to pay.
   *
   * @param {Preorder} preorder
   * @param {CreateOptions} options
   * @returns {Promise<Payment>}
   * @throws {PaymentError} a refusal, or after `limitMs` the last error: the same key may still succeed later
   */
  createPreorder(preorder, options) {
    return this.#create("/preorders", preorder, options);
  }

  /**
   * Creates a payment through FinvyPay, or continues the payment of this key. Send the buyer to `redirectUrl` if there
   * is one.
   *
   * @param {ApmPayment} payment
   * @param {CreateOptions} options
   * @returns {Promise<Payment>}
   * @throws {PaymentError} like `createPreorder`
   */
  createApmPayment(payment, options) {
    return this.#create("/apm-payments", payment, options);
  }

  /**
   * Reads a payment once.
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
   * Polls until the payment has one of `END_STATUSES`, or `limitMs` have passed: quickly at first, then more and more
   * slowly. Pauses while the page is hidden, and polls at once when it is shown again.
   *
   * @param {string} id
   * @param {FollowOptions} [options]
   * @returns {Promise<Payment | undefined>} the last response; after `limitMs` its status may not be an end status
   * @throws {PaymentError} if there is no such payment; no other error ends the polling
   */
  async follow(id, { onChange, onTrouble, signal, limitMs = FOLLOW_LIMIT_MS } = {}) {
    /** @type {Payment | undefined} */
    let seen;
    let troubled = false;
    let wait = POLL_MS.first;
    let left = limitMs;
    for (;;) {
      if (await this.#untilShown(signal)) wait = POLL_MS.first;
      const started = this.now();
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
      // Jitter: pages that were opened together do not poll together.
      const pause = wait * (0.75 + 0.5 * this.random());
      left -= this.now() - started + pause;
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
    const timeout = new AbortController();
    const stop = () => timeout.abort(signal?.reason);
    const timer = setTimeout(() => timeout.abort(new DOMException("no response in time", "TimeoutError")), REQUEST_MS);
    signal?.addEventListener("abort", stop, { once: true });
    let response, text;
    try {
      const init = { method, headers, body, signal: timeout.signal, cache: /** @type {const} */ ("no-store") };
      response = await this.fetch(`${this.baseUrl}${path}`, init);
      text = await response.text();
    } catch (cause) {
      signal?.throwIfAborted();
      throw new PaymentError({ status: 0, code: "NO_RESPONSE", message: "no response from the payment service", cause });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
    }
    const parsed = parse(text);
    if (response.ok && typeof parsed?.id === "string" && typeof parsed.status === "string") {
      // An amount has eleven digits and a double fifteen, so the text is exactly the decimal that was sent.
      return /** @type {Payment} */ (/** @type {unknown} */ ({ ...parsed, amount: String(parsed.amount) }));
    }
    throw problem(response, parsed);
  }

  /**
   * Waits until the page is shown. Returns whether it had to wait.
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
   * Waits, but not longer than until the page is hidden: the next poll comes when it is shown again.
   *
   * @param {number} ms
   * @param {AbortSignal} [signal]
   */
  async #pause(ms, signal) {
    const ended = new AbortController();
    const stop = () => ended.abort(signal?.reason);
    signal?.addEventListener("abort", stop, { once: true });
    try {
      await Promise.race([
        this.sleep(ms, ended.signal),
        ...(this.page ? [this.#visibility("hidden", ended.signal)] : []),
      ]);
    } finally {
      signal?.removeEventListener("abort", stop);
      ended.abort();
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
      const check = () => {
        if (page.visibilityState === state) done(resolve);
      };
      const abort = () => done(() => reject(signal?.reason));
      /** @param {() => void} finish */
      const done = (finish) => {
        page.removeEventListener("visibilitychange", check);
        signal?.removeEventListener("abort", abort);
        finish();
      };
      page.addEventListener("visibilitychange", check);
      signal?.addEventListener("abort", abort, { once: true });
      check();
    });
  }
}

/**
 * Returns the request as JSON. The amount keeps the digits of the caller's text: it is never a float.
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
function parse(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param {Response} response
 * @param {Record<string, any> | undefined} parsed
 */
function problem(response, parsed) {
  const seconds = Number(response.headers.get("retry-after") ?? NaN);
  const isOurs = typeof parsed?.code === "string";
  return new PaymentError({
    // A 2xx without a payment came from something in between: treat it like no response.
    status: response.ok ? 502 : response.status,
    code: isOurs ? parsed.code : "UNKNOWN",
    message: isOurs ? String(parsed.detail ?? parsed.title) : `the payment service responded with ${response.status}`,
    errors: Array.isArray(parsed?.errors) ? parsed.errors : [],
    providerCode: parsed?.providerCode,
    paymentId: isOurs ? parsed.id : undefined,
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
