//! The items of an order: what each says of its payment.

use aws_sdk_dynamodb::types::AttributeValue;
use payment_functions::domain::id::{OrderId, PaymentId};
use payment_functions::domain::idempotency::RequestNames;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::status::Status;
use payment_functions::domain::time::Timestamp;
use payment_functions::store::{CommitExtras, CommitResult, MAX_ORDER_ENTRIES, OrderEntry, Store};
use payment_functions_tests::world::MemoryTable;

use crate::units::size;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_123);

fn order() -> OrderId {
    OrderId::parse("ORD-1").unwrap()
}

fn payment(provider: Provider, environment: Environment) -> Payment {
    let money = Money::from_minor(2550, Currency::USD);
    Payment {
        order_id: Some(order()),
        ..Payment::new(PaymentId::random(), provider, environment, money, NOW)
    }
}

fn entry(payment: &Payment) -> OrderEntry {
    OrderEntry {
        payment_id: payment.id,
        money: payment.money,
        created_at: payment.created_at,
        environment: payment.environment,
        is_quoted: false,
        is_paid: false,
    }
}

async fn insert(store: &Store, payment: &Payment) {
    store
        .insert_payment(payment, RequestNames::default(), NOW)
        .await
        .unwrap();
}

async fn commit(store: &Store, before: &Payment, after: &Payment) {
    let committed = store.commit(before, after, &CommitExtras::default(), NOW).await;
    assert!(matches!(committed, Ok(CommitResult::Done)), "{committed:?}");
}

/// The entries of the order, by payment.
async fn entries(store: &Store, provider: Provider) -> Vec<OrderEntry> {
    let mut entries = store.order_entries(provider, &order()).await.unwrap();
    entries.sort_by_key(|entry| entry.payment_id.to_string());
    entries
}

fn sorted<const N: usize>(mut entries: [OrderEntry; N]) -> [OrderEntry; N] {
    entries.sort_by_key(|entry| entry.payment_id.to_string());
    entries
}

#[tokio::test]
async fn entry_has_what_its_payment_has_and_whether_it_was_marked_as_paid() {
    for provider in Provider::ALL {
        let table = MemoryTable::new().unwrap();
        let store = table.store();
        let plain = payment(provider, Environment::Sandbox);
        let quoted = Payment {
            quote_kept_until: Some(NOW),
            ..payment(provider, Environment::Production)
        };
        let without_order = Payment {
            order_id: None,
            ..payment(provider, Environment::Sandbox)
        };
        for payment in [&plain, &quoted, &without_order] {
            insert(&store, payment).await;
        }
        let quoted_entry = OrderEntry {
            is_quoted: true,
            ..entry(&quoted)
        };
        assert_eq!(entries(&store, provider).await, sorted([entry(&plain), quoted_entry]));

        // Marking again changes nothing, and one without an order has no mark.
        for payment in [&quoted, &quoted, &without_order] {
            store.mark_paid(payment).await.unwrap();
        }
        let paid = OrderEntry {
            is_paid: true,
            ..quoted_entry
        };
        assert_eq!(entries(&store, provider).await, sorted([entry(&plain), paid]));
        let [of_plain, of_quoted] = [&plain, &quoted].map(|payment| payment.id);
        let entries = store.order_entries(provider, &order()).await.unwrap();
        let known = store.payments_of(provider, &order(), &entries).await.unwrap();
        assert_eq!(known.len(), 2);
        assert!(known.iter().all(|payment| [of_plain, of_quoted].contains(&payment.id)));
    }
}

/// An earlier version wrote items that only name their payment, and none at all for ApoloPay.
#[tokio::test]
async fn item_that_only_names_its_payment_is_read_with_the_payment() {
    let table = MemoryTable::new().unwrap();
    let store = table.store();
    let provider = Provider::FinvyPay;
    let (open, paid, gone) = (
        payment(provider, Environment::Sandbox),
        payment(provider, Environment::Sandbox),
        payment(provider, Environment::Sandbox),
    );
    insert(&store, &open).await;
    insert(&store, &paid).await;
    let completed = Payment {
        status: Status::Completed,
        version: 2,
        ..paid.clone()
    };
    commit(&store, &paid, &completed).await;
    for payment in [&open, &paid, &gone] {
        let text = |text: String| AttributeValue::S(text);
        let put = table.client().put_item().table_name(store.table());
        let put = put.item("pk", text("ORDER#finvypay#ORD-1".to_owned()));
        let put = put.item("sk", text(format!("PAYMENT#{}", payment.id)));
        put.item("paymentId", text(payment.id.to_string()))
            .send()
            .await
            .unwrap();
    }
    let of_paid = OrderEntry {
        is_paid: true,
        ..entry(&paid)
    };
    assert_eq!(entries(&store, provider).await, sorted([entry(&open), of_paid]));

    let unknown = payment(Provider::ApoloPay, Environment::Production);
    store.mark_paid(&unknown).await.unwrap();
    let marked = OrderEntry {
        is_paid: true,
        ..entry(&unknown)
    };
    assert_eq!(entries(&store, Provider::ApoloPay).await, [marked]);
}

/// DynamoDB returns a megabyte at most.
#[tokio::test]
async fn as_many_of_the_largest_items_as_are_read_fit_into_one_response() {
    let table = MemoryTable::new().unwrap();
    let store = table.store();
    let largest = Payment {
        order_id: OrderId::parse(&"\u{1f4b3}".repeat(128)),
        money: Money::from_minor(99_999_999_999, Currency::USD),
        delete_at: Some(NOW),
        ..payment(Provider::FinvyPay, Environment::Production)
    };
    assert!(largest.order_id.is_some());
    store.mark_paid(&largest).await.unwrap();
    let items = table.items().unwrap();
    let [item] = items.as_slice() else { panic!("{items:?}") };
    let size = size(item);
    println!("{size} bytes");
    assert!(size < 800, "{size} bytes");
    assert!(size * usize::from(MAX_ORDER_ENTRIES) < 1024 * 1024);
}
