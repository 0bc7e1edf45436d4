//! The template, compared with the local world.

use std::collections::{BTreeMap, BTreeSet};

use payment_functions::domain::provider::Provider;
use payment_functions::platform::config::Variables;
use payment_functions_local::{FUNCTIONS, workspace};

use super::*;

/// The template as written.
fn template() -> Value {
    let text = std::fs::read_to_string(workspace().join("template.yaml")).expect("template.yaml");
    let yaml: yaml_serde::Value = yaml_serde::from_str(&text).expect("YAML");
    untagged(yaml)
}

/// Converts YAML's short forms (`!Ref name`) to CloudFormation's long ones.
fn untagged(yaml: yaml_serde::Value) -> Value {
    use yaml_serde::Value as Yaml;
    match yaml {
        Yaml::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            let name = match tag.trim_start_matches('!') {
                name @ ("Ref" | "Condition") => name.to_owned(),
                name => format!("Fn::{name}"),
            };
            json!({ name: untagged(tagged.value) })
        }
        Yaml::Sequence(items) => items.into_iter().map(untagged).collect(),
        Yaml::Mapping(members) => members
            .into_iter()
            .map(|(name, value)| (name.as_str().expect("a name").to_owned(), untagged(value)))
            .collect(),
        scalar @ (Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) | Yaml::String(_)) => {
            serde_json::to_value(scalar).expect("JSON")
        }
    }
}

fn resources<'a>(template: &'a Value, kind: &str) -> BTreeMap<&'a str, &'a Value> {
    let all = template["Resources"].as_object().expect("resources");
    let of_kind = all.iter().filter(|(_, resource)| resource["Type"] == kind);
    of_kind
        .map(|(name, resource)| (name.as_str(), &resource["Properties"]))
        .collect()
}

#[test]
fn routes_match_cargo_lambda_watch() {
    let template = template();
    let deployed: BTreeSet<String> = resources(&template, "AWS::ApiGatewayV2::Route")
        .values()
        .map(|route| route["RouteKey"].as_str().unwrap().to_owned())
        .collect();
    let tested: BTreeSet<String> = FUNCTIONS
        .iter()
        .filter_map(|function| function.route)
        .map(str::to_owned)
        .collect();
    assert_eq!(deployed, tested);

    let manifest = std::fs::read_to_string(workspace().join("Cargo.toml")).expect("Cargo.toml");
    let router = manifest
        .split_once("[workspace.metadata.lambda.watch.router]")
        .expect("a router")
        .1;
    let watched: BTreeSet<String> = router
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = "))
        .map(|(path, target)| {
            let method = target
                .split("method = \"")
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            let path = path.trim_matches('"');
            method.map_or_else(|| path.to_owned(), |method| format!("{method} {path}"))
        })
        .collect();
    let url = Provider::ALL.map(|provider| format!("/webhooks/{provider}"));
    assert_eq!(watched, tested.into_iter().chain(url).collect());
}

#[test]
fn functions_have_the_variables_and_timeouts_of_the_tests() {
    let template = template();
    let globals = &template["Globals"]["Function"];
    let functions = resources(&template, "AWS::Serverless::Function");
    assert_eq!(functions.len(), FUNCTIONS.len());
    let names = |variables: &Value| -> BTreeSet<String> {
        variables
            .as_object()
            .map(|variables| variables.keys().cloned().collect())
            .unwrap_or_default()
    };
    for function in &FUNCTIONS {
        let binary = |resource: &&Value| resource["BuildProperties"]["Binary"] == function.name;
        let all = template["Resources"].as_object().unwrap();
        let (name, _) = all
            .iter()
            .find(|(_, resource)| binary(&&resource["Metadata"]))
            .expect(function.name);
        let deployed = functions[name.as_str()];
        let time = deployed.get("Timeout").unwrap_or(&globals["Timeout"]);
        assert_eq!(time.as_u64(), Some(function.time_limit.as_secs()), "{name}");
        let mut given = names(&deployed["Environment"]["Variables"]);
        given.extend(names(&globals["Environment"]["Variables"]));
        // The providers' addresses have correct defaults; and the variable that requires quotes.
        let mut tested: BTreeSet<String> = function.variables.iter().map(|name| (*name).to_owned()).collect();
        tested.retain(|name| !name.ends_with("PAY_BASE_URL"));
        let has_default = [
            "DELETE_UNPAID_AFTER_DAYS",
            "FINVYPAY_REQUESTS_PER_MINUTE",
            "METRICS_NAMESPACE",
            "ORDER_ONLY_WEBHOOKS",
            "QUOTE_SECRET_ID",
        ];
        given.retain(|name| !has_default.contains(&name.as_str()));
        assert_eq!(given, tested, "{name}");
    }
}

