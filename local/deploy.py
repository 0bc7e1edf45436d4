"""Creates the table, the secrets, the event bus and the queues of template.yaml on the local AWS.

The resources are taken unchanged from template.yaml, with the parameters and conditions that they use, and created with
CloudFormation, so that the local world has what is deployed. Adds fake values for the secrets, a secret with the key for
quotes (which is the shop's own, and not in the template), and a queue that receives every event.
Prints the physical names as JSON. Endpoint, region and keys come from the usual AWS variables.
"""

import json
import os
import pathlib

import boto3
import yaml

TEMPLATE = pathlib.Path(__file__).parents[1] / "template.yaml"
STACK = "payment-functions"
KEPT = ("AWS::DynamoDB::Table", "AWS::Events::EventBus", "AWS::SecretsManager::Secret", "AWS::SQS::Queue")
SECRETS = {
    "ApoloPaySecret": {"secretKey": "sk_local_apolopay", "webhookSecret": "whsec_test_secret"},
    "FinvyPaySecret": {"apiKey": "fp_local_finvypay", "webhookSecret": "whsec_test_secret"},
}
# local/src/sandbox/aws.rs reads this queue.
EVENTS = "payment-events"
QUOTE_SECRET = (f"{STACK}/quote", {"key": "quote_local_key_that_is_no_secret"})


class TemplateLoader(yaml.SafeLoader):
    """Expands CloudFormation's short forms: `!Ref x` becomes {"Ref": "x"}."""

    def short_form(self, name, node):
        if isinstance(node, yaml.ScalarNode):
            value = self.construct_scalar(node)
            value = value.split(".", 1) if name == "GetAtt" else value
        elif isinstance(node, yaml.SequenceNode):
            value = self.construct_sequence(node, deep=True)
        else:
            value = self.construct_mapping(node, deep=True)
        return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


TemplateLoader.add_multi_constructor("!", TemplateLoader.short_form)
# A version such as 2012-10-17 is a string, not a date.
TemplateLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def names_used(value):
    """Yields every name that a Ref, a Condition or an Fn::If in `value` refers to."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("Ref", "Condition") and isinstance(inner, str):
                yield inner
            if key == "Fn::If":
                yield inner[0]
            yield from names_used(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names_used(inner)


def without_functions(template):
    """The template with only the resources of the types in KEPT, and the parameters and conditions that they use."""
    resources = {name: body for name, body in template["Resources"].items() if body["Type"] in KEPT}
    conditions = {name: template["Conditions"][name] for name in names_used(resources) if name in template["Conditions"]}
    used = set(names_used([resources, conditions]))
    return {
        "Parameters": {name: body for name, body in template["Parameters"].items() if name in used},
        "Conditions": conditions,
        "Resources": resources,
    }


def apply_ignored_properties(table, name):
    """MiniStack's CloudFormation ignores a table's time to live and point-in-time recovery. Its DynamoDB supports both."""
    dynamodb = boto3.client("dynamodb")
    dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=table["TimeToLiveSpecification"])
    dynamodb.update_continuous_backups(
        TableName=name, PointInTimeRecoverySpecification=table["PointInTimeRecoverySpecification"]
    )


def put_first_value(secret, value):
    """Sets a secret's value. MiniStack creates an empty first version, which AWS does not, so AWSPREVIOUS is removed."""
    secrets = boto3.client("secretsmanager")
    empty = secrets.get_secret_value(SecretId=secret)["VersionId"]
    secrets.put_secret_value(SecretId=secret, SecretString=value)
    secrets.update_secret_version_stage(SecretId=secret, VersionStage="AWSPREVIOUS", RemoveFromVersionId=empty)


def collect_events(bus):
    """Sends every event of the bus to a queue, like a merchant's own system (docs/events.md), for the checkout page."""
    sqs, events = boto3.client("sqs"), boto3.client("events")
    queue = sqs.create_queue(QueueName=EVENTS)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(EventBusName=bus, Name=EVENTS, EventPattern=json.dumps({"source": ["payment-functions"]}))
    events.put_targets(EventBusName=bus, Rule=EVENTS, Targets=[{"Id": EVENTS, "Arn": arn}])


def main():
    template = without_functions(yaml.load(TEMPLATE.read_text(), TemplateLoader))
    table = os.environ.get("PAYMENTS_TABLE", "payments")
    cloudformation = boto3.client("cloudformation")
    cloudformation.create_stack(
        StackName=STACK,
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": "TableName", "ParameterValue": table}],
    )
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=STACK, WaiterConfig={"Delay": 0.1, "MaxAttempts": 100}
    )
    resources = cloudformation.describe_stack_resources(StackName=STACK)["StackResources"]
    names = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}
    apply_ignored_properties(template["Resources"]["PaymentsTable"]["Properties"], names["PaymentsTable"])
    for secret, value in SECRETS.items():
        put_first_value(names[secret], json.dumps(value))
    name, value = QUOTE_SECRET
    boto3.client("secretsmanager").create_secret(Name=name, SecretString=json.dumps(value))
    collect_events(names["PaymentEvents"])
    print(json.dumps(names))


if __name__ == "__main__":
    main()
