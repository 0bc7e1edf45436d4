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
  GET  /api/v1/(sandbox|production)-transactions?orderId=ORDER

Script the replies to the next create calls of an order:
  curl {base}/_control/replies -d '{{"provider":"apolopay","orderId":"ORD-9821","replies":[{{"shape":"observed"}},{{"delayMs":3000}},{{"hang":true}},{{"drop":"midReply"}},{{"error":"RATE_LIMITED"}},{{"status":500,"body":"oops"}}]}}'
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

Show everything about an order's newest payment, like the checkout page's live view; with `&payment=<id>` another one:
  curl '{base}/_control/journal?orderId=ORD-9821'

Set the accepted keys of the merchant, such as during a rotation:
  curl {base}/_control/keys -d '{{"provider":"apolopay","keys":["sk_local_apolopay","sk_local_next"]}}'
"#
    );
    http::page(StatusCode::OK, text)
}