/// The stack refuses the numbers of days with which the function would not start.
#[test]
fn allowed_days_until_deletion_are_those_that_the_function_accepts() {
    let parameter = &template()["Parameters"]["DeleteUnpaidAfterDays"];
    assert_eq!(parameter["Default"], "400");
    assert_eq!(parameter["AllowedPattern"], "^(0|[3-9][0-9]|[1-9][0-9]{2,3})$");
    // The same as the pattern, without an engine for it.
    let is_allowed = |text: &str| text == "0" || (text.len() == 2 && text >= "30") || [3, 4].contains(&text.len());
    for days in 0..=20_000 {
        let text = days.to_string();
        let lookup = |name: &str| (name == "DELETE_UNPAID_AFTER_DAYS").then(|| text.clone());
        let is_accepted = Variables::from(&lookup).delete_unpaid_after().is_ok();
        assert_eq!(is_accepted, is_allowed(&text), "{days}");
    }
}

#[tokio::test]
async fn alarm_rolls_a_new_version_back() {
    let gradual = with(parameters(), json!({ "GradualDeployments": "true" }));
    let template = cloud()
        .await
        .expand(&gradual)
        .await
        .unwrap_or_else(|refusal| panic!("{refusal}"));
    let groups = resources(&template, "AWS::CodeDeploy::DeploymentGroup");
    let alarms = resources(&template, "AWS::CloudWatch::Alarm");
    assert_eq!(groups.len(), FUNCTIONS.len());
    for (name, group) in &groups {
        let config = group["DeploymentConfigName"]["Fn::Sub"][1]["ConfigName"].as_str();
        assert_eq!(config, Some("Canary10Percent5Minutes"), "{name}");
        assert_eq!(group["AutoRollbackConfiguration"]["Enabled"], true, "{name}");
        let events = group["AutoRollbackConfiguration"]["Events"].to_string();
        assert!(events.contains("DEPLOYMENT_STOP_ON_ALARM"), "{name}: {events}");
        let watched: Vec<&str> = group["AlarmConfiguration"]["Alarms"]
            .as_array()
            .unwrap()
            .iter()
            .map(|alarm| alarm["Name"]["Ref"].as_str().unwrap())
            .collect();
        let function = name.strip_suffix("FunctionDeploymentGroup").unwrap();
        let own = format!("{function}ErrorsAlarm");
        for alarm in ["ApiErrorsAlarm", "WebhookErrorsAlarm", own.as_str()] {
            assert!(
                watched.contains(&alarm) && alarms.contains_key(alarm),
                "{name}: {watched:?}"
            );
        }
    }
    // CodeDeploy moves the aliases, which everything refers to.
    let aliases = template["Resources"].as_object().unwrap().iter();
    let aliases: Vec<_> = aliases
        .filter(|(_, resource)| resource["Type"] == "AWS::Lambda::Alias")
        .collect();
    assert_eq!(aliases.len(), FUNCTIONS.len());
    for (name, alias) in aliases {
        assert!(
            alias["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"].is_object(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn table_and_secrets_survive_stack_deletion() {
    let template = template();
    for (name, resource) in template["Resources"].as_object().unwrap() {
        let policies = (
            resource["DeletionPolicy"].as_str(),
            resource["UpdateReplacePolicy"].as_str(),
        );
        let expected = match resource["Type"].as_str() {
            Some("AWS::DynamoDB::Table") => (Some("Retain"), Some("Retain")),
            Some("AWS::SecretsManager::Secret") => (Some("RetainExceptOnCreate"), Some("Retain")),
            _ => (None, None),
        };
        assert_eq!(policies, expected, "{name}");
        if resource["Type"] == "AWS::SecretsManager::Secret" {
            let holds_a_value =
                ["SecretString", "GenerateSecretString"].map(|member| resource["Properties"].get(member));
            assert_eq!(holds_a_value, [None, None], "{name}: a value in the template");
        }
    }
}
