// @ts-check
// The live view of a payment: its HTTP exchanges, its ledger, its events, and how the status follows from the facts.

import { byId, element } from "./dom.mjs";
import { equalsMinor } from "./money.mjs";

const POLL_INTERVAL_MS = 1000;

/**
 * @typedef {object} Message
 * @property {Record<string, string>} headers
 * @property {string} body
 *
 * @typedef {object} Exchange
 * @property {"browser" | "provider" | "webhook"} leg
 * @property {number} atMs
 * @property {number | null} endedMs
 * @property {string} method
 * @property {string} path
 * @property {Message} request
 * @property {number | null} status
 * @property {Message} response
 * @property {string | null} error
 * @property {number} times
 *
 * @typedef {object} State
 * @property {string} status
 * @property {number} rank
 * @property {number} version
 * @property {number} amount in minor units
 * @property {string} currency
 * @property {string[]} [references]
 * @property {{ reason: string }[]} [attention]
 *
 * @typedef {object} Fact
 * @property {string} digest
 * @property {string} outcome
 * @property {string} rawStatus the provider's own
 * @property {string | number} [amount]
 * @property {string} [currency]
 * @property {string} [payment]
 * @property {string} [transaction]
 * @property {number} receivedAt
 *
 * @typedef {{ unavailable: string }} Unavailable
 * @typedef {object} Journal
 * @property {Exchange[]} exchanges
 * @property {{ state: State | null, facts: Fact[] } | Unavailable} ledger
 * @property {{ list: { "detail-type": string, time: string, detail: Record<string, unknown> }[] } | Unavailable} events
 */

/** The statuses by rank, and what leads to each. */
const STATUSES = [
  ["creating", "stored before the provider is called"],
  ["pending", "the provider accepted it"],
  ["expired", "not paid in time; can still complete"],
  ["authorized", "authorised by the bank, not paid"],
  ["cancelled", "cancelled by the buyer"],
  ["failed", "refused or failed at the provider"],
  ["review", "received money does not match"],
  ["completed", "received money matches"],
];

/** @type {AbortController | undefined} */
let watching;
/** The order and payment that are shown, as JSON. */
let shownFor = "";

/**
 * Shows an order's payment from now on, or nothing.
 *
 * @param {{ orderId: string, paymentId?: string } | undefined} of
 */
export function watch(of) {
  const now = JSON.stringify(of ?? null);
  if (shownFor === now) return;
  shownFor = now;
  watching?.abort();
  watching = new AbortController();
  if (of) void poll(of, watching.signal);
  else byId("live-body").replaceChildren(element("p", { class: "hint" }, "Nothing yet. Every request, fact and event will appear here."));
}

/**
 * @param {{ orderId: string, paymentId?: string }} of
 * @param {AbortSignal} signal
 */
