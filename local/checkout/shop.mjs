// @ts-check
// The checkout: a basket, one attempt at a time to pay for it, and the result.
//
// The page trusts only the API. A buyer's return from the provider, with whatever URL, does not prove a payment.

import { GOODS, load, newAttempt, save, startOver, totalCents } from "./basket.mjs";
import { byId, element } from "./dom.mjs";
import { watch } from "./live.mjs";
import { decimal, readable } from "./money.mjs";
import { END_STATUSES, PaymentError, Payments } from "./payments.mjs";
import { script, SCENARIOS } from "./scenarios.mjs";
import { defineSmartPay } from "./smartpay.mjs";

/** On this origin here. On AWS the API has another origin and allows this one with CORS. */
const payments = new Payments("/api");

let kept = load();
/** Aborts the requests of the previous view. */
let leaving = new AbortController();

const METHODS = { smartpay: "SmartPay", apple_pay: "Apple Pay", google_pay: "Google Pay" };

/**
 * The texts for each status. Only `completed` is paid.
 *
 * @type {Record<import("./payments.mjs").Status | "starting", { title: string, kind: string, badge: string, explanation: string }>}
 */
const TEXTS = {
  starting: { title: "Starting your payment", kind: "open", badge: "Starting", explanation: "One moment, please." },
  creating: {
    title: "Starting your payment",
    kind: "open",
    badge: "Starting",
    explanation: "The provider has not responded yet. Nothing is lost: the payment continues as soon as it does.",
  },
  pending: {
    title: "Waiting for your payment",
    kind: "open",
    badge: "Not paid yet",
    explanation: "We have not received your payment yet. This page updates by itself.",
  },
  authorized: {
    title: "Your payment is authorised",
    kind: "open",
    badge: "Not paid yet",
    explanation: "Your bank has authorised the payment, and we are waiting for the money. This page updates by itself.",
  },
  expired: {
    title: "The time to pay has run out",
    kind: "ended",
    badge: "Not paid",
    explanation: "We received no money in time. If you have paid, it still counts: it only takes longer.",
  },
  cancelled: { title: "You cancelled the payment", kind: "ended", badge: "Not paid", explanation: "No money was taken." },
  failed: { title: "The payment failed", kind: "bad", badge: "Not paid", explanation: "The provider could not take it. You can try again." },
  review: {
    title: "We are checking your payment",
    kind: "look",
    badge: "Not paid",
    explanation: "We received money that does not match this payment. The shop checks it and will write to you. Please do not pay again.",
  },
  completed: { title: "Thank you, your order is paid", kind: "good", badge: "Paid", explanation: "We are packing it." },
};

const form = /** @type {HTMLFormElement} */ (byId("checkout"));
const payButton = /** @type {HTMLButtonElement} */ (byId("pay"));

/** @param {string} name @returns {HTMLInputElement | HTMLSelectElement} */
function field(name) {
  return /** @type {any} */ (form.elements.namedItem(name));
}

/** Shows one of the two views, and aborts the requests of the other. */
function enter(/** @type {"shop" | "payment"} */ view) {
  leaving.abort();
  leaving = new AbortController();
  byId("shop").hidden = view !== "shop";
  byId("payment").hidden = view !== "payment";
}

// The basket.

function showShop() {
  enter("shop");
  history.replaceState(null, "", "/");
  document.title = "Checkout – Tidewater Goods";
  for (const name of /** @type {const} */ (["firstName", "lastName", "email"])) field(name).value = kept.buyer[name];
  /** @type {RadioNodeList} */ (/** @type {any} */ (form.elements.namedItem("method"))).value = kept.method;
  byId("goods").replaceChildren(...GOODS.map(good));
  showTotal();
  payButton.disabled = false;
  watch(undefined);
}

/** @param {typeof GOODS[number]} item */
function good({ sku, name, about, cents }) {
  const count = element("output", { class: "count", "aria-label": `${name}: how many` }, String(kept.basket[sku] ?? 0));
  /** @param {number} step */
  const change = (step) => {
    kept.basket[sku] = Math.min(Math.max((kept.basket[sku] ?? 0) + step, 0), 99);
    save(kept);
    count.textContent = String(kept.basket[sku]);
    showTotal();
  };
  return element(
    "li",
    {},
    element("img", { src: `/checkout/${sku}.svg`, alt: "", width: 56, height: 56 }),
    element("span", { class: "what" }, element("b", {}, name), element("small", {}, about)),
    element("span", { class: "price" }, readable(decimal(cents), "USD")),
    element(
      "span",
      { class: "steps" },
      element("button", { type: "button", "aria-label": `One ${name} less`, onclick: () => change(-1) }, "−"),
      count,
      element("button", { type: "button", "aria-label": `One ${name} more`, onclick: () => change(1) }, "+"),
    ),
  );
}

