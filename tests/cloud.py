"""Deploys template.yaml onto the local AWS as `sam deploy` does onto AWS, and makes further calls to it.

Reads one JSON object a line: {"deploy": {"stack", "parameters", "binaries"}}, answered with the stack's resources,
outputs and template; {"expand": {"parameters", "binaries"}}, answered with the template; or {"service", "operation",
"arguments"}, a call of boto3's with bytes as text. Answers each with a line: {"answer"} or {"error", "message"}.
Endpoint, region and keys come from the usual AWS variables.
"""

import io
import json
import os
import pathlib
import sys
import zipfile

import boto3
import botocore.exceptions
from cfnlint.decode import cfn_yaml
from samtranslator.translator.transform import transform

TEMPLATE = pathlib.Path(__file__).parents[1] / "template.yaml"
BUCKET = "packages"

clients = {}


def client(service):
    if service not in clients:
        clients[service] = boto3.client(service)
    return clients[service]


def package(program):
    """A deployment package, as cargo-lambda makes it: the program as `bootstrap`."""
    bootstrap = zipfile.ZipInfo("bootstrap")
    bootstrap.external_attr = 0o755 << 16
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr(bootstrap, pathlib.Path(program).read_bytes())
    return package.getvalue()


class NoManagedPolicies:
    """The template names no managed policy for SAM to look up."""

    def load(self):
        return {}


def upload(key, content):
    client("s3").put_object(Bucket=BUCKET, Key=key, Body=content)
    return key


def expand(parameters, binaries):
    """The template as CloudFormation has it after the SAM transform, with the packages uploaded."""
    template = json.loads(json.dumps(cfn_yaml.load(str(TEMPLATE))))
    client("s3").create_bucket(Bucket=BUCKET)
    for function in template["Resources"].values():
        if function["Type"] == "AWS::Serverless::Function":
            name = function["Metadata"]["BuildProperties"]["Binary"]
            function["Properties"]["CodeUri"] = f"s3://{BUCKET}/{upload(name, package(binaries[name]))}"
    return transform(template, parameters, NoManagedPolicies())


def mend_cors(api):
    """MiniStack's CloudFormation keeps an API's CORS configuration under names that its API Gateway does not read."""
    gateway = client("apigatewayv2")
    kept = {}
    hook = ("after-call.apigatewayv2.GetApi", lambda http_response, **_: kept.update(json.loads(http_response.content)))
    gateway.meta.events.register(*hook)
    gateway.get_api(ApiId=api)
    gateway.meta.events.unregister(*hook)
    gateway.update_api(ApiId=api, CorsConfiguration=kept["corsConfiguration"])


def deploy(stack, parameters, binaries):
    template = expand(parameters, binaries)
    key = upload(f"{stack}.json", json.dumps(template))
    cloudformation = client("cloudformation")
    cloudformation.create_stack(
        StackName=stack,
        TemplateURL=f"{os.environ['AWS_ENDPOINT_URL']}/{BUCKET}/{key}",
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=stack, WaiterConfig={"Delay": 0.1, "MaxAttempts": 300}
    )
    resources = cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
    for resource in resources:
        if resource["ResourceType"] == "AWS::ApiGatewayV2::Api":
            mend_cors(resource["PhysicalResourceId"])
    outputs = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["Outputs"]
    return {
        "resources": {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources},
        "outputs": {output["OutputKey"]: output["OutputValue"] for output in outputs},
        "template": template,
    }


def as_text(value):
    """What boto3 gives and JSON does not know."""
    if hasattr(value, "read"):
        value = value.read()
    return value.decode() if isinstance(value, bytes) else str(value)


def answer(request):
    if "deploy" in request:
        return deploy(**request["deploy"])
    if "expand" in request:
        return expand(**request["expand"])
    return getattr(client(request["service"]), request["operation"])(**request["arguments"])


def main():
    for line in sys.stdin:
        try:
            said = {"answer": answer(json.loads(line))}
        except botocore.exceptions.ClientError as error:
            said = {"error": error.response["Error"]["Code"], "message": str(error)}
        except Exception as error:
            said = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(said, default=as_text), flush=True)


if __name__ == "__main__":
    main()