async function poll({ orderId, paymentId }, signal) {
  const query = new URLSearchParams({ orderId, ...(paymentId ? { payment: paymentId } : {}) });
  let last = "";
  while (!signal.aborted) {
    if (document.visibilityState === "visible") {
      try {
        const response = await fetch(`/_control/journal?${query}`, { signal });
        const text = await response.text();
        if (response.ok && text !== last && !signal.aborted) draw(/** @type {Journal} */ (JSON.parse((last = text))));
      } catch {
        // The stand-ins may be restarting. The view stays unchanged.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL_MS));
  }
}

/** @param {Journal} journal */
function draw({ exchanges, ledger, events }) {
  const open = new Set(Array.from(document.querySelectorAll("#live details[open]"), (node) => node.getAttribute("data-key")));
  const held = document.activeElement?.closest("#live details")?.getAttribute("data-key");
  const start = exchanges[0]?.atMs ?? 0;
  byId("live-body").replaceChildren(
    section("Status", "unavailable" in ledger ? missing(ledger) : statuses(ledger.state, ledger.facts)),
    section("Facts in the ledger", "unavailable" in ledger ? missing(ledger) : facts(ledger.state, ledger.facts, open)),
    section("Events on the bus", "unavailable" in events ? missing(events) : published(events.list, open)),
    section("HTTP exchanges", list(exchanges.map((exchange) => exchangeRecord(exchange, start, open)), "None yet.")),
  );
  if (held) {
    const summary = document.querySelector(`#live details[data-key="${CSS.escape(held)}"] > summary`);
    if (summary instanceof HTMLElement) summary.focus();
  }
}

/** @param {string} title @param {...Node} content */
function section(title, ...content) {
  return element("section", {}, element("h3", {}, title), ...content);
}

/** @param {Unavailable} reason */
function missing({ unavailable }) {
  return element("p", { class: "hint" }, `Not available: ${unavailable}.`);
}

/** @param {Node[]} items @param {string} none */
function list(items, none) {
  return items.length > 0
    ? element("ul", { class: "records" }, ...items.map((item) => element("li", {}, item)))
    : element("p", { class: "hint" }, none);
}

/**
 * The status that a fact leads to.
 *
 * @param {Fact} fact
 * @param {State} state
 */
function statusOf({ outcome, amount, currency }, state) {
  if (outcome !== "completed") return STATUSES.some(([name]) => name === outcome) ? outcome : undefined;
  const matches =
    amount !== undefined &&
    equalsMinor(String(amount), state.amount, state.currency) &&
    (currency === undefined || currency === state.currency);
  return matches ? "completed" : "review";
}

/** @param {State | null} state @param {Fact[]} facts */
function statuses(state, facts) {
  if (!state) return element("p", { class: "hint" }, "No payment in the table yet.");
  const reachedByFacts = facts.map((fact) => statusOf(fact, state));
  const rows = STATUSES.map(([name, by], rank) => {
    const count = reachedByFacts.filter((status) => status === name).length;
    const isStored = rank === 0 || (name === "pending" && (state.references ?? []).length > 0);
    const reached = count > 0 || name === state.status || isStored;
    const text = count > 0 ? `${count} ${count === 1 ? "fact" : "facts"}` : reached ? "stored" : "";
    return element(
      "li",
      { class: name === state.status ? "here" : reached ? "reached" : "", "aria-current": name === state.status && "step" },
      element("b", {}, name ?? ""),
      element("small", {}, by ?? ""),
      element("span", {}, text),
    );
  });
  return element(
    "div",
    { class: "statuses" },
    element("p", { class: "hint" }, "The status is the highest one that any fact leads to. The order of facts and duplicates do not matter."),
    element("ol", { class: "ranks", reversed: true }, ...rows.reverse()),
    element(
      "p",
      { class: "hint" },
      `Stored: ${state.status}, version ${state.version}${state.attention?.length ? `; attention: ${state.attention.map(({ reason }) => reason).join(", ")}` : ""}.`,
    ),
  );
}

/** @param {State | null} state @param {Fact[]} facts @param {Set<string | null>} open */
function facts(state, facts, open) {
  return list(
    facts.map((fact) =>
      record(
        `fact-${fact.digest}`,
        open,
        [
          element("b", {}, fact.outcome),
          ` “${fact.rawStatus}” `,
          `${fact.amount ?? "no amount"} ${fact.currency ?? ""} `,
          element("span", { class: "to" }, `→ ${(state && statusOf(fact, state)) ?? "no change"}`),
        ],
        element("pre", {}, JSON.stringify(fact, null, 2)),
      ),
    ),
    "None yet.",
  );
}

/** @param {{ "detail-type": string, detail: Record<string, unknown> }[]} events @param {Set<string | null>} open */
function published(events, open) {
  return list(
    events.map((event) =>
      record(
        `event-${event.detail.eventId}`,
        open,
        [element("b", {}, event["detail-type"]), ` version ${event.detail.version}`],
        element("pre", {}, JSON.stringify(event, null, 2)),
      ),
    ),
    "None yet.",
  );
}

const LEGS = { browser: "browser → function", provider: "function → provider", webhook: "provider → function" };

/** @param {Exchange} exchange @param {number} start @param {Set<string | null>} open */
function exchangeRecord({ leg, atMs, endedMs, method, path, request, status, response, error, times }, start, open) {
  const kind = status === null ? (error ? "bad" : "open") : status < 300 ? "good" : status < 500 ? "look" : "bad";
  const took = endedMs !== null && times === 1 ? `, ${endedMs - atMs} ms` : "";
  return record(
    `${leg}-${atMs}-${path}`,
    open,
    [
      element("span", { class: "code", "data-kind": kind }, status === null ? (error ? "—" : "…") : String(status)),
      element("b", {}, method),
      ` ${path} `,
      element("small", {}, `${LEGS[leg]}, ${((atMs - start) / 1000).toFixed(1)} s${took}${times > 1 ? `, ${times} times` : ""}`),
    ],
    message("Request", request),
    message("Response", response),
    ...(error ? [element("p", { class: "hint" }, error)] : []),
  );
}

/** @param {string} title @param {Message} message */
function message(title, { headers, body }) {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  return element("div", {}, element("h4", {}, title), element("pre", {}, [...lines, ...(body ? ["", pretty(body)] : [])].join("\n") || "(empty)"));
}

/** Indents JSON and keeps the text of its numbers. @param {string} text */
function pretty(text) {
  if (!/^\s*[[{]/.test(text)) return text;
  let depth = 0;
  return text.replace(/"(?:\\.|[^"\\])*"|[[\]{},:]|\s+|[^\s"[\]{},:]+/g, (token) => {
    if (token === "{" || token === "[") return `${token}\n${"  ".repeat((depth += 1))}`;
    if (token === "}" || token === "]") return `\n${"  ".repeat((depth = Math.max(depth - 1, 0)))}${token}`;
    if (token === ",") return `,\n${"  ".repeat(depth)}`;
    if (token === ":") return ": ";
    return token.trim() === "" ? "" : token;
  });
}

/**
 * An expandable line.
 *
 * @param {string} key
 * @param {Set<string | null>} open
 * @param {(Node | string)[]} summary
 * @param {...Node} content
 */
function record(key, open, summary, ...content) {
  return element("details", { "data-key": key, open: open.has(key) }, element("summary", {}, ...summary), ...content);
}