function showTotal() {
  const amount = decimal(totalCents(kept));
  byId("total").textContent = readable(amount, "USD");
  payButton.textContent = `Pay ${readable(amount, "USD")}`;
}

// Starting a payment.

form.addEventListener("submit", (event) => {
  event.preventDefault();
  // Disabled first, against a second click. Another tab may have an attempt already.
  if (payButton.disabled) return;
  payButton.disabled = true;
  const otherTab = load().attempt;
  if (otherTab) {
    kept = load();
    void begin(otherTab);
    return;
  }
  const text = (/** @type {string} */ name) => field(name).value.trim();
  kept.buyer = { firstName: text("firstName"), lastName: text("lastName"), email: text("email") };
  kept.method = /** @type {import("./basket.mjs").Method} */ (new FormData(form).get("method"));
  save(kept);
  const wrong = wrongFields();
  if (totalCents(kept) === 0) wrong.push({ pointer: "/amount", detail: "the basket is empty" });
  if (wrong.length > 0) {
    refuse("Please check your entries.", wrong);
    return;
  }
  const attempt = newAttempt(kept, decimal(totalCents(kept)), Number(field("pollSeconds").value));
  attempt.request = requestFor(attempt);
  kept.attempt = attempt;
  save(kept);
  void begin(attempt, field("scenario").value);
});

/** The problems that the browser itself finds. The API checks everything again. */
function wrongFields() {
  const needed = { firstName: "Please enter your first name.", lastName: "Please enter your last name.", email: "Please enter your e-mail address." };
  return Object.entries(needed)
    .filter(([name]) => !field(name).validity.valid || field(name).value.trim() === "")
    .map(([name, detail]) => ({ pointer: `/${name}`, detail }));
}

/** @param {import("./basket.mjs").Attempt} attempt */
function requestFor({ orderId, method, amount }) {
  const { firstName, lastName, email } = kept.buyer;
  const back = (/** @type {string} */ more) => `${location.origin}/?order=${encodeURIComponent(orderId)}${more}`;
  return method === "smartpay"
    ? { amount, orderId, customerEmail: email }
    : {
        amount,
        orderId,
        currency: "USD",
        paymentMethod: method,
        firstName,
        lastName,
        email,
        returnUrl: back(""),
        cancelUrl: back("&left"),
      };
}

/** The form's fields by the API's pointers. @type {Record<string, string>} */
const FIELDS = { "/customerEmail": "email", "/firstName": "firstName", "/lastName": "lastName", "/email": "email" };

/**
 * Shows the problem of each field. Returns the first field with one, and the problems without a field.
 *
 * @param {import("./payments.mjs").WrongField[]} wrong
 */
function mark(wrong) {
  byId("problem").hidden = true;
  const known = new Map(wrong.map(({ pointer, detail }) => [FIELDS[pointer], detail]));
  for (const name of ["firstName", "lastName", "email"]) {
    const detail = known.get(name);
    byId(`${name}-wrong`).textContent = detail ?? "";
    field(name).setAttribute("aria-invalid", String(detail !== undefined));
    field(name).setAttribute("aria-describedby", `${name}-wrong`);
  }
  const first = ["firstName", "lastName", "email"].find((name) => known.has(name));
  return { first, others: wrong.filter(({ pointer }) => !(pointer in FIELDS)) };
}

/**
 * Shows the form again, with the problems.
 *
 * @param {string} message
 * @param {import("./payments.mjs").WrongField[]} [wrong]
 */
function refuse(message, wrong = []) {
  showShop();
  const { first, others } = mark(wrong);
  const problem = byId("problem");
  problem.replaceChildren(
    element("p", {}, message),
    ...others.map(({ pointer, detail }) => element("p", {}, `${pointer.slice(1)}: ${detail}`)),
  );
  problem.hidden = false;
  if (first) field(first).focus();
  else byId("shop-title").focus();
}

/**
 * Starts the payment of an attempt, or continues it.
 *
 * @param {import("./basket.mjs").Attempt} attempt
 * @param {string} [scenario]
 */
