//! The table itself: its connection, reads by key, and the texts of its errors.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::get_item::builders::GetItemFluentBuilder;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::types::AttributeValue;

use super::error::StoreError;
use super::schema::{self, Item};
use crate::domain::fact::Fact;
use crate::domain::id::PaymentId;
use crate::domain::payment::Payment;
use crate::platform::aws::{self, Aws};
use crate::platform::failpoint::{ExternalCall, wrap};

/// The payments table in its region.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) client: Client,
    pub(super) table: String,
    endpoint: Option<String>,
}

impl Store {
    /// The table `table`, accessed through `client`.
    pub fn new(client: Client, table: String) -> Self {
        Self {
            client,
            table,
            endpoint: None,
        }
    }

    /// The table `table` of `aws`.
    pub fn open(aws: &Aws, table: String) -> Self {
        Self::new(aws.dynamodb(), table).with_endpoint(aws.dynamodb_endpoint())
    }

    /// The same table with an endpoint that errors name. `None` for the endpoint of AWS itself.
    #[must_use]
    pub fn with_endpoint(self, endpoint: Option<String>) -> Self {
        Self { endpoint, ..self }
    }

    /// Warms the connection by reading a payment that does not exist. Errors are ignored: the first request will report
    /// them.
    pub async fn warm_up(&self) {
        let key = schema::state_key(PaymentId::random());
        let _ = wrap(ExternalCall::Connect, self.read(key).send()).await;
    }

    /// The table's name.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The current state of a payment (strongly consistent read). `None` if it does not exist.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn payment(&self, id: PaymentId) -> Result<Option<Payment>, StoreError> {
        let item = self.get(ExternalCall::ReadPayment, schema::state_key(id)).await?;
        item.map(schema::payment_of).transpose()
    }

    /// Whether a fact is in a payment's ledger (strongly consistent read).
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn has_fact(&self, id: PaymentId, fact: &Fact) -> Result<bool, StoreError> {
        let key = schema::fact_key(id, &fact.digest());
        Ok(self.get(ExternalCall::ReadPayment, key).await?.is_some())
    }

    /// At most `limit` items under a partition key, from the first one after the key `after` (strongly consistent
    /// read).
    pub(super) async fn query(
        &self,
        call: ExternalCall,
        pk: String,
        limit: u16,
        after: Option<Item>,
    ) -> Result<QueryOutput, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .limit(limit.into())
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", AttributeValue::S(pk))
            .set_exclusive_start_key(after);
        wrap(call, query.send())
            .await
            .map_err(|error| self.failed("Query", &error))
    }

    pub(super) async fn get(&self, call: ExternalCall, key: Item) -> Result<Option<Item>, StoreError> {
        Ok(wrap(call, self.read(key).send())
            .await
            .map_err(|error| self.failed("GetItem", &error))?
            .item)
    }

    fn read(&self, key: Item) -> GetItemFluentBuilder {
        let get = self.client.get_item().table_name(&self.table);
        get.consistent_read(true).set_key(Some(key))
    }

    /// Converts the SDK's error of an operation.
    pub(super) fn failed<E: ProvideErrorMetadata, R>(
        &self,
        operation: &'static str,
        error: &SdkError<E, R>,
    ) -> StoreError {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the enum is non-exhaustive, and the other variants are alike"
        )]
        let reason = match error {
            SdkError::ServiceError(service) => self.refusal(service.err().code().unwrap_or("unknown")),
            SdkError::TimeoutError(_) => format!("timed out {}", self.location()),
            SdkError::DispatchFailure(_) => format!("no connection {}", self.location()),
            SdkError::ResponseError(_) => "unreadable response".to_owned(),
            _ => "request not sent".to_owned(),
        };
        StoreError::Failed { operation, reason }
    }

    /// The reason for a refusal with this error code.
    fn refusal(&self, code: &str) -> String {
        let table = &self.table;
        match (code, aws::hint(code)) {
            ("ResourceNotFoundException", _) => format!(
                "there is no table {table} {}: create it, or set PAYMENTS_TABLE and AWS_REGION to where it is",
                self.location(),
            ),
            (_, Some(hint)) => format!("{code} for the table {table} {}: {hint}", self.location()),
            (_, None) => code.to_owned(),
        }
    }

    /// The region and endpoint, for error texts.
    fn location(&self) -> String {
        let region = self.client.config().region().map_or("no region", AsRef::as_ref);
        match &self.endpoint {
            Some(endpoint) => format!("in {region} at {endpoint}"),
            None => format!("in {region}"),
        }
    }
}
