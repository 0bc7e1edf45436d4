#!/usr/bin/env python3
"""A function that misbehaves as the variable BEHAVIOUR says, for the tests of Lambda."""

import http.client
import json
import os
import time

PREFIX = "/2018-06-01/runtime"
runtime = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])


def call(method, path, body=None):
    runtime.request(method, PREFIX + path, body)
    response = runtime.getresponse()
    return dict(response.getheaders()), response.read()


behaviour = os.environ["BEHAVIOUR"]
if behaviour == "fails to start":
    call("POST", "/init/error", json.dumps({"errorType": "Start", "errorMessage": "no start"}))
    raise SystemExit(1)
print("started", flush=True)
while True:
    headers, event = call("GET", "/invocation/next")
    invocation = "/invocation/" + headers["lambda-runtime-aws-request-id"]
    if behaviour == "fails":
        call("POST", invocation + "/error", json.dumps({"errorType": "Fault", "errorMessage": "no response"}))
    elif behaviour == "never responds":
        time.sleep(600)
    else:
        call("POST", invocation + "/response", event)
        if behaviour == "crashes after responding":
            os.abort()