async function begin(attempt, scenario) {
  mark([]);
  enter("payment");
  const signal = leaving.signal;
  show("starting", attempt);
  byId("payment-title").focus();
  watch({ orderId: attempt.orderId });
  try {
    const provider = attempt.method === "smartpay" ? "apolopay" : "finvypay";
    if (scenario) await script(scenario, provider, attempt.orderId);
    if (!attempt.paymentId) {
      const { id, redirectUrl } = await create(attempt, signal);
      attempt.paymentId = id;
      // The request, with name and e-mail, was only kept for a retry.
      delete attempt.request;
      keep(attempt);
      // After the return from there, the page finds the payment's id and stays.
      if (redirectUrl && go(redirectUrl)) return;
    }
    await follow(attempt.paymentId, attempt);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof PaymentError)) throw error;
    if (error.isTemporary) {
      trouble("We could not reach the payment service. You have not been charged twice, and will not be.");
      actions(element("button", { class: "primary", type: "button", onclick: () => void begin(attempt) }, "Try again"));
    } else {
      keep(undefined);
      refuse(refusal(error), error.errors);
    }
  }
}

/**
 * @param {import("./basket.mjs").Attempt} attempt
 * @param {AbortSignal} signal
 */
function create({ method, key, request }, signal) {
  const options = {
    idempotencyKey: key,
    signal,
    onRetry: (/** @type {PaymentError} */ seen, /** @type {number} */ waitMs) => {
      const reason = seen.code === "IDEMPOTENCY_IN_PROGRESS" ? "The payment is already being started." : "The payment service is busy.";
      trouble(`${reason} Trying again in ${Math.ceil(waitMs / 1000)} s; you pay only once.`);
    },
  };
  return method === "smartpay"
    ? payments.createPreorder(/** @type {import("./payments.mjs").Preorder} */ (request), options)
    : payments.createApmPayment(/** @type {import("./payments.mjs").ApmPayment} */ (request), options);
}

/** @param {PaymentError} error */
function refusal(error) {
  switch (error.code) {
    case "VALIDATION_FAILED":
      return "Please check your entries.";
    case "PROVIDER_REJECTED":
      return "The provider did not accept this payment. Please choose another way to pay.";
    case "NOT_FOUND":
      return "We do not know this payment. Please start again.";
    default:
      return `The payment could not be started (${error.message}).`;
  }
}

/** @param {import("./basket.mjs").Attempt | undefined} attempt */
function keep(attempt) {
  if (attempt) kept.attempt = attempt;
  else delete kept.attempt;
  save(kept);
}

/**
 * Sends the buyer to the provider's page, if it is an address that a browser should go to.
 *
 * @param {string | undefined} url
 */
function go(url) {
  const { protocol, hostname } = new URL(url ?? "", location.href);
  if (protocol !== "https:" && !(protocol === "http:" && ["127.0.0.1", "localhost"].includes(hostname))) return false;
  location.assign(/** @type {string} */ (url));
  return true;
}

// A payment that exists.

/**
 * @param {string} id
 * @param {import("./basket.mjs").Attempt} [attempt] if it was started in this browser
 */
async function follow(id, attempt) {
  const signal = leaving.signal;
  const limitMs = (attempt?.pollSeconds ?? 900) * 1000;
  history.replaceState(null, "", `/?payment=${encodeURIComponent(id)}`);
  const last = await payments.follow(id, {
    signal,
    limitMs,
    onChange: (payment) => {
      byId("trouble").hidden = true;
      if (payment.orderId) watch({ orderId: payment.orderId, paymentId: id });
      show(payment.status, attempt, payment);
    },
    onTrouble: () => trouble("We cannot read the payment's status at the moment. The page keeps trying."),
  });
  if (last && END_STATUSES.has(last.status)) return;
  trouble(
    "There is no news for a while. You can close this page and return to this address later, or write to us with the order number.",
  );
  const check = element("button", { type: "button", onclick: () => void open(id, attempt) }, "Check again");
  actions(...(last ? choices(last.status, attempt, last) : []), check);
}

/**
 * Shows an existing payment.
 *
 * @param {string} id
 * @param {import("./basket.mjs").Attempt} [attempt]
 */
