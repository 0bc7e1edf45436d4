//! Reads template.yaml for the local counterparts of AWS's services: the payments table as a DynamoDB request, the
//! event source mapping of publish-events, the CORS configuration, and the schedule of reconcile-payments.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Error;
use super::build::workspace;

const FILE: &str = "template.yaml";

/// The properties about keys and indexes, which are the same in CloudFormation and in DynamoDB's `CreateTable`.
const KEY_PROPERTIES: [&str; 4] = [
    "AttributeDefinitions",
    "KeySchema",
    "GlobalSecondaryIndexes",
    "LocalSecondaryIndexes",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Template {
    resources: BTreeMap<String, Resource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resource {
    r#type: String,
    #[serde(default)]
    properties: BTreeMap<String, yaml_serde::Value>,
}

/// A `CreateTable` request with the keys and indexes of the template's table, for a table called `name`.
///
/// # Errors
/// If the template cannot be read, or does not have exactly one table.
pub fn create_table(name: &str) -> Result<Value, Error> {
    create_table_from(name, &text()?)
}

/// An event source mapping from the table's stream to a function.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mapping {
    /// The function.
    #[serde(skip)]
    pub function: &'static str,
    /// The most records in a batch.
    pub batch_size: usize,
    /// For how many seconds a record is retried; `None` means as long as the stream keeps it.
    #[serde(rename = "MaximumRecordAgeInSeconds")]
    pub maximum_age: Option<u64>,
    /// How often a batch is retried; `None` means without limit.
    #[serde(rename = "MaximumRetryAttempts")]
    pub maximum_retries: Option<u32>,
    /// Whether a message about records that are given up goes to the dead-letter queue for events.
    #[serde(skip)]
    pub reports_failures: bool,
    filter_criteria: FilterCriteria,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FilterCriteria {
    filters: Vec<Filter>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    pattern: String,
}

impl Mapping {
    /// Reads the one of publish-events from the template: every change of a payment.
    ///
    /// # Errors
    /// If it is missing or malformed.
    pub fn of_changes() -> Result<Self, Error> {
        let mapping = properties("PublishEventsFunction", &["Events", "Stream", "Properties"])?;
        Ok(Self {
            function: "publish-events",
            reports_failures: true,
            ..mapping
        })
    }

    /// Reads the one of reconcile-payments from the template: new unmatched notifications. The local world has no queue
    /// for its failures; the next run does what failed.
    ///
    /// # Errors
    /// If it is missing or malformed.
    pub fn of_unmatched() -> Result<Self, Error> {
        let mapping = properties("ReconcilePaymentsFunction", &["Events", "Unmatched", "Properties"])?;
        Ok(Self {
            function: "reconcile-payments",
            ..mapping
        })
    }

    /// The filter patterns. A record must match one of them.
    pub(super) fn patterns(&self) -> Result<Vec<Value>, Error> {
        let patterns = self.filter_criteria.filters.iter();
        let patterns = patterns.map(|filter| serde_json::from_str(&filter.pattern));
        patterns
            .collect::<Result<_, _>>()
            .map_err(|error| template_error(&error))
    }
}

/// The CORS configuration of API Gateway.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct Cors {
    /// The allowed methods.
    pub allow_methods: Vec<String>,
    /// The allowed request headers.
    #[serde(deserialize_with = "otherwise")]
    pub allow_headers: Vec<String>,
    /// The exposed response headers.
    pub expose_headers: Vec<String>,
    /// For how many seconds a browser may cache a preflight.
    pub max_age: u32,
}

impl Cors {
    /// Reads it from the template, for a stack without tokens.
    ///
    /// # Errors
    /// If it is missing or malformed.
    pub fn of_template() -> Result<Self, Error> {
        properties("Api", &["CorsConfiguration"])
    }
}

/// Deserialises the value of an `!If` whose condition is false.
fn otherwise<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Vec<String>, D::Error> {
    let value = yaml_serde::Value::deserialize(value)?;
    let value = if let yaml_serde::Value::Tagged(tagged) = value {
        tagged.value
    } else {
        value
    };
    let parts: (String, Vec<String>, Vec<String>) = yaml_serde::from_value(value).map_err(serde::de::Error::custom)?;
    Ok(parts.2)
}

/// The schedule of reconcile-payments.
#[derive(Clone, Debug)]
pub struct Rate {
    /// The time between two runs.
    pub period: Duration,
    /// The event of each run.
    pub input: String,
}

impl Rate {
    /// Reads it from the template.
    ///
    /// # Errors
    /// If it is missing or malformed.
    pub fn of_template() -> Result<Self, Error> {
        let schedule = "ReconcileSchedule";
        let expression: String = properties(schedule, &["ScheduleExpression"])?;
        let rate = expression.trim_start_matches("rate(").trim_end_matches(')');
        let period = match rate.split_once(' ').map(|(count, unit)| (count.parse(), unit)) {
            Some((Ok(minutes), "minute" | "minutes")) => Duration::from_mins(minutes),
            _ => return Err(template_error(&format!("not a rate in minutes: {expression}"))),
        };
        Ok(Self {
            period,
            input: properties(schedule, &["Target", "Input"])?,
        })
    }
}

/// Reads a resource's property at a path.
fn properties<T: serde::de::DeserializeOwned>(resource: &str, path: &[&str]) -> Result<T, Error> {
    let template: yaml_serde::Value = yaml_serde::from_str(&text()?).map_err(|error| template_error(&error))?;
    let path = ["Resources", resource, "Properties"]
        .into_iter()
        .chain(path.iter().copied());
    let mut found = Some(&template);
    for name in path {
        found = found.and_then(|value| value.get(name));
    }
    let found = found.cloned().unwrap_or_default();
    yaml_serde::from_value(found).map_err(|error| template_error(&format!("{resource}: {error}")))
}

fn text() -> Result<String, Error> {
    std::fs::read_to_string(workspace().join(FILE)).map_err(|source| Error::Io {
        doing: format!("read {FILE}"),
        source,
    })
}

fn template_error(error: &dyn std::fmt::Display) -> Error {
    Error::Template(error.to_string())
}

/// As [`create_table`], from the text of a template.
///
/// # Errors
/// As [`create_table`].
pub fn create_table_from(name: &str, text: &str) -> Result<Value, Error> {
    let template: Template = yaml_serde::from_str(text).map_err(|error| Error::Table(error.to_string()))?;
    let mut tables = template
        .resources
        .into_values()
        .filter(|resource| resource.r#type == "AWS::DynamoDB::Table");
    let (Some(mut table), None) = (tables.next(), tables.next()) else {
        return Err(Error::Table("not exactly one AWS::DynamoDB::Table".to_owned()));
    };
    let mut request = Map::from_iter([
        ("TableName".to_owned(), name.into()),
        ("BillingMode".to_owned(), "PAY_PER_REQUEST".into()),
    ]);
    for property in KEY_PROPERTIES {
        if let Some(value) = table.properties.remove(property) {
            let value = serde_json::to_value(value).map_err(|error| Error::Table(error.to_string()))?;
            request.insert(property.to_owned(), value);
        }
    }
    Ok(request.into())
}
