//! The page at `/_control`: how to use the stand-ins.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};

use super::world::World;
use super::{Provider, canned, http};

pub(super) async fn page(State(world): State<Arc<World>>) -> Response<Body> {
    let base = &world.base_url;
    let apolopay_errors = canned::names(Provider::Apolopay).join(" ");
    let finvypay_errors = canned::names(Provider::Finvypay).join(" ");
    let text = format!(
        r#"Stand-ins for two payment providers. The checkout page at {base}/ uses them.

ApoloPay, at {base}/apolopay
  GET  /payment-button/health
  GET  /payment-button/assets
  POST /payment-button/process/preorder

FinvyPay, at {base}/finvypay
  POST /api/v1/(sandbox|production)/apm
  GET  /api/(sandbox|production)/status/ID
  GET  /api/v1/(sandbox|production)-transactions?page=1&limit=20&status=WORD&transactionId=FP...&orderId=ORDER&startDate=...&endDate=...
       newest first; limit at most 100; dates are of creation, like 2026-03-19T12:00:00Z; endDate is exclusive

Script the replies to the next create calls of an order:
  curl {base}/_control/replies -d '{{"provider":"apolopay","orderId":"ORD-9821","replies":[{{"shape":"observed"}},{{"delayMs":3000}},{{"hang":true}},{{"drop":"midReply"}},{{"error":"RATE_LIMITED"}},{{"status":500,"body":"oops"}}]}}'
  curl {base}/_control/replies -d '{{"provider":"finvypay","orderId":"","call":"list","replies":[{{"error":"HTML"}}]}}'   (the next list of no order)
  ApoloPay's shapes: documented observed mixed
  ApoloPay's errors: {apolopay_errors}
  FinvyPay's shapes: documented old noRedirect
  FinvyPay's errors: {finvypay_errors}

List the calls for an order:
  curl '{base}/_control/calls?provider=apolopay&orderId=ORD-9821'

Inject random faults into calls without a script (percent 0 stops it); report them; report concurrent create calls:
  curl {base}/_control/chaos -d '{{"percent":20,"seed":7,"faults":["error500","error429","dropBefore","dropAfter","late","hang","malformed"],"lateMs":400,"hangMs":20000}}'
  curl {base}/_control/chaos
  curl '{base}/_control/in-flight?provider=finvypay'

Send a webhook:
  curl {base}/_control/webhooks -d '{{"provider":"apolopay","orderId":"ORD-9821","shape":"A"}}'
  curl {base}/_control/webhooks -d '{{"provider":"finvypay","orderId":"ORD-APM-78901","shape":"W2","outcome":"authorized","times":2}}'
  ApoloPay's shapes: A B; FinvyPay's shapes: W1 W1wrapped W2
  Outcomes: completed authorized pending failed cancelled, or any other status

List the payments, and set a payment's status without a webhook:
  curl '{base}/_control/payments?provider=finvypay'
  curl {base}/_control/payments -d '{{"provider":"finvypay","id":"pay_apm_...","status":"COMPLETED"}}'
  curl {base}/_control/payments -d '{{"provider":"finvypay","id":"pay_apm_...","extra":{{"refundDate":"2026-01-02"}}}}'

Let FinvyPay's list differ from its documentation, for all callers; no modes make it as documented:
  curl {base}/_control/list -d '{{"modes":["ignoresStatus","withoutMetadata"]}}'
  curl {base}/_control/list
  Filters: ignoresStatus ignoresDates datesAreOfCompletion
  Shapes: withoutMetadata withoutPagination asDashboard (data.data, meta, statuses as numbers)
  No list: missing (404) onlyOfOrders (404 without orderId) nonsenseHtml nonsenseJson
  Moving, once, after the first page of several: rowLeaves (the newest row is gone) rowEnters (a newer row appears)

Limit FinvyPay's calls in each minute of the clock, and report the calls since; without requestsPerMinute there is no limit:
  curl {base}/_control/rate-limit -d '{{"requestsPerMinute":100,"creationsCount":false}}'
  curl {base}/_control/rate-limit
  curl {base}/_control/rate-limit -d '{{}}'

Add FinvyPay's payments in bulk, of 25.50 USD, with the numbers from first on, the oldest first:
  curl {base}/_control/seed -d '{{"environment":"sandbox","count":100000,"first":0,"orderPrefix":"seed-","maxAgeSeconds":86400,"minAgeSeconds":3600,"paidPercent":20,"ourMetadata":true}}'
  Payment 258 has the order seed-258, the ids pay_apm_0000000000000258 and FP000000000000000258, and in its metadata our
  id 02010000-0000-4000-8000-000000000000: the number in hexadecimal, last byte first.

Show everything about an order's newest payment, like the checkout page's live view; with `&payment=<id>` another one:
  curl '{base}/_control/journal?orderId=ORD-9821'

Set the accepted keys of the merchant, such as during a rotation:
  curl {base}/_control/keys -d '{{"provider":"apolopay","keys":["sk_local_apolopay","sk_local_next"]}}'
"#
    );
    http::page(StatusCode::OK, text)
}
