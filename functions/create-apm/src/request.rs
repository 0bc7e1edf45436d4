//! The body of `POST /apm-payments`: FinvyPay's own request, without `webhookUrl`, and with `quote` if quotes are
//! required.

use payment_functions::api::metadata::{self, CUSTOMER_EMAIL};
use payment_functions::api::problem::Problem;
use payment_functions::api::request::RequestBody;
use payment_functions::api::return_url::ReturnOrigins;
use payment_functions::api::validation::{self, FieldProblem, Fields};
use payment_functions::domain::id::{OrderId, PaymentId};
use payment_functions::domain::idempotency::Fingerprint;
use payment_functions::domain::json::{Json, Object};
use payment_functions::domain::money::{Currency, Money, UnknownCurrency};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::redacted::Redacted;
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::quote::{QUOTE_FIELD, QuoteToken};
use payment_functions::providers::finvypay::client::Details;

const EMAIL: &str = "email";

/// The optional fields that are texts: `""` counts as left out.
const OPTIONAL_TEXTS: [&str; 4] = ["cancelUrl", "description", "phoneNumber", QUOTE_FIELD];

/// A valid request for an APM (alternative payment method) payment.
#[derive(Debug)]
pub struct ApmRequest {
    money: Money,
    order_id: OrderId,
    payment_method: String,
    /// The data that is passed on to the provider and not stored.
    pub details: Details,
    /// The caller's metadata.
    pub metadata: Object,
    /// The quote, if quotes are required and the request has one.
    pub quote: Option<QuoteToken>,
    fingerprint: Fingerprint,
}

impl ApmRequest {
    /// Reads a body. Return URLs must be on `origins`. A quote is an invalid field unless `quotes_required`; it is
    /// verified later.
    ///
    /// # Errors
    /// 422 with every invalid field.
    pub fn read(mut body: RequestBody, origins: &ReturnOrigins, quotes_required: bool) -> Result<Self, Problem> {
        if let Json::Object(object) = &mut body.json {
            validation::normalise(object, EMAIL, &OPTIONAL_TEXTS);
        }
        let name = |value| redact(validation::trimmed_text(value, 100));
        let url = |value| {
            let text = validation::text(value, 2048)?;
            origins
                .check(text)
                .map(|()| text.to_owned())
                .map_err(FieldProblem::from)
        };
        let mut fields = Fields::of(&body)?;
        let order_id = fields.required("orderId", |value| order_id(validation::trimmed_text(value, 128)?));
        let currency = fields.required("currency", currency);
        let money = fields.required("amount", |value| validation::money(value, currency));
        let payment_method = fields.required("paymentMethod", |value| validation::text(value, 64).map(str::to_owned));
        let first_name = fields.required("firstName", name);
        let last_name = fields.required("lastName", name);
        let email = fields.required(EMAIL, |value| redact(validation::email(value)));
        let return_url = fields.required("returnUrl", url);
        let cancel_url = fields.optional("cancelUrl", url);
        let description = fields.optional("description", |value| validation::text(value, 1000).map(str::to_owned));
        let phone_number = fields.optional("phoneNumber", |value| redact(validation::text(value, 32)));
        let merchant_profile_id = fields.optional("merchantProfileId", whole_number);
        let metadata = fields
            .optional("metadata", validation::object)
            .cloned()
            .unwrap_or_default();
        let quote = QuoteToken::from_fields(&mut fields, quotes_required);
        fields.forbidden("webhookUrl", "is set by the server");
        metadata::check(&mut fields, &metadata);
        let read = || {
            Some(Self {
                money: money.filter(|_| currency.is_some())?,
                order_id: order_id?,
                payment_method: payment_method?,
                details: Details {
                    first_name: first_name?,
                    last_name: last_name?,
                    email: email?,
                    phone_number,
                    description,
                    return_url: return_url?,
                    cancel_url,
                    merchant_profile_id,
                },
                metadata,
                quote,
                fingerprint: Fingerprint::of(&canonical_form(&body.json)),
            })
        };
        fields.finish(read())
    }

    /// The intent of the payment.
    pub fn intent(&self, id: PaymentId, environment: Environment, now: Timestamp) -> Payment {
        Payment {
            order_id: Some(self.order_id.clone()),
            payment_method: Some(self.payment_method.clone()),
            metadata: self.stored_metadata(),
            ..Payment::new(id, Provider::FinvyPay, environment, self.money, now)
        }
    }

    /// The metadata to send for `payment`, which an earlier request may have stored.
    pub fn metadata_of(&self, payment: &Payment) -> Redacted<Object> {
        metadata::for_payment(
            payment,
            &self.metadata,
            self.stored_metadata().as_ref(),
            &[CUSTOMER_EMAIL],
        )
    }

    fn stored_metadata(&self) -> Option<Redacted<String>> {
        metadata::without_email(&self.metadata)
    }

    /// The fingerprint of the request's canonical form.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint.clone()
    }
}

/// The form that all equivalent requests share: the normalised body without `quote`, and without `metadata` if that is
/// empty.
fn canonical_form(body: &Json) -> Json {
    let mut canonical = body.as_object().cloned().unwrap_or_default();
    canonical.remove(QUOTE_FIELD);
    if canonical
        .get("metadata")
        .and_then(Json::as_object)
        .is_some_and(Object::is_empty)
    {
        canonical.remove("metadata");
    }
    Json::Object(canonical)
}

fn redact(text: Result<&str, FieldProblem>) -> Result<Redacted<String>, FieldProblem> {
    text.map(|text| Redacted::new(text.to_owned()))
}

fn order_id(text: &str) -> Result<OrderId, FieldProblem> {
    OrderId::parse(text).ok_or_else(|| "is not an order id".into())
}

fn currency(value: &Json) -> Result<Currency, FieldProblem> {
    let code = value.as_str().ok_or("must be a string")?;
    code.parse().map_err(|error: UnknownCurrency| error.to_string().into())
}

fn whole_number(value: &Json) -> Result<u64, FieldProblem> {
    let text = validation::number(value)?.to_string();
    text.parse().map_err(|_| "must be a whole number, 0 or more".into())
}

#[cfg(test)]
mod tests;
