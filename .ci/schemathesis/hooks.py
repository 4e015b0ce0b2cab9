"""What schemathesis cannot know of this REST."""

import json

import schemathesis


# Streams of lines: a request has one line, which is what the description has a schema of.
@schemathesis.serializer("application/x-ndjson")
def one_line(_context, value):
    return value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n"


# Of an answer each line is JSON, and the first is held against the schema.
@schemathesis.deserializer("application/x-ndjson")
def first_line(_context, response):
    return [json.loads(line) for line in response.content.splitlines()][0]


# A backup is no JSON. It is read to its end, and that is all.
@schemathesis.deserializer("application/vnd.twinmesh.backup")
def bytes_of_a_backup(_context, response):
    return [0] if response.content else []


# No device follows here, so whoever waits for one waits to the end: let that be a second, and not each time.
@schemathesis.hook
def before_call(_context, case, _kwargs):
    global waits
    query = case.query if isinstance(case.query, dict) else {}
    timeout = str(query.get("timeout", "30"))
    if query.get("wait") not in ("delivered", "applied") or not timeout.isdigit() or not 1 <= int(timeout) <= 120:
        return
    waits += 1
    if waits % 16 == 1:
        query["timeout"] = "1"
    else:
        del query["wait"]
        query.pop("timeout", None)


waits = 0
