// @ts-check
// The live view: what the stand-ins saw of a payment, what the ledger and the bus say, and how the status follows.

import { byId, element } from "./dom.mjs";
import { isAsMuch } from "./money.mjs";

const EVERY_MS = 1000;

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
 * @property {Message} answer
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
 * @property {string[]} [attention]
 *
 * @typedef {object} Fact
 * @property {string} digest
 * @property {string} outcome
 * @property {string} words the provider's own
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

/** The ladder, lowest rung first, and what reaches each. */
const LADDER = [
  ["creating", "our intent, stored before the provider is called"],
  ["pending", "the provider took it"],
  ["expired", "our own clock; soft"],
  ["authorized", "money is promised"],
  ["cancelled", "the buyer gave up"],
  ["failed", "refused, or failed"],
  ["review", "money that does not match"],
  ["completed", "verified money that matches"],
];

/** @type {AbortController | undefined} */
let watching;
/** What is shown, as JSON. */
let shownFor = "";

/**
 * Shows what happens to an order's payment from now on; nothing, where there is none.
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
  else byId("live-body").replaceChildren(element("p", { class: "hint" }, "Nothing yet. Every request, fact and event will show here."));
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
        // The stand-ins may have been started again; the view stays as it was.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

/** @param {Journal} journal */
function draw({ exchanges, ledger, events }) {
  const open = new Set(Array.from(document.querySelectorAll("#live details[open]"), (node) => node.getAttribute("data-key")));
  const held = document.activeElement?.closest("#live details")?.getAttribute("data-key");
  const start = exchanges[0]?.atMs ?? 0;
  byId("live-body").replaceChildren(
    section("The join", "unavailable" in ledger ? missing(ledger) : ladder(ledger.state, ledger.facts)),
    section("Facts in the ledger", "unavailable" in ledger ? missing(ledger) : facts(ledger.state, ledger.facts, open)),
    section("Events on the bus", "unavailable" in events ? missing(events) : published(events.list, open)),
    section("HTTP exchanges", list(exchanges.map((exchange) => drawn(exchange, start, open)), "None yet.")),
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
  return element("p", { class: "hint" }, `Not to be seen here: ${unavailable}.`);
}

/** @param {Node[]} items @param {string} none */
function list(items, none) {
  return items.length > 0
    ? element("ul", { class: "records" }, ...items.map((item) => element("li", {}, item)))
    : element("p", { class: "hint" }, none);
}

/**
 * The rung that a fact names.
 *
 * @param {Fact} fact
 * @param {State} state
 */
function rungOf({ outcome, amount, currency }, state) {
  if (outcome !== "completed") return LADDER.some(([name]) => name === outcome) ? outcome : undefined;
  const matches =
    amount !== undefined &&
    isAsMuch(String(amount), state.amount, state.currency) &&
    (currency === undefined || currency === state.currency);
  return matches ? "completed" : "review";
}

/** @param {State | null} state @param {Fact[]} facts */
function ladder(state, facts) {
  if (!state) return element("p", { class: "hint" }, "No payment in the table yet.");
  const named = facts.map((fact) => rungOf(fact, state));
  const rows = LADDER.map(([name, by], rank) => {
    const count = named.filter((rung) => rung === name).length;
    const begun = rank === 0 || (name === "pending" && (state.references ?? []).length > 0);
    const reached = count > 0 || name === state.status || begun;
    const said = count > 0 ? `${count} ${count === 1 ? "fact" : "facts"}` : reached ? "stored" : "";
    return element(
      "li",
      { class: name === state.status ? "here" : reached ? "reached" : "", "aria-current": name === state.status && "step" },
      element("b", {}, name ?? ""),
      element("small", {}, by ?? ""),
      element("span", {}, said),
    );
  });
  return element(
    "div",
    { class: "join" },
    element("p", { class: "hint" }, "The status is the highest rung that any fact names; order and repetition do not matter."),
    element("ol", { class: "ladder", reversed: true }, ...rows.reverse()),
    element(
      "p",
      { class: "hint" },
      `Stored: ${state.status}, version ${state.version}${state.attention?.length ? `; for a person: ${state.attention.join(", ")}` : ""}.`,
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
          ` “${fact.words}” `,
          `${fact.amount ?? "no amount"} ${fact.currency ?? ""} `,
          element("span", { class: "to" }, `→ ${(state && rungOf(fact, state)) ?? "no rung"}`),
        ],
        element("pre", {}, JSON.stringify(fact, null, 2)),
      ),
    ),
    "None yet: nothing verified was said about it.",
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
function drawn({ leg, atMs, endedMs, method, path, request, status, answer, error, times }, start, open) {
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
    message("Answer", answer),
    ...(error ? [element("p", { class: "hint" }, error)] : []),
  );
}

/** @param {string} title @param {Message} message */
function message(title, { headers, body }) {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  return element("div", {}, element("h4", {}, title), element("pre", {}, [...lines, ...(body ? ["", pretty(body)] : [])].join("\n") || "(empty)"));
}

/** JSON on lines of its own; the numbers stay the digits that were sent. @param {string} text */
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
 * A line that opens.
 *
 * @param {string} key
 * @param {Set<string | null>} open
 * @param {(Node | string)[]} summary
 * @param {...Node} content
 */
function record(key, open, summary, ...content) {
  return element("details", { "data-key": key, open: open.has(key) }, element("summary", {}, ...summary), ...content);
}
