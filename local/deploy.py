"""Creates the table, the secrets, the event bus and its dead-letter queue of template.yaml on the local AWS.

What runs locally is what is deployed: the resources come out of template.yaml untouched, with the parameters and
conditions they use, and go through CloudFormation. Only the secrets' values are made up here, and look it; and the key
for quotes, which is the shop's own and in no template, so that quotes can be tried. A queue of every event is made
beside them.
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
# What local/src/sandbox/aws.rs reads.
EVENTS = "payment-events"
QUOTE_SECRET = (f"{STACK}/quote", {"key": "quote_local_key_that_is_no_secret"})


class TemplateLoader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as what they stand for: `!Ref x` is {"Ref": "x"}."""

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
# A version such as 2012-10-17 is a text.
TemplateLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def names_used(value):
    """Every name that a Ref, a Condition or a Fn::If in `value` points to."""
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
    """The template with nothing but the resources of KEPT and what they need."""
    resources = {name: body for name, body in template["Resources"].items() if body["Type"] in KEPT}
    conditions = {name: template["Conditions"][name] for name in names_used(resources) if name in template["Conditions"]}
    used = set(names_used([resources, conditions]))
    return {
        "Parameters": {name: body for name, body in template["Parameters"].items() if name in used},
        "Conditions": conditions,
        "Resources": resources,
    }


def apply_what_ministack_leaves_out(table, name):
    """MiniStack's CloudFormation ignores a table's time to live and point-in-time recovery; its DynamoDB knows both."""
    dynamodb = boto3.client("dynamodb")
    dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=table["TimeToLiveSpecification"])
    dynamodb.update_continuous_backups(
        TableName=name, PointInTimeRecoverySpecification=table["PointInTimeRecoverySpecification"]
    )


def put_first_value(secret, value):
    """MiniStack gives a secret without a value an empty version; on AWS there is none, and so no AWSPREVIOUS either."""
    secrets = boto3.client("secretsmanager")
    empty = secrets.get_secret_value(SecretId=secret)["VersionId"]
    secrets.put_secret_value(SecretId=secret, SecretString=value)
    secrets.update_secret_version_stage(SecretId=secret, VersionStage="AWSPREVIOUS", RemoveFromVersionId=empty)


def show_events(bus):
    """Sends every event of the bus to a queue, as a merchant's own system would have it (docs/events.md), for the
    checkout page to show."""
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
    apply_what_ministack_leaves_out(template["Resources"]["PaymentsTable"]["Properties"], names["PaymentsTable"])
    for secret, value in SECRETS.items():
        put_first_value(names[secret], json.dumps(value))
    name, value = QUOTE_SECRET
    boto3.client("secretsmanager").create_secret(Name=name, SecretString=json.dumps(value))
    show_events(names["PaymentEvents"])
    print(json.dumps(names))


if __name__ == "__main__":
    main()
