//! The body of `POST /preorders`.

use payment_functions::api::metadata::{self, CUSTOMER_EMAIL};
use payment_functions::api::problem::Problem;
use payment_functions::api::request::RequestBody;
use payment_functions::api::validation::{self, Fields};
use payment_functions::domain::id::{OrderId, PaymentId};
use payment_functions::domain::idempotency::Fingerprint;
use payment_functions::domain::json::{Json, Object};
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::redacted::Redacted;
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::quote::{QUOTE_FIELD, QuoteToken};

const ORDER_ID: &str = "orderId";

/// The optional fields that are texts: `""` counts as left out.
const OPTIONAL_TEXTS: [&str; 3] = [ORDER_ID, CUSTOMER_EMAIL, QUOTE_FIELD];

/// The same for the members of `metadata` that are fields of the request.
const OPTIONAL_TEXTS_IN_METADATA: [&str; 2] = [ORDER_ID, CUSTOMER_EMAIL];

/// A valid request for a preorder.
#[derive(Debug)]
pub struct PreorderRequest {
    money: Money,
    order_id: Option<OrderId>,
    /// The caller's metadata.
    metadata: Object,
    /// The metadata for the provider: the caller's, with the order id and the buyer's e-mail address.
    pub provider_metadata: Object,
    /// The quote, if quotes are required and the request has one.
    pub quote: Option<QuoteToken>,
}

impl PreorderRequest {
    /// Reads a body. If `quotes_required`, `orderId` is required; otherwise a quote is an invalid field. The quote is
    /// verified later.
    ///
    /// # Errors
    /// 422 with every invalid field.
    pub fn read(mut body: RequestBody, quotes_required: bool) -> Result<Self, Problem> {
        if let Json::Object(object) = &mut body.json {
            validation::normalise(object, CUSTOMER_EMAIL, &OPTIONAL_TEXTS);
        }
        let mut fields = Fields::of(&body)?;
        let money = fields.required("amount", |value| validation::money(value, Some(Currency::USD)));
        let mut metadata = fields
            .optional("metadata", validation::object)
            .cloned()
            .unwrap_or_default();
        validation::normalise(&mut metadata, CUSTOMER_EMAIL, &OPTIONAL_TEXTS_IN_METADATA);
        let mut provider_metadata = metadata.clone();
        let order_id = read_into_metadata(&mut fields, &mut provider_metadata, ORDER_ID, |value| {
            validation::trimmed_text(value, 128)
        });
        read_into_metadata(&mut fields, &mut provider_metadata, CUSTOMER_EMAIL, validation::email);
        let quote = QuoteToken::from_fields(&mut fields, quotes_required);
        let has_order_id = |object: &Object| object.get(ORDER_ID).is_some();
        if quotes_required && !has_order_id(&metadata) && !body.json.as_object().is_some_and(has_order_id) {
            fields.wrong(&[ORDER_ID], "is required");
        }
        metadata::check(&mut fields, &provider_metadata);
        let order_id = order_id.and_then(|text| OrderId::parse(&text));
        fields.finish(money.map(|money| Self {
            money,
            order_id,
            metadata,
            provider_metadata,
            quote,
        }))
    }

    /// The intent of the payment.
    pub fn intent(&self, id: PaymentId, now: Timestamp) -> Payment {
        Payment {
            order_id: self.order_id.clone(),
            metadata: self.stored_metadata(),
            ..Payment::new(id, Provider::ApoloPay, Environment::Production, self.money, now)
        }
    }

    /// The metadata to send for `payment`, which an earlier request may have stored.
    pub fn metadata_of(&self, payment: &Payment) -> Redacted<Object> {
        metadata::for_payment(
            payment,
            &self.provider_metadata,
            self.stored_metadata().as_ref(),
            &[ORDER_ID, CUSTOMER_EMAIL],
        )
    }

    fn stored_metadata(&self) -> Option<Redacted<String>> {
        metadata::without_email(&self.metadata)
    }

    /// The fingerprint of the request's canonical form.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.canonical_form())
    }

    /// The form that all equivalent requests share: every field but the quote, with the order id and the e-mail address
    /// in the metadata.
    fn canonical_form(&self) -> Json {
        let mut canonical = Object::default();
        canonical.set("amount", Json::Number(self.money.amount().to_string()));
        canonical.set("metadata", Json::Object(self.provider_metadata.clone()));
        Json::Object(canonical)
    }
}

/// Reads a field from the top level, from the metadata, or from both if they agree, and sets it in the provider's
/// metadata.
fn read_into_metadata<'a>(
    fields: &mut Fields<'a>,
    provider_metadata: &mut Object,
    name: &'static str,
    read: fn(&Json) -> Result<&str, validation::FieldProblem>,
) -> Option<String> {
    let top_level = fields.optional(name, read).map(str::to_owned);
    let in_metadata = match provider_metadata.get(name).map(read) {
        None => None,
        Some(Ok(text)) => Some(text.to_owned()),
        Some(Err(problem)) => {
            fields.wrong(&["metadata", name], problem);
            return None;
        }
    };
    if top_level.is_some() && in_metadata.is_some() && top_level != in_metadata {
        fields.wrong(&["metadata", name], format!("differs from /{name}"));
    }
    let value = top_level.or(in_metadata)?;
    provider_metadata.set(name, Json::String(value.clone()));
    Some(value)
}

#[cfg(test)]
mod tests;
