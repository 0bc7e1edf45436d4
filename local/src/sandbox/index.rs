//! The page at `/_control`: what is here, and how to drive it.

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
        r#"Stand-ins for two payment providers. A shop that uses them is at {base}/

ApoloPay, at {base}/apolopay
  GET  /payment-button/health
  GET  /payment-button/assets
  POST /payment-button/process/preorder

FinvyPay, at {base}/finvypay
  POST /api/v1/(sandbox|production)/apm
  GET  /api/(sandbox|production)/status/ID
  GET  /api/v1/(sandbox|production)-transactions?orderId=ORDER

What the next create calls of an order get:
  curl {base}/_control/replies -d '{{"provider":"apolopay","orderId":"ORD-9821","replies":[{{"shape":"observed"}},{{"delayMs":3000}},{{"hang":true}},{{"drop":"midReply"}},{{"error":"RATE_LIMITED"}},{{"status":500,"body":"oops"}}]}}'
  ApoloPay's shapes: documented observed mixed
  ApoloPay's errors: {apolopay_errors}
  FinvyPay's shapes: documented old noRedirect
  FinvyPay's errors: {finvypay_errors}

Which calls came for an order:
  curl '{base}/_control/calls?provider=apolopay&orderId=ORD-9821'

Faults by chance, for calls without a script (percent 0 ends it); what they were; how many create calls were in progress at once:
  curl {base}/_control/chaos -d '{{"percent":20,"seed":7,"mishaps":["error500","error429","dropBefore","dropAfter","late","hang","nonsense"],"lateMs":400,"hangMs":20000}}'
  curl {base}/_control/chaos
  curl '{base}/_control/in-flight?provider=finvypay'

Send a webhook:
  curl {base}/_control/webhooks -d '{{"provider":"apolopay","orderId":"ORD-9821","shape":"A"}}'
  curl {base}/_control/webhooks -d '{{"provider":"finvypay","orderId":"ORD-APM-78901","shape":"W2","outcome":"authorized","times":2}}'
  ApoloPay's shapes: A B; FinvyPay's shapes: W1 W1wrapped W2
  Outcomes: completed authorized pending failed cancelled, or any other word

Which payments there are, and moving one without a webhook:
  curl '{base}/_control/payments?provider=finvypay'
  curl {base}/_control/payments -d '{{"provider":"finvypay","id":"pay_apm_...","status":"COMPLETED"}}'

What happened to an order's payment, as the shop shows it:
  curl '{base}/_control/journal?orderId=ORD-9821'

Which of the merchant's keys are good from now on, as while one is rotated:
  curl {base}/_control/keys -d '{{"provider":"apolopay","keys":["sk_local_apolopay","sk_local_next"]}}'
"#
    );
    http::page(StatusCode::OK, text)
}
