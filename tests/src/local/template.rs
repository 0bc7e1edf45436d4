//! What template.yaml says of the payments table, in DynamoDB's own words, for those that create it themselves.

use std::collections::BTreeMap;

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
pub(super) fn create_table(name: &str) -> Result<Value, Error> {
    let text = std::fs::read_to_string(workspace().join(FILE)).map_err(|source| Error::Io {
        doing: format!("read {FILE}"),
        source,
    })?;
    of_text(name, &text)
}

pub(super) fn of_text(name: &str, text: &str) -> Result<Value, Error> {
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
