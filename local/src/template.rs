//! What template.yaml says, for those that do themselves what AWS does with it: the payments table, in DynamoDB's own
//! words; how its stream is fed to publish-events; when reconcile-payments runs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Error;
use super::build::workspace;

const FILE: &str = "template.yaml";

/// The properties that CloudFormation and DynamoDB's `CreateTable` have in common and that say how items are found.
const COMMON: [&str; 4] = [
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

/// A `CreateTable` request for the template's table under `name`: its keys and indexes.
///
/// # Errors
/// When the template cannot be read, or has not just one table.
pub fn create_table(name: &str) -> Result<Value, Error> {
    of_text(name, &text()?)
}

/// How Lambda feeds publish-events from the table's stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mapping {
    /// The most records in a batch.
    pub batch_size: usize,
    /// For how many seconds a record is tried.
    #[serde(rename = "MaximumRecordAgeInSeconds")]
    pub maximum_age: u64,
    /// How often a batch is tried again; without end where it does not say.
    #[serde(rename = "MaximumRetryAttempts")]
    pub maximum_retries: Option<u32>,
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
    /// The template's.
    ///
    /// # Errors
    /// When the template has none that this understands.
    pub fn of_template() -> Result<Self, Error> {
        properties("PublishEventsFunction", &["Events", "Stream", "Properties"])
    }

    /// The patterns of which a record must match one.
    pub(super) fn patterns(&self) -> Result<Vec<Value>, Error> {
        let patterns = self.filter_criteria.filters.iter();
        let patterns = patterns.map(|filter| serde_json::from_str(&filter.pattern));
        patterns.collect::<Result<_, _>>().map_err(|error| wrong(&error))
    }
}

/// Which pages may call API Gateway, and how.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct Cors {
    /// The methods that a page may use.
    pub allow_methods: Vec<String>,
    /// The headers that it may send.
    #[serde(deserialize_with = "otherwise")]
    pub allow_headers: Vec<String>,
    /// The headers that it may read, beside those that every page may.
    pub expose_headers: Vec<String>,
    /// For how many seconds a browser remembers that.
    pub max_age: u32,
}

impl Cors {
    /// The template's, where it asks for no tokens.
    ///
    /// # Errors
    /// When the template has none that this understands.
    pub fn of_template() -> Result<Self, Error> {
        properties("Api", &["CorsConfiguration"])
    }
}

/// The value of a `!If` whose condition does not hold.
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

/// When reconcile-payments runs, and what it is told.
#[derive(Clone, Debug)]
pub struct Rate {
    /// How long it is from one run to the next.
    pub period: Duration,
    /// The event.
    pub input: String,
}

impl Rate {
    /// The template's.
    ///
    /// # Errors
    /// When the template has none that this understands.
    pub fn of_template() -> Result<Self, Error> {
        let schedule = "ReconcileSchedule";
        let expression: String = properties(schedule, &["ScheduleExpression"])?;
        let words = expression.trim_start_matches("rate(").trim_end_matches(')');
        let period = match words.split_once(' ').map(|(count, unit)| (count.parse(), unit)) {
            Some((Ok(minutes), "minute" | "minutes")) => Duration::from_mins(minutes),
            _ => return Err(wrong(&format!("not a rate in minutes: {expression}"))),
        };
        Ok(Self {
            period,
            input: properties(schedule, &["Target", "Input"])?,
        })
    }
}

/// What stands in a resource's properties at a path.
fn properties<T: serde::de::DeserializeOwned>(resource: &str, path: &[&str]) -> Result<T, Error> {
    let template: yaml_serde::Value = yaml_serde::from_str(&text()?).map_err(|error| wrong(&error))?;
    let path = ["Resources", resource, "Properties"]
        .into_iter()
        .chain(path.iter().copied());
    let mut found = Some(&template);
    for name in path {
        found = found.and_then(|value| value.get(name));
    }
    let found = found.cloned().unwrap_or_default();
    yaml_serde::from_value(found).map_err(|error| wrong(&format!("{resource}: {error}")))
}

fn text() -> Result<String, Error> {
    std::fs::read_to_string(workspace().join(FILE)).map_err(|source| Error::Io {
        doing: format!("read {FILE}"),
        source,
    })
}

fn wrong(error: &dyn std::fmt::Display) -> Error {
    Error::Template(error.to_string())
}

/// The same of a template that is given.
///
/// # Errors
/// As [`create_table`].
pub fn of_text(name: &str, text: &str) -> Result<Value, Error> {
    let template: Template = yaml_serde::from_str(text).map_err(|error| Error::Table(error.to_string()))?;
    let mut tables = template
        .resources
        .into_values()
        .filter(|resource| resource.r#type == "AWS::DynamoDB::Table");
    let (Some(mut table), None) = (tables.next(), tables.next()) else {
        return Err(Error::Table("not one AWS::DynamoDB::Table".to_owned()));
    };
    let mut request = Map::from_iter([
        ("TableName".to_owned(), name.into()),
        ("BillingMode".to_owned(), "PAY_PER_REQUEST".into()),
    ]);
    for property in COMMON {
        if let Some(value) = table.properties.remove(property) {
            let value = serde_json::to_value(value).map_err(|error| Error::Table(error.to_string()))?;
            request.insert(property.to_owned(), value);
        }
    }
    Ok(request.into())
}
