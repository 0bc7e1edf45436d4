//! The body of `POST /apm-payments`: the provider's own, without `webhookUrl`.

use payment_functions::clock::Timestamp;
use payment_functions::config::ReturnOrigins;
use payment_functions::fields::{self, Fields, Wrong};
use payment_functions::id::{OrderId, PaymentId, Provider};
use payment_functions::idempotency::Fingerprint;
use payment_functions::json::{Json, Object};
use payment_functions::metadata;
use payment_functions::money::{Currency, Money, UnknownCurrency};
use payment_functions::payment::Payment;
use payment_functions::personal::Personal;
use payment_functions::problem::Problem;
use payment_functions::providers::finvypay::client::Details;
use payment_functions::quote::{FIELD as QUOTE, Token};

/// A valid request for an APM payment.
#[derive(Debug)]
pub struct ApmRequest {
    money: Money,
    order_id: OrderId,
    payment_method: String,
    /// What is passed on.
    pub details: Details,
    /// The metadata as the caller gave it.
    pub own: Object,
    /// What says that the shop decided the price, where that is asked for.
    pub quote: Option<Token>,
    fingerprint: Fingerprint,
}

impl ApmRequest {
    /// Reads a body. Buyers may be sent back to `origins` only. Where it is not `quoted`, there is no field for a quote;
    /// where it is, whether one came, and a good one, is not for the body to say.
    ///
    /// # Errors
    /// 422 with every wrong field.
    pub fn read(body: &Json, origins: &ReturnOrigins, quoted: bool) -> Result<Self, Problem> {
        let name = |value| personal(fields::text(value, 100));
        let url = |value| {
            let text = fields::text(value, 2048)?;
            origins.check(text).map(|()| text.to_owned()).map_err(Wrong::from)
        };
        let mut fields = Fields::of(body)?;
        let order_id = fields.required("orderId", |value| order_id(fields::text(value, 128)?));
        let currency = fields.required("currency", currency);
        let money = fields.required("amount", |value| fields::money(value, currency));
        let payment_method = fields.required("paymentMethod", |value| fields::text(value, 64).map(str::to_owned));
        let first_name = fields.required("firstName", name);
        let last_name = fields.required("lastName", name);
        let email = fields.required("email", |value| personal(fields::email(value)));
        let return_url = fields.required("returnUrl", url);
        let cancel_url = fields.optional("cancelUrl", url);
        let description = fields.optional("description", |value| fields::text(value, 1000).map(str::to_owned));
        let phone_number = fields.optional("phoneNumber", |value| personal(fields::text(value, 32)));
        let merchant_profile_id = fields.optional("merchantProfileId", whole_number);
        let own = fields.optional("metadata", fields::object).cloned().unwrap_or_default();
        let quote = quoted.then(|| fields.optional(QUOTE, Token::read)).flatten();
        fields.forbidden("webhookUrl", "is set by the server");
        metadata::check(&mut fields, &own);
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
                own,
                quote,
                fingerprint: Fingerprint::of(&meaning(body)),
            })
        };
        fields.finish(read())
    }

    /// The payment to be created.
    pub fn intent(&self, id: PaymentId, now: Timestamp) -> Payment {
        Payment {
            order_id: Some(self.order_id.clone()),
            payment_method: Some(self.payment_method.clone()),
            metadata: metadata::to_store(&self.own),
            ..Payment::intend(id, Provider::FinvyPay, self.money, now)
        }
    }

    /// Equal for requests that mean the same.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint.clone()
    }
}

/// No metadata and empty metadata mean the same, and a quote is no part of what is asked for.
fn meaning(body: &Json) -> Json {
    let mut meaning = body.as_object().cloned().unwrap_or_default();
    meaning.remove(QUOTE);
    if meaning
        .get("metadata")
        .and_then(Json::as_object)
        .is_some_and(Object::is_empty)
    {
        meaning.remove("metadata");
    }
    Json::Object(meaning)
}

fn personal(text: Result<&str, Wrong>) -> Result<Personal<String>, Wrong> {
    text.map(|text| Personal::new(text.to_owned()))
}

fn order_id(text: &str) -> Result<OrderId, Wrong> {
    OrderId::parse(text).ok_or_else(|| "is not an order id".into())
}

fn currency(value: &Json) -> Result<Currency, Wrong> {
    let code = value.as_str().ok_or("must be a string")?;
    code.parse().map_err(|error: UnknownCurrency| error.to_string().into())
}

