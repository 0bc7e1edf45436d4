"""Deploys template.yaml to the local AWS as `sam deploy` does to AWS, and makes further calls to it.

Reads one JSON request per line from stdin:
- {"deploy": {"stack", "parameters", "binaries"}} returns the stack's resources, outputs and template;
- {"expand": {"parameters", "binaries"}} returns the template;
- {"service", "operation", "arguments"} makes a boto3 call, and returns its result with bytes as text.

Writes one JSON line per request: {"response"} or {"error", "message"}. Endpoint, region and keys come from the usual
AWS variables.
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
    """A deployment package like cargo-lambda's: a zip archive of the program as `bootstrap`."""
    bootstrap = zipfile.ZipInfo("bootstrap")
    bootstrap.external_attr = 0o755 << 16
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr(bootstrap, pathlib.Path(program).read_bytes())
    return package.getvalue()


class NoManagedPolicies:
    """For SAM: the template refers to no managed policy by name."""

    def load(self):
        return {}


def upload(key, content):
    client("s3").put_object(Bucket=BUCKET, Key=key, Body=content)
    return key


def expand(parameters, binaries):
    """Uploads the packages, and returns the template after the SAM transform."""
    template = json.loads(json.dumps(cfn_yaml.load(str(TEMPLATE))))
    client("s3").create_bucket(Bucket=BUCKET)
    for function in template["Resources"].values():
        if function["Type"] == "AWS::Serverless::Function":
            name = function["Metadata"]["BuildProperties"]["Binary"]
            function["Properties"]["CodeUri"] = f"s3://{BUCKET}/{upload(name, package(binaries[name]))}"
    return transform(template, parameters, NoManagedPolicies())


def fix_cors(api):
    """Works around MiniStack, whose CloudFormation stores CORS settings under names that its API Gateway ignores."""
    gateway = client("apigatewayv2")
    stored = {}
    hook = ("after-call.apigatewayv2.GetApi", lambda http_response, **_: stored.update(json.loads(http_response.content)))
    gateway.meta.events.register(*hook)
    gateway.get_api(ApiId=api)
    gateway.meta.events.unregister(*hook)
    gateway.update_api(ApiId=api, CorsConfiguration=stored["corsConfiguration"])


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
            fix_cors(resource["PhysicalResourceId"])
    outputs = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["Outputs"]
    return {
        "resources": {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources},
        "outputs": {output["OutputKey"]: output["OutputValue"] for output in outputs},
        "template": template,
    }


def as_text(value):
    """Converts boto3 values that JSON cannot represent."""
    if hasattr(value, "read"):
        value = value.read()
    return value.decode() if isinstance(value, bytes) else str(value)


def handle(request):
    if "deploy" in request:
        return deploy(**request["deploy"])
    if "expand" in request:
        return expand(**request["expand"])
    return getattr(client(request["service"]), request["operation"])(**request["arguments"])


def main():
    for line in sys.stdin:
        try:
            reply = {"response": handle(json.loads(line))}
        except botocore.exceptions.ClientError as error:
            reply = {"error": error.response["Error"]["Code"], "message": str(error)}
        except Exception as error:
            reply = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(reply, default=as_text), flush=True)


if __name__ == "__main__":
    main()
