//! How far a provider's list of transactions was read in bulk.

use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::schema::{self, number};
use super::table::Store;
use crate::domain::list_reading::ReadMarks;
use crate::domain::provider::Provider;
use crate::domain::time::Timestamp;
use crate::platform::failpoint::ExternalCall;

/// The state of the bulk reader, as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListState {
    /// Up to where the list was read. `None` before the first reading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marks: Option<ReadMarks>,
    /// Whether the list can be filtered by what was paid. `None` before that was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paid_filter: Option<PaidFilter>,
    /// Increases with each change.
    #[serde(default)]
    version: u64,
}

/// What was found when the list was last filtered by status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaidFilter {
    /// The status by which the list shows everything that was paid, and nothing else. `None` if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// When that was found.
    pub verified_at: Timestamp,
}

impl Store {
    /// The state of the bulk reader (strongly consistent read).
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn list_state(&self, provider: Provider) -> Result<ListState, StoreError> {
        let item = self
            .get(ExternalCall::ReadListState, schema::list_key(provider))
            .await?;
        item.map_or_else(|| Ok(ListState::default()), schema::from_item)
    }

    /// Writes the state `after` in place of `before`. If another reader has written meanwhile, nothing is written, and
    /// its state is returned.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn save_list_state(
        &self,
        provider: Provider,
        before: &ListState,
        after: &ListState,
    ) -> Result<Option<ListState>, StoreError> {
        let mut item = schema::to_item(ListState {
            version: before.version.saturating_add(1),
            ..after.clone()
        })?;
        item.extend(schema::list_key(provider));
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#version) OR #version = :before")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":before", number(before.version))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let step = TransactWriteItem::builder().put(put.build()?).build();
        let refused = self.write_alone(ExternalCall::SaveListState, step).await?;
        refused.map(schema::from_item).transpose()
    }
}