fn whole_number(value: &Json) -> Result<u64, Wrong> {
    let text = fields::number(value)?.to_string();
    text.parse().map_err(|_| "must be a whole number, 0 or more".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use payment_functions::config::Variables;

    const DOCUMENTED: &str = r#"{"orderId":"ORD-APM-78901","amount":99.99,"currency":"USD","paymentMethod":"apple_pay",
        "firstName":"Jane","lastName":"Smith","email":"customer@example.com","returnUrl":"https://shop.example/thanks"}"#;

    fn read(text: &str) -> Result<ApmRequest, Problem> {
        read_as(text, false)
    }

    fn read_as(text: &str, quoted: bool) -> Result<ApmRequest, Problem> {
        let lookup = |_: &str| Some("https://shop.example".to_owned());
        let origins = Variables::from(&lookup).allowed_return_origins().unwrap();
        ApmRequest::read(&Json::parse(text.as_bytes()).unwrap(), &origins, quoted)
    }

    fn with(member: &str) -> String {
        DOCUMENTED.replacen('{', &format!("{{{member},"), 1)
    }

    fn replaced(name: &str, value: &str) -> String {
        let mut body: serde_json::Value = serde_json::from_str(DOCUMENTED).unwrap();
        body[name] = serde_json::from_str(value).unwrap();
        body.to_string()
    }

    fn pointers(text: &str) -> Vec<String> {
        let problem = read(text).unwrap_err();
        problem.errors().iter().map(|error| error.pointer.clone()).collect()
    }

    #[test]
    fn the_documented_request() {
        let request = read(DOCUMENTED).unwrap();
        let payment = request.intent(PaymentId::random(), Timestamp::from_millis(0));
        assert_eq!((payment.money.minor(), payment.metadata), (9999, None));
        assert!(!format!("{request:?}").contains("Jane") && !format!("{request:?}").contains("customer@"));
    }

    #[test]
    fn every_missing_field_at_once() {
        assert_eq!(
            pointers("{}"),
            [
                "/orderId",
                "/currency",
                "/amount",
                "/paymentMethod",
                "/firstName",
                "/lastName",
                "/email",
                "/returnUrl"
            ],
        );
    }

    #[test]
    fn wrong_fields() {
        for (text, pointer) in [
            (with(r#""webhookUrl":"https://shop.example/hook""#), "/webhookUrl"),
            (with(r#""environment":"production""#), "/environment"),
            (with(r#""cancelUrl":"https://evil.example/""#), "/cancelUrl"),
            (with(r#""cancelUrl":null"#), "/cancelUrl"),
            (with(r#""merchantProfileId":"7""#), "/merchantProfileId"),
            (with(r#""merchantProfileId":7.5"#), "/merchantProfileId"),
            (with(r#""merchantProfileId":-7"#), "/merchantProfileId"),
            (
                with(r#""metadata":{"paymentFunctionsId":"x"}"#),
                "/metadata/paymentFunctionsId",
            ),
            (with(r#""phoneNumber":5551234"#), "/phoneNumber"),
            (replaced("amount", "\"99.99\""), "/amount"),
            (replaced("amount", "99.999"), "/amount"),
            (replaced("currency", "\"usd\""), "/currency"),
            (replaced("currency", "\"XXX\""), "/currency"),
            (replaced("firstName", "\"\""), "/firstName"),
            (replaced("lastName", &format!("\"{}\"", "x".repeat(101))), "/lastName"),
            (replaced("email", "\"nobody\""), "/email"),
            (replaced("orderId", "\"a\\nb\""), "/orderId"),
            (replaced("returnUrl", "\"http://shop.example/\""), "/returnUrl"),
        ] {
            assert_eq!(pointers(&text), [pointer], "{text}");
        }
        assert!(
            read(&with(
                r#""merchantProfileId":7,"description":"Shoes","phoneNumber":"+1 555 1234","metadata":{"a":null}"#
            ))
            .is_ok()
        );
    }

    #[test]
    fn a_quote_is_a_field_where_quotes_are_asked_for_and_no_part_of_the_meaning() {
        assert_eq!(pointers(&with(r#""quote":"x""#)), ["/quote"]);
        for wrong in ["null", "7", "{}", "[\"x\"]"] {
            let problem = read_as(&with(&format!(r#""quote":{wrong}"#)), true).unwrap_err();
            assert_eq!(problem.errors()[0].pointer, "/quote", "{wrong}");
        }
        let without = read_as(DOCUMENTED, true).unwrap();
        assert!(
            without.quote.is_none(),
            "whether one is needed is not for the body to say"
        );
        let quoted = read_as(&with(r#""quote":"eyJ""#), true).unwrap();
        assert!(quoted.quote.is_some() && !format!("{quoted:?}").contains("eyJ"));
        assert_eq!(quoted.fingerprint(), without.fingerprint());
        assert_eq!(quoted.fingerprint(), read(DOCUMENTED).unwrap().fingerprint());
    }

    #[test]
    fn an_amount_has_no_more_decimals_than_its_currency() {
        let yen = replaced("currency", "\"JPY\"");
        assert_eq!(pointers(&yen), ["/amount"]);
        assert_eq!(read(&yen.replace("99.99", "99.0")).unwrap().money.minor(), 99);
        assert_eq!(read(&replaced("currency", "\"BHD\"")).unwrap().money.minor(), 99_990);
    }

    #[test]
    fn equal_meaning_equal_fingerprint() {
        let print = |text: &str| read(text).unwrap().fingerprint();
        assert_eq!(
            print(DOCUMENTED),
            print(&DOCUMENTED.replace("99.99", "9999e-2").replace(' ', ""))
        );
        assert_eq!(print(DOCUMENTED), print(&with(r#""metadata":{}"#)));
        assert_ne!(print(DOCUMENTED), print(&with(r#""metadata":{"a":1}"#)));
        assert_ne!(print(DOCUMENTED), print(&DOCUMENTED.replace("Jane", "June")));
    }
}