async function open(id, attempt) {
  enter("payment");
  const signal = leaving.signal;
  byId("trouble").hidden = true;
  if (byId("payment-title").textContent === "") show("starting", attempt);
  if (attempt) watch({ orderId: attempt.orderId, paymentId: id });
  try {
    await follow(id, attempt);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof PaymentError)) throw error;
    if (attempt) keep(undefined);
    refuse(refusal(error));
  }
}

/**
 * @param {keyof typeof TEXTS} status
 * @param {import("./basket.mjs").Attempt} [attempt]
 * @param {import("./payments.mjs").Payment} [payment]
 */
function show(status, attempt, payment) {
  const { title, kind, badge, explanation } = TEXTS[status];
  byId("payment-title").textContent = title;
  document.title = `${title} – Tidewater Goods`;
  byId("payment").dataset.status = status;
  byId("status").dataset.kind = kind;
  byId("badge").textContent = badge;
  byId("explanation").textContent = explanation;
  const amount = payment?.amount ?? attempt?.amount;
  const through = { apolopay: "ApoloPay", finvypay: "FinvyPay" };
  const facts = {
    Order: payment?.orderId ?? attempt?.orderId,
    Amount: amount && readable(amount, payment?.currency ?? "USD"),
    "Pay with": attempt ? METHODS[attempt.method] : payment && through[payment.provider],
    Payment: payment?.id,
  };
  byId("about").replaceChildren(
    ...Object.entries(facts).flatMap(([name, value]) =>
      value ? [element("div", {}, element("dt", {}, name), element("dd", {}, value))] : [],
    ),
  );
  actions(...choices(status, attempt, payment));
}

/**
 * The actions for the buyer.
 *
 * @param {keyof typeof TEXTS} status
 * @param {import("./basket.mjs").Attempt} [attempt]
 * @param {import("./payments.mjs").Payment} [payment]
 */
function choices(status, attempt, payment) {
  const button = (/** @type {string} */ text, /** @type {() => void} */ onclick, kind = "") =>
    element("button", { type: "button", class: kind, onclick }, text);
  // A payment that was opened by its URL may not be this browser's attempt.
  const leave = (/** @type {() => void} */ forget) => () => {
    if (attempt) forget();
    showShop();
    byId("shop-title").focus();
  };
  const again = leave(() => keep(undefined));
  const anew = leave(() => {
    kept = startOver(kept);
    save(kept);
  });
  if (status === "completed") return [button("Back to the shop", anew, "primary")];
  if (status === "review") return [button("Back to the shop", anew)];
  if (END_STATUSES.has(/** @type {any} */ (status))) return [button("Try again", again, "primary")];
  const buttons = [];
  if (payment?.processId) {
    buttons.push(element("apolopay-button", { "process-id": payment.processId, "product-title": "Tidewater Goods", lang: "en" }));
  }
  if (payment?.redirectUrl) buttons.push(button("Continue to payment", () => go(payment.redirectUrl), "primary"));
  if (payment?.processId || payment?.redirectUrl) {
    buttons.push(
      button("Pay in another way", again),
      element("p", { class: "hint" }, "This payment stays open for a while: pay only one of them."),
    );
  }
  return buttons;
}

/** The actions that are shown. */
let drawn = "";

/** @param {...HTMLElement} elements */
function actions(...elements) {
  const now = elements.map((node) => `${node.localName} ${node.getAttribute("process-id") ?? node.textContent}`).join("\n");
  // Unchanged actions stay, with their focus and open dialog.
  if (now === drawn) return;
  drawn = now;
  const container = byId("actions");
  const hasFocus = container.contains(document.activeElement);
  container.replaceChildren(...elements);
  if (hasFocus) byId("payment-title").focus();
}

/** @param {string} text */
function trouble(text) {
  const shown = byId("trouble");
  shown.textContent = text;
  shown.hidden = false;
}

// Opens the page: at a payment, after a return from a provider, in an attempt, or with the basket.

function start() {
  byId("scenario").replaceChildren(...SCENARIOS.map(({ value, label }) => element("option", { value }, label)));
  const query = new URLSearchParams(location.search);
  const { attempt } = kept;
  const id = query.get("payment");
  const orderId = query.get("order");
  if (id) void open(id, attempt?.paymentId === id ? attempt : undefined);
  else if (attempt && (!orderId || orderId === attempt.orderId)) void begin(attempt);
  else if (orderId) refuse("This browser does not know that order. Use the URL of its payment instead.");
  else showShop();
}

await defineSmartPay();
start();
